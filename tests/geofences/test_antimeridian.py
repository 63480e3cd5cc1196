"""Fences across 180°: what they cover is what they would cover anywhere else."""

import random

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from doorstep_geofences import (
    Bounds,
    Fix,
    Geofence,
    InvalidGeofence,
    Question,
    SiteIndex,
    judge,
    read_geofence,
    read_shape,
)
from geofences.making import random_site, site

ACROSS = [[179, 0], [181, 0], [181, 1], [179, 1], [179, 0]]
HOLE = [[179.5, 0.2], [180.5, 0.2], [180.5, 0.8], [179.5, 0.8], [179.5, 0.2]]
EAST = [[179, 0], [180, 0], [180, 1], [179, 1], [179, 0]]
WEST = [[-180, 0], [-179, 0], [-179, 1], [-180, 1], [-180, 0]]


def document(*rings):
    return {"type": "Polygon", "coordinates": list(rings)}


def multi(*parts):
    return {"type": "MultiPolygon", "coordinates": list(parts)}


def turned(ring, degrees):
    return [[x + degrees, y] for x, y in ring]


def jumping(ring):
    """The ring with longitudes from -180 to 180, which jump."""
    return [[(x + 180) % 360 - 180, y] for x, y in ring]


WAYS = [
    pytest.param(lambda ring: ring, id="beyond 180"),
    pytest.param(lambda ring: turned(ring, -360), id="beyond -180"),
    pytest.param(jumping, id="jumping"),
]


def refusal(given):
    with pytest.raises(InvalidGeofence) as refused:
        read_geofence(given)
    return refused.value.code, refused.value.at


def same(one, other):
    return shapely.equals(one, other)


@pytest.mark.parametrize("way", WAYS)
def test_a_ring_across_180_is_cut_there_and_said_so(way):
    reading = read_geofence(document(way(ACROSS)))
    assert same(reading.geofence.shape, read_geofence(multi([EAST], [WEST])).geofence.shape)
    (note,) = reading.notes
    assert (note.code, note.at) == ("cut_at_antimeridian", "coordinates[0]")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hole_way", WAYS)
def test_a_hole_is_cut_with_its_outline_however_each_is_written(way, hole_way):
    shape = read_geofence(document(way(ACROSS), hole_way(HOLE))).geofence.shape
    assert shape.area == pytest.approx(2 - 0.6, abs=1e-12)
    assert not shape.intersects(shapely.Point(179.9, 0.5))
    assert not shape.intersects(shapely.Point(-179.9, 0.5))


@pytest.mark.parametrize("hole_way", WAYS)
def test_a_hole_on_one_side_is_taken_into_the_outline_s_turn(hole_way):
    small = [[180.2, 0.2], [180.4, 0.2], [180.4, 0.4], [180.2, 0.4], [180.2, 0.2]]
    shape = read_geofence(document(ACROSS, hole_way(small))).geofence.shape
    assert shape.area == pytest.approx(2 - 0.04, abs=1e-12)


def test_only_the_part_that_crosses_is_cut():
    far = turned(EAST, -100)
    reading = read_geofence(multi([far], [ACROSS]))
    assert len(reading.geofence.shape.geoms) == 3
    assert [note.at for note in reading.notes] == ["coordinates[1][0]"]


def test_what_is_written_a_turn_away_is_turned_back_and_said_so():
    reading = read_geofence(document(turned(WEST, 360)))
    assert same(reading.geofence.shape, shapely.Polygon(WEST))
    assert [note.code for note in reading.notes] == ["turned_by_360"]


def test_a_fence_that_ends_at_180_is_left_alone():
    for ring in (EAST, WEST):
        reading = read_geofence(document(ring))
        assert reading.geofence.to_document() == document(ring)
        assert reading.notes == ()


def test_what_was_cut_comes_back_as_it_was():
    cut = read_geofence(document(ACROSS, HOLE)).geofence
    again = read_geofence(cut.to_document())
    assert again.geofence == cut
    assert again.notes == ()


def test_a_shape_is_cut_like_a_document():
    shape = shapely.Polygon(ACROSS, [HOLE])
    assert read_shape(shape) == read_geofence(document(ACROSS, HOLE))
    assert Geofence.polygonal(shape) == read_shape(shape).geofence


@pytest.mark.parametrize(
    ("ring", "code", "at"),
    [
        # as written, all of the Earth but a strip; laid out, wider than anyone's fence
        ([[-100, 0], [100, 0], [100, 9], [-100, 9], [-100, 0]], "crosses_antimeridian", "[0]"),
        ([[100, 0], [200, 0], [200, 9], [100, 9], [100, 0]], "projected_coordinates", "[1]"),
        # metres of a local grid
        ([[0, 0], [300, 0], [300, 45], [0, 45], [0, 0]], "projected_coordinates", "[1]"),
        # around a pole
        ([[-180, 60], [-60, 60], [60, 60], [179, 60], [-180, 60]], "near_pole", ""),
        ([[0, -70], [120, -70], [-120, -70], [0, -70]], "near_pole", ""),
    ],
)
def test_what_could_be_meant_either_way_is_refused_never_inverted(ring, code, at):
    assert refusal(document(ring)) == (code, f"coordinates[0]{at}")


def test_wide_fences_that_do_not_cross_are_taken_as_they_are():
    ring = [[-170, -40], [-170, 40], [-40, 40], [-40, -40], [-170, -40]]
    assert read_geofence(document(ring)).geofence.shape.area == 130 * 80


def test_flaws_keep_their_place_in_the_document_as_written():
    bow_tie = [[179, 0], [181, 1], [181, 0], [179, 1], [179, 0]]
    code, at = refusal(multi([EAST], [jumping(bow_tie)]))
    assert code == "self_intersection"
    assert at.startswith("coordinates[1][0][")


