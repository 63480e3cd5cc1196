"""CSV: one site a row, found by the names of the columns.

A site is `lat`, `lon` and `radius_m`, or `wkt`, which wins where both are given. Spreadsheets take
a text that begins with `=`, `+`, `-` or `@` for a formula: such a text is written with an
apostrophe before it, which reading takes away again.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from doorstep_geofences import Geofence
from doorstep_server.site_files import features, properties, wkt
from doorstep_server.site_files.faults import Fault, UnreadableFile, Unusable
from doorstep_server.site_files.features import ExportedSite, Feature, ReadOptions
from doorstep_server.site_files.marks import UTF8_MARK, skip_mark

#: Of a row, with all its lines: a fence of 100,000 positions needs about five.
LONGEST_ROW_BYTES = 8 * 1024 * 1024
# The limit is the process's, and smaller by default; what is read is bounded before it comes here.
csv.field_size_limit(LONGEST_ROW_BYTES)

_DELIMITERS = (",", ";", "\t")
_SYNONYMS = {
    "latitude": "lat",
    "longitude": "lon",
    "lng": "lon",
    "radius": "radius_m",
    "geometry": "wkt",
}
_PLACES = ("lat", "lon", "radius_m", "wkt")
_WRITTEN = (*properties.NAMES[:2], *_PLACES, *properties.NAMES[2:])

_FORMULA = r"(?:\s*[=+\-@＝＋－＠]|[\t\r\n])"
#: apostrophes count: where there are some, one more is written, and one is taken away
_TO_GUARD = re.compile("'*" + _FORMULA)
_GUARDED = re.compile("'+" + _FORMULA)
_TEXTS = frozenset(("name", "external_id", "timezone", "assurance"))


def read(file: BinaryIO, options: ReadOptions) -> Iterator[Feature]:
    """The sites of a file, row by row."""
    rows = _rows(file)
    columns = _columns(next(rows, _Row(line=1, cells=[])))
    for row in rows:
        place = f"line {row.line}"
        try:
            cells = _named(columns, row.cells)
            feature = _geometry(cells), properties.read(cells.items())
        except Unusable as unusable:
            yield unusable.rejected(place)
        else:
            yield features.made(*feature, place, options)


def is_header(line: bytes) -> bool:
    """Whether a file's first line names the columns of a place."""
    text = line.decode(errors="replace")
    return any(_have_place(map(_column, text.split(sign))) for sign in _DELIMITERS)


def write(sites: Iterable[ExportedSite]) -> Iterator[bytes]:
    """A row for each site, in UTF-8 with the mark by which spreadsheets know it."""
    yield UTF8_MARK + _row_of(_WRITTEN)
    for site in sites:
        cells = {name: _guard(name, text) for name, text in properties.written(site)}
        cells |= _place(site.geofence)
        yield _row_of([cells.get(column, "") for column in _WRITTEN])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """A row, and the line on which it begins."""

    line: int
    cells: list[str]


class _Lines:
    """The lines of a file as text; no more of them for one row than a row may have."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = LONGEST_ROW_BYTES
        self._row_line = 1
        self._line = 0

    def begin_row(self) -> int:
        """A row begins: on which line?"""
        self._left = LONGEST_ROW_BYTES
        self._row_line = self._line + 1
        return self._row_line

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(self._left + 1):
            self._line += 1
            self._left -= len(line)
            if self._left < 0:
                raise UnreadableFile(Fault.RECORD_TOO_LONG, at=f"line {self._row_line}")
            try:
                yield line.decode()
            except UnicodeDecodeError:
                raise UnreadableFile(Fault.NOT_UTF8, at=f"line {self._line}") from None


def _rows(file: BinaryIO) -> Iterator[_Row]:
    """The rows that say anything; the first of them is the header."""
    skip_mark(file)
    lines = _Lines(file)
    reader = csv.reader(lines, delimiter=_delimiter(file), strict=True)
    while True:
        line = lines.begin_row()
        try:
            cells = next(reader, None)
        except csv.Error:
            raise UnreadableFile(Fault.MALFORMED_CSV, at=f"line {line}") from None
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield _Row(line=line, cells=cells)


def _delimiter(file: BinaryIO) -> str:
    """The sign that makes most columns of the first line that says anything."""
    start = file.tell()
    line = b" "
    while line and not line.strip():
        line = file.readline(LONGEST_ROW_BYTES)
    file.seek(start)
    if not line:
        raise UnreadableFile(Fault.EMPTY)
    text = line.decode(errors="replace")
    return max(_DELIMITERS, key=lambda sign: sum(map(_is_known, text.split(sign))))


def _is_known(cell: str) -> bool:
    return _column(cell) in _WRITTEN


def _column(cell: str) -> str:
    name = cell.strip().strip('"').strip().lower()
    return _SYNONYMS.get(name, name)


def _have_place(columns: Iterable[str]) -> bool:
    found = set(columns)
    return "wkt" in found or {"lat", "lon"} <= found


def _columns(header: _Row) -> list[str]:
    columns = [_column(cell) for cell in header.cells]
    known = [column for column in columns if column in _WRITTEN]
    if not _have_place(known):
        raise UnreadableFile(Fault.COLUMNS_MISSING, at=f"line {header.line}")
    if len(set(known)) != len(known):
        raise UnreadableFile(Fault.COLUMN_REPEATED, at=f"line {header.line}")
    return columns


def _named(columns: list[str], cells: list[str]) -> dict[str, str]:
    if any(cell.strip() for cell in cells[len(columns) :]):
        raise Unusable(Fault.SURPLUS_CELLS)
    named = zip(columns, cells, strict=False)  # a short row says nothing of the last columns
    return {column: _unguarded(column, cell) for column, cell in named}


def _geometry(cells: dict[str, str]) -> dict[str, Any]:
    if cells.get("wkt", "").strip():
        return wkt.read(cells["wkt"])
    lat, lon = (properties.number(cells.get(axis, ""), axis) for axis in ("lat", "lon"))
    if lat is None and lon is None:
        raise Unusable(Fault.GEOMETRY_MISSING)
    if lat is None or lon is None:
        raise Unusable(Fault.POSITION_INCOMPLETE, at="lat" if lat is None else "lon")
    return {"type": "Point", "coordinates": [lon, lat]}


def _place(geofence: Geofence) -> dict[str, str]:
    geometry = geofence.to_document()
    if geometry["type"] != "Circle":
        return {"wkt": wkt.write(geometry)}
    lon, lat = geometry["center"]
    return {"lat": repr(lat), "lon": repr(lon), "radius_m": repr(geometry["radius_m"])}


def _row_of(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


def _guard(column: str, cell: str) -> str:
    return f"'{cell}" if column in _TEXTS and _TO_GUARD.match(cell) else cell


def _unguarded(column: str, cell: str) -> str:
    return cell[1:] if column in _TEXTS and _GUARDED.match(cell) else cell
