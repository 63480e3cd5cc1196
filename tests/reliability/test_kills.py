"""Servers that die under load, or get too much of it, in short: `make chaos` does so in full."""

from __future__ import annotations

from pathlib import Path

import pytest

import kills
import overload
from ledger import Ledger
from world import DATABASES

ROUNDS, SECONDS = 10, 3.0


@pytest.mark.parametrize("kind", DATABASES)
def test_nothing_acknowledged_is_lost_and_nothing_is_there_twice(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    cluster = request.getfixturevalue("cluster") if kind == "postgresql" else None
    figures = kills.run(tmp_path, ROUNDS, "test", cluster)
    print(figures)
    assert not figures.wrong, str(figures)
    assert figures.ledger is not None
    assert figures.ledger.is_exact
    assert figures.ends.total() == ROUNDS
    assert len(figures.ends) == (3 if cluster else 2)
    # it fell on both sides, or a kill would have met nothing
    assert figures.was_stored > 0
    assert figures.was_not_stored > 0


@pytest.mark.parametrize("kind", DATABASES)
def test_what_is_too_much_is_refused_and_the_rest_is_stored_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database = None
    if kind == "postgresql":
        database = request.getfixturevalue("databases").new_database()
    # more than any machine does: its capacity, on one that is busy, may be next to nothing
    room = overload.Room(connections=300, queue=10, least_rate=3_000.0)
    figures = overload.run(tmp_path, SECONDS, database, room)
    print(figures)
    assert figures.holds, str(figures)
    assert figures.ledger.is_exact
    assert set(figures.refused) == {"503 unavailable"}


def test_what_is_missing_or_double_is_told() -> None:
    one, other, third = (bytes([n]) * 16 for n in range(3))
    assert Ledger.of([one, other, one], [other, one]).is_exact
    assert Ledger.of([one], [one, third]) == Ledger(
        acknowledged=1, rows=2, missing=0, double=0, unacknowledged=1
    )
    assert Ledger.of([one], [one, third]).is_true
    assert not Ledger.of([one, other], [one]).is_true
    assert not Ledger.of([one, other], [one, other, one]).is_true
    assert not Ledger.of([], []).is_true
