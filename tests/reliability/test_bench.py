"""The benchmark itself works: a moment of each case. How fast anything is is not tested."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from postgres import why_no_server

ROOT = Path(__file__).parents[2]
TINY = (
    "--rounds 1 --seconds 0.2 --warm-up 0.1 --connections 4 --batch-connections 1 "
    "--generator own --devices 8 --sites 20 --many-sites 150 --stored 300 --soak 20"
)
OURS = {"SQLite", "PostgreSQL"} if why_no_server() is None else {"SQLite"}
USUAL = {"usual design"} if why_no_server() is None else set[str]()


def run(program: str, *options: str) -> str:
    """One of the load tests' programs; what it printed."""
    path = os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, str(ROOT / "loadtests" / program), *options],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "out"
    said = run("bench.py", *TINY.split(), "--out", str(folder))
    assert ("NOT COMPARED" in said) == (why_no_server() is not None)
    return folder


@pytest.fixture(scope="module")
def figures(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    return found


def test_every_answer_is_an_accepted_check_in_with_its_one_row(figures: dict[str, Any]) -> None:
    fences = {f"{name}, {sites} fences" for name in OURS for sites in (100, 150)}
    assert set(figures["ledgers"]) == OURS | USUAL | fences
    for ledger in figures["ledgers"].values():
        assert ledger["acknowledged"] == ledger["rows"] > 0
        assert ledger["missing"] == ledger["double"] == ledger["unacknowledged"] == 0


def test_each_load_meets_every_server_that_takes_it(figures: dict[str, Any]) -> None:
    met = {one["load"]["name"]: set(one["rounds"]) for one in figures["comparisons"]}
    plain = {"ASGI echo", "empty handler"}
    assert met == {
        "single": plain | OURS | USUAL,
        "searching": plain | OURS | USUAL,
        "batches of 100": plain | OURS,
    }
    assert all(one["stored"] == 300 for one in figures["comparisons"])
    rounds = [r for one in figures["comparisons"] for got in one["rounds"].values() for r in got]
    assert all(one["check_ins"] > 0 for one in rounds)


def test_latencies_are_those_of_every_request_that_was_due(figures: dict[str, Any]) -> None:
    assert set(figures["latencies"]) == OURS
    for by_share in figures["latencies"].values():
        for [one] in by_share.values():
            assert one["requests"] > 0
            percentiles = [*one["percentiles_ms"], one["worst_ms"]]
            assert percentiles == sorted(percentiles)
            assert percentiles[0] > 0


def test_memory_is_looked_at_until_all_check_ins_were_made(figures: dict[str, Any]) -> None:
    assert set(figures["soak"]) == OURS
    for points in figures["soak"].values():
        assert points[-1][0] >= 20
        if sys.platform == "linux":
            assert all(megabytes > 10 for _, megabytes in points)


def test_tables_tell_each_bar_and_plots_are_drawn(out: Path) -> None:
    told = (out / "results.md").read_text()
    for name in OURS:
        for bar in (
            f"{name} by empty handler, single, 300 stored",
            f"{name} by empty handler, searching, 300 stored",
            f"{name}: batches of 100 by single, 300 stored",
            f"{name}: p99 by p50 at 70 % of capacity",
            f"{name}, 150 fences cost, by {name}, 100 fences: searching",
            f"{name}: memory at the end by memory after a tenth",
        ):
            assert f"| {bar} |" in told, bar
    assert (out / "results.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(why_no_server() is not None, reason="it compares on PostgreSQL, too")
def test_a_checkout_is_compared_with_another() -> None:
    """Here with itself."""
    tiny = ["--rounds", "1", "--seconds", "0.2", "--sites", "1", "--devices", "2"]
    said = run("before.py", str(ROOT), *tiny)
    compared = [line.partition(":")[0] for line in said.splitlines()]
    assert compared == [
        "SQLite, single", "PostgreSQL, single",
        "SQLite, batches of 100", "PostgreSQL, batches of 100",
    ]  # fmt: skip


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_what_a_check_in_spends_is_told_by_module(database: str) -> None:
    if database == "postgresql" and why_no_server() is not None:
        pytest.skip("needs PostgreSQL")
    tiny = "--seconds 1 --connections 4 --devices 8 --sites 20 --least-us 0"
    said = run("spending.py", "--database", database, *tiny.split())
    assert re.match(r"\d+ check-ins, \d+ a second\n", said)
    told = dict(re.findall(r"^\| (.+) \| (\d+)(?: µs)? \|$", said, re.MULTILINE))
    assert int(told["event loop"]) > 0
    assert any(name.startswith("doorstep_server.check_ins") for name in told), told
    # the transaction is in a thread of its own, or in the loop
    assert any(name.startswith("doorstep_server.store") for name in told), told


def test_web_servers_are_compared_where_they_are_installed() -> None:
    tiny = "--rounds 1 --seconds 0.2 --connections 4 --devices 8 --sites 20"
    said = run("web_servers.py", *tiny.split())
    assert ("NOT COMPARED" in said) == (find_spec("granian") is None)
    for name in ("ASGI echo", "empty handler", "SQLite"):
        assert f"{name}, uvicorn: " in said
