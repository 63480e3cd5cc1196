"""Time zones, by their IANA names: which there are, and where the places are that name them.

Of the places and of nothing else `zone.tab` is read, as the package `tzdata` has it: the system's
own may be missing.
"""

import re
from functools import cache
from importlib.resources import files
from zoneinfo import available_timezones

_TABLE = "zone.tab"
#: ISO 6709: degrees and minutes, perhaps seconds, of latitude and longitude
_PLACE = re.compile(r"([+-])(\d\d)(\d\d)(\d\d)?([+-])(\d\d\d)(\d\d)(\d\d)?")


def is_known(name: str) -> bool:
    """Whether there is a time zone of this name."""
    return name in _names()


def principal_place(name: str) -> tuple[float, float] | None:
    """Longitude and latitude of the place that a zone is named by.

    None for zones that are no place's, such as UTC, and for names that are kept for old data.
    """
    return _places().get(name)


@cache
def _names() -> frozenset[str]:
    """Read once: it walks through the file system."""
    return frozenset(available_timezones())


@cache
def _places() -> dict[str, tuple[float, float]]:
    table = files("tzdata").joinpath("zoneinfo", _TABLE).read_text("utf-8")
    rows = (line.split("\t") for line in table.splitlines() if not line.startswith("#"))
    return {row[2]: _place(row[1]) for row in rows}


def _place(text: str) -> tuple[float, float]:
    match = _PLACE.fullmatch(text)
    assert match is not None, "the table's own form"
    parts = match.groups(default="0")
    return _degrees(*parts[4:]), _degrees(*parts[:4])


def _degrees(sign: str, degrees: str, minutes: str, seconds: str) -> float:
    size = int(degrees) + int(minutes) / 60 + int(seconds) / 3600
    return -size if sign == "-" else size
