"""Writing sites in the formats that can say all of a site."""

from collections.abc import Callable, Iterable, Iterator

from doorstep_server.site_files import geojson, kml, tables
from doorstep_server.site_files.features import ExportedSite
from doorstep_server.site_files.formats import Format

_WRITERS: dict[Format, Callable[[Iterable[ExportedSite]], Iterator[bytes]]] = {
    Format.GEOJSON: geojson.write_document,
    Format.GEOJSONSEQ: geojson.write_sequence,
    Format.KML: kml.write,
    Format.CSV: tables.write,
}
WRITABLE = tuple(_WRITERS)

BLOCK_BYTES = 64 * 1024


def write(sites: Iterable[ExportedSite], format: Format) -> Iterator[bytes]:  # noqa: A002
    """The file that gives the sites back when it is read, in blocks."""
    block = bytearray()
    for part in _WRITERS[format](sites):
        block += part
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)
