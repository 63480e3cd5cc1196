"""The reasons are documented in one table, which is as complete as the code."""

import re
from pathlib import Path

from doorstep_geofences import Reason

README = Path(__file__).parents[2] / "geofences" / "README.md"


def table():
    section = README.read_text("utf-8").partition("\n## Reasons\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)
    return [(code, *rest.split(" | ")) for code, rest in rows]


def test_the_table_has_every_reason_with_its_outcome_and_meaning():
    known = [(reason.value, reason.outcome.value, reason.meaning) for reason in Reason]
    assert [row[:3] for row in table()] == known


def test_the_table_says_of_every_reason_what_to_do_next():
    assert all(len(row) == 4 and row[3].endswith(".") for row in table())


def test_codes_fit_into_what_is_stored_of_them():
    """A tally's and a check-in's column has room for 32 characters."""
    assert all(re.fullmatch(r"[a-z][a-z_]{0,31}", reason.value) for reason in Reason)
