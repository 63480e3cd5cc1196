"""Repair: done when asked, and said what it did."""

import json

import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st

from doorstep_geofences import Flaw, Geofence, InvalidGeofence, read_geofence, read_shape
from geofences.making import DATA

SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]
HOLE = [[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]
BOW_TIE = [[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]
FLAT = [[0, 0], [1, 1], [2, 2], [0, 0]]


def document(*rings):
    return {"type": "Polygon", "coordinates": list(rings)}


def multi(*parts):
    return {"type": "MultiPolygon", "coordinates": list(parts)}


def moved(ring, by):
    return [[x + by, y] for x, y in ring]


def repaired(given):
    """The repaired shape; the flaws told, each with its place."""
    with pytest.raises(InvalidGeofence):
        read_geofence(given)
    reading = read_geofence(given, repair=True)
    assert {note.code for note in reading.notes} == {"repaired"}
    told = {note.message.split()[1].rstrip(":"): note.at for note in reading.notes}
    return reading.geofence.shape, told


def refusal_of_repair(given):
    with pytest.raises(InvalidGeofence) as refused:
        read_geofence(given, repair=True)
    return refused.value.code


def test_a_sound_fence_is_left_as_it_is():
    for sound in (document(SQUARE, HOLE), multi([SQUARE], [moved(SQUARE, 9)])):
        reading = read_geofence(sound, repair=True)
        assert reading.geofence == Geofence.parse(sound)
        assert reading.notes == ()


@pytest.mark.parametrize(
    ("given", "area", "flaw", "at"),
    [
        (document(SQUARE[:-1]), 16, "ring_not_closed", "coordinates[0]"),
        (document(SQUARE[:3]), 8, "ring_not_closed", "coordinates[0]"),
        (multi([SQUARE], [moved(HOLE[:-1], 9)]), 17, "ring_not_closed", "coordinates[1][0]"),
        # both lobes
        (document(BOW_TIE), 0.5, "self_intersection", "coordinates[0]["),
        # the middle of a star belongs to it
        (
            document([[0, 3], [-2, -3], [3, 1], [-3, 1], [2, -3], [0, 3]]),
            12.2386,
            "self_intersection",
            "coordinates[0][",
        ),
        # beside its outline: a polygon of its own, even if they touch
        (document(SQUARE, moved(HOLE, 9)), 17, "hole_outside_shell", "coordinates[1]["),
        (document(SQUARE, moved(HOLE, 3)), 17, "hole_outside_shell", "coordinates[1]"),
        # across it: what is inside is taken away
        (document(SQUARE, moved(HOLE, 2.5)), 15.5, "self_intersection", "coordinates["),
        # the outline was written second
        (document(HOLE, SQUARE), 15, "hole_outside_shell", "coordinates[1]"),
        # the mainland was written as a hole of an island, and it has a lake
        (
            document(moved(HOLE, 9), HOLE, SQUARE),
            16,
            "hole_outside_shell",
            "coordinates[1]",
        ),
        (
            document(SQUARE, [[0.5, 0.5], [3, 0.5], [3, 3], [0.5, 3], [0.5, 0.5]], HOLE),
            16 - 6.25,
            "nested_holes",
            "coordinates[",
        ),
        (multi([SQUARE], [HOLE]), 16, "nested_shells", "coordinates[1]"),
        (multi([SQUARE], [moved(SQUARE, 2)]), 24, "self_intersection", "coordinates["),
        (multi([SQUARE], [SQUARE]), 16, "self_intersection", "coordinates["),
        (
            document(SQUARE, [[0, 2], [2, 4], [4, 2], [2, 0], [0, 2]]),
            8,
            "disconnected_interior",
            "coordinates[",
        ),
        (document(SQUARE, HOLE, HOLE), 15, "duplicate_ring", "coordinates[2]"),
        (document(SQUARE, HOLE, HOLE[::-1]), 15, "duplicate_ring", "coordinates[2]"),
        (document(SQUARE, SQUARE), 16, "duplicate_ring", "coordinates[1]"),
        (document(SQUARE, FLAT), 16, "zero_area", "coordinates[1]"),
        (document(SQUARE, [[1, 1]] * 4), 16, "zero_area", "coordinates[1]"),
        # there and back again
        (
            document(SQUARE, [[1, 1], [2, 2], [2, 3], [2, 2], [1, 1]]),
            16,
            "zero_area",
            "coordinates[1]",
        ),
        (multi([FLAT], [SQUARE]), 16, "zero_area", "coordinates[0][0]"),
    ],
)
def test_what_is_meant_is_kept_and_what_was_wrong_is_told(given, area, flaw, at):
    shape, told = repaired(given)
    assert shape.is_valid
    assert shape.area == pytest.approx(area, rel=1e-5)
    assert told[flaw].startswith(at)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (
            document([[-23.5, -46.6], [35.6, 139.7], [35.7, 139.7]]),
            "latitude_and_longitude_swapped",
        ),
        (
            document([[333000, 7390000], [333100, 7390000], [333100, 7390100]]),
            "projected_coordinates",
        ),
        (document(SQUARE) | {"crs": {}}, "crs_member"),
        (document([[0, 0], [4, float("nan")], [4, 4], [0, 0]]), "not_finite"),
        (document(FLAT), "zero_area"),
        (document(FLAT[:-1]), "zero_area"),
        (document([[1, 1]] * 5), "zero_area"),
        (multi([FLAT], [FLAT]), "zero_area"),
        # an outline without an area, but a hole with one
        (document(FLAT, SQUARE), "zero_area"),
        (document(SQUARE[:2]), "too_few_positions"),
        (document([*SQUARE[:2], SQUARE[0]]), "too_few_positions"),
        (document(SQUARE, HOLE[:2]), "too_few_positions"),
        (document([[0, 80], [9, 80], [9, 89.5], [0, 80]]), "near_pole"),
        (document([[0, 0], ["4", 0], [4, 4], [0, 0]]), "malformed"),
        (document([None] * 1_000_000), "too_many_vertices"),
    ],
)
def test_what_cannot_be_meant_is_refused_all_the_same(given, code):
    assert refusal_of_repair(given) == code


