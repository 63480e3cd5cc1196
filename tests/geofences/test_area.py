import json
import math
import random

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from doorstep_geofences import Fix, Geofence, InvalidGeofence, Outcome, Reason
from doorstep_geofences.gaussian import NODES, NODES_ERROR, SIGMAS_PER_ACCURACY
from doorstep_geofences.outline import MASS_ERROR
from geofences.making import (
    DATA,
    LON,
    claimed,
    place,
    polygon,
    random_site,
    ring,
    round_ring,
    searched,
    site,
    square,
)

seeds = st.integers(0, 2**32)


def _cases(name):
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


def _into_degrees(shape, point):
    """The same picture within the range of degrees: scaling by a power of two is exact."""
    scale = 1.0
    while scale * np.abs(shapely.get_coordinates(shape)).max() > 80:
        scale /= 2
    return shapely.transform(shape, lambda xy: xy * scale), np.array(point) * scale


def _covers(shape, point):
    scaled, (lon, lat) = _into_degrees(shape, point)
    return bool(site(Geofence.polygonal(scaled)).area.covers(lon, lat))


@given(seeds)
def test_inside_is_what_planar_geos_covers(seed):
    rng = random.Random(seed)
    shape = random_site(rng).geofence.shape or polygon(square(50)).shape
    area = site(Geofence.polygonal(shape)).area
    west, south, east, north = shape.bounds
    points = [(rng.uniform(west, east), rng.uniform(south, north)) for _ in range(20)]
    # Corners and points upon edges, as far as rounding lets them be.
    edges = shape.segmentize(0.0001).boundary
    points += rng.sample([tuple(xy) for xy in shapely.get_coordinates(edges)], 3)
    for lon, lat in points:
        assert area.covers(lon, lat) == shape.covers(shapely.Point(lon, lat))


@given(seeds)
def test_the_boundary_is_inside(seed):
    rng = random.Random(seed)
    at = random_site(rng)
    shape = at.geofence.shape or polygon(square(50)).shape
    area = site(Geofence.polygonal(shape)).area
    assert all(area.covers(lon, lat) for lon, lat in shapely.get_coordinates(shape))


def test_the_boundary_of_a_circle_is_inside():
    area = site(Geofence.circle(10.0, 0.0, 100.0)).area
    lat = 100.0 / area._plane.lat_degree_m
    assert area.covers(10.0, math.nextafter(lat, 0))
    assert not area.covers(10.0, lat * 1.000001)


@pytest.mark.parametrize("case", _cases("jts_point_in_polygon_cases.jsonl"))
def test_jts_agrees_where_a_point_is(case):
    shape, point = shapely.from_wkt(case["polygon"]), shapely.from_wkt(case["point"])
    if "EMPTY" in case["polygon"]:
        with pytest.raises(InvalidGeofence):
            Geofence.polygonal(shape)
        return
    assert _covers(shape, (point.x, point.y)) is case["covers"]


@pytest.mark.parametrize(
    "case",
    [c for c in _cases("turf_point_in_polygon_cases.jsonl") if c["boundary_counts_as_inside"]],
)
def test_turf_agrees_where_a_point_is(case):
    shape = shapely.from_geojson(json.dumps(case["polygon"]))
    if not shape.is_valid:  # one fence of Turf's lies in another; we refuse such
        with pytest.raises(InvalidGeofence, match="in another polygon"):
            _covers(shape, case["point"])
        return
    assert _covers(shape, case["point"]) is case["expected"]


def test_tolerance_contains_the_fence_and_no_more_than_its_metres():
    grown = site(polygon(square(100)), tolerance_m=20.0).area
    for lon, lat in square(100):
        assert grown.covers(lon, lat)
        assert grown.distance_m(lon, lat) == pytest.approx(20.0, rel=0.01)


@given(seeds, st.floats(1, 300))
def test_a_tolerance_is_what_a_buffer_would_be(seed, tolerance_m):
    """Also in holes and between parts; a buffer's own corners are a hair too short."""
    rng = random.Random(seed)
    shape = random_site(rng).geofence.shape or polygon(square(50)).shape
    area = site(Geofence.polygonal(shape), tolerance_m=tolerance_m).area
    flat = shapely.transform(shape, area._to_plane)
    inner, outer = (flat.buffer(tolerance_m * s, quad_segs=64) for s in (0.99, 1.01))
    for _ in range(20):
        lon, lat = place(rng.uniform(-500, 500), rng.uniform(-500, 500))
        point = area._point(lon, lat)
        assert inner.covers(point) <= bool(area.covers(lon, lat)) <= outer.covers(point)
        assert area.distance_m(lon, lat) <= outer.boundary.distance(point) + 0.03 * tolerance_m


@given(seeds, st.floats(0.1, 300))
def test_what_is_outside_is_reached_over_its_distance(seed, reach_m):
    rng = random.Random(seed)
    area = random_site(rng).area
    lon, lat = place(rng.uniform(-400, 400), rng.uniform(-400, 400))
    distance_m = area.distance_m(lon, lat)
    if not area.covers(lon, lat) and abs(distance_m - reach_m) > 1e-6:
        assert area.reaches(lon, lat, reach_m) == (distance_m <= reach_m)


