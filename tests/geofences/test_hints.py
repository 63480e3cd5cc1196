"""What to look at again, though nothing is wrong."""

import json
import random
import re

import pytest

from doorstep_geofences import Fix, Geofence, Question, Site, SiteIndex, hints, judge, overlaps
from geofences.making import DATA, LAT, LON, multipolygon, place, polygon, ring, square

SAO_PAULO, MANAUS, TOKYO = (-46.63, -23.55), (-60.02, -3.12), (139.69, 35.69)


def codes(fence, tolerance_m=0.0, anchors=()):
    return [note.code for note in hints(fence, tolerance_m=tolerance_m, anchors=anchors)]


def strip(width_m, length_m):
    x, y = length_m / 2, width_m / 2
    return polygon(ring([(-x, -y), (x, -y), (x, y), (-x, y)]))


def test_a_business_s_premises_need_no_hint():
    for fence in (polygon(square(40)), Geofence.circle(LON, LAT, 75), strip(40, 300)):
        assert codes(fence, anchors=[SAO_PAULO]) == []


def test_a_fence_the_size_of_a_home_is_pointed_out_whatever_its_tolerance():
    assert "home_sized" in codes(polygon(square(9.9)))
    assert "home_sized" not in codes(polygon(square(10.1)))
    assert codes(Geofence.circle(LON, LAT, 11), tolerance_m=60) == ["home_sized"]


def test_a_fence_no_phone_can_be_sure_to_be_in_is_pointed_out():
    assert codes(Geofence.circle(LON, LAT, 27)) == ["smaller_than_accuracy"]
    assert codes(Geofence.circle(LON, LAT, 29)) == []
    assert codes(strip(15, 300)) == ["smaller_than_accuracy"]
    assert codes(strip(15, 300), tolerance_m=20) == []
    assert codes(multipolygon([square(15)], [square(15, LON + 0.01)])) == ["smaller_than_accuracy"]


def test_the_smallest_fence_is_where_honest_phones_are_accepted_half_the_time():
    """People stand in the middle, with phones as accurate as half of them are: 24 m."""
    rng = random.Random(7)
    errors_m = [(rng.gauss(0, 24 / 1.51), rng.gauss(0, 24 / 1.51)) for _ in range(300)]

    def accepted(radius_m):
        site = Site(site_id=1, version=1, geofence=Geofence.circle(LON, LAT, radius_m))
        places = (place(*error_m) for error_m in errors_m)
        questions = [
            Question(fix=Fix(lat=lat, lon=lon, accuracy_m=24.0), site_id=1) for lon, lat in places
        ]
        verdicts = judge(questions, SiteIndex([site]))
        return sum(verdict.outcome == "accepted" for verdict in verdicts) / len(verdicts)

    assert accepted(20) < 0.1
    assert 0.4 < accepted(28) < 0.65
    assert accepted(45) > 0.9


@pytest.mark.parametrize("place_of", [SAO_PAULO, (2.35, 48.86), (-73.99, 40.73), (18.42, -33.92)])
def test_a_fence_with_its_latitude_and_longitude_exchanged_is_pointed_out(place_of):
    lon, lat = place_of
    near = (lon + 1.5, lat - 1.5)
    assert codes(Geofence.circle(lon, lat, 80), anchors=[near]) == []
    assert codes(Geofence.circle(lat, lon, 80), anchors=[near]) == ["looks_swapped"]


def test_one_near_anchor_is_enough_not_to_look_swapped():
    swapped = Geofence.circle(SAO_PAULO[1], SAO_PAULO[0], 80)
    assert codes(swapped, anchors=[TOKYO, MANAUS, SAO_PAULO]) == ["looks_swapped"]
    assert codes(swapped, anchors=[SAO_PAULO, (-23.0, -46.0)]) == []
    assert codes(swapped) == []


