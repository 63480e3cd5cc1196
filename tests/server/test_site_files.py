"""Site files in every format: what is written is read back, and what is read is bounded."""

from functools import cache
from io import BytesIO
from itertools import islice
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doorstep_geofences import Geofence, ParsedFeature
from doorstep_server.api.sites import NewSite
from doorstep_server.site_files import (
    WRITABLE,
    ExportedSite,
    Fault,
    Format,
    ReadOptions,
    UnreadableFile,
    guess_format,
    properties,
    read,
    write,
)
from reading_files import (
    MULTIPOLYGON,
    POLYGON,
    CountingFile,
    features,
    file_of,
    only,
    refusal,
    site,
)

each_format = pytest.mark.parametrize("form", Format)
each_written = pytest.mark.parametrize("form", WRITABLE)

#: all that XML carries; Python's own reading of CSV and the others carry more
TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n\r=+-@'\";,&<"),
    min_size=1,
    max_size=12,
)
LISTS = st.lists(TEXTS, max_size=3)
SAID = st.fixed_dictionaries(
    {
        "external_id": st.none() | TEXTS,
        "timezone": st.sampled_from(["UTC", "America/Sao_Paulo"]),
        "tolerance_m": st.floats(0, 1_000),
        "assurance": st.sampled_from(["standard", "strict"]),
        "max_accuracy_m": st.floats(0, 10_000, exclude_min=True),
        "hours": st.none()
        | st.dictionaries(TEXTS, st.lists(TEXTS | st.floats(0, 24), max_size=2), max_size=2),
        "purposes": LISTS,
        "groups": LISTS,
        "active": st.booleans(),
    }
)
CIRCLES = st.builds(
    Geofence.circle,
    st.floats(-180, 180),
    st.floats(-80, 80),
    st.floats(0, 1_000, exclude_min=True),
)


@st.composite
def triangles(draw: Any) -> Geofence:
    """Of odd numbers, so that a digit that is lost shows."""
    lon, lat = draw(st.floats(-170, 170)), draw(st.floats(-80, 80))
    ring = [[lon, lat], [lon + 1 / 3, lat], [lon, lat + 1 / 7], [lon, lat]]
    return Geofence.parse({"type": "Polygon", "coordinates": [ring]})


SITES = st.builds(ExportedSite, name=TEXTS, geofence=CIRCLES | triangles(), properties=SAID)


def said(feature: ParsedFeature) -> dict[str, Any]:
    """A feature's properties as they were exported: absent is None."""
    return {
        name: value
        for name, value in feature.properties.items()
        if name not in {"name", "radius_m"} and value is not None
    }


def test_all_of_a_site_can_be_said_in_every_format() -> None:
    assert {*properties.NAMES, "geofence"} == set(NewSite.__struct_fields__)


@each_written
@given(sites=st.lists(SITES, max_size=3))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_is_read_back(form: Format, sites: list[ExportedSite]) -> None:
    back = features(file_of(form, *sites), form) if sites or form in _SOUND_WHEN_EMPTY else []
    for feature, exported in zip(back, sites, strict=True):
        assert isinstance(feature, ParsedFeature), feature
        assert feature.name == feature.properties["name"] == exported.name
        assert feature.geofence.to_document() == exported.geofence.to_document()
        wanted = {n: v for n, v in exported.properties.items() if v is not None}
        assert said(feature) == wanted


#: a sequence of nothing is an empty file
_SOUND_WHEN_EMPTY = frozenset(WRITABLE) - {Format.GEOJSONSEQ}


@each_written
@pytest.mark.parametrize(
    "document", [POLYGON, MULTIPOLYGON, MULTIPOLYGON | {"coordinates": [POLYGON["coordinates"]]}]
)
def test_holes_and_parts_are_read_back(form: Format, document: dict[str, Any]) -> None:
    fence = Geofence.parse(document)
    assert only(file_of(form, site(geofence=fence)), form).geofence == fence


@each_written
def test_a_file_is_written_as_it_is_made_up(form: Format) -> None:
    """Of an endless number of sites a few blocks can be had."""

    def endless() -> Any:
        while True:
            yield site()

    assert len(list(islice(write(endless(), form), 3))) == 3


@cache
def long_file(form: Format) -> bytes:
    """A thousand sites, in more bytes than are read at once."""
    padding = "x" * 100
    if form is not Format.GPX:
        return file_of(form, *(site(f"{padding} {i}") for i in range(1_000)))
    radius = "<extensions><radius_m>5</radius_m></extensions>"
    waypoint = f'<wpt lat="1" lon="2"><name>{padding}</name>{radius}</wpt>'
    return f"<gpx>{waypoint * 1_000}</gpx>".encode()


