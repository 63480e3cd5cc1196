"""What a deployment carries is worked out from measured costs, and can be worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import capacity
from capacity import PAGE, Assumed


def rounds(server_us: float | None, database_us: float | None) -> list[dict[str, Any]]:
    costs = {"server_us": server_us, "database_us": database_us, "rate": 1.0}
    return [{**costs, "serving": 0.8, "idle": 0.2}] * 3


def figures(**more: Any) -> dict[str, Any]:
    single = {"SQLite": rounds(100.0, None), "PostgreSQL": rounds(140.0, 70.0)}
    return {
        "began": "2026-03-10 12:00 UTC",
        "machine": {"processor": "A processor, 2 cores, load 0.00 at the beginning"},
        "options": {"stored": [0, 1_000_000]},
        "row_bytes": {"SQLite": 500.0},
        "comparisons": [{"load": {"name": "single"}, "stored": 1_000_000, "rounds": single}],
        **more,
    }


def told(given: dict[str, Any], assumed: Assumed | None = None) -> str:
    return "\n".join(capacity.lines(given, assumed or Assumed()))


def test_a_core_gives_what_its_cost_says_at_the_utilization_that_is_assumed() -> None:
    found = told(figures())
    # 0.7 × 1,000,000 / 100
    assert "= **7,000 check-ins a second**" in found
    # half of them within 900 s: 7,000 / (0.5 / 900)
    assert "12,600,000 people" in found
    # those × 16 × 60 rows of 500 bytes
    assert "12,096,000,000 rows of 500 bytes: 6.05 TB" in found


def test_figures_of_a_machine_that_was_busy_say_so() -> None:
    assert "did other work" not in told(figures())
    shared = {"SQLite": [{**one, "serving": 0.5} for one in rounds(100.0, None)]}
    comparison = {"load": {"name": "single"}, "stored": 1_000_000, "rounds": shared}
    assert "did other work" in told(figures(comparisons=[comparison]))


def test_a_database_is_carried_by_as_many_servers_as_its_cost_asks_for() -> None:
    found = told(figures())
    # 0.7 × 1,000,000 / 70 a core; 140 / 70 cores of servers to each
    assert "| 4 | 40,000 | 8.0 | 72,000,000 |" in found


def test_a_cluster_carries_as_much_as_its_nodes_and_a_tenant_as_one() -> None:
    found = told(figures(), Assumed(citus_overhead=2.0))
    # 16 cores × 10,000 / 2
    assert "| 4 | 320,000 | 80,000 | 576,000,000 |" in found


def test_what_was_not_measured_is_not_told() -> None:
    only = {"SQLite": rounds(100.0, None), "PostgreSQL": rounds(None, None)}
    comparison = {"load": {"name": "single"}, "stored": 1_000_000, "rounds": only}
    found = told(figures(comparisons=[comparison], row_bytes={}))
    assert "One node with SQLite" in found
    assert "not measured" in found
    assert "PostgreSQL" not in found
    assert "Citus" not in found


def test_the_command_prints_and_writes_between_the_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, given = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text(PAGE.read_text())
    given.write_text(json.dumps(figures()))
    monkeypatch.setattr(capacity, "PAGE", page)
    assert capacity.main([str(given), "--utilization", "0.5"]) == 0
    printed = capsys.readouterr().out.strip()
    assert "= **5,000 check-ins a second**" in printed
    for _ in range(2):
        assert capacity.main([str(given), "--utilization", "0.5", "--write"]) == 0
    assert page.read_text().count(printed) == 1
    assert page.read_text().replace(printed, "").count("check-ins a second") == (
        PAGE.read_text().partition(capacity.BEGIN)[0].count("check-ins a second")
        + PAGE.read_text().partition(capacity.END)[2].count("check-ins a second")
    )


def test_the_page_names_every_assumption_with_its_value() -> None:
    usual = Assumed()
    for name in Assumed.__dataclass_fields__:
        assert f"--{name.replace('_', '-')} {getattr(usual, name):g}" in PAGE.read_text()
