import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_geofences import Bounds, Geofence, travel

SAO_PAULO = (-46.655, -23.561)
MANAUS = (-60.02, -3.12)

#: WGS 84
A, F = 6_378_137.0, 1 / 298.257223563
B = A * (1 - F)


def box(west, south, east, north):
    return Bounds(west=west, south=south, east=east, north=north)


def around(lon, lat, radius_m=100.0):
    return Bounds.of(Geofence.circle(lon, lat, radius_m), 0.0)


def geodesic_m(lon_1, lat_1, lon_2, lat_2):
    """By Vincenty (1975), which shares nothing with ours; None near the antipodes."""
    u_1, u_2 = (math.atan((1 - F) * math.tan(math.radians(lat))) for lat in (lat_1, lat_2))
    apart = around_the_axis = math.radians((lon_2 - lon_1 + 540) % 360 - 180)
    for _ in range(200):
        s = math.hypot(
            math.cos(u_2) * math.sin(apart),
            math.cos(u_1) * math.sin(u_2) - math.sin(u_1) * math.cos(u_2) * math.cos(apart),
        )
        if s == 0.0:
            return 0.0
        c = math.sin(u_1) * math.sin(u_2) + math.cos(u_1) * math.cos(u_2) * math.cos(apart)
        sigma = math.atan2(s, c)
        sin_azimuth = math.cos(u_1) * math.cos(u_2) * math.sin(apart) / s
        squared = 1 - sin_azimuth**2
        middle = c - 2 * math.sin(u_1) * math.sin(u_2) / squared if squared > 1e-12 else 0.0
        k = F / 16 * squared * (4 + F * (4 - 3 * squared))
        before, turned = apart, k * s * (middle + k * c * (2 * middle**2 - 1))
        apart = around_the_axis + (1 - k) * F * sin_azimuth * (sigma + turned)
        if abs(apart) > math.pi:
            return None
        if abs(apart - before) < 1e-12:
            break
    else:
        return None
    v = squared * (A**2 - B**2) / B**2
    big = 1 + v / 16384 * (4096 + v * (-768 + v * (320 - 175 * v)))
    small = v / 1024 * (256 + v * (-128 + v * (74 - 47 * v)))
    far = small / 6 * middle * (4 * s**2 - 3) * (4 * middle**2 - 3)
    bent = small * s * (middle + small / 4 * (c * (2 * middle**2 - 1) - far))
    return B * big * (sigma - bent)


def random_box(rng, near=None):
    """Any box; or one whose corner is near another's, so that they often touch."""
    west, south = rng.uniform(-180, 180), rng.uniform(-90, 90)
    if near is not None:
        west, south = near.east + rng.uniform(-3, 3), near.north + rng.uniform(-3, 3)
        south = min(max(south, -90.0), 90.0)
    width = rng.choice([0.0, 1e-4, rng.uniform(0, 5), rng.uniform(0, 360)])
    height = rng.choice([0.0, 1e-4, rng.uniform(0, 60)])
    return box(west, south, west + width, min(south + height, 90.0))


def random_place(rng, within):
    """A place in a box, often on its edge or in a corner."""
    share = (rng.choice([0.0, 1.0, rng.random()]), rng.choice([0.0, 1.0, rng.random()]))
    return (
        within.west + share[0] * (within.east - within.west),
        within.south + share[1] * (within.north - within.south),
    )


@given(st.integers(0, 2**32))
def test_a_gap_is_never_wider_than_the_way_between_any_two_places(seed):
    rng = random.Random(seed)
    a = random_box(rng)
    b = random_box(rng, rng.choice([None, a]))
    gap_m = travel.gap_m(a, b)
    assert gap_m == pytest.approx(travel.gap_m(b, a))
    for _ in range(20):
        way_m = geodesic_m(*random_place(rng, a), *random_place(rng, b))
        assert way_m is None or gap_m <= way_m + 1e-3


@given(st.integers(0, 2**32))
def test_a_gap_is_as_wide_as_it_can_be(seed):
    """Beside the nearest of a grid of places on a sphere: half a cell of each box is open."""
    rng = random.Random(seed)
    a, b = random_box(rng), random_box(rng)
    (lons_a, lats_a, cell_a), (lons_b, lats_b, cell_b) = _grid(a), _grid(b)
    east, north = (lons_a[:, None] - lons_b) / 2, (lats_a[:, None] - lats_b) / 2
    squared = np.sin(north) ** 2 + np.cos(lats_a)[:, None] * np.cos(lats_b) * np.sin(east) ** 2
    nearest = 2 * np.arcsin(np.sqrt(np.clip(squared.min(), 0.0, 1.0)))
    angle = travel.gap_m(a, b) / travel.SMALLEST_RADIUS_M
    assert nearest - cell_a - cell_b - 1e-6 <= angle <= nearest + 1e-9


