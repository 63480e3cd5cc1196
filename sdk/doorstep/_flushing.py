"""Sending what waits, as a flow: it says what to do next, and a session does it.

Before each send the platform's permission is read again, what is no longer allowed or too old is
gone from the file, and the lease is ours.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from typing import Any, TypeAlias

from doorstep._batches import Batch, CheckInToSend
from doorstep._check_in import JudgedCheckIn
from doorstep._core import Flow
from doorstep._endpoints import PermissionState
from doorstep._errors import ApiError, DoorstepError, NotEnrolled, Unauthorized
from doorstep._keeper import Learn, NextUp, Nothing
from doorstep._permissions import GRANTED, WITHDRAWN
from doorstep._reports import Report
from doorstep._retry import RETRIED_STATUSES
from doorstep._sending import Verdicts
from doorstep._sites_at_hand import SitesAtHand
from doorstep._steps import AskPermission, Desk, Step, Work

Flushing: TypeAlias = Generator[Step, Any, Nothing]

_PERMISSION_AGAIN_S = 30.0


def flushing(desk: Desk) -> Flushing:
    """Send until nothing can be sent now, and say why."""
    while True:
        state: PermissionState | None = yield AskPermission()
        if state is None:
            return Nothing(why="permission-unreadable", wait_s=_PERMISSION_AGAIN_S)
        try:
            turn = _Turn(desk, state)
        except NotEnrolled:
            return Nothing(why="not-enrolled")
        rest = yield from turn.take()
        if rest is not None:
            return rest


class _Turn:
    """One request as the one who is signed in when it begins, whoever signs in meanwhile."""

    def __init__(self, desk: Desk, state: PermissionState) -> None:
        self._desk = desk
        self._state: PermissionState = state
        self._core = desk.core.pinned()
        self._sites = SitesAtHand(desk, self._core)

    def take(self) -> Generator[Step, Any, Nothing | None]:
        """Send one thing; why nothing was sent, or None to go on."""
        outbox, sender = self._desk.outbox, self._desk.sender
        who = self._core.who()
        held = sender.held(self._now_s(), who.mark)
        if held is not None:
            return held
        resting, held_positions = sender.resting(self._now_s()), self._desk.positions.ids()
        up: NextUp = yield Work(
            do=lambda: outbox.next_up(
                who, self._state, most_items=sender.most_items, resting=resting
            )
        )
        if isinstance(up, Nothing):
            return (yield from self._rest(up, held_positions))
        if isinstance(up, Batch):
            yield from self._send(up)
        elif isinstance(up, Report):
            yield from self._report(up)
        else:
            assert isinstance(up, Learn), "there is nothing else"
            yield from self._learn()
        return None

    def _rest(self, rest: Nothing, held: Collection[str]) -> Generator[Step, Any, Nothing | None]:
        """What was checked in since the outbox was asked is not over."""
        if rest.why == "empty":
            self._desk.positions.forget(*held)  # another process may have sent them
        if rest.why == "empty" and self._state in GRANTED:
            yield from self._sites.refresh()
        return rest if rest.wait_s != 0 else None

    def _send(self, batch: Batch) -> Generator[Step, Any, None]:
        ready = yield from self._sites.judged(batch)
        if isinstance(ready, DoorstepError):
            self._put_off(ready)
            return
        self._desk.positions.sending(row.id for row in batch.rows)
        answered = yield from self._exchange(self._core.send_stored(ready))
        system, outbox, sender = self._core.system, self._desk.outbox, self._desk.sender
        who = self._core.who()
        verdicts = sender.judge(
            batch.rows, answered, now_s=self._now_s(), mark=who.mark, boot=system.boot()
        )
        self._desk.deliver(verdicts.check_ins)
        if verdicts.ends:
            yield Work(do=lambda: outbox.settle(verdicts.ends))
        yield from self._judge_anew(batch, ready, verdicts)
        for epoch in set(verdicts.refused_epochs):
            yield Work(do=lambda epoch=epoch: outbox.refuse_epoch(who, epoch))  # type: ignore[misc]
        if verdicts.refused_epochs:
            yield from self._learn()
        if verdicts.report:
            yield Work(do=lambda: outbox.note_permission(who, self._state, report=True))

    def _judge_anew(
        self, batch: Batch, sent: Sequence[CheckInToSend], verdicts: Verdicts
    ) -> Generator[Step, Any, None]:
        """What the server wants judged otherwise, or by devices at all."""
        for one in sent:
            if one.id in verdicts.misplaced:
                self._desk.core.known.devices_judge(one.purpose)
        outdated = [
            (row, one)
            for row, one in zip(batch.rows, sent, strict=True)
            if isinstance(one, JudgedCheckIn) and row.id in verdicts.outdated
        ]
        if outdated:
            yield from self._sites.judge_anew(outdated)

    def _report(self, report: Report) -> Generator[Step, Any, None]:
        answered = yield from self._exchange(
            self._core.report_permission(report.state, report.sequence, report.observed_at)
        )
        who = self._core.who()
        failed = isinstance(answered, DoorstepError)
        # the server must hear of a withdrawal, whatever it takes
        if failed and (report.state in WITHDRAWN or not _is_final(answered)):
            self._put_off(answered)
            return
        yield Work(do=lambda: self._desk.outbox.reported(who, report.number))

    def _learn(self) -> Generator[Step, Any, None]:
        answered = yield from self._exchange(self._core.device_status())
        who = self._core.who()
        if isinstance(answered, DoorstepError):
            self._put_off(answered)
        else:
            yield Work(do=lambda: self._desk.outbox.learn(who))

    def _exchange(self, flow: Flow[Any]) -> Generator[Step, Any, Any]:
        return (yield from self._desk.exchange(self._core, flow))

    def _put_off(self, error: DoorstepError) -> None:
        self._desk.sender.failed(error, now_s=self._now_s(), mark=self._core.who().mark)

    def _now_s(self) -> float:
        return self._core.system.elapsed()


def _is_final(error: DoorstepError) -> bool:
    """Whether a report will never be taken."""
    if not isinstance(error, ApiError) or isinstance(error, Unauthorized) or not error.code:
        return False
    return 400 <= error.status < 500 and error.status not in RETRIED_STATUSES
