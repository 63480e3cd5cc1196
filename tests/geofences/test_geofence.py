import copy
import json
import math
import random
import re

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from doorstep_geofences import MAX_VERTICES, Flaw, Geofence, InvalidGeofence
from geofences.making import DATA, polygon, random_site, square

SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]
HOLE = [[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]
CIRCLE = {"type": "Circle", "center": [1.5, 2.5], "radius_m": 80}


def document(*rings, **members):
    return {"type": "Polygon", "coordinates": list(rings)} | members


def multi(*parts):
    return {"type": "MultiPolygon", "coordinates": list(parts)}


def moved(ring, by):
    return [[x + by, y] for x, y in ring]


def refusal(given):
    with pytest.raises(InvalidGeofence) as refused:
        Geofence.parse(given)
    return refused.value.code, refused.value.at


@pytest.mark.parametrize(
    "given",
    [
        document(SQUARE),
        document(SQUARE, HOLE),
        document(SQUARE[::-1], HOLE),
        multi([SQUARE]),
        multi([SQUARE, HOLE], [moved(SQUARE, 10)]),
        CIRCLE,
    ],
)
def test_a_document_comes_back_as_it_was(given):
    assert Geofence.parse(given).to_document() == given
    assert Geofence.parse(json.loads(json.dumps(Geofence.parse(given).to_document()))) == (
        Geofence.parse(given)
    )


@given(st.integers(0, 2**32))
def test_any_fence_comes_back_to_the_last_bit(seed):
    fence = random_site(random.Random(seed)).geofence
    assert Geofence.parse(fence.to_document()) == fence


def test_heights_are_dropped():
    high = document([[*position, 30.5] for position in SQUARE])
    assert Geofence.parse(high) == Geofence.parse(document(SQUARE))
    assert Geofence.polygonal(shapely.force_3d(polygon(square(9)).shape)) == polygon(square(9))


def test_a_bbox_is_allowed():
    assert Geofence.parse(document(SQUARE, bbox=[0, 0, 4, 4])).shape.area == 16


@pytest.mark.parametrize(
    ("given", "code", "at"),
    [
        (document(SQUARE[:-1]), "ring_not_closed", "coordinates[0]"),
        (document(SQUARE[:2] + SQUARE[:1]), "too_few_positions", "coordinates[0]"),
        (document(SQUARE, HOLE[:3]), "too_few_positions", "coordinates[1]"),
        (document([[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]), "self_intersection", None),
        (document(SQUARE, moved(HOLE, 10)), "hole_outside_shell", "coordinates[1]"),
        (document(SQUARE, HOLE, moved(HOLE, 0.5)), "self_intersection", "coordinates["),
        (
            document(SQUARE, [[0.5, 0.5], [3, 0.5], [3, 3], [0.5, 3], [0.5, 0.5]], HOLE),
            "nested_holes",
            "coordinates[",
        ),
        (multi([moved(SQUARE, 9)], [SQUARE], [HOLE]), "nested_shells", "coordinates["),
        (
            document(SQUARE, [[0, 2], [2, 4], [4, 2], [2, 0], [0, 2]]),
            "disconnected_interior",
            "coordinates[",
        ),
        (document([[0, 0], [1, 1], [2, 2], [0, 0]]), "zero_area", "coordinates[0]"),
        (document([[1, 1]] * 5), "zero_area", "coordinates[0]"),
        (
            multi([SQUARE], [moved(SQUARE, 10)[:-1]]),
            "ring_not_closed",
            "coordinates[1][0]",
        ),
        (
            document([[333000, 7390000], [333100, 7390000], [333100, 7390100], [333000, 7390000]]),
            "projected_coordinates",
            "coordinates[0][0]",
        ),
        (
            document([[100, 0], [4, 0], [4, 91], [100, 0]]),
            "projected_coordinates",
            "coordinates[0][2]",
        ),
        (document([[0, 0], [541, 0], [4, 4], [0, 0]]), "projected_coordinates", "coordinates[0]["),
        (
            document([[-23.5, -46.6], [35.6, 139.7], [35.7, 139.7], [-23.5, -46.6]]),
            "latitude_and_longitude_swapped",
            "coordinates[0][1]",
        ),
        (
            document([[35, 139], [36, 139], [36, 181], [35, 139]]),
            "projected_coordinates",
            "coordinates[0][0]",
        ),
        (document([[0, 80], [9, 80], [9, 89.5], [0, 80]]), "near_pole", "coordinates[0][2]"),
        (document([[0, -80], [9, -90], [9, -80], [0, -80]]), "near_pole", "coordinates[0][1]"),
        (document([[0, 0], [4, math.nan], [4, 4], [0, 0]]), "not_finite", "coordinates[0][1]"),
        (document([[0, 0], [math.inf, 0], [4, 4], [0, 0]]), "not_finite", "coordinates[0][1]"),
        (document([[0, 0], [10**400, 0], [4, 4], [0, 0]]), "not_finite", "coordinates[0][1]"),
        (document([[0, 0], ["4", 0], [4, 4], [0, 0]]), "malformed", "coordinates[0][1]"),
        (document([[0, 0], [True, 0], [4, 4], [0, 0]]), "malformed", "coordinates[0][1]"),
        (document([[0, 0], [None, 0], [4, 4], [0, 0]]), "malformed", "coordinates[0][1]"),
        (document([[0, 0], [4], [4, 4], [0, 0]]), "malformed", "coordinates[0][1]"),
        (document([[0, 0], [4, 0, 1, 2], [4, 4], [0, 0]]), "malformed", "coordinates[0][1]"),
        (document(), "malformed", "coordinates"),
        (multi(), "malformed", "coordinates"),
        (multi([]), "malformed", "coordinates[0]"),
        (multi(SQUARE), "too_few_positions", "coordinates[0][0]"),
        (document("ring"), "malformed", "coordinates[0]"),
        ({"type": "Polygon"}, "malformed", "coordinates"),
        ({"type": "Polygon", "coordinates": {}}, "malformed", "coordinates"),
        (document(SQUARE, crs=None), "crs_member", "crs"),
        (document(SQUARE, name="office"), "malformed", None),
        ({"type": "Point", "coordinates": [0, 0]}, "unsupported_type", "type"),
        ({"type": "polygon", "coordinates": [SQUARE]}, "unsupported_type", "type"),
        ({"coordinates": [SQUARE]}, "malformed", "type"),
        ({"type": ["Polygon"]}, "malformed", "type"),
        (None, "malformed", None),
        ([], "malformed", None),
        (CIRCLE | {"radius_m": 0}, "radius_out_of_range", "radius_m"),
        (CIRCLE | {"radius_m": -1}, "radius_out_of_range", "radius_m"),
        (CIRCLE | {"radius_m": 100_001}, "radius_out_of_range", "radius_m"),
        (CIRCLE | {"radius_m": math.nan}, "not_finite", "radius_m"),
        (CIRCLE | {"radius_m": "80"}, "malformed", "radius_m"),
        (CIRCLE | {"center": [1]}, "malformed", "center"),
        (CIRCLE | {"center": [333000, 7390000]}, "projected_coordinates", "center"),
        (CIRCLE | {"center": [35.7, 139.7]}, "latitude_and_longitude_swapped", "center"),
        (CIRCLE | {"center": [0, 89.1]}, "near_pole", "center"),
        (CIRCLE | {"center": [0, 88.9], "radius_m": 20_000}, "near_pole", "center"),
        (CIRCLE | {"coordinates": []}, "malformed", None),
        ({"type": "Circle"}, "malformed", "center"),
    ],
)
def test_a_flawed_fence_is_refused_with_its_code_and_place(given, code, at):
    found_code, found_at = refusal(given)
    assert found_code == code
    assert found_at == at or (at or "coordinates[0]") in found_at


def test_a_crossing_is_placed_at_the_edge_that_crosses():
    bow_tie = moved([[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]], 20)
    code, at = refusal(multi([SQUARE], [bow_tie]))
    assert code == "self_intersection"
    assert at in {"coordinates[1][0][0]", "coordinates[1][0][2]"}


def test_empty_and_other_shapes_are_refused():
    for shape in (
        shapely.Polygon(),
        shapely.MultiPolygon(),
        shapely.from_wkt("MULTIPOLYGON (EMPTY, ((1 0,0 1,-1 0,0 -1,1 0)))"),
    ):
        with pytest.raises(InvalidGeofence) as refused:
            Geofence.polygonal(shape)
        assert refused.value.code == "too_few_positions"
    with pytest.raises(InvalidGeofence) as refused:
        Geofence.polygonal(shapely.Point(0, 0))
    assert refused.value.code == "unsupported_type"


def test_a_bool_and_a_text_are_no_numbers_in_any_ring():
    """Nor where all the others are: it is numbers at once that are read."""
    for wrong in (True, "1", None):
        hole = [*HOLE[:2], [2, wrong], *HOLE[3:]]
        assert refusal(document(SQUARE, hole)) == ("malformed", "coordinates[1][2]")


def test_heights_may_be_given_for_some_positions_only():
    mixed = [[*position, 7] if i % 2 else position for i, position in enumerate(SQUARE)]
    assert Geofence.parse(document(mixed)) == Geofence.parse(document(SQUARE))


def test_what_was_stored_is_taken_as_it_is():
    fence = Geofence.parse(multi([SQUARE, HOLE]))
    assert Geofence.of_stored(fence.shape) == fence
    Geofence.of_stored(shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]))


