"""Sites in KML, KMZ and GPX."""

import zipfile
from io import BytesIO

import pytest

from doorstep_geofences import Geofence, ParsedFeature
from doorstep_server.site_files import Format, ReadOptions, kmz, read, xml_stream
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

KML, KMZ, GPX = Format.KML, Format.KMZ, Format.GPX


def ring(positions: list[list[float]], boundary: str) -> str:
    text = "\n\t".join(f"{lon},{lat},12.5" for lon, lat in positions)
    return (
        f"<{boundary}><LinearRing><coordinates>\n{text}\n</coordinates></LinearRing></{boundary}>"
    )


OUTER, INNER = ring(SQUARE, "outerBoundaryIs"), ring(HOLE, "innerBoundaryIs")
POLYGON = f"<Polygon>{OUTER}{INNER}</Polygon>"
ISLAND = f"<Polygon>{ring(FAR, 'outerBoundaryIs')}</Polygon>"
POINT = "<Point><coordinates>1.5,2.5</coordinates></Point>"
LINE = "<LineString><coordinates>1,2 3,4</coordinates></LineString>"
FENCE = Geofence.parse({"type": "Polygon", "coordinates": [SQUARE, HOLE]})


def data(**said: str) -> str:
    values = "".join(
        f'<Data name="{name}"><value>{text}</value></Data>' for name, text in said.items()
    )
    return f"<ExtendedData>{values}</ExtendedData>"


def placemark(content: str = POLYGON, name: str = "Office") -> str:
    return f"<Placemark><name>{name}</name>{content}</Placemark>"


def kml(*content: str, namespace: str = "http://www.opengis.net/kml/2.2") -> str:
    attribute = f' xmlns="{namespace}"' if namespace else ""
    return f"<kml{attribute}><Document>{''.join(content)}</Document></kml>"


@pytest.mark.parametrize(
    "namespace",
    [
        "",
        "http://earth.google.com/kml/2.0",
        "http://earth.google.com/kml/2.1",
        "http://www.opengis.net/kml/2.2",
    ],
)
def test_a_placemark_with_a_polygon_is_a_site(namespace: str) -> None:
    found = only(kml(placemark(), namespace=namespace), KML)
    assert (found.place, found.name, found.geofence) == ("Placemark 1", "Office", FENCE)


def test_a_prefix_for_the_namespace_changes_nothing() -> None:
    content = (
        '<k:kml xmlns:k="http://www.opengis.net/kml/2.2" xmlns:o="other"><k:Placemark>'
        "<o:name>No</o:name><k:name>Office</k:name><k:ExtendedData><k:Data name='radius_m'>"
        "<k:value>5</k:value></k:Data></k:ExtendedData>"
        "<k:Point><k:coordinates>1,2</k:coordinates></k:Point></k:Placemark></k:kml>"
    )
    assert only(content, KML).name == "Office"


def test_placemarks_are_found_in_folders_at_any_depth() -> None:
    nested = placemark(name="first")
    for _ in range(100):
        nested = f"<Folder><name>Folder</name>{nested}{placemark()}</Folder>"
    found = features(kml(nested), KML)
    assert [f.place for f in found] == [f"Placemark {i}" for i in range(1, 102)]
    assert isinstance(found[0], ParsedFeature)
    assert found[0].name == "first"


@pytest.mark.parametrize("nested", [False, True])
def test_a_multigeometry_of_polygons_is_a_multipolygon(*, nested: bool) -> None:
    island = f"<MultiGeometry>{ISLAND}</MultiGeometry>" if nested else ISLAND
    found = only(kml(placemark(f"<MultiGeometry>{POLYGON}{island}</MultiGeometry>")), KML)
    assert found.geofence == Geofence.parse(
        {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [FAR]]}
    )


def test_a_point_is_a_circle_by_its_own_radius_or_that_of_all() -> None:
    content = kml(placemark(POINT), placemark(data(radius_m="80.5") + POINT))
    assert rejections(content, KML) == [("Placemark 1.properties.radius_m", "radius_missing")]
    found = features(content, KML, radius_m=50.0)
    assert [f.geofence for f in found] == [
        Geofence.circle(1.5, 2.5, 50.0),
        Geofence.circle(1.5, 2.5, 80.5),
    ]


