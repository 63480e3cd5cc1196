"""Sites in tables."""

import csv
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_geofences import Geofence, ParsedFeature
from doorstep_server.site_files import Format, ReadOptions, read, tables
from reading_files import (
    FAR,
    HOLE,
    SQUARE,
    CountingFile,
    features,
    file_of,
    only,
    refusal,
    rejections,
    site,
)

CSV = Format.CSV
CIRCLE = Geofence.circle(-46.6, -23.5, 80.0)
HEADER = "name,lat,lon,radius_m\n"
WKT = "POLYGON ((0 0, 4 0, 4 4, 0 4, 0 0), (1 1, 1 2, 2 2, 1 1))"
POLYGON = Geofence.parse({"type": "Polygon", "coordinates": [SQUARE, HOLE]})
MULTIPOLYGON = Geofence.parse({"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [FAR]]})


@pytest.mark.parametrize("sign", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_row_is_a_circle(sign: str, line_end: str, mark: str) -> None:
    rows = [["name", "lat", "lon", "radius_m"], ["Kiosk", "-23.5", "-46.6", "80"]]
    found = only(mark + line_end.join(map(sign.join, rows)), CSV)
    assert (found.place, found.name, found.geofence) == ("line 2", "Kiosk", CIRCLE)


@pytest.mark.parametrize(
    "header",
    ["lat,lon,radius_m", "Latitude,Longitude,Radius", '"LAT", lng ,radius', "lat,longitude,radius"],
)
def test_columns_have_their_usual_names(header: str) -> None:
    assert only(f"{header}\n-23.5,-46.6,80\n", CSV).geofence == CIRCLE


def test_a_header_in_quotes_keeps_its_delimiter() -> None:
    """A comma inside of a name is none."""
    assert only('"lat";"lon";"radius";"a, b, c"\n-23.5;-46.6;80;x\n', CSV).geofence == CIRCLE


@pytest.mark.parametrize(
    ("text", "fence"),
    [
        (WKT, POLYGON),
        (WKT.lower().replace(" ((", "(("), POLYGON),
        (f"SRID=4326;{WKT}", POLYGON),
        (WKT.replace("0 0", "0 0 12").replace("POLYGON", "POLYGON Z"), POLYGON),
        (WKT.replace("0 0", "0.0e0  0. 1 2").replace("POLYGON", "POLYGONZM"), POLYGON),
        (WKT.replace("POLYGON ", "MULTIPOLYGON(") + ",((9 0,10 0,10 1,9 0)))", MULTIPOLYGON),
        (" POINT(-46.6 -23.5) ", CIRCLE),
        ("POINT Z (-46.6 -23.5 7)", CIRCLE),
    ],
)
def test_well_known_text_is_read(text: str, fence: Geofence) -> None:
    assert only(f'name,WKT\nOffice,"{text}"\n', CSV, radius_m=80.0).geofence == fence


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SRID=31983;" + WKT, "other_srid"),
        ("LINESTRING (0 0, 1 1)", "wkt_unreadable"),
        ("POLYGON EMPTY", "wkt_unreadable"),
        ("POLYGON", "wkt_unreadable"),
        ("POLYGON ()", "wkt_unreadable"),
        ("POLYGON (0 0, 1 1, 1 0, 0 0)", "wkt_unreadable"),
        ("POLYGON (((0 0, 1 1, 1 0, 0 0)))", "wkt_unreadable"),
        ("POLYGON ((0 0, 1 1, 1 0, 0 0)", "wkt_unreadable"),
        (WKT + " x", "wkt_unreadable"),
        (WKT.replace("4 4", "4,5 4"), "wkt_unreadable"),
        (WKT.replace("4 4", "4 4 4 4 4"), "wkt_unreadable"),
        (WKT.replace("4 4", "nan 4"), "wkt_unreadable"),
        (WKT.replace("4 4", "1e400 4"), "not_finite"),
        (WKT.replace("4 4", "4_0 4"), "wkt_unreadable"),
        ("POINT (1 2, 3 4)", "wkt_unreadable"),
        ("GEOMETRYCOLLECTION (" * 100_000, "wkt_unreadable"),
        ("POLYGON " + "(" * 100_000, "wkt_unreadable"),
        ('{""type"": ""Polygon""}', "wkt_unreadable"),
        ("POLYGON ((0 0, 4 0, 4 4, 0 4), (1 1, 1 2, 2 2, 1 1))", "ring_not_closed"),
    ],
)
def test_other_well_known_text_is_rejected_with_the_reason(text: str, code: str) -> None:
    [(place, found)] = rejections(f'name,geometry\nOffice,"{text}"\n', CSV)
    assert (found, place.startswith("line 2.geometry")) == (code, True)


def test_the_shape_wins_over_the_point_in_its_row() -> None:
    rows = f'lat,lon,radius_m,wkt\n1,2,5,"{WKT}"\n-23.5,-46.6,80,\n'
    assert [f.geofence for f in features(rows, CSV)] == [POLYGON, CIRCLE]


def test_properties_are_read_by_name_and_other_columns_left_alone() -> None:
    rows = (
        "Name;EXTERNAL_ID;lat;lon;radius_m;color;active;tolerance_m;purposes;groups;hours;timezone\n"
        'A;007;1;2;5;red;FALSE; 12.5 ;a;"b;c";"{""mon"": []}";UTC\n'
    )
    assert only(rows, CSV).properties == {
        "name": "A",
        "external_id": "007",
        "radius_m": 5.0,
        "active": False,
        "tolerance_m": 12.5,
        "purposes": ["a"],
        "groups": ["b", "c"],
        "hours": {"mon": []},
        "timezone": "UTC",
    }


def test_an_empty_cell_says_nothing() -> None:
    rows = "name,active,tolerance_m,purposes,hours,timezone,lat,lon,radius\nA,, ,,,,1,2,5\n"
    assert only(rows, CSV).properties == {"name": "A", "radius_m": 5.0}


@pytest.mark.parametrize(
    ("row", "place", "code"),
    [
        ('A,"-23,5",-46.6,80', ".lat", "decimal_comma"),
        ('A,-23.5,"-4.646,6",80', ".lon", "decimal_comma"),
        ('A,-23.5,-46.6,"80,5"', ".properties.radius_m", "decimal_comma"),
        ("A,-23,5,-46,6,80", "", "surplus_cells"),
        ("A,23°33'S,-46.6,80", ".lat", "not_a_number"),
        ("A,nan,-46.6,80", ".lat", "not_a_number"),
        ("A,1_0,-46.6,80", ".lat", "not_a_number"),
        ("A,-23.5,٤٦,80", ".lon", "not_a_number"),
        ("A,-23.5,,80", ".lon", "position_incomplete"),
        ("A,,-46.6,80", ".lat", "position_incomplete"),
        ("A,,,80", "", "geometry_missing"),
        ("A", "", "geometry_missing"),
        ("A,-23.5,-46.6", ".properties.radius_m", "radius_missing"),
        ("A,-23.5,-46.6,", ".properties.radius_m", "radius_missing"),
        ("A,-23.5,-46.6,80 m", ".properties.radius_m", "not_a_number"),
        ("A,-23.5,-46.6,0", ".properties.radius_m", "radius_out_of_range"),
        ("A,333000,7394000,80", ".geometry.coordinates", "projected_coordinates"),
    ],
)
def test_a_row_that_is_no_site_is_rejected_alone(row: str, place: str, code: str) -> None:
    good = "A,-23.5,-46.6,80"
    assert rejections(f"{HEADER}{good}\n{row}\n{good}\n", CSV) == [(f"line 3{place}", code)]


@pytest.mark.parametrize("number", ["1" * 500_000, "1" * 500_000 + "x", " " * 500_000 + "x"])
def test_an_endless_number_costs_no_more_than_its_length(number: str) -> None:
    rows = f'wkt,lat,lon,radius\n"POINT ({number} 1)",,,5\n,{number},1,5\n'
    (_, wkt), (_, cell) = rejections(rows, CSV)
    assert {wkt, cell} <= {"not_finite", "wkt_unreadable", "not_a_number"}


def test_decimal_commas_are_refused_with_a_semicolon_too() -> None:
    rows = "lat;lon;radius\n-23,56;-46,63;80\n"
    assert rejections(rows, CSV) == [("line 2.lat", "decimal_comma")]


def test_lines_are_counted_as_in_the_file() -> None:
    """Empty rows are none; a quoted cell may have several lines."""
    rows = f'\n{HEADER}"A\nB\r\nC",-23.5,-46.6,80\n\n,,,\n"D",-23.5,-46.6,80\nE,,,\n'
    first, second, third = features(rows, CSV)
    assert (first.place, second.place, third.place) == ("line 3", "line 8", "line 9")
    assert isinstance(first, ParsedFeature)
    assert first.name == "A\nB\r\nC"


@pytest.mark.parametrize(
    ("rows", "code", "at"),
    [
        ("", "empty_file", None),
        ("\n \r\n", "empty_file", None),
        ("name,lat\nA,1\n", "columns_missing", "line 1"),
        (",,\n", "columns_missing", "line 1"),
        ("-23.5,-46.6,80\n", "columns_missing", "line 1"),
        ("lat,latitude,lon\n", "column_repeated", "line 1"),
        ("name,Name,wkt\n", "column_repeated", "line 1"),
        (HEADER + '"A"B,1,2,3\n', "malformed_csv", "line 2"),
        (HEADER + 'A,1,2,3\n"A,1,2,3\nB,1,2,3\n', "malformed_csv", "line 3"),
        (HEADER.replace("\n", "\r") + "A,1,2,3\r", "malformed_csv", "line 1"),
    ],
)
def test_a_bad_table_is_refused_with_its_place(rows: str, code: str, at: str | None) -> None:
    assert refusal(rows, CSV) == (code, at)


def test_other_encodings_are_refused_with_the_line() -> None:
    rows = HEADER + "A,1,2,3\nSão Paulo,1,2,3\n"
    assert refusal(rows.encode("latin-1"), CSV) == ("not_utf8", "line 3")
    assert refusal(rows.encode("utf-16"), CSV) == ("not_utf8", "line 1")
    assert refusal("name,lat,lon,distância\n".encode("latin-1"), CSV) == ("not_utf8", "line 1")


def test_u0000_is_read_as_it_is_so_that_it_can_be_refused() -> None:
    assert only(HEADER + "a\x00b,1,2,3\n", CSV).name == "a\x00b"


@pytest.mark.parametrize(
    "endless", [b'"' + (b"x" * 999 + b"\n") * 10_000, b"x" * 20_000_000, b"," * 20_000_000]
)
def test_an_endless_row_is_not_read_to_its_end(endless: bytes) -> None:
    file = CountingFile(HEADER.encode() + b"A,1,2,3\n" + endless)
    reading = read(file, CSV, ReadOptions())
    next(reading)
    with pytest.raises(ValueError, match="never closed") as refused:
        next(reading)
    assert refused.value.at == "line 3"  # type: ignore[attr-defined]
    assert file.tell() <= tables.LONGEST_ROW_BYTES + 1_000


def test_a_fence_of_the_most_positions_fits_into_a_cell() -> None:
    """What is rejected is its ring, which is not closed: so all of it was read."""
    ring = ", ".join(f"{i / 50_000:.15f} 0.000000000000001" for i in range(100_000))
    assert rejections(f'wkt\n"POLYGON (({ring}))"\n', CSV) == [
        ("line 2.geometry.coordinates[0]", "ring_not_closed")
    ]


# -- what spreadsheets do --------------------------------------------------------------------


def cells(content: bytes) -> list[list[str]]:
    return list(csv.reader(StringIO(content.decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n1", " =1", "＝1", "'=1", "''-1"]
)
def test_no_text_is_written_that_a_spreadsheet_takes_for_a_formula(name: str) -> None:
    content = file_of(CSV, site(name, external_id=name, groups=[name]))
    header, row = cells(content)
    found = dict(zip(header, row, strict=True))
    assert found["name"] == found["external_id"] == f"'{name}"
    assert found["groups"].startswith("[")
    assert only(content, CSV).name == name


def test_numbers_are_left_as_numbers() -> None:
    header, row = cells(file_of(CSV, site()))
    found = dict(zip(header, row, strict=True))
    assert (found["lat"], found["lon"], found["radius_m"]) == ("-23.5", "-46.6", "80.0")


@pytest.mark.parametrize("name", ["a=1", "Joe's", "'quoted'", "O", "1-1"])
def test_other_texts_are_written_as_they_are(name: str) -> None:
    assert cells(file_of(CSV, site(name)))[1][0] == name


@given(st.text("'=+-@ \t\r\nx", min_size=1))
def test_every_text_comes_back(name: str) -> None:
    assert only(file_of(CSV, site(name)), CSV).name == name
