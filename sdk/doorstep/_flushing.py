"""Sending what waits, as a flow: it says what to do next, and a session does it.

Before each send the platform's permission is read again, what is no longer allowed or too old is
gone from the file, and the lease is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeAlias

from doorstep._answers import CheckIn
from doorstep._batches import Batch
from doorstep._check_in import JudgedCheckIn, NewCheckIn
from doorstep._core import Core, Flow
from doorstep._endpoints import PermissionState
from doorstep._errors import ApiError, DoorstepError, NotEnrolled, Unauthorized
from doorstep._keeper import Keeper, Learn, NextUp, Nothing
from doorstep._permissions import WITHDRAWN
from doorstep._reports import Report
from doorstep._retry import RETRIED_STATUSES
from doorstep._sending import Sender
from doorstep._value import Value

_PERMISSION_AGAIN_S = 30.0


class AskPermission(Value):
    """Read the permission from the platform; answered with it, or None where that failed."""


class Work(Value):
    """Do something with the outbox; answered with what it gives."""

    do: Callable[[], object]


class Exchange(Value):
    """Run a call of the client; answered with its result or with its `DoorstepError`."""

    flow: Flow[Any]


Step: TypeAlias = AskPermission | Work | Exchange
Flushing: TypeAlias = Generator[Step, Any, Nothing]


class Desk:
    """What a flow works with."""

    def __init__(
        self,
        *,
        core: Core,
        outbox: Keeper,
        sender: Sender,
        deliver: Callable[[Sequence[CheckIn]], None],
    ) -> None:
        self.core = core
        self.outbox = outbox
        self.sender = sender
        self.deliver = deliver


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

    def take(self) -> Generator[Step, Any, Nothing | None]:
        """Send one thing; why nothing was sent, or None to go on."""
        outbox, sender = self._desk.outbox, self._desk.sender
        who = self._core.who()
        held = sender.held(self._now_s(), who.mark)
        if held is not None:
            return held
        up: NextUp = yield Work(
            do=lambda: outbox.next_up(who, self._state, most_items=sender.most_items)
        )
        if isinstance(up, Nothing):
            return up if up.wait_s != 0 else None
        if isinstance(up, Batch):
            yield from self._send(up)
        elif isinstance(up, Report):
            yield from self._report(up)
        else:
            assert isinstance(up, Learn), "there is nothing else"
            yield from self._learn()
        return None

    def _send(self, batch: Batch) -> Generator[Step, Any, None]:
        ready = yield from self._judged(batch)
        if ready is None:
            return
        answered = yield from self._exchange(self._core.send_stored(ready))
        system, outbox, sender = self._core.system, self._desk.outbox, self._desk.sender
        who = self._core.who()
        verdicts = sender.judge(
            batch.rows, answered, now_s=self._now_s(), mark=who.mark, boot=system.boot()
        )
        self._desk.deliver(verdicts.check_ins)
        if verdicts.ends:
            yield Work(do=lambda: outbox.settle(verdicts.ends))
        if verdicts.outdated:
            yield Work(do=lambda: outbox.judge_anew(verdicts.outdated))
        for epoch in set(verdicts.refused_epochs):
            yield Work(do=lambda epoch=epoch: outbox.refuse_epoch(who, epoch))  # type: ignore[misc]
        if verdicts.refused_epochs:
            yield from self._learn()
        if verdicts.report:
            yield Work(do=lambda: outbox.note_permission(who, self._state, report=True))

    def _judged(
        self, batch: Batch
    ) -> Generator[Step, Any, Sequence[NewCheckIn | JudgedCheckIn] | None]:
        """What is to be sent, judged where devices judge; None when that cannot be done now."""
        ready = yield from self._exchange(self._core.judge_stored(batch.check_ins))
        if isinstance(ready, DoorstepError):
            mark = self._core.who().mark
            self._desk.sender.failed(ready, now_s=self._now_s(), mark=mark)
            return None
        changed = zip(batch.rows, batch.check_ins, ready, strict=True)
        judged = [(row, one) for row, before, one in changed if one is not before]
        if judged:
            yield Work(do=lambda: self._desk.outbox.keep_verdicts(judged))
        found: Sequence[NewCheckIn | JudgedCheckIn] = ready
        return found

    def _report(self, report: Report) -> Generator[Step, Any, None]:
        answered = yield from self._exchange(
            self._core.report_permission(report.state, report.sequence, report.observed_at)
        )
        sender, who = self._desk.sender, self._core.who()
        failed = isinstance(answered, DoorstepError)
        # the server must hear of a withdrawal, whatever it takes
        if failed and (report.state in WITHDRAWN or not _is_final(answered)):
            sender.failed(answered, now_s=self._now_s(), mark=who.mark)
            return
        yield Work(do=lambda: self._desk.outbox.reported(who, report.number))

    def _learn(self) -> Generator[Step, Any, None]:
        answered = yield from self._exchange(self._core.device_status())
        who = self._core.who()
        if isinstance(answered, DoorstepError):
            self._desk.sender.failed(answered, now_s=self._now_s(), mark=who.mark)
        else:
            yield Work(do=lambda: self._desk.outbox.learn(who))

    def _exchange(self, flow: Flow[Any]) -> Generator[Step, Any, Any]:
        answered = yield Exchange(flow=flow)
        self._desk.core.known.take(self._core.known)
        return answered

    def _now_s(self) -> float:
        return self._core.system.elapsed()


def _is_final(error: DoorstepError) -> bool:
    """Whether a report will never be taken."""
    if not isinstance(error, ApiError) or isinstance(error, Unauthorized) or not error.code:
        return False
    return 400 <= error.status < 500 and error.status not in RETRIED_STATUSES