def test_a_fence_knows_its_area():
    assert polygon(square(50)).area_m2 == pytest.approx(10_000, rel=0.01)
    assert polygon(square(50), square(25)).area_m2 == pytest.approx(7_500, rel=0.01)
    assert Geofence.circle(0, 60, 100).area_m2 == pytest.approx(31_415.93, rel=1e-6)


def test_the_area_of_a_large_fence_is_right_too():
    """From 50° to 60° north and 10° wide: on the authalic sphere, 0.5 % off at this size."""
    fence = Geofence.parse(document([[0, 50], [10, 50], [10, 60], [0, 60], [0, 50]]))
    sphere_m2 = (
        6_371_007**2 * math.radians(10) * (math.sin(math.radians(60)) - math.sin(math.radians(50)))
    )
    assert fence.area_m2 == pytest.approx(sphere_m2, rel=0.01)


def test_a_million_positions_are_refused_unread():
    """The one position is not even valid: nobody looked at it."""
    assert refusal(document([None] * 1_000_000)) == ("too_many_vertices", "coordinates")
    assert refusal(multi(*[[[None] * 100]] * 10_000)) == ("too_many_vertices", "coordinates")


def test_a_shape_s_positions_count_too():
    turns = np.linspace(0, 2 * np.pi, MAX_VERTICES + 2)
    with pytest.raises(InvalidGeofence) as refused:
        Geofence.polygonal(shapely.Polygon(np.stack([np.cos(turns), np.sin(turns)], axis=1)))
    assert refused.value.code == "too_many_vertices"