@pytest.mark.parametrize("form", [*WRITABLE, Format.GPX])
def test_no_more_of_a_file_is_read_than_its_features_need(form: Format) -> None:
    file = CountingFile(long_file(form))
    reading = read(file, form, ReadOptions())
    assert len(list(islice(reading, 10))) == 10
    assert max(file.tell(), file.most_at_once) <= 70_000 < len(long_file(form))
    assert len(list(reading)) == 990


@each_format
def test_an_empty_file_is_refused(form: Format) -> None:
    code, _ = refusal(b"", form)
    assert code == ("malformed_zip" if form is Format.KMZ else "empty_file")


@each_format
@pytest.mark.parametrize(
    "content", [b"\x00", b"\xff\xfe{\x00}\x00", b"<html></html>", b"\xff", b"hello", b"[1]", b"1"]
)
def test_a_file_of_another_kind_is_refused_or_rejected(form: Format, content: bytes) -> None:
    try:
        found = features(content, form)
    except UnreadableFile:
        return
    assert not any(isinstance(feature, ParsedFeature) for feature in found)
    assert found


@each_format
@pytest.mark.parametrize("opening", [b"[", b'{"features":', b"<a>", b"<kml>", b"<gpx>", b"("])
def test_deep_nesting_is_refused_or_rejected(form: Format, opening: bytes) -> None:
    test_a_file_of_another_kind_is_refused_or_rejected(form, opening * 100_000)


def test_every_fault_says_what_to_do_and_nothing_of_the_input() -> None:
    assert all(fault.advice.endswith(".") and "{" not in fault.advice for fault in Fault)
    secret = "-23.5505"
    rows = f'name,lat,lon,radius_m\n"{secret}",{secret},"{secret},1",5\n'
    [rejected] = features(rows, Format.CSV)
    assert secret not in repr(rejected)
    with pytest.raises(UnreadableFile) as unreadable:
        features(f'{{"a": {secret} {secret}}}', Format.GEOJSON)
    assert secret not in repr(unreadable.value)


@pytest.mark.parametrize(
    ("name", "head", "form"),
    [
        ("a.geojson", b"", Format.GEOJSON),
        ("A.JSON", b"{", Format.GEOJSON),
        ("a.json", b'{"type":"Feature"}\n{"type":"Feature"}\n', Format.GEOJSONSEQ),
        ("a.json", b'{"type":"FeatureCollection",\n"features":[]}', Format.GEOJSON),
        ("a.geojson", b'\x1e{"type":"Feature"}\n', Format.GEOJSONSEQ),
        ("a.ndjson", b'{"type":"Feature"}', Format.GEOJSONSEQ),
        ("a.geojsonl", b"", Format.GEOJSONSEQ),
        ("a", b'\xef\xbb\xbf {"type":"Feature"}', Format.GEOJSON),
        ("a.kml", b"", Format.KML),
        ("a.xml", b'<?xml version="1.0"?>\n<!-- places -->\n<kml xmlns="x">', Format.KML),
        ("a.xml", b'<k:kml xmlns:k="x">', Format.KML),
        ("a.kml", b"PK\x03\x04", Format.KMZ),
        ("a.kmz", b"", Format.KMZ),
        ("a.xml", b"<gpx version='1.1'>", Format.GPX),
        ("a.gpx", b"", Format.GPX),
        ("a.csv", b"", Format.CSV),
        ("a.csv", b"{", Format.CSV),
        ("a.tsv", b"", Format.CSV),
        ("a.txt", b"\xef\xbb\xbfName;Lat;Lon\r\n", Format.CSV),
        ("a.txt", b"dear all\n", None),
        ("a", b"<html>", None),
        ("", b"", None),
    ],
)
def test_the_format_is_guessed_by_content_and_name(
    name: str, head: bytes, form: Format | None
) -> None:
    assert guess_format(name, head) is form


@each_written
def test_what_is_written_is_known_again(form: Format) -> None:
    head = file_of(form, site(), site())
    assert guess_format("sites", head) is form


@pytest.mark.parametrize("form", [*WRITABLE, Format.GPX])
def test_the_mark_of_utf8_is_stepped_over(form: Format) -> None:
    content = long_file(form).removeprefix(b"\xef\xbb\xbf")
    plain, marked = (
        list(islice(read(BytesIO(mark + content), form, ReadOptions()), 3))
        for mark in (b"", b"\xef\xbb\xbf")
    )
    assert plain == marked