@pytest.mark.parametrize(
    ("content", "place", "code"),
    [
        (LINE, ".geometry", "unsupported_type"),
        ("<MultiGeometry>" + POLYGON + POINT + "</MultiGeometry>", ".geometry", "unsupported_type"),
        ("<MultiGeometry/>", ".geometry", "unsupported_type"),
        (POLYGON + POLYGON, ".geometry", "unsupported_type"),
        ("<g:Track xmlns:g='http://www.google.com/kml/ext/2.2'/>", ".geometry", "unsupported_type"),
        ("", "", "geometry_missing"),
        ("<Polygon/>", ".geometry", "geometry_missing"),
        (f"<Polygon>{INNER}</Polygon>", ".geometry", "geometry_missing"),
        (f"<Polygon>{OUTER}{OUTER}</Polygon>", ".geometry", "geometry_missing"),
        (POINT.replace("1.5,2.5", ""), ".geometry", "coordinates_unreadable"),
        (POINT.replace("1.5,2.5", "1.5, 2.5"), ".geometry", "coordinates_unreadable"),
        (POINT.replace("1.5,2.5", "1,5,2,5"), ".geometry", "coordinates_unreadable"),
        (POINT.replace("1.5,2.5", "nan,2.5"), ".geometry", "coordinates_unreadable"),
        (POINT.replace("1.5,2.5", "1_0,2.5"), ".geometry", "coordinates_unreadable"),
        (POINT.replace("1.5", "1" * 500_000 + "x"), ".geometry", "coordinates_unreadable"),
        (POINT.replace("1.5,2.5", "1,2 3,4"), ".geometry", "coordinates_unreadable"),
        (
            POLYGON.replace("0.0,0.0,12.5\n</", "</"),
            ".geometry.coordinates[0]",
            "ring_not_closed",
        ),
        (data(radius_m="80 m") + POINT, ".properties.radius_m", "not_a_number"),
        (data(radius_m="80,5") + POINT, ".properties.radius_m", "decimal_comma"),
        (data(active="yes") + POLYGON, ".properties.active", "not_a_boolean"),
        (data(active="true") + data(active="true"), "", "geometry_missing"),
        (data(active="1") + data(active="true") + POLYGON, ".properties.active", "not_a_boolean"),
        (data(name="a") * 2 + POLYGON, ".properties.name", "property_repeated"),
        (data(hours="[]") + POLYGON, ".properties.hours", "not_an_object"),
        (data(hours="{") + POLYGON, ".properties.hours", "not_an_object"),
        (data(hours="[" * 50_000 + "]" * 50_000) + POLYGON, ".properties.hours", "nested_too_deep"),
        (data(groups='["a"') + POLYGON, ".properties.groups", "not_a_list"),
    ],
)
def test_what_is_no_site_is_rejected_with_the_reason(content: str, place: str, code: str) -> None:
    found = features(kml(placemark(), placemark(content), placemark()), KML, radius_m=5.0)
    assert [type(f) for f in found].count(ParsedFeature) == 2
    assert (found[1].place, getattr(found[1], "code", None)) == (f"Placemark 2{place}", code)


def test_properties_are_read_by_their_names() -> None:
    schema = (
        "<ExtendedData><SchemaData><SimpleData name='external_id'>007</SimpleData>"
        "<SimpleData name='Tolerance_M'>12.5</SimpleData></SchemaData></ExtendedData>"
    )
    said = data(
        active=" TRUE ",
        purposes="visit; audit;",
        groups='["a;b"]',
        hours='{"mon": []}',
        timezone=" UTC\n",
        max_accuracy_m="",
        assurance=" ",
        color="red",
    )
    assert only(kml(placemark(schema + said + POLYGON, name="\n  Head\n  ")), KML).properties == {
        "name": "Head",
        "external_id": "007",
        "tolerance_m": 12.5,
        "active": True,
        "purposes": ["visit", "audit"],
        "groups": ["a;b"],
        "hours": {"mon": []},
        "timezone": "UTC",
    }


def test_a_network_link_is_not_followed_and_said() -> None:
    content = kml("<NetworkLink><Link><href>http://127.0.0.1/</href></Link></NetworkLink>")
    assert rejections(content, KML) == [("NetworkLink 1", "link")]


def test_what_xml_cannot_carry_is_written_as_what_it_can() -> None:
    content = file_of(KML, site("a\x00\x0b\ufffeb", external_id="\x1b"))
    found = only(content, KML)
    assert (found.name, found.properties["external_id"]) == ("a\ufffd\ufffd\ufffdb", "\ufffd")


# -- bad files of either kind ----------------------------------------------------------------

BOMB = (
    '<!DOCTYPE kml [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<kml><Placemark><name>&b;</name></Placemark></kml>"
)
FETCH = '<!DOCTYPE gpx SYSTEM "file:///etc/hostname"><gpx/>'