def test_as_many_positions_as_allowed_are_read():
    turns = np.linspace(0, 2 * np.pi, MAX_VERTICES)
    ring = np.stack([np.cos(turns), np.sin(turns)], axis=1).tolist()
    ring[-1] = ring[0]
    assert len(Geofence.parse(document(ring)).shape.exterior.coords) == MAX_VERTICES


def test_a_comb_of_slanted_teeth_is_refused_before_its_edges_are_compared():
    teeth = [[1 + i * 1e-6, 1.0] if i % 2 else [i * 1e-6, 0.0] for i in range(90_000)]
    assert refusal(document([[0, -1], *teeth, [2, -1], [0, -1]])) == (
        "too_intricate",
        "coordinates",
    )


@pytest.mark.parametrize("flaw", Flaw)
def test_every_flaw_says_what_to_do_next(flaw):
    error = InvalidGeofence(flaw, at="coordinates[0]")
    assert (error.code, error.message, str(error)) == (flaw.value, flaw.advice, flaw.advice)
    assert re.match(r"[A-Z].*\.$", flaw.advice)


def test_a_refusal_carries_no_coordinate():
    with pytest.raises(InvalidGeofence) as refused:
        Geofence.parse(document([[0, 0], [12.3456, 1], [12.3456, 0], [0, 1], [0, 0]]))
    assert "12.3" not in f"{refused.value} {refused.value.at} {refused.value!r}"


def test_parsing_leaves_the_document_as_it_was():
    given = document(SQUARE, HOLE)
    before = copy.deepcopy(given)
    Geofence.parse(given).to_document()["coordinates"].clear()
    assert given == before


def _validity_cases():
    lines = (DATA / "jts_validity_cases.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_jts_agrees_what_is_valid():
    """Sizes aside: the pictures are scaled into degrees, by a power of two, which is exact."""
    disagreements = []
    for case in _validity_cases():
        shape = shapely.from_wkt(case["wkt"])
        size = max(np.abs(shapely.get_coordinates(shape)).max(), 80)
        scale = 2.0 ** -math.ceil(math.log2(size / 80))
        try:
            Geofence.polygonal(shapely.transform(shape, lambda xy, s=scale: xy * s))
            valid = True
        except InvalidGeofence:
            valid = False
        if valid is not case["expected"]:
            disagreements.append(case)
    assert disagreements == []
    assert len(_validity_cases()) == 393
