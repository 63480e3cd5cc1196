"""Reading a file in whichever format."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

from doorstep_server.site_files import geojson, gpx, kml, kmz, tables
from doorstep_server.site_files.features import Feature, ReadOptions
from doorstep_server.site_files.formats import Format

_READERS: dict[Format, Callable[[BinaryIO, ReadOptions], Iterator[Feature]]] = {
    Format.GEOJSON: geojson.read_document,
    Format.GEOJSONSEQ: geojson.read_sequence,
    Format.KML: kml.read,
    Format.KMZ: kmz.read,
    Format.CSV: tables.read,
    Format.GPX: gpx.read,
}


def read(file: BinaryIO, format: Format, options: ReadOptions) -> Iterator[Feature]:  # noqa: A002
    """The features of a file, one after the other: no more of it is kept than one takes.

    The file must be seekable. UnreadableFile is raised where the file cannot be read on, which
    may be behind features that were good: with GeoJSON alone it comes before the first of them.
    """
    return _READERS[format](file, options)