@given(st.integers(0, 2**32))
def test_what_is_surely_within_reach_has_no_wider_gap(seed):
    rng = random.Random(seed)
    a = random_box(rng)
    b = random_box(rng, rng.choice([None, a]))
    gap_m = travel.gap_m(a, b)
    assert not travel.are_within(a, b, gap_m - 1.0)
    # and beside each other, on one parallel or one meridian, nothing is left to be asked
    east = box(a.east + 1.0, a.south, a.east + 1.0, a.south)
    assert travel.are_within(a, east, math.radians(1.0) * travel.SMALLEST_RADIUS_M + 1.0)
    assert travel.are_within(a, a, 0.0)


def _grid(within, steps=16):
    lons, lats = (
        np.radians(np.linspace(*ends, steps + 1))
        for ends in ((within.west, within.east), (within.south, within.north))
    )
    half_a_cell = (np.ptp(lons) + np.ptp(lats)) / steps / 2
    lons, lats = (grid.ravel() for grid in np.meshgrid(lons, lats))
    return lons, lats, half_a_cell


@given(st.integers(0, 2**32))
def test_between_points_a_gap_falls_short_by_little(seed):
    rng = random.Random(seed)
    (lon_1, lat_1), (lon_2, lat_2) = [(rng.uniform(-180, 180), rng.uniform(-90, 90)) for _ in "ab"]
    way_m = geodesic_m(lon_1, lat_1, lon_2, lat_2)
    points = box(lon_1, lat_1, lon_1, lat_1), box(lon_2, lat_2, lon_2, lat_2)
    assert way_m is None or travel.gap_m(*points) >= 0.989 * way_m


def test_the_independent_geodesic_is_right():
    """Flinders Peak to Buninyong, the example of the Geodetic Datum of Australia's manual."""
    flinders = 144 + 25 / 60 + 29.52440 / 3600, -(37 + 57 / 60 + 3.72030 / 3600)
    buninyong = 143 + 55 / 60 + 35.38390 / 3600, -(37 + 39 / 60 + 10.15610 / 3600)
    assert geodesic_m(*flinders, *buninyong) == pytest.approx(54_972.271, abs=1e-3)


def test_boxes_that_touch_have_no_gap():
    assert travel.gap_m(box(0, 0, 2, 2), box(1, 1, 3, 3)) == 0.0
    assert travel.gap_m(box(0, 0, 9, 9), box(1, 1, 3, 3)) == 0.0
    assert travel.gap_m(box(0, 0, 2, 2), box(2, 2, 3, 3)) == 0.0


def test_places_on_both_sides_of_the_180th_meridian_are_near():
    east, west = around(179.999, -17.0), around(-179.999, -17.0)
    assert travel.gap_m(east, west) < 100
    assert travel.gap_m(box(179.9, -17.0, 180.1, -16.9), west) == 0.0


def test_over_a_pole_the_way_is_short():
    assert travel.gap_m(around(0.0, 88.9), around(180.0, 88.9)) == pytest.approx(243_000, rel=0.02)


def test_a_box_of_every_longitude_is_as_far_as_its_latitudes():
    cap = Bounds.around(20.0, 89.9, 50_000.0)
    assert travel.gap_m(cap, box(-120, 0, -119, 80)) == pytest.approx(1_050_000, rel=0.01)


def test_nothing_is_farther_than_the_antipodes():
    apart = travel.gap_m(box(0, 0, 0, 0), box(180, 0, 180, 0))
    assert 0.999 * travel.FARTHEST_M < apart < travel.FARTHEST_M < 20_003_931


def test_from_sao_paulo_to_manaus_takes_longer_than_twenty_minutes():
    gap_m = travel.gap_m(around(*SAO_PAULO), around(*MANAUS))
    assert gap_m == pytest.approx(2_690_000, rel=0.01)
    assert travel.is_implausible(gap_m, 20 * 60, 1_000 / 3.6)
    assert not travel.is_implausible(gap_m, 5 * 3600, 1_000 / 3.6)


def test_who_did_not_move_needs_no_time():
    assert not travel.is_implausible(0.0, 0.0, 1_000 / 3.6)
    assert travel.is_implausible(1.0, 0.0, 1_000 / 3.6)
