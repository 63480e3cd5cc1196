"""Servers that die under load, in short: `make chaos` does so 200 times on each database."""

from __future__ import annotations

from pathlib import Path

import pytest

import kills
from ledger import Ledger
from world import DATABASES

ROUNDS = 10


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
