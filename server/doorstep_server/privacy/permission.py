"""The operating system's location permission of a device, as the app reports it.

Reports may arrive late, twice or out of order. A permission is the greatest of the reports
received, ordered by sequence and then by how much they take away, so any order and any repetition
end in the same state. The epoch is the highest sequence of any withdrawal: positions captured
before it are never processed again, whatever is granted later.

What is granted is a lease: some revocations are never announced (the app is not running, or the
system takes the permission back after months), so a permission that is not reported again lapses.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

#: a report further ahead than this is a mistake, and would lock the device's later reports out
MAX_SEQUENCE_LEAP = 1_000_000
#: how old a position may be when the app does not say under which epoch it was captured
LIVE_FOR_S = 120.0


class State(StrEnum):
    """What the phone's owner has granted, from least to most."""

    DENIED = "denied"
    RESTRICTED = "restricted"
    SERVICES_OFF = "services_off"
    UNKNOWN = "unknown"
    APPROXIMATE = "approximate"
    PRECISE_ONCE = "precise_once"
    PRECISE = "precise"


#: how long a report is believed. An app reports at each start, so a week is one that went unused
LEASES = {
    State.APPROXIMATE: timedelta(days=7),
    # granted for one use of the app
    State.PRECISE_ONCE: timedelta(days=1),
    State.PRECISE: timedelta(days=7),
}
WITHDRAWN = frozenset({State.DENIED, State.RESTRICTED, State.SERVICES_OFF})
_GRANTING_ORDER = list(State)


class Refusal(StrEnum):
    """Why the permission does not allow a check-in."""

    WITHDRAWN = "permission-withdrawn"
    UNKNOWN = "permission-unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Permission:
    """What the server knows of a device's permission."""

    state: State = State.UNKNOWN
    #: of the report that set the state
    sequence: int = 0
    #: highest sequence of any withdrawal
    epoch: int = 0
    #: when what was granted lapses; None where nothing is granted
    lease_until: datetime | None = None
    #: the database was restored: a withdrawal may have been forgotten
    restored: bool = False

    def at(self, now: datetime) -> "Permission":
        """What holds at a time: a lease that was not renewed has lapsed."""
        if self.state not in LEASES or (self.lease_until is not None and now < self.lease_until):
            return self
        return replace(self, state=State.UNKNOWN, lease_until=None)

    def after_restoring(self) -> "Permission":
        """What can still be believed of a permission in a backup: nothing that was granted."""
        state = State.UNKNOWN if self.state in LEASES else self.state
        return replace(self, state=state, lease_until=None, restored=True)


class SequenceTooFarAhead(ValueError):
    """A report's sequence is more than `MAX_SEQUENCE_LEAP` ahead of the last one known."""


def after_report(known: Permission, state: State, sequence: int, now: datetime) -> Permission:
    """The permission after one more report. Raises `SequenceTooFarAhead`.

    The first report after a backup was restored is taken for a withdrawal and what follows it:
    nobody knows what was reported in between, and of which epoch a waiting position is.
    """
    if sequence > known.sequence + MAX_SEQUENCE_LEAP:
        raise SequenceTooFarAhead
    counts = _precedence(sequence, state) > _precedence(known.sequence, known.state)
    withdraws = state in WITHDRAWN or (known.restored and counts)
    epoch = max(known.epoch, sequence) if withdraws else known.epoch
    if not counts:
        return replace(known, epoch=epoch)
    lease = LEASES.get(state)
    return Permission(
        state=state, sequence=sequence, epoch=epoch, lease_until=now + lease if lease else None
    )


def is_renewal(before: Permission, after: Permission, now: datetime) -> bool:
    """Whether a report only says that all is as it was: then it need not be written at once.

    One that is further ahead of what is written than a report may be is written, lest it could not
    be taken for one later.
    """
    unchanged = (before.at(now).state, before.epoch) == (after.state, after.epoch)
    in_reach = after.sequence <= before.sequence + MAX_SEQUENCE_LEAP
    return unchanged and in_reach and not before.restored


def _precedence(sequence: int, state: State) -> tuple[int, int]:
    """Later wins; of two reports with one sequence, the one that grants less wins."""
    return sequence, -_GRANTING_ORDER.index(state)


def refusal(permission: Permission, *, epoch: int | None, age_s: float) -> Refusal | None:
    """Why a position captured under `epoch` may not be processed, or None when it may.

    A position that carries no epoch may only be a live one: of an older one nobody can tell
    whether the permission was withdrawn since it was captured.
    """
    if permission.state in WITHDRAWN or (epoch is not None and epoch < permission.epoch):
        return Refusal.WITHDRAWN
    if permission.state is State.UNKNOWN or (epoch is None and age_s > LIVE_FOR_S):
        return Refusal.UNKNOWN
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """Something the app can or cannot offer under a permission, and why."""

    name: str
    available: bool
    because: str | None = None


PRECISE = frozenset({State.PRECISE, State.PRECISE_ONCE})


def features(permission: Permission, *, restricted: bool = False) -> list[Feature]:
    """What a permission leaves available; limits are named with their reason.

    It is the permission as it is now: see `Permission.at`. A person may have restricted all
    processing of theirs: then that is the reason, whatever the phone permits.
    """
    state = permission.state
    located = state not in WITHDRAWN and state is not State.UNKNOWN
    because = "processing-restricted" if restricted else f"permission-{state.replace('_', '-')}"
    return [
        _feature("location-check-in", because, available=located and not restricted),
        _feature("precise-location", because, available=state in PRECISE and not restricted),
    ]


def _feature(name: str, because: str, *, available: bool) -> Feature:
    return Feature(name=name, available=available, because=None if available else because)
