"""Sites in GeoJSON documents and sequences."""

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from doorstep_geofences import Geofence, ParsedFeature
from doorstep_server.site_files import Format, ReadOptions, geojson, json_stream, read
from doorstep_server.site_files.faults import Unusable
from reading_files import POLYGON, SQUARE, CountingFile, features, only, refusal, rejections

DOCUMENT, SEQUENCE = Format.GEOJSON, Format.GEOJSONSEQ
POINT = {"type": "Point", "coordinates": [1.5, 2.5]}
CRS84 = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
METRES = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::31983"}}


def feature(geometry: Any = POLYGON, properties: Any = None, **members: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties} | members


def collection(*features: Any, **members: Any) -> str:
    return json.dumps({"type": "FeatureCollection", "features": list(features)} | members)


def test_features_come_in_order_with_place_name_and_properties() -> None:
    first, second = features(
        collection(
            feature(properties={"name": "Office", "hours": {"mon": [1, 2.5, True, None]}}),
            feature(id="b"),
        ),
        DOCUMENT,
    )
    assert first == ParsedFeature(
        place="features[0]",
        geofence=Geofence.parse(POLYGON),
        name="Office",
        properties={"name": "Office", "hours": {"mon": [1, 2.5, True, None]}},
    )
    assert (second.place, second.properties) == ("features[1]", {})


def test_a_lone_feature_is_read() -> None:
    assert only(json.dumps(feature()), DOCUMENT).place == "feature"


def test_a_collection_of_none_has_none() -> None:
    assert features(collection(), DOCUMENT) == []


def test_the_members_may_come_in_any_order() -> None:
    content = (
        f'{{"bbox": [[1]], "features": [{json.dumps(feature())}], "type": "FeatureCollection"}}'
    )
    assert only(content, DOCUMENT).place == "features[0]"


@pytest.mark.parametrize("crs", [METRES, None, {}, "EPSG:4326", [[[[0]]]]])
@pytest.mark.parametrize("comes_last", [True, False])
def test_another_reference_system_is_refused_wherever_it_is_named(
    crs: object, comes_last: bool
) -> None:
    members = [("features", [feature()]), ("type", "FeatureCollection")]
    members.insert(2 if comes_last else 0, ("crs", crs))
    assert refusal(json.dumps(dict(members)), DOCUMENT) == ("crs_member", "crs")


def test_crs84_is_what_geojson_means_anyway() -> None:
    assert only(collection(feature(), crs=CRS84), DOCUMENT).place == "features[0]"


def test_a_feature_of_another_reference_system_is_rejected() -> None:
    found = rejections(collection(feature(), feature(crs=METRES)), DOCUMENT)
    assert found == [("features[1].crs", "crs_member")]


@pytest.mark.parametrize(
    "document",
    ["{}", "[]", "7", '"a"', "null", '{"type": "FeatureCollection"}', '{"features": []}',
     '{"type": "FeatureCollection", "features": {}}', '{"type": ["Feature"]}',
     '{"type": "Topology"}'],
)  # fmt: skip
def test_a_document_without_features_is_refused(document: str) -> None:
    assert refusal(document, DOCUMENT)[0] == "no_features"


def test_a_lone_geometry_is_refused_with_advice() -> None:
    assert refusal(json.dumps(POLYGON), DOCUMENT)[0] == "lone_geometry"