def test_parts_that_overlap_only_on_the_map_are_found():
    """Apart as they are written, on one another on Earth."""
    mostly_east = [[178, 0], [181, 0], [181, 1], [178, 1], [178, 0]]
    both = multi([mostly_east], [WEST])
    code, at = refusal(both)
    assert (code, at) == ("nested_shells", "coordinates")
    reading = read_geofence(both, repair=True)
    assert reading.geofence.shape.area == pytest.approx(3)
    assert [note.code for note in reading.notes] == ["cut_at_antimeridian", "repaired"]


@given(st.integers(0, 2**32), st.sampled_from(["beyond", "jump"]))
def test_a_fence_moved_across_180_covers_what_it_covered_before(seed, way):
    """Moved by whole degrees and by powers of two, so that rounding hardly matters."""
    rng = random.Random(seed)
    fence = random_site(rng).geofence
    if fence.shape is None:
        return
    # on a grid of 2^-30°, which 0.1 mm cannot tell from the fence
    home = shapely.transform(
        fence.shape, lambda xy: np.round(xy * 2**30) / 2**30 + np.array([46, 0])
    )
    if not home.is_valid:
        return
    west, south, east, north = home.bounds
    across = shapely.transform(home, lambda xy: np.add(xy, (180, 0)))
    if way == "jump":
        across = shapely.transform(
            across, lambda xy: np.stack([(xy[:, 0] + 180) % 360 - 180, xy[:, 1]], axis=1)
        )
    cut = read_shape(across).geofence
    assert cut.shape.area == pytest.approx(home.area, rel=1e-9)
    generator = np.random.default_rng(seed)
    lon, lat = generator.uniform((west, south), (east, north), (200, 2)).T
    far = shapely.distance(home.boundary, shapely.points(lon, lat)) > 1e-9
    inside = shapely.intersects_xy(home, lon, lat)[far]
    there = (lon[far] + 360) % 360 - 180
    assert (shapely.intersects_xy(cut.shape, there, lat[far]) == inside).all()
    whole = cut.unwrapped_shape
    middle = (whole.bounds[0] + whole.bounds[2]) / 2
    near = there - 360 * np.rint((there - middle) / 360)
    assert (shapely.intersects_xy(whole, near, lat[far]) == inside).all()
    assert whole.boundary.length == pytest.approx(home.boundary.length, rel=1e-9)
    assert whole.bounds[2] - whole.bounds[0] == pytest.approx(east - west, abs=1e-9)


def test_a_cut_fence_is_whole_again_to_be_measured():
    """The seam is no edge: in the middle of the fence nothing is near."""
    for fence in (
        read_geofence(document(ACROSS)).geofence,
        read_geofence(multi([WEST], [EAST])).geofence,
    ):
        whole = fence.unwrapped_shape
        assert same(whole, shapely.Polygon(ACROSS))
        assert whole.boundary.distance(shapely.Point(180, 0.5)) == 0.5


def test_sides_cut_at_different_positions_are_joined_too():
    steps = [[180, 0], [180, 0.3], [180, 0.7], [180, 1]]
    east = [[179, 0], *steps, [179, 1], [179, 0]]
    whole = read_geofence(multi([east], [WEST])).geofence.unwrapped_shape
    assert same(whole, shapely.Polygon(ACROSS))


def test_parts_on_both_sides_without_a_seam_lie_side_by_side():
    fiji = turned(EAST, -1)
    whole = read_geofence(multi([turned(WEST, 1)], [fiji])).geofence.unwrapped_shape
    assert whole.bounds == (178, 0, 182, 1)
    assert whole.area == 2


def test_other_fences_are_measured_as_they_are():
    for given_document in (document(EAST), multi([EAST], [turned(EAST, -100)])):
        fence = Geofence.parse(given_document)
        assert fence.unwrapped_shape is fence.shape
    assert Geofence.circle(180, 0, 50).unwrapped_shape is None


#: Higher on the west side: beside it, across 180°, there is nothing on the east side.
STEP = [[179.9, 0], [180, 0], [180, 0.2], [180.1, 0.2], [180.1, -0.1], [179.9, -0.1], [179.9, 0]]


def reasons(fence, lon, lat, **options):
    at = site(fence, **options)
    fix = Fix(lat=lat, lon=lon, accuracy_m=20.0)
    questions = [Question(fix=fix, site_id=at.site_id), Question(fix=fix, site_id=None)]
    return [verdict.reason.value for verdict in judge(questions, SiteIndex([at]))]


@pytest.mark.parametrize("way", WAYS)
def test_what_lies_just_across_180_is_near(way):
    """5 m from a side that begins at -180: the other part's edge is kilometres away."""
    fence = read_geofence(document(way(STEP))).geofence
    assert reasons(fence, 179.99995, 0.15) == ["near_boundary", "near_boundary"]
    assert reasons(fence, 179.99995, 0.15, tolerance_m=50) == ["inside", "inside"]
    assert reasons(fence, 179.995, 0.15) == ["outside", "no_site_near"]


def test_the_seam_in_the_middle_of_a_fence_is_no_edge():
    fence = read_geofence(document(ACROSS)).geofence
    for lon in (179.99999, 180.0, -180.0, -179.99999):
        assert reasons(fence, lon, 0.5, assurance=0.99) == ["inside", "inside"]
    assert site(fence).area.distance_m(180.0, 0.5) > 50_000


def test_the_box_of_a_cut_fence_is_no_wider_than_the_fence():
    bounds = Bounds.of(read_geofence(document(ACROSS)).geofence, 0.0)
    assert (bounds.west, bounds.east) == (179, 181)
