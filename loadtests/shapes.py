"""How many users of which kinds there are, and when; `README.md` says where numbers are from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: of the run: until when, and how many of the users there are then
Stage = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gates:
    """What a run must keep to, or it failed."""

    #: of each kind of request that was answered as it should be; 0: not asked
    p99_ms: float = 500.0
    #: whose 99th percentile is looked at; empty: everybody's
    only_of: str = ""
    #: failed requests, of all
    error_share: float = 0.0
    #: a status that must be there, or nobody was told to wait
    refused: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A kind of traffic."""

    title: str
    #: names of classes in `users.py`
    users: tuple[str, ...]
    stages: tuple[Stage, ...] = ((1.0, 1.0),)
    #: refusals that are no failures here: 429 and 503 must say when to come back
    meant: frozenset[int] = frozenset()
    #: what a device may send at once, and each minute, if that is the point; a user here is many
    #: phones
    limits: tuple[int, int] | None = None
    gates: Gates = field(default_factory=Gates)

    def share(self, passed: float) -> float:
        """How many of the users there are when so much of the run has passed; linear between."""
        before, had = 0.0, self.stages[0][1]
        for until, share in self.stages:
            if passed <= until:
                return had + (share - had) * (passed - before) / max(until - before, 1e-9)
            before, had = until, share
        return had


SHAPES: Mapping[str, Shape] = {
    "steady": Shape(title="a day like any other", users=("Device",)),
    "nine": Shape(
        title="everyone comes at nine",
        users=("Device",),
        stages=((0.25, 0.1), (0.35, 1.0), (0.65, 1.0), (0.8, 0.3), (1.0, 0.1)),
        meant=frozenset({429, 503}),
    ),
    "offline": Shape(
        title="phones that were offline send what they queued",
        users=("OfflineDevice",),
        gates=Gates(p99_ms=2_000.0),
    ),
    "withdrawals": Shape(
        title="permission is withdrawn, again and again",
        users=("WithdrawingDevice", "Device"),
        meant=frozenset({403}),
    ),
    "flood": Shape(
        title="one device floods, other tenants are quiet",
        users=("FloodingDevice", "QuietDevice"),
        meant=frozenset({429, 503}),
        limits=(10, 60),
        gates=Gates(only_of="quiet", refused=429),
    ),
    "churn": Shape(
        title="sites change all the time",
        users=("SiteAdmin", "Device"),
    ),
}
