"""Judging what waits by the sites of this device, in a turn of sending.

| when | what is judged |
|---|---|
| it was stored before there were sites | the position in the file, which then leaves it |
| not accepted, and sent to nobody yet | the position in memory: fresher sites may say more |
| the server says that the site has changed | the position in memory |

Where none is in memory any more, a verdict holds while its fence is the same; else it ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from doorstep._batches import Batch, CheckInToSend
from doorstep._check_in import JudgedCheckIn, NewCheckIn
from doorstep._core import Core
from doorstep._errors import DoorstepError
from doorstep._queue import End
from doorstep._steps import Desk, Steps, Work
from doorstep._value import changed
from doorstep._waiting import Waiting

if TYPE_CHECKING:
    from doorstep._bundle import Bundle

Found = tuple[Waiting, JudgedCheckIn]


class SitesAtHand:
    """What one turn judges by, as the one who is signed in when it begins."""

    def __init__(self, desk: Desk, core: Core) -> None:
        self._desk = desk
        self._core = core

    def refresh(self) -> Steps:
        """So that this device can judge offline: once for each time that the app is in front."""
        mark = self._core.who().mark
        if self._desk.sites_of == mark:
            return
        self._desk.sites_of = mark
        if not self._core.known.knows_purposes:
            yield from self._desk.exchange(self._core, self._core.device_status())
        if self._core.known.judges:
            yield from self._fetched()

    def judged(self, batch: Batch) -> Steps:
        """What is to be sent; or the error by which that cannot be said now."""
        if any(self._core.is_unclear(one) for one in batch.check_ins):
            status = yield from self._desk.exchange(self._core, self._core.device_status())
            if isinstance(status, DoorstepError):
                return status
        placed = {one.id: new for one in batch.check_ins if (new := self._to_judge(one))}
        if not placed:
            return batch.check_ins
        bundle = yield from self._fetched()
        if isinstance(bundle, DoorstepError):
            return bundle
        ready = [
            _by(bundle, placed[was.id], was) if was.id in placed else was for was in batch.check_ins
        ]
        found = [
            (row, now)
            for row, was, now in zip(batch.rows, batch.check_ins, ready, strict=True)
            if isinstance(now, JudgedCheckIn) and now != was
        ]
        if found:
            yield from self._keep(found)
        return ready

    def judge_anew(self, outdated: Sequence[Found]) -> Steps:
        """The server took none of these, since a site has changed."""
        bundle = yield from self._fetched()
        if isinstance(bundle, DoorstepError):
            return  # sent as they are they are refused again, and nothing is lost
        kept: list[Found] = []
        ends: list[End] = []
        for row, was in outdated:
            new = self._desk.positions.of(row.id)
            now = bundle.renew(was) if new is None else _by(bundle, new, was)
            if now is None:
                ends.append(_undecidable(row))
            else:
                kept.append((row, now))
        if kept:
            yield from self._keep(kept)
        if ends:
            yield Work(do=lambda: self._desk.outbox.settle(ends))

    def _to_judge(self, one: CheckInToSend) -> NewCheckIn | None:
        """The position that is to be judged before this is sent, if there is one."""
        positions = self._desk.positions
        new = one if isinstance(one, NewCheckIn) else positions.may_say_more(one)
        if new is None or not self._core.is_to_be_judged(new):
            return None
        positions.keep(new)
        return new

    def _keep(self, found: Sequence[Found]) -> Steps:
        yield Work(do=lambda: self._desk.outbox.keep_verdicts(found))

    def _fetched(self) -> Steps:
        """The sites as they are now, kept for the next start; or an error."""
        before = self._core.known.bundle
        bundle = yield from self._desk.exchange(self._core, self._core.bundle_or_nothing())
        now = self._core.known.bundle
        if now is not None and now is not before:
            who = self._core.who()
            yield Work(do=lambda: self._desk.outbox.keep_bundle(who, now.content))
        return bundle


def _by(bundle: Bundle, new: NewCheckIn, was: CheckInToSend) -> JudgedCheckIn:
    """Judged by these sites; all else is as it is in the file."""
    found = bundle.judge_stored(new)
    if isinstance(was, NewCheckIn):
        return found
    return changed(found, permission_epoch=was.permission_epoch, elapsed_s=was.elapsed_s)


def _undecidable(row: Waiting) -> End:
    """Its fence is another one now, and its position is gone."""
    return End(id=row.id, state="failed", reason="bundle-outdated", loss="bundle-outdated")
