"""The sites of a person as one file, by which their phone judges without sending a position.

server/docs/contract.md describes the format, byte by byte. Coordinates are whole numbers, each the
difference to the one before. A site is written with as many decimals of a degree as it was given
with, up to eleven (a thousandth of a millimetre), so what a phone reads is what judges here.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import shapely
from shapely import MultiPolygon, Polygon

from doorstep_geofences import STANDARD, STRICT, Site

MAGIC = b"DSB\x01"
MEDIA_TYPE = "application/vnd.doorstep.sites"
#: a phone takes no larger answer; some hundred thousand sites of usual size
MAX_BYTES = 4 * 1024 * 1024
USUAL_CAP_M = 100.0

_CIRCLE, _STRICT, _PURPOSES, _TOLERANCE, _CAP, _HOURS, _PARTS = (1 << bit for bit in range(7))
_FLAGS = {STANDARD: 0, STRICT: _STRICT}
_MOST_DECIMALS = 11
#: of metres: more would not fit where whole numbers are floats
_MOST_DECIMALS_OF_METRES = 9

_Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Bundle:
    """The file, and what names it."""

    #: since which version of the tenant's configuration its sites are as they are
    version: int
    content: bytes = field(repr=False)
    #: of the content, in hexadecimal digits
    sha256: str


def bundle_of(sites: Iterable[Site], purposes: Iterable[str]) -> Bundle:
    """These sites, for these purposes. The same ones give the same bytes, in whatever order."""
    known = _Known(sorted(purposes))
    ordered = sorted(sites, key=lambda site: _id(site).bytes)
    written = [known.site(site) for site in ordered]
    version = max((site.since for site in ordered), default=0)
    parts = [
        MAGIC,
        _number(version),
        *map(_texts, (known.purposes, known.zones, known.hours)),
        _number(len(written)),
        *written,
    ]
    content = b"".join(parts)
    return Bundle(version, content, hashlib.sha256(content).hexdigest())


class _Known:
    """What many sites have in common is written once."""

    def __init__(self, purposes: Sequence[str]) -> None:
        self.purposes = {name: number for number, name in enumerate(purposes)}
        self.zones: dict[str, int] = {}
        self.hours: dict[str, int] = {}

    def site(self, site: Site) -> bytes:
        """One site."""
        flags, members = _FLAGS[site.assurance], b""
        for flag, member in self._members(site):
            flags, members = flags | flag, members + member
        shape_flag, shape = _fence(site)
        return b"".join([_id(site).bytes, bytes([flags | shape_flag]), members, shape])

    def _members(self, site: Site) -> Iterator[tuple[int, bytes]]:
        """Those that are not as usual, in the order of their flags."""
        if site.purposes:
            bits = sum(1 << self.purposes[p] for p in site.purposes if p in self.purposes)
            yield _PURPOSES, _number(bits)
        if site.tolerance_m:
            yield _TOLERANCE, _metres(site.tolerance_m)
        if site.max_accuracy_m != USUAL_CAP_M:
            yield _CAP, _metres(site.max_accuracy_m)
        if site.hours is not None:
            yield _HOURS, self._hours(site)

    def _hours(self, site: Site) -> bytes:
        assert isinstance(site.zone, ZoneInfo)
        assert site.hours is not None
        written = msgspec.json.encode(site.hours.to_document()).decode()
        zone = self.zones.setdefault(site.zone.key, len(self.zones))
        return _number(zone) + _number(self.hours.setdefault(written, len(self.hours)))


def _fence(site: Site) -> tuple[int, bytes]:
    shape = site.geofence.unwrapped_shape
    if shape is not None:
        return _polygons(shape)
    assert site.geofence.center is not None
    assert site.geofence.radius_m is not None
    center = np.array([site.geofence.center])
    decimals = _decimals(center, _MOST_DECIMALS)
    position = b"".join(map(_signed, _whole(center, decimals).ravel().tolist()))
    return _CIRCLE, bytes([decimals]) + position + _metres(site.geofence.radius_m)


def _polygons(shape: Polygon | MultiPolygon) -> tuple[int, bytes]:
    """Rings with the inside to their left, without the position that closes them."""
    parts = shapely.get_parts(shapely.orient_polygons(shape)).tolist()
    rings = [[_open_ring(ring) for ring in (part.exterior, *part.interiors)] for part in parts]
    flat = [ring for part in rings for ring in part]
    decimals = _decimals(np.concatenate(flat), _MOST_DECIMALS)
    is_plain = len(flat) == 1
    counts = b"" if is_plain else _number(len(rings)) + b"".join(_number(len(p)) for p in rings)
    return 0 if is_plain else _PARTS, bytes([decimals]) + counts + _steps(flat, decimals)


def _open_ring(ring: shapely.LinearRing) -> _Floats:
    return shapely.get_coordinates(ring)[:-1]


def _steps(rings: Sequence[_Floats], decimals: int) -> bytes:
    """Each ring: how many positions, and each as the step from the one before, of any ring."""
    whole = _whole(np.concatenate(rings), decimals)
    steps = np.diff(whole, axis=0, prepend=np.zeros((1, 2), dtype=np.int64)).tolist()
    written: list[bytes] = []
    start = 0
    for ring in rings:
        written.append(_number(len(ring)))
        written += [_signed(n) for step in steps[start : start + len(ring)] for n in step]
        start += len(ring)
    return b"".join(written)


def _decimals(values: _Floats, most: int) -> int:
    """The fewest decimals that say the values exactly, or the most that there are."""
    for decimals in range(most):
        if (_whole(values, decimals) / 10.0**decimals == values).all():
            return decimals
    return most


def _whole(values: _Floats, decimals: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.rint(values * 10.0**decimals).astype(np.int64)


def _metres(value: float) -> bytes:
    decimals = _decimals(np.array([value]), _MOST_DECIMALS_OF_METRES)
    return bytes([decimals]) + _number(round(value * 10.0**decimals))


def _number(value: int) -> bytes:
    """Seven bits a byte, the low ones first; all but the last have the eighth bit."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _signed(value: int) -> bytes:
    """0, -1, 1, -2, … as 0, 1, 2, 3, …"""
    return _number(value << 1 if value >= 0 else (-value << 1) - 1)


def _texts(texts: Iterable[str]) -> bytes:
    encoded = [text.encode() for text in texts]
    return _number(len(encoded)) + b"".join(_number(len(text)) + text for text in encoded)


def _id(site: Site) -> UUID:
    assert isinstance(site.site_id, UUID)
    return site.site_id