def test_a_fence_that_is_far_either_way_does_not_look_swapped():
    assert codes(Geofence.circle(*TOKYO, 80), anchors=[SAO_PAULO]) == []
    assert codes(Geofence.circle(30.5, 31.0, 80), anchors=[(31.2, 30.0)]) == []


def test_a_hint_says_what_to_do_and_carries_no_number_of_the_fence():
    fence = Geofence.circle(SAO_PAULO[1], SAO_PAULO[0], 5)
    notes = hints(fence, tolerance_m=0, anchors=[SAO_PAULO])
    assert [n.code for n in notes] == ["home_sized", "smaller_than_accuracy", "looks_swapped"]
    for note in notes:
        assert re.fullmatch(r"[A-Z][^0-9]*\.", note.message)


def test_fences_that_overlap_are_found_with_the_share_of_the_smaller():
    fences = [
        polygon(square(100)),
        polygon(square(100, LON, LAT + 1)),
        polygon(square(50)),
        polygon(ring([(50, -100), (250, -100), (250, 100), (50, 100)])),
    ]
    (first, second), (one, other) = (
        [(a, b) for a, b, _ in overlaps(fences)],
        [share for *_, share in overlaps(fences)],
    )
    assert (first, second) == ((0, 2), (0, 3))
    assert (one, other) == (pytest.approx(1), pytest.approx(0.25, rel=1e-3))


def test_neighbours_that_touch_do_not_overlap():
    beside = polygon(ring([(100, -100), (300, -100), (300, 100), (100, 100)]))
    assert overlaps([polygon(square(100)), beside]) == []
    lines = (DATA / "br_sp_municipalities.jsonl").read_text().splitlines()
    geometries = [
        f["geometry"] for f in map(json.loads, lines) if "São Pedro" in f["properties"]["name"]
    ]
    assert len(geometries) == 2
    assert overlaps([Geofence.parse(geometry) for geometry in geometries]) == []


def test_equal_fences_are_duplicates_however_their_rings_are_written():
    corners = square(100)[:-1]
    other_way = [*corners[2:], *corners[:3]][::-1]
    assert overlaps([polygon(square(100)), polygon(other_way)]) == [(0, 1, 1.0)]
    circle = Geofence.circle(LON, LAT, 80)
    assert overlaps([circle, polygon(square(500)), Geofence.circle(LON, LAT, 80)]) == [
        (0, 1, 1.0),
        (0, 2, 1.0),
    ]


def test_circles_overlap_too_and_across_180():
    circles = [Geofence.circle(lon, 0, 1000) for lon in (179.995, -179.995, 179.0)]
    ((one, other, share),) = overlaps(circles)
    assert (one, other) == (0, 1)
    # two discs whose centres are 1.113 radii apart
    assert share == pytest.approx(0.336, abs=0.01)


def test_many_equal_fences_are_each_a_duplicate_of_the_first():
    found = overlaps([polygon(square(100))] * 3000)
    assert found == [(0, number, 1.0) for number in range(1, 3000)]
    assert found.complete


def test_what_is_found_is_bounded_and_says_so():
    """All of 460 overlap all: 105,570 pairs."""
    fences = [polygon(square(100 + i)) for i in range(460)]
    found = overlaps(fences)
    assert len(found) == 100_000
    assert not found.complete
    assert overlaps(fences[:100]).complete


def test_overlaps_are_those_that_a_look_at_every_pair_finds():
    rng = random.Random(3)
    fences = [
        polygon(
            square(rng.uniform(20, 200), *place(rng.uniform(-900, 900), rng.uniform(-900, 900)))
        )
        for _ in range(60)
    ]
    shapes = [fence.shape for fence in fences]
    expected = []
    for i, one in enumerate(shapes):
        for j in range(i + 1, len(shapes)):
            share = one.intersection(shapes[j]).area / min(one.area, shapes[j].area)
            if share >= 0.01:
                expected.append((i, j))
    assert [(i, j) for i, j, _ in overlaps(fences)] == expected
    assert len(expected) > 20