@pytest.mark.parametrize(
    ("wrong", "code", "at"),
    [
        (b"NaN", "malformed_json", "line 2, byte 40"),
        (b"01", "malformed_json", "line 2, byte 42"),
        (b"1 /* one */", "malformed_json", "line 2, byte 42"),
        (b"[1,]", "malformed_json", "line 2, byte 43"),
        (b'"\xff"', "not_utf8", "line 2, byte 41"),
        (b'"\xed\xa0\x80"', "not_utf8", "line 2, byte 44"),
        (b'"a\x00"', "malformed_json", "line 2, byte 42"),
        (b"1e999", "number_too_large", "line 2, byte 45"),
        (b"9" * 30, "number_too_large", "line 2, byte 70"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(wrong: bytes, code: str, at: str) -> None:
    """Before any feature is given out."""
    content = b'{"type": "FeatureCollection",\n "other": ' + wrong + b', "features": []}'
    assert refusal(content, DOCUMENT) == (code, at)


@pytest.mark.parametrize("distance", [0, 65_535, 65_536, 200_000])
def test_a_fault_far_in_the_file_has_its_place(distance: int) -> None:
    content = b"{\n" + b" " * distance + b"}}"
    assert refusal(content, DOCUMENT) == ("several_documents", f"line 2, byte {distance + 3}")


def test_a_file_that_is_cut_off_is_refused_at_its_end() -> None:
    content = collection(feature())
    code, at = refusal(content[:-2], DOCUMENT)
    assert (code, at) == ("malformed_json", f"line 1, byte {len(content) - 2}")


def test_a_sequence_that_is_called_a_document_is_told() -> None:
    line = json.dumps(feature())
    assert refusal(f"{line}\n{line}\n", DOCUMENT) == (
        "several_documents",
        f"line 2, byte {len(line) + 1}",
    )


def test_utf16_is_refused_with_advice() -> None:
    assert refusal(collection().encode("utf-16"), DOCUMENT)[0] == "not_utf8"


def test_white_space_alone_is_an_empty_file() -> None:
    assert refusal(" \n ", DOCUMENT)[0] == "empty_file"


def test_one_bad_feature_does_not_hide_the_others() -> None:
    unclosed = {"type": "Polygon", "coordinates": [SQUARE[:-1]]}
    content = collection(feature(), feature(unclosed), 7, None, feature())
    assert rejections(content, DOCUMENT) == [
        ("features[1].geometry.coordinates[0]", "ring_not_closed"),
        ("features[2]", "not_a_feature"),
        ("features[3]", "not_a_feature"),
    ]
    assert len(features(content, DOCUMENT)) == 5


def test_a_repeated_member_is_not_guessed_at() -> None:
    twice = '{"type": "Feature", "properties": {"name": "a", "name": "b"}, "geometry": null}'
    content = f'{{"type": "FeatureCollection", "features": [{twice}, {twice}]}}'
    assert rejections(content, DOCUMENT) == [
        ("features[0]", "repeated_member"),
        ("features[1]", "repeated_member"),
    ]
    assert refusal('{"features": [], "features": []}', DOCUMENT) == ("repeated_member", "features")


def too_long_text() -> Any:
    return feature(properties={str(i): "x" * 1_000 for i in range(1_100)})


def too_long_names() -> Any:
    return feature(properties={f"{i} {'x' * 1_000}": 0 for i in range(1_100)})


def too_many_positions() -> Any:
    return feature({"type": "Polygon", "coordinates": [SQUARE * 60]})


def too_many_values() -> Any:
    return feature(properties={"many": [None] * 1_001})


@pytest.mark.parametrize(
    "large", [too_long_text, too_long_names, too_many_positions, too_many_values]
)
@pytest.mark.parametrize("form", [DOCUMENT, SEQUENCE])
def test_a_feature_too_large_is_rejected_alone(
    large: Callable[[], Any], form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "MOST_EVENTS", 1_000 if "many" in large.__name__ else 10_000)
    if form is DOCUMENT:
        content, place = collection(feature(), large(), feature()), "features[1]"
    else:
        content = "\n".join(map(json.dumps, (feature(), large(), feature())))
        place = "line 2"
    assert rejections(content, form) == [(place, "feature_too_large")]
    assert len(features(content, form)) == 3


def test_no_more_is_kept_of_a_feature_than_it_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MOST_EVENTS", 10_000)
    before, most = sys.getallocatedblocks(), 0

    def numbers() -> Iterator[json_stream.Event]:
        nonlocal most
        for i in range(200_000):
            yield "number", i + 0.5
            if i % 1_000 == 0:
                most = max(most, sys.getallocatedblocks() - before)
        yield "end_array", None

    with pytest.raises(Unusable, match="Simplify the fence"):
        json_stream.build(("start_array", None), numbers())
    assert 5_000 < most < 20_000


def test_a_fence_of_the_most_positions_is_read() -> None:
    """What is rejected is its ring, which is not closed: so all of it was read."""
    ring = [[i / 50_000, 0.5, 12.5] for i in range(100_000)]
    content = collection(feature({"type": "Polygon", "coordinates": [ring]}))
    assert rejections(content, DOCUMENT) == [
        ("features[0].geometry.coordinates[0]", "ring_not_closed")
    ]


@pytest.mark.parametrize("form", [DOCUMENT, SEQUENCE])
@pytest.mark.parametrize("brackets", ["[]", ('{"a":', "}")])
def test_deep_nesting_is_rejected_alone(form: Format, brackets: tuple[str, str]) -> None:
    opening, closing = brackets
    deep = opening * 100_000 + "0" * (opening != "[") + closing * 100_000
    bad = f'{{"type": "Feature", "properties": {{"a": {deep}}}, "geometry": null}}'
    good = json.dumps(feature())
    if form is DOCUMENT:
        content = f'{{"type": "FeatureCollection", "features": [{bad}, {good}]}}'
    else:
        content = f"{bad}\n{good}\n"
    [(_, code)] = rejections(content, form)
    assert code == "nested_too_deep"
    assert isinstance(features(content, form)[1], ParsedFeature)


def test_deep_nesting_beside_the_features_is_left_alone() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    content = f'{{"foreign": {deep}, "type": "FeatureCollection", "features": []}}'
    assert features(content, DOCUMENT) == []


def test_one_endless_text_is_not_read_to_its_end() -> None:
    file = CountingFile(b'{"name": "' + b"x" * 20_000_000)
    with pytest.raises(ValueError, match="longer than any") as refused:
        list(read(file, DOCUMENT, ReadOptions()))
    assert refused.value.code == "value_too_long"  # type: ignore[attr-defined]
    assert refused.value.at == "line 1, byte 65536"  # type: ignore[attr-defined]


def test_a_point_needs_a_radius_of_its_own_or_for_all() -> None:
    content = collection(feature(POINT), feature(POINT, {"radius_m": 80}))
    assert rejections(content, DOCUMENT) == [("features[0].properties.radius_m", "radius_missing")]
    assert [f.geofence.radius_m for f in features(content, DOCUMENT, radius_m=50.0)] == [50.0, 80.0]


def test_numbers_come_as_they_are() -> None:
    value = -46.633308999999994
    position = [value, 0.1 + 0.2]
    found = only(
        collection(feature({"type": "Point", "coordinates": position}, {"radius_m": 5})), DOCUMENT
    )
    assert found.geofence.center == (value, 0.1 + 0.2)


def test_u0000_is_read_as_it_is_so_that_it_can_be_refused() -> None:
    assert only(collection(feature(properties={"name": "a\x00b"})), DOCUMENT).name == "a\x00b"


# -- sequences -------------------------------------------------------------------------------


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\n\n\n"])
def test_a_sequence_has_a_feature_a_line(line_end: str) -> None:
    text = line_end.join(json.dumps(feature(properties={"name": name})) for name in "ab")
    first, second = features(text, SEQUENCE)
    assert (first.name, first.place) == ("a", "line 1")
    assert (second.name, second.place) == ("b", f"line {1 + line_end.count(chr(10))}")


def test_separated_texts_may_have_line_breaks_inside() -> None:
    text = json.dumps(feature(), indent=1)
    lines = text.count("\n") + 1
    first, second = features(f"\x1e{text}\n\x1e\n{text}\n", SEQUENCE)
    assert isinstance(first, ParsedFeature)
    assert isinstance(second, ParsedFeature)
    assert [first.place, second.place] == ["line 1", f"line {lines + 2}"]


def test_a_line_that_is_no_json_is_rejected_alone() -> None:
    good = json.dumps(feature())
    lines = [good, "{", "", "NaN", f"{good} {good}", json.dumps(POLYGON), '"\\u00', good]
    assert rejections("\n".join(lines), SEQUENCE) == [
        ("line 2", "malformed_json"),
        ("line 4", "malformed_json"),
        ("line 5", "several_documents"),
        ("line 6", "not_a_feature"),
        ("line 7", "malformed_json"),
    ]
    assert len(features("\n".join(lines), SEQUENCE)) == 7


def test_a_line_that_is_no_utf8_is_rejected_alone() -> None:
    good = json.dumps(feature()).encode()
    assert rejections(good + b'\n{"a": "\xff"}\n' + good, SEQUENCE) == [("line 2", "not_utf8")]


def test_an_endless_line_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geojson, "LONGEST_RECORD_BYTES", 100_000)
    good = json.dumps(feature()).encode()
    content = good + b"\n" + b" " * 1_000_000 + b"{\n" + good
    assert rejections(content, SEQUENCE) == [("line 2", "feature_too_large")]
    file = CountingFile(content)
    assert len(list(read(file, SEQUENCE, ReadOptions()))) == 3
    assert file.most_at_once <= 65_536


def test_flaws_in_a_sequence_have_their_place() -> None:
    unclosed = json.dumps(feature({"type": "Polygon", "coordinates": [SQUARE[:-1]]}))
    assert rejections(unclosed, SEQUENCE) == [("line 1.geometry.coordinates[0]", "ring_not_closed")]