@pytest.mark.parametrize("form", [KML, GPX])
@pytest.mark.parametrize("content", [BOMB, FETCH, "<!DOCTYPE kml><kml/>", "<!DOCTYPE x [<!--"])
def test_document_types_are_refused_before_their_entities(form: Format, content: str) -> None:
    assert refusal(content, form) == ("doctype", "line 1")


@pytest.mark.parametrize(
    ("content", "code", "at"),
    [
        ("<kml>\n<Placemark>\n</kml>", "malformed_xml", "line 3"),
        ("<kml>", "malformed_xml", "line 1"),
        ("<kml/><kml/>", "malformed_xml", "line 1"),
        ("<kml>&nbsp;</kml>", "malformed_xml", "line 1"),
        ("<kml><gx:Track/></kml>", "malformed_xml", "line 1"),
        ("<kml>\n\x00</kml>", "malformed_xml", "line 2"),
        (b"<kml>\n\n\xff</kml>", "malformed_xml", "line 3"),
        ("", "empty_file", None),
        (" ", "malformed_xml", "line 1"),
        ("<html/>", "other_format", "line 1"),
        ("<gpx/>", "other_format", "line 1"),
        ("<?xml version='1.0' encoding='utf-7'?><kml/>", "unknown_encoding", "line 1"),
        ("<?xml version='1.0' encoding='unicode_escape'?><kml/>", "unknown_encoding", "line 1"),
        ("<kml>" + "<a>" * 100_000, "too_deep", "line 1"),
        ("<kml>" + "<Placemark>" * 100_000, "too_deep", "line 1"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(
    content: str | bytes, code: str, at: str | None
) -> None:
    assert refusal(content, KML) == (code, at)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "windows-1252"])
def test_the_encoding_is_the_one_that_is_declared(encoding: str) -> None:
    content = f"<?xml version='1.0' encoding='{encoding}'?>" + kml(placemark(name="São José"))
    assert only(content.encode(encoding), KML).name == "São José"


@pytest.mark.parametrize("opening", ["<kml><!--", "<kml a='", "<kml><?x "])
def test_an_endless_token_is_not_read_to_its_end(opening: str) -> None:
    file = CountingFile(opening.encode() + b"x" * 5_000_000)
    with pytest.raises(ValueError, match="longer than any"):
        list(read(file, KML, ReadOptions()))
    assert file.tell() <= 1_200_000


def test_a_placemark_too_large_is_rejected_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_stream, "MOST_TEXT", 20_000)
    long = POLYGON.replace("12.5", "12.50000000" * 1_000)
    many = f"<MultiGeometry>{'<Polygon/>' * 100}</MultiGeometry>"
    attributes = " ".join(f"a{i}='{i}'" for i in range(5_000))
    content = kml(*map(placemark, (long, many, f"<Polygon {attributes}/>", POLYGON)))
    assert rejections(content, KML) == [
        ("Placemark 1", "feature_too_large"),
        ("Placemark 2", "feature_too_large"),
        ("Placemark 3", "feature_too_large"),
    ]
    assert len(features(content, KML)) == 4


def test_a_fence_of_the_most_positions_is_read() -> None:
    """What is rejected is its ring, which is not closed: so all of it was read."""
    positions = [[i / 50_000, 0.123456789012345] for i in range(100_000)]
    polygon = f"<Polygon>{ring(positions, 'outerBoundaryIs')}</Polygon>"
    assert rejections(kml(placemark(polygon)), KML) == [
        ("Placemark 1.geometry.coordinates[0]", "ring_not_closed")
    ]


