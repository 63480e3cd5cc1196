import pytest

from doorstep_geofences import (
    Geofence,
    InvalidGeofence,
    ParsedFeature,
    RejectedFeature,
    read_feature,
    read_features,
)

SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]}
OPEN = {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4]]]}
POINT = {"type": "Point", "coordinates": [1.5, 2.5]}


def feature(geometry=SQUARE, properties=None, **members):
    return {"type": "Feature", "geometry": geometry, "properties": properties} | members


def collection(*features, **members):
    return {"type": "FeatureCollection", "features": list(features)} | members


def named_crs(name):
    return {"type": "name", "properties": {"name": name}}


def test_features_come_in_order_with_place_name_and_properties():
    first, second = read_features(
        collection(feature(properties={"name": "Office", "floor": 3}), feature(id="b"))
    )
    assert first == ParsedFeature(
        place="features[0]",
        geofence=Geofence.parse(SQUARE),
        name="Office",
        properties={"name": "Office", "floor": 3},
    )
    assert (second.place, second.name, second.properties) == ("features[1]", None, {})


def test_a_lone_feature_is_read():
    (only,) = read_features(feature())
    assert (only.place, only.geofence) == ("feature", Geofence.parse(SQUARE))


def test_a_point_with_a_radius_is_a_circle():
    (circle,) = read_features(feature(POINT, {"radius_m": 80, "name": "Kiosk"}))
    assert circle.geofence == Geofence.circle(1.5, 2.5, 80)


def test_one_bad_feature_of_5000_is_named():
    features = [feature() for _ in range(5000)]
    features[1234] = feature(OPEN)
    rejected = [f for f in read_features(collection(*features)) if isinstance(f, RejectedFeature)]
    (only,) = rejected
    assert (only.place, only.code) == ("features[1234].geometry.coordinates[0]", "ring_not_closed")
    assert only.message.startswith("Repeat the first position")


@pytest.mark.parametrize(
    ("bad", "place", "code"),
    [
        (feature(POINT), ".geometry.type", "unsupported_type"),
        (feature(POINT, {"radius_m": -1}), ".properties.radius_m", "radius_out_of_range"),
        (
            feature(POINT | {"coordinates": [900, 0]}, {"radius_m": 5}),
            ".geometry.coordinates",
            "projected_coordinates",
        ),
        (feature(POINT | {"crs": {}}, {"radius_m": 5}), ".geometry.crs", "crs_member"),
        (feature(None), ".geometry", "malformed"),
        (feature(SQUARE | {"crs": {}}), ".geometry.crs", "crs_member"),
        (feature(crs=named_crs("EPSG:31983")), ".crs", "crs_member"),
        (feature(properties=[]), "", None),
        (feature(properties="x"), ".properties", "not_a_feature"),
        ("feature", "", "not_a_feature"),
        (SQUARE, "", "not_a_feature"),
    ],
)
def test_a_bad_feature_is_rejected_where_it_is_bad(bad, place, code):
    good, found = read_features(collection(feature(), bad))
    assert isinstance(good, ParsedFeature)
    if code is None:
        assert isinstance(found, ParsedFeature)  # empty properties in whatever form are none
        return
    assert (found.place, found.code) == (f"features[1]{place}", code)


def test_another_reference_system_is_refused_at_once():
    for crs in (named_crs("urn:ogc:def:crs:EPSG::31983"), None, {}, "EPSG:4326"):
        with pytest.raises(InvalidGeofence) as refused:
            read_features(collection(feature(), crs=crs))
        assert (refused.value.code, refused.value.at) == ("crs_member", "crs")


def test_crs84_is_what_geojson_means_anyway():
    crs = named_crs("urn:ogc:def:crs:OGC:1.3:CRS84")
    assert [f.place for f in read_features(collection(feature(), crs=crs))] == ["features[0]"]


BOW_TIE = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
COLLECTION = {"type": "GeometryCollection", "geometries": [SQUARE, SQUARE]}


def test_a_feature_is_read_by_itself():
    assert read_feature(feature(), "line 3") == ParsedFeature(
        place="line 3", geofence=Geofence.parse(SQUARE)
    )


def test_a_collection_of_polygons_is_refused_with_what_to_write_instead():
    rejected = read_feature(feature(COLLECTION), "line 3")
    assert (rejected.place, rejected.code) == ("line 3.geometry.type", "unsupported_type")
    assert "MultiPolygon" in rejected.message


def test_a_feature_is_repaired_only_when_asked():
    assert read_feature(feature(BOW_TIE), "line 3").code == "self_intersection"
    repaired = read_feature(feature(BOW_TIE), "line 3", repair=True)
    assert repaired.geofence.shape.area == 0.5
    (note,) = repaired.notes
    assert note.code == "repaired"
    assert note.at.startswith("line 3.geometry.coordinates[0]")


def test_features_are_repaired_only_when_asked():
    document = collection(feature(OPEN), feature())
    assert [type(f) for f in read_features(document)] == [RejectedFeature, ParsedFeature]
    assert [f.geofence for f in read_features(document, repair=True)] == [
        Geofence.parse(SQUARE)
    ] * 2


@pytest.mark.parametrize("wrong", [None, [], {}, SQUARE, {"type": "FeatureCollection"}])
def test_a_document_without_features_is_refused(wrong):
    with pytest.raises(InvalidGeofence) as refused:
        read_features(wrong)
    assert refused.value.code == "no_features"
