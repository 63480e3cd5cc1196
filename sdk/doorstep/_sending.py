"""What an answer means for the check-ins that were sent, and when to send again. No I/O.

| answer | what follows |
|---|---|
| 2xx | the check-in is settled |
| 408, 429, 5xx, no answer, an answer that is not Doorstep's | all of it again later |
| 429 of one item that says when | that one rests until then, the others go on |
| 401 | nothing is sent until there is another token |
| 403 `permission-unknown` | a permission report, then the same id again |
| 403 `permission-withdrawn` | everything of that epoch goes |
| 422 `bundle-outdated` | judged by a fresh bundle, and sent again |
| 422 `position-not-taken` | judged on this device from now on, and sent again |
| 413 | half as many at once; one alone that is too large ends |
| 404, 405, 415 of the whole request | the address is wrong, not the check-in: again later |
| any other 4xx | that check-in ends; of a whole request, it is found by halving |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from doorstep._answers import BatchResult, CheckIn
from doorstep._errors import (
    ApiError,
    BundleOutdated,
    DoorstepError,
    Invalid,
    PermissionUnknown,
    PermissionWithdrawn,
    RateLimited,
    TooOld,
    Unauthorized,
    UnexpectedAnswer,
)
from doorstep._keeper import MAX_BATCH_ITEMS, Nothing
from doorstep._queue import End
from doorstep._retry import RETRIED_STATUSES, Retry, backoff_s
from doorstep._value import Value
from doorstep._waiting import Waiting

_BACKOFF: Final = Retry(attempts=1, base_s=1.0, cap_s=300.0)
_NOT_TO_BE_SENT: Final = "position-not-taken"
_NOT_ABOUT_CHECK_INS = frozenset({404, 405, 415})

Answered = Sequence[BatchResult] | DoorstepError


class Verdicts(Value):
    """What is to be done after an answer."""

    ends: tuple[End, ...] = ()
    #: the whole answers, for tickets that somebody holds
    check_ins: tuple[CheckIn, ...] = ()
    #: the server says that the permission was withdrawn after these epochs
    refused_epochs: tuple[int | None, ...] = ()
    #: judged by sites that have changed since: these are to be judged anew
    outdated: tuple[str, ...] = ()
    #: positions that were not to be sent: devices judge for their purposes now
    misplaced: tuple[str, ...] = ()
    #: the server wants to hear of the permission first
    report: bool = False


class Sender:
    """How many to send at once, and when. It remembers answers, not check-ins."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._failures = 0
        self._own_until_s = 0.0
        self._asked_until_s = 0.0
        self._refused_mark: str | None = None
        self._most_items = MAX_BATCH_ITEMS
        self._halved: int | None = None
        #: a report was asked for, and no check-in was taken since
        self._asked_report = False
        #: until when the server does not want these
        self._rests: dict[str, float] = {}

    @property
    def most_items(self) -> int:
        return self._halved or self._most_items

    def held(self, now_s: float, mark: str) -> Nothing | None:
        """Why nothing may be sent now as the one with this token's mark; None when it may."""
        if self._refused_mark == mark:
            return Nothing(why="unauthorized")
        wait_s = max(self._own_until_s, self._asked_until_s) - now_s
        return Nothing(why="backing-off", wait_s=wait_s) if wait_s > 0 else None

    def resting(self, now_s: float) -> dict[str, float]:
        """Check-ins that the server does not want yet, and for how long; whoever wakes us."""
        self._rests = {id_: until_s for id_, until_s in self._rests.items() if until_s > now_s}
        return {id_: until_s - now_s for id_, until_s in self._rests.items()}

    def wake(self) -> None:
        """Something has changed (the app is in front, the network is back): try at once.

        What the server asked for is kept to.
        """
        self._own_until_s = 0.0

    def judge(
        self, rows: Sequence[Waiting], answered: Answered, *, now_s: float, mark: str, boot: str
    ) -> Verdicts:
        """What an answer to these check-ins means."""
        if isinstance(answered, DoorstepError):
            return self._judge_request(rows, answered, now_s, mark, boot)
        verdicts = _Gathered(boot)
        errors = [verdicts.take(row, one) for row, one in zip(rows, answered, strict=True)]
        self._rests |= {id_: now_s + wait_s for id_, wait_s in verdicts.rests.items()}
        self._halved = None
        if verdicts.check_ins:
            self._failures, self._asked_report = 0, False
        self._learn(errors, verdicts, now_s, mark)
        return verdicts.done()

    def failed(self, error: DoorstepError, *, now_s: float, mark: str) -> None:
        """A call that was about no check-in was not answered well."""
        if isinstance(error, Unauthorized):
            self._refused_mark = mark
            return
        self._failures += 1
        self._own_until_s = now_s + backoff_s(_BACKOFF, self._failures, self._chance(), None)
        if isinstance(error, ApiError) and error.retry_after_s is not None:
            self._asked_until_s = now_s + error.retry_after_s

    def _judge_request(
        self, rows: Sequence[Waiting], error: DoorstepError, now_s: float, mark: str, boot: str
    ) -> Verdicts:
        status = error.status if isinstance(error, ApiError) else None
        if isinstance(error, PermissionUnknown | PermissionWithdrawn):
            each = [
                BatchResult(index=n, id=None, status=403, check_in=None, error=error)
                for n, _ in enumerate(rows)
            ]
            return self.judge(rows, each, now_s=now_s, mark=mark, boot=boot)
        if status == 413 and len(rows) > 1:
            self._most_items = len(rows) // 2
            return Verdicts()
        if status is None or _may_pass(error) or status in _NOT_ABOUT_CHECK_INS:
            self.failed(error, now_s=now_s, mark=mark)
            return Verdicts()
        if len(rows) > 1:
            self._halved = len(rows) // 2
            return Verdicts()
        self._halved = None
        return Verdicts(ends=(_dead(rows[0], error, boot),))

    def _learn(
        self,
        errors: Sequence[DoorstepError | None],
        verdicts: _Gathered,
        now_s: float,
        mark: str,
    ) -> None:
        """Back off for the items that are to come again; once, whatever their number."""
        unknown = any(isinstance(one, PermissionUnknown) for one in errors)
        again = [one for one in errors if one and not isinstance(one, PermissionUnknown)]
        if unknown and self._asked_report:
            verdicts.give_up_without_epoch()
            again = again or [PermissionUnknown(403)]
        verdicts.report = self._asked_report = unknown and not self._asked_report
        if again:
            worst = max(again, key=_severity)
            self.failed(worst, now_s=now_s, mark=mark)


