"""The contract's tables are as complete as the API."""

import re
from pathlib import Path

from doorstep_server.api import documented
from doorstep_server.api.check_ins import CHECK_IN_REFUSALS
from doorstep_server.problems import TYPES

PAGE = Path(__file__).parents[2] / "server" / "docs" / "contract.md"


def test_every_refusal_of_a_check_in_is_in_its_table() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    own = set(CHECK_IN_REFUSALS) - {*documented.BODY, *documented.DEVICE}
    assert sorted(rows) == sorted((code, str(TYPES[code].status)) for code in own)
