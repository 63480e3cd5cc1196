"""The load test itself works: a few seconds of it, in its own process (gevent patches it)."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "loadtests" / "run.py"


@pytest.fixture(scope="module")
def loaded():
    arguments = ["--users", "5", "--spawn-rate", "5", "--run-time", "10s"]
    return subprocess.run(
        [sys.executable, str(RUN), *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def count(loaded, name):
    return int(re.search(rf"^{name}: (\d+)$", loaded.stdout, re.MULTILINE)[1])


def test_nothing_fails(loaded):
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr


def test_every_answer_has_its_row(loaded):
    assert count(loaded, "answers that say stored") == count(loaded, "rows in the database") > 0
    assert count(loaded, "acknowledged but missing") == 0
    assert count(loaded, "stored but never acknowledged") == 0


def test_requests_are_named_by_their_routes_only(loaded):
    table = loaded.stdout + loaded.stderr
    named = set(re.findall(r"^(?:POST|PUT|GET) +(\S+) ", table, re.MULTILINE))
    assert {"/v1/check-ins", "/v1/enrollments", "/v1/device/permission"} <= named
    assert named <= {
        "/v1/check-ins",
        "/v1/check-ins/batch",
        "/v1/device/permission",
        "/v1/enrollments",
    }