class _Gathered:
    """The verdicts on a batch, item by item."""

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self._ends: list[End] = []
        self._epochs: list[int | None] = []
        self._outdated: list[str] = []
        self._misplaced: list[str] = []
        self._unknown: list[tuple[Waiting, ApiError]] = []
        self.check_ins: list[CheckIn] = []
        #: for how long the server does not want these
        self.rests: dict[str, float] = {}
        self.report = False

    def take(self, row: Waiting, result: BatchResult) -> DoorstepError | None:
        """Judge one; the error, if everything is to wait before it is sent again."""
        check_in, error = result.check_in, result.error
        if check_in is not None and check_in.id != row.id:
            # a proxy mixed answers up: whoever believed it would lose one
            return UnexpectedAnswer(result.status)
        if check_in is not None:
            self.check_ins.append(check_in)
            self._ends.append(_settled(row, check_in, self._boot))
            return None
        assert error is not None, "an item has a check-in or an error"
        if isinstance(error, PermissionUnknown):
            self._unknown.append((row, error))
            return error
        if isinstance(error, RateLimited) and error.retry_after_s:
            self.rests[row.id] = error.retry_after_s
            return None
        if self._needs_judging(row, error) or _may_pass(error):
            return error
        if isinstance(error, PermissionWithdrawn):
            self._epochs.append(row.epoch)
        self._ends.append(_dead(row, error, self._boot))
        return None

    def _needs_judging(self, row: Waiting, error: ApiError) -> bool:
        """Note what this device must judge before it is sent again."""
        if isinstance(error, BundleOutdated):
            self._outdated.append(row.id)
        elif isinstance(error, Invalid) and error.code == _NOT_TO_BE_SENT:
            self._misplaced.append(row.id)
        else:
            return False
        return True

    def give_up_without_epoch(self) -> None:
        """The report has not helped: without an epoch only a live position is taken."""
        self._ends += [
            _dead(row, error, self._boot) for row, error in self._unknown if row.epoch is None
        ]

    def done(self) -> Verdicts:
        return Verdicts(
            ends=tuple(self._ends),
            check_ins=tuple(self.check_ins),
            refused_epochs=tuple(self._epochs),
            outdated=tuple(self._outdated),
            misplaced=tuple(self._misplaced),
            report=self.report,
        )


def _severity(error: DoorstepError) -> float:
    """Without a token nothing goes; else the longest wait that the server asks for counts."""
    if isinstance(error, Unauthorized):
        return math.inf
    return (error.retry_after_s or 0.0) if isinstance(error, ApiError) else 0.0


def _may_pass(error: DoorstepError) -> bool:
    """Whether the same may be taken later."""
    if isinstance(error, UnexpectedAnswer | Unauthorized):
        return True
    return isinstance(error, ApiError) and (
        error.status in RETRIED_STATUSES or error.status >= 500 or error.status < 400
    )


def _settled(row: Waiting, check_in: CheckIn, boot: str) -> End:
    return End(
        id=row.id,
        state=check_in.outcome,
        reason=check_in.reason,
        time_confidence=_confidence(row, boot),
        expires_on=check_in.expires_on,
        decision=check_in.decision,
        request_id=check_in.request_id,
    )


_STATES: dict[type[ApiError], str] = {PermissionWithdrawn: "withdrawn", TooOld: "expired"}


def _dead(row: Waiting, error: DoorstepError, boot: str) -> End:
    assert isinstance(error, ApiError), "without an answer nothing ends"
    reason = error.code or f"status-{error.status}"
    return End(
        id=row.id,
        state=_STATES.get(type(error), "failed"),
        reason=reason,
        time_confidence=_confidence(row, boot),
        request_id=error.request_id,
        loss=reason,
    )


def _confidence(row: Waiting, boot: str) -> str:
    return "high" if row.is_of_boot(boot) else "low"
