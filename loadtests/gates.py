"""What a load test must keep to: the exit code of `locust` and of `run.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ledger import Ledger
from shapes import SHAPES

if TYPE_CHECKING:
    # whoever imports Locust has no threads any more, and `run.py` opens databases in some
    from locust.stats import RequestStats, StatsEntry

#: types of requests that were answered as they should be; a refusal's has its status in it
_ANSWERED = frozenset({"GET", "POST", "PUT"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """One thing that must be so."""

    name: str
    found: str
    holds: bool


def of_stats(stats: RequestStats, chosen: Any) -> list[Gate]:
    """What can be said without looking into the database."""
    gates = SHAPES[chosen.shape].gates
    p99_ms = chosen.p99_ms or gates.p99_ms
    error_share = gates.error_share if chosen.gate_error_share < 0 else chosen.gate_error_share
    total = stats.total
    failed = total.num_failures / max(total.num_requests, 1)
    return [
        Gate(
            name="there were requests", found=str(total.num_requests), holds=total.num_requests > 0
        ),
        Gate(
            name=f"failed requests ≤ {error_share:.2%}",
            found=f"{failed:.2%}",
            holds=failed <= error_share,
        ),
        *_latencies(stats, p99_ms, gates.only_of),
        *([_refused(stats, gates.refused)] if gates.refused else []),
    ]


def _refused(stats: RequestStats, status: int) -> Gate:
    entries = [one for one in stats.entries.values() if str(one.method).endswith(f" {status}")]
    count = sum(entry.num_requests for entry in entries)
    return Gate(name="whoever sends too much is told so", found=str(count), holds=count > 0)


def _latencies(stats: RequestStats, p99_ms: float, only_of: str) -> Iterator[Gate]:
    for entry in stats.entries.values():
        if _is_asked(entry, only_of):
            found = entry.get_response_time_percentile(0.99)
            yield Gate(
                name=f"p99 of {entry.method} {entry.name} ≤ {p99_ms:,.0f} ms",
                found=f"{found:,.0f} ms",
                holds=found <= p99_ms,
            )


def _is_asked(entry: StatsEntry, only_of: str) -> bool:
    kind, _, whose = str(entry.method).partition(" (")
    return kind in _ANSWERED and (not only_of or whose == f"{only_of})")


def of_ledger(ledger: Ledger, *, is_exact: bool) -> list[Gate]:
    """Of what was acknowledged as stored, and is."""
    there = f"{ledger.acknowledged} acknowledged, {ledger.rows} rows"
    gates = [
        Gate(name="check-ins were stored", found=there, holds=ledger.rows > 0),
        Gate(
            name="acknowledged but missing = 0",
            found=str(ledger.missing),
            holds=ledger.missing == 0,
        ),
        Gate(name="double = 0", found=str(ledger.double), holds=ledger.double == 0),
    ]
    if is_exact:
        found = ledger.unacknowledged
        gates.append(
            Gate(name="stored but never acknowledged = 0", found=str(found), holds=found == 0)
        )
    return gates


def told(gates: Iterable[Gate]) -> str:
    """What to print."""
    lines = [f"{'ok  ' if gate.holds else 'FAIL'} {gate.name}: {gate.found}" for gate in gates]
    return "\n".join(lines)
