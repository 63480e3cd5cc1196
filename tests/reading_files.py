"""Reading and writing site files in memory."""

from io import BytesIO
from typing import Any

import pytest

from doorstep_geofences import Geofence, ParsedFeature, RejectedFeature
from doorstep_server.site_files import (
    ExportedSite,
    Feature,
    Format,
    ReadOptions,
    UnreadableFile,
    read,
    write,
)

SQUARE = [[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0], [0.0, 0.0]]
HOLE = [[1.0, 1.0], [1.0, 2.0], [2.0, 2.0], [1.0, 1.0]]
FAR = [[9.0, 0.0], [10.0, 0.0], [10.0, 1.0], [9.0, 0.0]]
POLYGON = {"type": "Polygon", "coordinates": [SQUARE, HOLE]}
MULTIPOLYGON = {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [FAR]]}


class CountingFile(BytesIO):
    """Knows how far it was read since it was last at its beginning, and how much at once."""

    most_at_once = 0

    def read(self, size: int | None = -1) -> bytes:
        return self._counted(super().read(size))

    def readline(self, size: int | None = -1) -> bytes:
        return self._counted(super().readline(size))

    def _counted(self, found: bytes) -> bytes:
        self.most_at_once = max(self.most_at_once, len(found))
        return found


def features(content: str | bytes, form: Format, **options: Any) -> list[Feature]:
    data = content.encode() if isinstance(content, str) else content
    return list(read(BytesIO(data), form, ReadOptions(**options)))


def only(content: str | bytes, form: Format, **options: Any) -> ParsedFeature:
    """The one feature of a file, which is good."""
    [feature] = features(content, form, **options)
    assert isinstance(feature, ParsedFeature), feature
    return feature


def rejections(content: str | bytes, form: Format, **options: Any) -> list[tuple[str, str]]:
    """The places and codes of what is rejected."""
    found = features(content, form, **options)
    return [(f.place, f.code) for f in found if isinstance(f, RejectedFeature)]


def refusal(content: str | bytes, form: Format) -> tuple[str, str | None]:
    """Why and where a file is refused."""
    with pytest.raises(UnreadableFile) as unreadable:
        features(content, form)
    assert str(unreadable.value) == unreadable.value.message
    return unreadable.value.code, unreadable.value.at


def site(name: str = "Office", geofence: Geofence | None = None, **said: Any) -> ExportedSite:
    fence = geofence or Geofence.circle(-46.6, -23.5, 80.0)
    return ExportedSite(name=name, geofence=fence, properties=said)


def file_of(form: Format, *sites: ExportedSite) -> bytes:
    return b"".join(write(iter(sites), form))
