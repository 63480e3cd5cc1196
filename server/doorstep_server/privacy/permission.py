"""The operating system's location permission of a device, as the app reports it.

Reports may arrive late, twice or out of order. A permission is the greatest of the reports
received, ordered by sequence and then by how much they take away, so any order and any repetition
end in the same state. The epoch is the highest sequence of any withdrawal: positions captured
before it are never processed again, whatever is granted later.
"""

from dataclasses import dataclass
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


class SequenceTooFarAhead(ValueError):
    """A report's sequence is more than `MAX_SEQUENCE_LEAP` ahead of the last one known."""


def after_report(known: Permission, state: State, sequence: int) -> Permission:
    """The permission after one more report. Raises `SequenceTooFarAhead`."""
    if sequence > known.sequence + MAX_SEQUENCE_LEAP:
        raise SequenceTooFarAhead
    epoch = max(known.epoch, sequence) if state in WITHDRAWN else known.epoch
    if _precedence(sequence, state) > _precedence(known.sequence, known.state):
        return Permission(state=state, sequence=sequence, epoch=epoch)
    return Permission(state=known.state, sequence=known.sequence, epoch=epoch)


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


def features(permission: Permission) -> list[Feature]:
    """What the permission leaves available; limits are named with their reason."""
    state = permission.state
    located = state not in WITHDRAWN and state is not State.UNKNOWN
    precise = state in {State.PRECISE, State.PRECISE_ONCE}
    return [
        _feature("location-check-in", state, available=located),
        _feature("precise-location", state, available=precise),
    ]


def _feature(name: str, state: State, *, available: bool) -> Feature:
    because = None if available else f"permission-{state.value.replace('_', '-')}"
    return Feature(name=name, available=available, because=because)
