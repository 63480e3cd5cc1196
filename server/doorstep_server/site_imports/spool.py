"""Checked sites on their way to the database, in a temporary file: a file may hold very many."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from tempfile import TemporaryFile
from typing import Any

import msgspec
import shapely

from doorstep_geofences import Bounds, Geofence
from doorstep_server.store.site_rows import Ready
from doorstep_server.store.sites import SiteContent

#: read at once; the database is asked for so many external ids in one statement
CHUNK = 500


class _Kept(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    place: str
    name: str
    external_id: str | None
    #: WKB, or a circle's centre and radius
    shape: bytes | None
    circle: tuple[float, float, float] | None
    tolerance_m: float
    assurance: str
    max_accuracy_m: float
    timezone: str
    hours: dict[str, Any] | None
    purposes: list[str]
    groups: list[str]
    active: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Spooled:
    """A site, and where in the imported file it is from."""

    place: str
    content: SiteContent


class Spool:
    """Sites in the order they were added. Nobody else can open the file, and it ends with us."""

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115
        self._ends = array("Q", [0])
        self._at_end = True
        #: of each fence its box, four numbers, and what only equal ones have in common
        self.boxes, self.prints = array("d"), array("q")
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(_Kept)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, place: str, content: SiteContent) -> None:
        """Add a site."""
        kept = _kept(place, content)
        encoded = self._encoder.encode(kept)
        if not self._at_end:
            self._file.seek(self._ends[-1])
            self._at_end = True
        self._file.write(encoded)
        self._ends.append(self._ends[-1] + len(encoded))
        self.boxes.extend(box_of(content.geofence))
        self.prints.append(hash((kept.shape, kept.circle)))

    def __getitem__(self, number: int) -> Spooled:
        [site] = self._some(number, number + 1)
        return site

    def chunks(self) -> Iterator[tuple[int, list[Spooled]]]:
        """All sites, some at a time, each time with the number of the first."""
        for start in range(0, len(self), CHUNK):
            yield start, self._some(start, min(start + CHUNK, len(self)))

    def _some(self, start: int, end: int) -> list[Spooled]:
        ends = self._ends[start : end + 1]
        self._at_end = False
        self._file.seek(ends[0])
        read = memoryview(self._file.read(ends[-1] - ends[0]))
        parts = [read[a - ends[0] : b - ends[0]] for a, b in pairwise(ends)]
        kept = [self._decoder.decode(part) for part in parts]
        shapes = shapely.from_wkb([each.shape for each in kept])
        return [_spooled(each, shape) for each, shape in zip(kept, shapes, strict=True)]


def box_of(geofence: Geofence) -> tuple[float, float, float, float]:
    """The box of a fence on the map; of every longitude where it crosses the 180° meridian."""
    shape = geofence.shape or Bounds.of(geofence, 0.0).on_the_map()
    west, south, east, north = shape.bounds
    return west, south, east, north


def _kept(place: str, site: SiteContent) -> _Kept:
    fence = site.geofence
    circle = None
    if fence.center is not None:
        assert fence.radius_m is not None
        circle = (*fence.center, fence.radius_m)
    return _Kept(
        place=place,
        name=site.name,
        external_id=site.external_id,
        shape=None if fence.shape is None else shapely.to_wkb(fence.shape),
        circle=circle,
        tolerance_m=site.tolerance_m,
        assurance=site.assurance,
        max_accuracy_m=site.max_accuracy_m,
        timezone=site.timezone,
        hours=site.hours,
        purposes=site.purposes,
        groups=site.groups,
        active=site.active,
    )


def _spooled(kept: _Kept, shape: Any) -> Spooled:
    return Spooled(
        place=kept.place,
        content=SiteContent(
            name=kept.name,
            external_id=kept.external_id,
            geofence=_geofence(kept, shape),
            tolerance_m=kept.tolerance_m,
            assurance=kept.assurance,
            max_accuracy_m=kept.max_accuracy_m,
            timezone=kept.timezone,
            hours=kept.hours,
            purposes=kept.purposes,
            groups=kept.groups,
            active=kept.active,
        ),
    )


def _geofence(kept: _Kept, shape: Any) -> Geofence:
    """It was checked before it was spooled: to check it again would take as long again."""
    if kept.circle is None:
        return Geofence.of_stored(shape)
    lon, lat, radius_m = kept.circle
    return Geofence(center=(lon, lat), radius_m=radius_m)


class RowSpool:
    """Rows that are ready to be written, as a spool of chunks: see `store.site_rows`."""

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115
        self._lengths: list[int] = []

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def add(self, rows: list[Ready]) -> None:
        """Add a chunk, unless it is empty."""
        if rows:
            self._lengths.append(self._file.write(msgspec.msgpack.encode(rows)))

    def chunks(self) -> Iterator[list[Ready]]:
        """Each chunk, in its order."""
        self._file.seek(0)
        for length in self._lengths:
            yield _READY.decode(self._file.read(length))


_READY = msgspec.msgpack.Decoder(list[Ready])