@given(seeds)
def test_of_two_discs_one_is_inside_and_one_around(seed):
    rng = random.Random(seed)
    area = random_site(rng).area
    discs = area.discs
    for _ in range(20):
        lon, lat = place(rng.gauss(0, 200), rng.gauss(0, 200))
        away_m, distance_m = discs.away_m(lon, lat), area.distance_m(lon, lat)
        if away_m <= discs.inner_m:
            assert area.covers(lon, lat)
            assert distance_m >= discs.inner_m - away_m
        if away_m > discs.outer_m:
            assert not area.covers(lon, lat)
            assert distance_m >= away_m - discs.outer_m


@given(seeds)
def test_what_a_disc_alone_assures_is_probable_enough(seed):
    rng = random.Random(seed)
    at = random_site(rng)
    area, rung_m = at.area, 2 ** (rng.randrange(36) / 4)
    lon, lat = place(rng.gauss(0, 60), rng.gauss(0, 60))
    if area.discs.assure(area.discs.away_m(lon, lat), rung_m):
        sigmas_m = np.array([rung_m, rung_m / 2, rung_m / 8]) / SIGMAS_PER_ACCURACY
        found = area.probabilities(lon, lat, sigmas_m)
        error = MASS_ERROR if getattr(area, "is_exact", False) else NODES_ERROR
        assert (found >= at.assurance - error).all()


def test_places_that_are_tried_say_of_discs_what_discs_hold():
    for radius in (0.5, 1.0, 2.0, 3.5):
        for off in np.linspace(0, radius, 8):
            draws = np.random.default_rng(5).normal(size=(200_000, 2))
            truth = (np.hypot(draws[:, 0] + off, draws[:, 1]) <= radius).mean()
            for turn in np.linspace(0, 2 * math.pi, 7):
                east, north = NODES[0] + off * math.cos(turn), NODES[1] + off * math.sin(turn)
                tried = (np.hypot(east, north) <= radius).mean()
                assert tried >= truth - NODES_ERROR


@pytest.mark.parametrize("lat", [-23.5, 60.0, 0.0])
@pytest.mark.parametrize("azimuth", range(0, 360, 30))
def test_distances_are_geodesic_within_half_a_percent(lat, azimuth):
    """Seen from outside: the accuracy at which a fix 1 km away becomes plausible."""
    at = site(polygon(square(0.01, LON, lat)), max_accuracy_m=1000.0)
    turn = math.radians(azimuth)
    lon_of_fix, lat_of_fix = place(1000 * math.sin(turn), 1000 * math.cos(turn), LON, lat)
    accuracy_m = _bisect(
        lambda a: (
            claimed(Fix(lon=lon_of_fix, lat=lat_of_fix, accuracy_m=a), at).outcome
            is Outcome.REJECTED
        )
    )
    truth_m = _vincenty_m(LON, lat, lon_of_fix, lat_of_fix)
    assert 2.01 * accuracy_m == pytest.approx(truth_m, rel=0.005)


@pytest.mark.parametrize("lat", [59.55, 60.0, 60.35])
def test_a_hundred_kilometres_are_measured_on_the_safe_side(lat):
    """The scale of the poleward end understates east-west distances, by 2.7 % at most here."""
    at = site(polygon([[10, 59.5], [11, 59.5], [11, 60.4], [10, 60.4], [10, 59.5]]))
    truth_m = _vincenty_m(11, lat, 11.05, lat)
    assert 0.97 * truth_m < at.area.distance_m(11.05, lat) <= truth_m


SIGMA_M = 20.0


def assert_probability(area, lon, lat, truth, error):
    assert area.probabilities(lon, lat, np.array([SIGMA_M])) == pytest.approx([truth], abs=error)


def both_ways(geofence):
    """An area with an outline, and one without: a hair of tolerance takes it away."""
    return (
        (site(geofence).area, MASS_ERROR),
        (site(geofence, tolerance_m=1e-6).area, 0.02),
    )


@pytest.mark.parametrize("turn", np.linspace(0, 2 * math.pi, 13))
def test_the_probability_of_a_half_plane(turn):
    c, s = math.cos(turn), math.sin(turn)
    corners = [(0, 5000), (0, -5000), (9000, -5000), (9000, 5000)]
    half = polygon(ring([(x * c - y * s, x * s + y * c) for x, y in corners]))
    for area, error in both_ways(half):
        for inside_m in np.linspace(0, 90, 61):
            lon, lat = place(inside_m * c, inside_m * s)
            truth = 0.5 * (1 + math.erf(inside_m / SIGMA_M / math.sqrt(2)))
            assert_probability(area, lon, lat, truth, error + 0.001)


