"""Well-known text: the geometries that have an inside, and points."""

import re
from typing import Any, NamedTuple

from doorstep_server.site_files.faults import Fault, Unusable
from doorstep_server.site_files.properties import NUMBER

_SRID = "4326"
_HEAD = re.compile(
    r"\s*(?:SRID\s*=\s*(?P<srid>\d{1,9})\s*;\s*)?"
    r"(?P<type>MULTIPOLYGON|POLYGON|POINT)(?P<dimension>\s*(?:ZM|Z|M)(?![A-Z]))?\s*(?=\()",
    re.IGNORECASE,
)
_POSITION = re.compile(rf"\s*+({NUMBER}(?:\s++{NUMBER}){{1,3}})", re.ASCII)
_BRACKET = re.compile(r"\s*+([(),])")


class _Kind(NamedTuple):
    """A type: its name in GeoJSON, and how deep its positions are nested."""

    name: str
    depth: int


_KINDS = {
    "POINT": _Kind("Point", 1),
    "POLYGON": _Kind("Polygon", 2),
    "MULTIPOLYGON": _Kind("MultiPolygon", 3),
}


def read(text: str) -> dict[str, Any]:
    """The GeoJSON geometry of a text, heights and measures dropped. Raises Unusable."""
    head = _HEAD.match(text)
    if head is None:
        raise Unusable(Fault.WKT_UNREADABLE, at="geometry")
    if head["srid"] not in {None, _SRID}:
        raise Unusable(Fault.OTHER_SRID, at="geometry")
    kind = _KINDS[head["type"].upper()]
    walk = _Walk(text, head.end())
    coordinates = walk.list_of(kind.depth)
    if not walk.is_at_end() or (kind.name == "Point" and len(coordinates) != 1):
        raise Unusable(Fault.WKT_UNREADABLE, at="geometry")
    return {
        "type": kind.name,
        "coordinates": coordinates[0] if kind.name == "Point" else coordinates,
    }


def write(geometry: dict[str, Any]) -> str:
    """The text of a GeoJSON Polygon or MultiPolygon: its numbers read back to the same bits."""
    coordinates = geometry["coordinates"]
    if geometry["type"] == "Polygon":
        return f"POLYGON {_written(coordinates)}"
    return f"MULTIPOLYGON ({', '.join(_written(part) for part in coordinates)})"


def _written(rings: list[list[list[float]]]) -> str:
    texts = [", ".join(f"{lon!r} {lat!r}" for lon, lat in ring) for ring in rings]
    return "(" + ", ".join(f"({text})" for text in texts) + ")"


class _Walk:
    """Steps over brackets and positions."""

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self._at = at

    def list_of(self, depth: int) -> list[Any]:
        """What stands in brackets: positions, or at greater depths lists of them."""
        self._take("(")
        items: list[Any] = []
        while True:
            items.append(self._position() if depth == 1 else self.list_of(depth - 1))
            if self._take(",)") == ")":
                return items

    def is_at_end(self) -> bool:
        return not self._text[self._at :].strip()

    def _take(self, signs: str) -> str:
        match = self._match(_BRACKET)
        if match[1] not in signs:
            raise Unusable(Fault.WKT_UNREADABLE, at="geometry")
        return match[1]

    def _position(self) -> list[float]:
        lon, lat, *_ = self._match(_POSITION)[1].split()
        return [float(lon), float(lat)]

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise Unusable(Fault.WKT_UNREADABLE, at="geometry")
        self._at = match.end()
        return match
