"""A check-in on its way out."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Literal

from doorstep._clock import Moment, elapsed_between_s
from doorstep._fix import Fix
from doorstep._ids import check_in_id, parse_check_in_id
from doorstep._value import Unpicklable, Value

if TYPE_CHECKING:
    from uuid import UUID

    from doorstep._bundle import Bundle

Action = Literal["in", "out"]


class NewCheckIn(Unpicklable, Value):
    """One claim of presence: send the same object, or the same id, again to repeat it safely.

    `permission_epoch` is the device's epoch when the position was captured; by default the one
    that the client knows when it sends.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"site_id"})

    purpose: str
    fix: Fix
    site_id: str | None
    action: Action | None
    id: str
    permission_epoch: int | None

    def __init__(
        self,
        *,
        purpose: str,
        fix: Fix,
        site_id: str | UUID | None = None,
        action: Action | None = None,
        id: str | UUID | None = None,  # noqa: A002 (the wire's word)
        permission_epoch: int | None = None,
    ) -> None:
        super().__init__(
            purpose=purpose,
            fix=fix,
            site_id=None if site_id is None else str(site_id),
            action=action,
            id=check_in_id() if id is None else parse_check_in_id(id),
            permission_epoch=permission_epoch,
        )

    def _check(self) -> None:
        if not _is_name(self.purpose):
            raise ValueError("purpose must be the name of one of the device's purposes")
        if not _is_fix(self.fix):
            raise TypeError("fix must be a Fix, e.g. Fix.now(lat=…, lon=…, accuracy_m=…)")
        if self.action not in {None, "in", "out"}:
            raise ValueError("action must be 'in', 'out' or None")
        if not _is_epoch(self.permission_epoch):
            raise ValueError("permission_epoch must be a whole number ≥ 0, or None")


def _is_fix(value: object) -> bool:
    return isinstance(value, Fix)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_epoch(value: object) -> bool:
    return value is None or (isinstance(value, int) and value >= 0)


class Judging(Unpicklable, Value):
    """A check-in that is to be judged here: the fix goes nowhere else."""

    purpose: str
    fix: Fix
    site_id: str | None
    action: Action | None
    id: str
    permission_epoch: int | None

    def by(self, bundle: Bundle) -> JudgedCheckIn:
        """The check-in that it becomes."""
        return bundle.judge(
            purpose=self.purpose,
            fix=self.fix,
            site_id=self.site_id,
            action=self.action,
            id=self.id,
            permission_epoch=self.permission_epoch,
        )


class JudgedCheckIn(Unpicklable, Value):
    """A check-in that this device judged: it has no slot for a position.

    `Bundle.judge` makes it. Send the same object again to repeat it safely.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"site_id"})

    purpose: str
    #: the claimed site, or the one that was found
    site_id: str | None
    action: Action | None
    id: str
    #: accepted, uncertain or rejected, as far as the device can tell
    outcome: str
    reason: str
    captured_at: datetime
    #: the reading of a clock that nobody sets, taken with the position
    elapsed_s: float | None
    bundle_version: int
    permission_epoch: int | None
    #: tells the fence that it was judged by from another; it is not sent
    fence_mark: str | None = None

    def age_s(self, now: Moment) -> float | None:
        """How old the position was made; None without a reading, or after a reboot."""
        return elapsed_between_s(self.elapsed_s, now)