@pytest.mark.parametrize(
    ("outer_m", "inner_m", "off_m"), [(20, 5, 15), (50, 10, 30), (100, 60, 70), (15, 4, 6)]
)
def test_the_probability_of_rings(outer_m, inner_m, off_m):
    """From inside, a hole and what is behind it is outside."""
    draws = np.random.default_rng(7).normal(size=(1_000_000, 2)) * SIGMA_M
    lon, lat = place(off_m, 0)
    distance_m = np.hypot(draws[:, 0] + off_m, draws[:, 1])
    truth = ((distance_m <= outer_m) & (distance_m >= inner_m)).mean()
    for area, error in both_ways(polygon(round_ring(outer_m, 200), round_ring(inner_m, 190))):
        assert_probability(area, lon, lat, truth, error + 0.002)


@given(seeds)
def test_an_outline_says_what_places_that_were_tried_say(seed):
    """Stars, holes, islands in holes: two ways that have nothing in common but the fence."""
    rng = random.Random(seed)
    geofence = random_site(rng).geofence
    if geofence.shape is None:
        return
    exact, tried = site(geofence).area, site(geofence, tolerance_m=1e-6).area
    point = geofence.shape.representative_point()
    sigmas_m = np.array([3.0, 20.0, 100.0])
    found = exact.probabilities(point.x, point.y, sigmas_m)
    assert found == pytest.approx(tried.probabilities(point.x, point.y, sigmas_m), abs=0.05)


def test_180_east_is_180_west():
    ends = [[179.9, 10], [180, 10], [180, 11], [179.9, 11], [179.9, 10]]
    for at in (site(polygon(ends)), site(Geofence.circle(179.9999, 10.5, 500.0))):
        for lon in (180.0, -180.0):
            assert at.area.covers(lon, 10.5)
            assert searched(Fix(lon=lon, lat=10.5, accuracy_m=2000.0), at).reason is not (
                Reason.NO_SITE_NEAR
            )


def test_a_fence_cut_at_180_is_whole():
    west = [[179.9, 10], [180, 10], [180, 11], [179.9, 11], [179.9, 10]]
    east = [[-180, 10], [-179.9, 10], [-179.9, 11], [-180, 11], [-180, 10]]
    at = site(Geofence.parse({"type": "MultiPolygon", "coordinates": [[west], [east]]}))
    for lon in (180.0, -180.0, 179.9999, -179.9999):
        near_the_cut = Fix(lon=lon, lat=10.5, accuracy_m=50.0)
        assert claimed(near_the_cut, at).reason is Reason.INSIDE
        assert searched(near_the_cut, at).site is at


def test_a_circle_across_180_is_found_from_both_sides():
    at = site(Geofence.circle(179.9999, 10.5, 500.0))
    for lon in (179.998, -179.998):
        assert searched(Fix(lon=lon, lat=10.5, accuracy_m=5.0), at).site is at


@pytest.mark.parametrize("lat", [90.0, -90.0, 89.5])
def test_a_fix_at_a_pole_is_merely_elsewhere(lat):
    pole = Fix(lon=LON, lat=lat, accuracy_m=50.0)
    assert claimed(pole, site(polygon(square(100)))).reason is Reason.OUTSIDE
    assert searched(pole, site(polygon(square(100)))).reason is Reason.NO_SITE_NEAR


def _bisect(holds, low=1.0, high=1000.0):
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _vincenty_m(lon1, lat1, lon2, lat2):
    """T. Vincenty, Direct and inverse solutions of geodesics on the ellipsoid (1975)."""
    a, f = 6_378_137.0, 1 / 298.257223563
    b = (1 - f) * a
    u1, u2 = (math.atan((1 - f) * math.tan(math.radians(lat))) for lat in (lat1, lat2))
    length = lam = math.radians(lon2 - lon1)
    for _ in range(50):
        sin_sigma = math.hypot(
            math.cos(u2) * math.sin(lam),
            math.cos(u1) * math.sin(u2) - math.sin(u1) * math.cos(u2) * math.cos(lam),
        )
        cos_sigma = math.sin(u1) * math.sin(u2) + math.cos(u1) * math.cos(u2) * math.cos(lam)
        sigma = math.atan2(sin_sigma, cos_sigma)
        sin_alpha = math.cos(u1) * math.cos(u2) * math.sin(lam) / sin_sigma
        cos2_alpha = 1 - sin_alpha**2
        mid = cos_sigma - 2 * math.sin(u1) * math.sin(u2) / cos2_alpha if cos2_alpha > 1e-12 else 0
        c = f / 16 * cos2_alpha * (4 + f * (4 - 3 * cos2_alpha))
        inner = sigma + c * sin_sigma * (mid + c * cos_sigma * (2 * mid**2 - 1))
        lam = length + (1 - c) * f * sin_alpha * inner
    u_squared = cos2_alpha * (a**2 - b**2) / b**2
    big_a = 1 + u_squared / 16384 * (
        4096 + u_squared * (-768 + u_squared * (320 - 175 * u_squared))
    )
    big_b = u_squared / 1024 * (256 + u_squared * (-128 + u_squared * (74 - 47 * u_squared)))
    cubic = cos_sigma * (2 * mid**2 - 1) - big_b / 6 * mid * (4 * sin_sigma**2 - 3) * (
        4 * mid**2 - 3
    )
    return b * big_a * (sigma - big_b * sin_sigma * (mid + big_b / 4 * cubic))
