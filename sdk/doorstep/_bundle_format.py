"""Reading a bundle, byte by byte, as server/docs/contract.md describes it."""

from __future__ import annotations

from doorstep._area import Area, Box, Disc, Polygons, box_of
from doorstep._opening import OpeningHours

MAGIC = b"DSB\x01"
_CIRCLE, _STRICT, _PURPOSES, _TOLERANCE, _CAP, _HOURS, _PARTS = (1 << bit for bit in range(7))
_STANDARD_SHARE, _STRICT_SHARE = 0.5, 0.9
_USUAL_CAP_M = 100.0

Positions = list[tuple[float, float]]


class Malformed(ValueError):
    """The bytes are no bundle of the format that this version reads."""


class BundledSite:
    """One site: what judging needs of it. Its area is made when it is first asked."""

    __slots__ = (
        "_area", "_box", "assurance", "hours", "max_accuracy_m", "purposes", "radius_m", "rings",
        "site_id", "tolerance_m",
    )  # fmt: skip

    site_id: str
    #: None: for every purpose
    purposes: frozenset[str] | None
    tolerance_m: float
    max_accuracy_m: float
    assurance: float
    hours: OpeningHours | None
    #: of polygons; of a circle, its centre alone
    rings: list[Positions]
    #: None of polygons
    radius_m: float | None

    def __init__(self) -> None:
        self._area: Area | None = None
        self._box: Box | None = None

    @property
    def area(self) -> Area:
        """Its shape, grown by its tolerance."""
        if self._area is None:
            if self.radius_m is None:
                self._area = Polygons(self.rings, self.tolerance_m)
            else:
                self._area = Disc(self.rings[0][0], self.radius_m + self.tolerance_m)
        return self._area

    @property
    def box(self) -> Box:
        """Around its area."""
        if self._box is None:
            margin_m = self.tolerance_m
            if self.radius_m is not None:
                # a box, however small the circle
                margin_m = max(self.radius_m + margin_m, 0.001)
            self._box = box_of(self.rings).grown(margin_m)
        return self._box

    @property
    def mark(self) -> str:
        """Of all that a verdict depends on, but for the hours, which the server asks again."""
        from hashlib import sha256  # noqa: PLC0415 (slow to import)

        shape = (self.rings, self.radius_m, self.tolerance_m)
        told = repr((*shape, self.max_accuracy_m, self.assurance))
        return sha256(told.encode()).hexdigest()[:16]

    def takes(self, purpose: str) -> bool:
        """Whether it is for a purpose."""
        return self.purposes is None or purpose in self.purposes

    def __repr__(self) -> str:
        return f"<BundledSite {self.site_id}>"


def read(content: bytes) -> tuple[int, tuple[str, ...], list[BundledSite]]:
    """The version, the purposes and the sites of a bundle. Raises `Malformed`."""
    if not content.startswith(MAGIC):
        raise Malformed
    reader = _Reader(content, len(MAGIC))
    version, purposes, sites = 0, list[str](), None
    try:
        version = reader.number()
        purposes, zones, hours = (reader.texts() for _ in range(3))
        known = _Known(purposes, zones, hours)
        sites = [_site(reader, known) for _ in range(reader.number())]
    except (IndexError, ValueError, KeyError, TypeError, AttributeError):
        pass
    if sites is None or not reader.is_at_end():
        raise Malformed
    return version, tuple(purposes), sites


class _Known:
    """What many sites have in common."""

    def __init__(self, purposes: list[str], zones: list[str], hours: list[str]) -> None:
        self.purposes = purposes
        self._zones, self._documents = zones, hours
        self._hours: dict[tuple[int, int], OpeningHours] = {}

    def hours(self, zone: int, hours: int) -> OpeningHours:
        place = (zone, hours)
        if place not in self._hours:
            self._hours[place] = OpeningHours(self._documents[hours], self._zones[zone])
        return self._hours[place]


def _site(reader: _Reader, known: _Known) -> BundledSite:
    site = BundledSite()
    site.site_id = reader.id()
    flags = reader.byte()
    bits = reader.number() if flags & _PURPOSES else None
    names = enumerate(known.purposes)
    site.purposes = None if bits is None else frozenset(p for i, p in names if bits >> i & 1)
    site.tolerance_m = reader.metres() if flags & _TOLERANCE else 0.0
    site.max_accuracy_m = reader.metres() if flags & _CAP else _USUAL_CAP_M
    site.assurance = _STRICT_SHARE if flags & _STRICT else _STANDARD_SHARE
    site.hours = known.hours(reader.number(), reader.number()) if flags & _HOURS else None
    site.rings = _circle(reader) if flags & _CIRCLE else _rings(reader, flags)
    site.radius_m = reader.metres() if flags & _CIRCLE else None
    return site


def _circle(reader: _Reader) -> list[Positions]:
    size = _size(reader)
    return [[(reader.signed() / size, reader.signed() / size)]]


def _rings(reader: _Reader, flags: int) -> list[Positions]:
    """Each position is the step from the one before, of any ring."""
    size = _size(reader)
    parts = reader.number() if flags & _PARTS else 1
    count = sum(reader.number() for _ in range(parts)) if flags & _PARTS else 1
    rings: list[Positions] = []
    lon = lat = 0
    for _ in range(count):
        ring: Positions = []
        for _ in range(reader.number()):
            lon += reader.signed()
            lat += reader.signed()
            ring.append((lon / size, lat / size))
        rings.append(ring)
    return rings


def _size(reader: _Reader) -> int:
    """Of the decimals that follow: so many make a whole."""
    return int(10 ** reader.byte())


class _Reader:
    """Steps through the bytes; past their end it raises IndexError."""

    def __init__(self, content: bytes, start: int) -> None:
        self._content = content
        self._at = start

    def byte(self) -> int:
        value = self._content[self._at]
        self._at += 1
        return value

    def number(self) -> int:
        """Seven bits a byte, the low ones first."""
        content, at = self._content, self._at
        byte = content[at]
        value, shift = byte & 0x7F, 7
        while byte > 0x7F:
            at += 1
            byte = content[at]
            value |= (byte & 0x7F) << shift
            shift += 7
        self._at = at + 1
        return value

    def signed(self) -> int:
        """0, 1, 2, 3, … as 0, -1, 1, -2, …"""
        value = self.number()
        return value >> 1 if not value & 1 else -(value + 1 >> 1)

    def metres(self) -> float:
        size = _size(self)
        return self.number() / size

    def texts(self) -> list[str]:
        return [self._taken(self.number()).decode() for _ in range(self.number())]

    def id(self) -> str:
        digits = self._taken(16).hex()
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def is_at_end(self) -> bool:
        return self._at == len(self._content)

    def _taken(self, count: int) -> bytes:
        taken = self._content[self._at : self._at + count]
        if len(taken) < count:
            raise IndexError
        self._at += count
        return taken
