"""More than a server takes, in short: `make chaos` does so for a minute on each database."""

from __future__ import annotations

from pathlib import Path

import pytest

import floods
from postgres import Server
from world import DATABASES


@pytest.mark.parametrize("kind", DATABASES)
def test_who_floods_is_refused_and_nobody_else(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: Server | None = (
        request.getfixturevalue("postgres_server") if kind == "postgresql" else None
    )
    figures = floods.run(tmp_path / "home", 5, 80, server.new_database() if server else None)
    print(figures)
    assert not figures.wrong, str(figures)
    assert figures.stored > 0