def test_the_area_before_is_what_the_rings_say_literally():
    (note,) = read_geofence(document(HOLE, SQUARE), repair=True).notes
    assert note.area_before_m2 == 0
    assert note.area_after_m2 == pytest.approx(15 * 111_000**2, rel=0.02)
    (note,) = read_geofence(document(SQUARE[:-1]), repair=True).notes
    assert note.area_before_m2 == note.area_after_m2 > 0


def test_every_flaw_of_a_fence_is_told_once():
    _, told = repaired(document(SQUARE[:-1], FLAT, FLAT, moved(HOLE, 9), moved(HOLE, 12)))
    assert told == {
        "ring_not_closed": "coordinates[0]",
        "zero_area": "coordinates[1]",
        "hole_outside_shell": "coordinates[3]",
    }


def test_a_fence_across_180_is_repaired_and_cut():
    reading = read_geofence(document([[179, 0], [-179, 1], [-179, 0], [179, 1]]), repair=True)
    assert reading.geofence.shape.area == 1
    assert [note.code for note in reading.notes] == ["cut_at_antimeridian", "repaired", "repaired"]
    assert reading.geofence.shape.bounds == (-180, 0, 180, 1)


def test_a_shape_is_repaired_like_a_document():
    shape = shapely.Polygon(BOW_TIE)
    assert read_shape(shape, repair=True) == read_geofence(document(BOW_TIE), repair=True)


def test_a_part_that_is_empty_is_refused_all_the_same():
    with pytest.raises(InvalidGeofence) as refused:
        read_shape(shapely.from_wkt("MULTIPOLYGON (EMPTY, ((1 0,0 1,-1 0,1 0)))"), repair=True)
    assert refused.value.code == "too_few_positions"


def test_edges_that_cross_too_often_are_refused_not_counted_out():
    """GEOS would need a minute for these 40,000 crossings."""
    rows = [[(i + 1) // 2 % 2, i // 2 / 200] for i in range(400)]
    columns = [[i // 2 / 200, (i + 1) // 2 % 2] for i in range(400)]
    assert refusal_of_repair(document([*rows, *columns])) == "too_intricate"


def test_edges_that_all_might_cross_are_refused_not_looked_at():
    """One crossing, but the boxes of 1,200 slanted edges overlap all others."""
    teeth = [[1 + i * 1e-6, 1.0] if i % 2 else [i * 1e-6, 0.0] for i in range(1_200)]
    teeth[600] = [0.5, -2.0]
    comb = document([[0, -1], *teeth, [2, -1], [0, -1]])
    assert refusal_of_repair(comb) == "too_intricate"


def _municipalities():
    lines = (DATA / "br_sp_municipalities.jsonl").read_text().splitlines()
    return {f["properties"]["name"]: f["geometry"] for f in map(json.loads, lines)}


@pytest.mark.parametrize(("name", "km2", "parts"), [("Bertioga", 490, 2), ("Peruíbe", 326, 4)])
def test_a_municipality_with_its_mainland_as_a_hole_is_repaired(name, km2, parts):
    """The areas are those that the state's statistics give, but for the drawing's error."""
    geometry = _municipalities()[name]
    shape, told = repaired(geometry)
    assert told.keys() == {"hole_outside_shell"}
    assert len(shape.geoms) == parts
    (note,) = read_geofence(geometry, repair=True).notes
    assert note.area_after_m2 == pytest.approx(km2 * 1e6, rel=0.005)
    assert note.area_before_m2 < 0.3e6


def test_a_valid_municipality_keeps_the_hole_that_is_another_one():
    around, within = (
        read_geofence(_municipalities()[name], repair=True)
        for name in ("São Pedro", "Águas de São Pedro")
    )
    assert around.notes == within.notes == ()
    assert len(around.geofence.shape.interiors) == 1
    assert not around.geofence.shape.covers(within.geofence.shape.centroid)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=12))
@example([(0, 0), (0, 1), (1, 0), (0, 0), (1, 0), (0, 1)])
def test_any_outline_is_repaired_to_what_is_sound_or_refused(corners):
    """Corners on a grid cross, touch, repeat and lie on one line as no drawing does."""
    given_document = document([list(map(float, corner)) for corner in corners])
    if shapely.make_valid(shapely.Polygon(corners)).area == 0.0:
        with pytest.raises(InvalidGeofence) as refused:
            read_geofence(given_document, repair=True)
        assert refused.value.flaw in {Flaw.ZERO_AREA, Flaw.TOO_FEW_POSITIONS}
        return
    fence = read_geofence(given_document, repair=True).geofence
    assert fence.shape.is_valid
    assert read_geofence(fence.to_document()).geofence == fence
    assert fence.shape.area <= shapely.MultiPoint(corners).convex_hull.area * (1 + 1e-9)
