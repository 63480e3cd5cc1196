"""Looks for submitted coordinates in the bytes of files, in every form they could have taken.

As text: any run of digits with a fraction that agrees with a coordinate in its first four decimals
(about 10 m), and whole numbers of micro-degrees or finer. As numbers: the eight bytes of a double,
in both orders.
"""

import json
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_FRACTION = re.compile(rb"(\d{1,3})\.(\d{4,})")
# a number of its own: in the middle of a random id any digits can stand
_WHOLE = re.compile(rb"(?<![0-9A-Za-z])\d{7,9}(?![0-9A-Za-z])")
_DECIMALS = 4


@dataclass
class Submitted:
    """The coordinates that were sent."""

    texts: set[bytes] = field(default_factory=set)
    doubles: set[bytes] = field(default_factory=set)
    latitudes: list[float] = field(default_factory=list)
    count: int = 0

    def add(self, value: float) -> None:
        self.count += 1
        digits = f"{abs(value):.12f}".encode()
        whole, _, fraction = digits.partition(b".")
        self.texts |= {whole + b"." + fraction[:_DECIMALS], f"{abs(value):.{_DECIMALS}f}".encode()}
        self.texts |= {whole + fraction[:n] for n in (5, 6, 7)}
        self.texts |= {f"{abs(value) * 10**n:.0f}".encode() for n in (5, 6, 7)}
        self.doubles |= {struct.pack("<d", value), struct.pack(">d", value)}

    def add_body(self, body: bytes) -> None:
        """The positions in a request's body."""
        for fix in _fixes(json.loads(body)):
            self.latitudes.append(fix["lat"])
            self.add(fix["lat"])
            self.add(fix["lon"])

    def hits(self, content: bytes) -> list[str]:
        """Which forms of a coordinate the content holds: kinds, not values."""
        found = []
        for whole, fraction in _FRACTION.findall(content):
            if whole.lstrip(b"0") + b"." + fraction[:_DECIMALS] in self.texts:
                found.append("text")
        found += ["digits" for number in _WHOLE.findall(content) if number in self.texts]
        windows = (content[i : i + 8] for i in range(len(content) - 7))
        found += ["double" for window in windows if window in self.doubles]
        return found


def _fixes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "lat" in value and "lon" in value:
            yield value
        for member in value.values():
            yield from _fixes(member)
    elif isinstance(value, list):
        for item in value:
            yield from _fixes(item)


def leaks(submitted: Submitted, folders: Iterable[Path]) -> dict[str, list[str]]:
    """Files that hold a submitted coordinate."""
    files = [f for folder in folders for f in sorted(folder.rglob("*")) if f.is_file()]
    assert files, "there must be something to look into"
    found = {file.name: submitted.hits(file.read_bytes()) for file in files}
    return {name: hits for name, hits in found.items() if hits}
