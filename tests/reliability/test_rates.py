"""The comparison of rates itself works: a moment of it. How fast anything is is not tested."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from postgres import why_no_cluster

ROOT = Path(__file__).parents[2]
TINY = "--rounds 1 --seconds 0.3 --warm-up 0.1 --connections 8 --batch-connections 2"


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    return tmp_path_factory.mktemp("rates") / "figures.json"


@pytest.fixture(scope="module")
def compared(figures):
    path = os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
    arguments = [*TINY.split(), "--devices", "8", "--sites", "5", "--json", str(figures)]
    return subprocess.run(
        [sys.executable, str(ROOT / "loadtests" / "rates.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_every_answer_is_an_accepted_check_in_with_its_row(compared, figures):
    assert compared.returncode == 0, compared.stdout + compared.stderr
    ledgers = json.loads(figures.read_text())["ledgers"]
    assert all(ledger["answered"] == ledger["rows"] > 0 for ledger in ledgers.values())


def test_the_table_names_all_and_says_what_is_missing(compared):
    named = set(
        re.findall(r"^(empty handler|SQLite|PostgreSQL) +[\d,]+ +", compared.stdout, re.MULTILINE)
    )
    if why_no_cluster() is None:
        assert named == {"empty handler", "SQLite", "PostgreSQL"}
    else:
        assert named == {"empty handler", "SQLite"}
        assert "NOT COMPARED: PostgreSQL" in compared.stdout
