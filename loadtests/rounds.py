"""Turns of servers, one after the other, and what each turn cost."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import wrk
from contenders import Contender, Running
from costs import Pinned, Spent, spent
from driving import Magazine, Turn, closed_loop, lines, open_loop

#: percentiles of latencies, as shares
SHARES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
#: requests made ahead for a server of which nothing is known yet, a second
_UNKNOWN_RATE = 2_000
#: an open loop's connections: so many that a request seldom waits for one
OPEN_CONNECTIONS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """How check-ins are sent."""

    name: str
    size: int
    connections: int
    is_claimed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """A server's turn: CPU in microseconds a check-in, the rest in parts of its time."""

    check_ins: int
    rate: float
    server_us: float | None
    database_us: float | None
    generator_us: float
    generator_busy: float
    #: of the core of what serves: what the server and its database used, and what nobody did
    serving: float | None
    idle: float | None
    generator_idle: float | None
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Latencies:
    """An open loop's turn: latencies from the moments at which requests were due."""

    rate: float
    requests: int
    #: in milliseconds, of `SHARES`
    percentiles_ms: list[float]
    worst_ms: float
    #: the most requests that waited for a connection
    most_waiting: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Generator:
    """Sends check-ins to servers in turns."""

    pinned: Pinned
    #: wrk for closed loops, in place of our own
    by_wrk: bool = False
    #: what was seen of each server: requests a second, so that as many are made ahead
    seen: dict[tuple[str, Load], float] = field(default_factory=dict)

    def take_turns(
        self, servers: Sequence[Running], load: Load, rounds: int, seconds: float
    ) -> dict[str, list[Round]]:
        """A B C A B C: what else the machine does meets all of them."""
        found: dict[str, list[Round]] = {at.contender.name: [] for at in servers}
        for _ in range(rounds):
            for at in servers:
                found[at.contender.name].append(self.round(at, load, seconds))
        return found

    def round(self, at: Running, load: Load, seconds: float) -> Round:
        """As much as a server takes, for some seconds."""
        if self.by_wrk:
            before = self._spent(at)
            target = at.target(is_claimed=load.is_claimed)
            turn = wrk.closed_loop(target, load.size, load.connections, seconds)
            after = self._spent(at)
        else:
            turn, before, after = self._driven(at, load, seconds)
        _note(at.contender, turn)
        self.seen[at.contender.name, load] = turn.rate / load.size
        return _round(turn, before, after)

    def _driven(self, at: Running, load: Load, seconds: float) -> tuple[Turn, Spent, Spent]:
        target = at.target(is_claimed=load.is_claimed)
        magazine = Magazine(target, load.size)
        known = self.seen.get((at.contender.name, load), _UNKNOWN_RATE / load.size)
        magazine.fill(int(known * seconds * 1.2))
        with lines(target, load.size, load.connections) as opened:
            before = self._spent(at)
            turn = closed_loop(opened, magazine, seconds)
            return turn, before, self._spent(at)

    def latencies(self, at: Running, load: Load, rate: float, seconds: float) -> Latencies:
        """At a constant rate, for some seconds."""
        target = at.target(is_claimed=load.is_claimed)
        magazine = Magazine(target, load.size)
        shots = [magazine.next() for _ in range(max(int(rate * seconds), 1))]
        with lines(target, load.size, OPEN_CONNECTIONS) as opened:
            turn = open_loop(opened, shots, rate)
        _note(at.contender, turn)
        return Latencies(
            rate=rate,
            requests=len(shots),
            percentiles_ms=[turn.percentile_ms(share) for share in SHARES],
            worst_ms=turn.percentile_ms(1.0),
            most_waiting=turn.most_waiting,
        )

    def _spent(self, at: Running) -> Spent:
        return spent(at.pid, at.database_pid, self.pinned)


def _note(contender: Contender, turn: Turn) -> None:
    contender.acknowledged.extend(turn.acknowledged)
    contender.failures.update(turn.failures)


def _round(turn: Turn, before: Spent, after: Spent) -> Round:
    wall = after.wall - before.wall
    server, database = _less(after.server, before.server), _less(after.database, before.database)
    generator = after.generator - before.generator
    per = 1e6 / max(turn.accepted, 1)
    idle = [(a - b) / wall for a, b in zip(after.idle or (), before.idle or (), strict=True)]
    return Round(
        check_ins=turn.accepted,
        rate=turn.rate,
        server_us=None if server is None else server * per,
        database_us=None if database is None else database * per,
        generator_us=generator * per,
        generator_busy=generator / wall,
        serving=None if server is None else (server + (database or 0.0)) / wall,
        idle=idle[0] if idle else None,
        generator_idle=idle[1] if idle else None,
        p50_ms=turn.percentile_ms(0.5),
        p99_ms=turn.percentile_ms(0.99),
    )


def _less(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before
