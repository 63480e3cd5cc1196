"""GeoJSON (RFC 7946), one document or a sequence of them (RFC 8142 or one a line)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import msgspec

from doorstep_geofences import InvalidGeofence, RejectedFeature
from doorstep_geofences.geojson import refuse_other_systems
from doorstep_server.site_files import features, json_stream
from doorstep_server.site_files.faults import Fault, UnreadableFile, Unusable
from doorstep_server.site_files.features import ExportedSite, Feature, ReadOptions
from doorstep_server.site_files.json_stream import Event
from doorstep_server.site_files.marks import skip_mark

_GEOMETRIES = frozenset(
    [
        *("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"),
        *("GeometryCollection", "Circle"),
    ]
)
LONGEST_RECORD_BYTES = 32 * 1024 * 1024
_SEPARATOR = b"\x1e"


# -- one document ----------------------------------------------------------------------------


def read_document(file: BinaryIO, options: ReadOptions) -> Iterator[Feature]:
    """The features of a document, in order; none of them if the document is not sound.

    It is read twice: what applies to every feature may stand behind them.
    """
    start = file.tell()
    survey = _survey(json_stream.events(file))
    survey.require_features()
    file.seek(start)
    found = json_stream.events(file)
    if survey.type == "Feature":
        yield _read(next(found), found, "feature", options)
        return
    for name in _members(found):
        first = next(found)
        if name == "features":
            yield from _items(found, options)
        else:
            json_stream.skip(first, found)


@dataclass(kw_only=True, slots=True)
class _Survey:
    """What a document says beside its features."""

    type: object = None
    is_list: bool = False
    has_crs: bool = False

    def require_features(self) -> None:
        if self.has_crs:
            raise UnreadableFile(Fault.CRS_MEMBER, at="crs")
        if self.type in _GEOMETRIES:
            raise UnreadableFile(Fault.LONE_GEOMETRY)
        if self.type != "Feature" and not (self.type == "FeatureCollection" and self.is_list):
            raise UnreadableFile(Fault.NO_FEATURES)


def _survey(found: Iterator[Event]) -> _Survey:
    """Read a document to its end."""
    survey = _Survey()
    seen: set[str] = set()
    for name in _members(found):
        first = next(found)
        if name not in {"type", "crs", "features"}:
            json_stream.skip(first, found)
            continue
        if name in seen:
            raise UnreadableFile(Fault.REPEATED_MEMBER, at=name)
        seen.add(name)
        _note(survey, name, first, found)
    for _ in found:  # nothing: but what is wrong behind the document is told now
        pass
    return survey


def _note(survey: _Survey, name: str, first: Event, found: Iterator[Event]) -> None:
    if name == "features":
        survey.is_list = first[0] == "start_array"
        json_stream.skip(first, found)
        return
    try:
        value = json_stream.build(first, found)
    except Unusable:
        value = ...
    if name == "crs":
        survey.has_crs = _is_other_system(value)
    else:
        survey.type = value if isinstance(value, str) else None


def _is_other_system(crs: object) -> bool:
    try:
        refuse_other_systems({"crs": crs})
    except InvalidGeofence:
        return True
    return False


def _members(found: Iterator[Event]) -> Iterator[str]:
    """The names of a document's members; whoever asks for the next has taken the value."""
    if next(found)[0] != "start_map":
        raise UnreadableFile(Fault.NO_FEATURES)
    for event, name in found:
        if event == "end_map":
            return
        yield name


def _items(found: Iterator[Event], options: ReadOptions) -> Iterator[Feature]:
    for i, first in enumerate(found):
        if first[0] == "end_array":
            return
        yield _read(first, found, f"features[{i}]", options)


def _read(first: Event, found: Iterator[Event], place: str, options: ReadOptions) -> Feature:
    try:
        feature = json_stream.build(first, found)
    except Unusable as unusable:
        return unusable.rejected(place)
    return features.parsed(feature, place, options)


# -- sequences -------------------------------------------------------------------------------


def read_sequence(file: BinaryIO, options: ReadOptions) -> Iterator[Feature]:
    """The features of a sequence: a text that is none is rejected alone."""
    skip_mark(file)
    is_empty = True
    for record in _records(file, _separator(file)):
        if not record.is_blank:
            is_empty = False
            yield _read_record(record, options)
    if is_empty:
        raise UnreadableFile(Fault.EMPTY)


@dataclass(kw_only=True, slots=True)
class _Record:
    """A text of a sequence, as it grows."""

    #: where it begins
    line: int = 1
    text: bytearray = field(default_factory=bytearray)
    is_blank: bool = True
    is_too_long: bool = False

    def add(self, part: bytes, line: int) -> None:
        if self.is_blank and part.strip():
            self.is_blank = False
            self.line = line
        self.text += part
        if len(self.text) > LONGEST_RECORD_BYTES:
            self.is_too_long = True
            self.text.clear()


def _read_record(record: _Record, options: ReadOptions) -> Feature:
    place = f"line {record.line}"
    if record.is_too_long:
        return Unusable(Fault.TOO_LARGE).rejected(place)
    try:
        feature = json_stream.decode(bytes(record.text))
    except Unusable as unusable:
        return unusable.rejected(place)
    except UnreadableFile as unreadable:
        return RejectedFeature(place=place, code=unreadable.code, message=unreadable.message)
    return features.parsed(feature, place, options)


def _separator(file: BinaryIO) -> bytes:
    """What stands between texts: that of RFC 8142 if the first begins with it, or the line's end.

    With the former a text may have line breaks inside.
    """
    start = file.tell()
    is_separated = file.read(1) == _SEPARATOR
    file.seek(start)
    return _SEPARATOR if is_separated else b"\n"


def _records(file: BinaryIO, separator: bytes) -> Iterator[_Record]:
    record = _Record()
    line = 1
    while piece := file.readline(json_stream.CHUNK_BYTES):
        first, *others = piece.split(separator)
        record.add(first, line)
        for text in others:
            yield record
            record = _Record()
            record.add(text, line)
        line += piece.endswith(b"\n")
    yield record


# -- writing ---------------------------------------------------------------------------------


def write_document(sites: Iterable[ExportedSite]) -> Iterator[bytes]:
    """A FeatureCollection, one feature a line."""
    yield b'{"type":"FeatureCollection","features":['
    before = b"\n"
    for site in sites:
        yield before + _encode(features.geojson(site))
        before = b",\n"
    yield b"\n]}\n"


def write_sequence(sites: Iterable[ExportedSite]) -> Iterator[bytes]:
    """One feature a line, without the separators that few programs read."""
    for site in sites:
        yield _encode(features.geojson(site)) + b"\n"


_encode = msgspec.json.Encoder().encode
