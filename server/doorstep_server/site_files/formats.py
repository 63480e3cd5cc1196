"""The formats of site files, and how to tell them apart."""

import re
from enum import StrEnum
from pathlib import PurePath

import msgspec

from doorstep_server.site_files import tables
from doorstep_server.site_files.marks import UTF8_MARK


class Format(StrEnum):
    """How a file holds its sites."""

    GEOJSON = "geojson"
    #: one Feature a line, or RFC 8142's sequence of texts
    GEOJSONSEQ = "geojsonseq"
    KML = "kml"
    KMZ = "kmz"
    CSV = "csv"
    GPX = "gpx"


_ENDINGS = {
    ".geojson": Format.GEOJSON,
    ".json": Format.GEOJSON,
    ".geojsonseq": Format.GEOJSONSEQ,
    ".geojsons": Format.GEOJSONSEQ,
    ".geojsonl": Format.GEOJSONSEQ,
    ".jsonl": Format.GEOJSONSEQ,
    ".ndjson": Format.GEOJSONSEQ,
    ".ndgeojson": Format.GEOJSONSEQ,
    ".kml": Format.KML,
    ".kmz": Format.KMZ,
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".gpx": Format.GPX,
}
_ROOT = re.compile(rb"<(?:[\w.-]+:)?(kml|gpx)[\s/>]")
#: enough to see what a file is
_HEAD_BYTES = 4096


def guess_format(name: str, head: bytes) -> Format | None:
    """The format of a file, by what it begins with (1 KiB will do) or else by its name."""
    text = head[:_HEAD_BYTES].removeprefix(UTF8_MARK).lstrip()
    named = _ENDINGS.get(PurePath(name).suffix.lower())
    if text.startswith(b"PK\x03\x04"):
        return Format.KMZ
    if text.startswith(b"\x1e"):
        return Format.GEOJSONSEQ
    if text.startswith(b"<") and (root := _ROOT.search(text)):
        return Format(root[1].decode())
    if text.startswith(b"{") and named in {None, Format.GEOJSON}:
        return Format.GEOJSONSEQ if _is_a_sequence(text) else Format.GEOJSON
    if named is None and tables.is_header(text.splitlines()[0] if text else b""):
        return Format.CSV
    return named


def _is_a_sequence(text: bytes) -> bool:
    """Whether the first line is a whole document, and another follows."""
    first, _, rest = text.partition(b"\n")
    try:
        document = msgspec.json.decode(first)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(document, dict) and rest.lstrip().startswith(b"{")