def test_nothing_is_kept_of_what_is_too_large_or_not_sought() -> None:
    named = frozenset(("NetworkLink",))
    building = xml_stream._Building(xml_stream.Sought(root="kml", built="Placemark", named=named))
    building.start("kml", {})
    building.start("Placemark", {})
    for _ in range(1 + xml_stream.MOST_TEXT // 65_536):
        building.text("x" * 65_536)
    assert building._open == []
    building.end("Placemark")
    building.start("NetworkLink", {})
    building.text("x")
    assert building._open == []


# -- KMZ -------------------------------------------------------------------------------------


def archive(files: dict[str, str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    written = BytesIO()
    with zipfile.ZipFile(written, "w", method) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return written.getvalue()


def test_doc_kml_is_read_or_else_the_first() -> None:
    one, two = kml(placemark(name="one")), kml(placemark(name="two"))
    assert only(archive({"a.png": "", "b/a.KML": one, "doc.kml": two}), KMZ).name == "two"
    assert only(archive({"a.png": "", "b/a.KML": one, "c.kml": two}), KMZ).name == "one"
    assert only(archive({"../../etc/a.kml": one}), KMZ).name == "one"


def test_an_archive_without_kml_is_refused() -> None:
    assert refusal(archive({"a.png": ""}), KMZ) == ("no_kml", None)


def test_an_archive_may_not_unpack_to_too_much() -> None:
    bomb = "<kml>" + " " * 6_000_000 + "</kml>"
    assert refusal(archive({"doc.kml": bomb}), KMZ) == ("zip_bomb", None)
    assert features(archive({"doc.kml": bomb}, zipfile.ZIP_STORED), KMZ) == []


def test_monotonous_sites_are_no_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmz, "FREE_BYTES", 0)
    content = kml(placemark() * 500)
    packed = archive({"doc.kml": content})
    assert len(content) > 30 * len(packed)
    assert len(features(packed, KMZ)) == 500


def test_the_list_of_an_archive_may_not_be_endless() -> None:
    files = dict.fromkeys((f"{i}{'x' * 1_000}.png" for i in range(1_000)), "")
    assert refusal(archive({"doc.kml": kml(), **files}), KMZ) == ("zip_bomb", None)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_ways_of_packing_are_refused(method: int) -> None:
    assert refusal(archive({"doc.kml": kml()}, method), KMZ) == ("malformed_zip", None)


def test_a_damaged_archive_is_refused() -> None:
    packed = bytearray(archive({"doc.kml": kml(placemark())}))
    assert refusal(bytes(packed[: len(packed) // 2]), KMZ)[0] == "malformed_zip"
    packed[100] ^= 0xFF
    assert refusal(bytes(packed), KMZ)[0] in {"malformed_zip", "malformed_xml"}


def test_an_encrypted_archive_is_refused() -> None:
    packed = bytearray(archive({"doc.kml": kml()}))
    packed[6] |= 1  # the flag, in the entry and in the list
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    assert refusal(bytes(packed), KMZ) == ("malformed_zip", None)


def test_what_is_wrong_with_the_kml_in_an_archive_has_its_place() -> None:
    assert refusal(archive({"doc.kml": "<kml>\n<"}), KMZ) == ("malformed_xml", "line 2")
    assert rejections(archive({"doc.kml": kml(placemark(LINE))}), KMZ) == [
        ("Placemark 1.geometry", "unsupported_type")
    ]


# -- GPX -------------------------------------------------------------------------------------


def gpx(*content: str) -> str:
    return f"<gpx xmlns='http://www.topografix.com/GPX/1/1' xmlns:d='d'>{''.join(content)}</gpx>"


def wpt(content: str = "", lat: str = "-23.5", lon: str = "-46.6") -> str:
    return f"<wpt lat='{lat}' lon='{lon}'><name> Kiosk </name><desc>x</desc>{content}</wpt>"


RADIUS = "<extensions><d:radius_m>80</d:radius_m></extensions>"


def test_a_waypoint_with_a_radius_is_a_circle() -> None:
    found = only(gpx(wpt(RADIUS)), GPX)
    assert (found.place, found.name) == ("wpt 1", "Kiosk")
    assert found.geofence == Geofence.circle(-46.6, -23.5, 80.0)


def test_waypoints_take_the_radius_for_all() -> None:
    found = features(gpx(wpt(), wpt(RADIUS)), GPX, radius_m=50.0)
    assert [f.geofence.radius_m for f in found] == [50.0, 80.0]


def test_extensions_say_what_else_there_is_of_a_site() -> None:
    said = "<d:external_id>7</d:external_id><d:a><d:active>false</d:active></d:a>"
    found = only(gpx(wpt(f"<extensions>{said}</extensions>")), GPX, radius_m=5.0)
    assert found.properties == {
        "name": "Kiosk",
        "external_id": "7",
        "active": False,
        "radius_m": 5.0,
    }


@pytest.mark.parametrize(
    ("content", "place", "code"),
    [
        (wpt(), "wpt 1.properties.radius_m", "radius_missing"),
        (wpt(RADIUS, lat=""), "wpt 1.lat", "position_incomplete"),
        (wpt(RADIUS, lon="-46,6"), "wpt 1.lon", "decimal_comma"),
        (wpt(RADIUS, lon="W46"), "wpt 1.lon", "not_a_number"),
        (wpt(RADIUS, lat="7394000"), "wpt 1.geometry.coordinates", "projected_coordinates"),
        ("<trk><trkseg><trkpt lat='1' lon='2'/></trkseg></trk>", "trk 1", "not_a_place"),
        ("<rte><rtept lat='1' lon='2'/></rte>", "rte 1", "not_a_place"),
    ],
)
def test_what_is_no_place_is_rejected_with_the_reason(content: str, place: str, code: str) -> None:
    assert rejections(gpx(content), GPX) == [(place, code)]
