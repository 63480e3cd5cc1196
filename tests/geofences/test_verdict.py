import math
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_geofences import (
    STRICT,
    Fix,
    Freshness,
    Geofence,
    OpeningHours,
    Outcome,
    Question,
    Reason,
    SiteIndex,
    judge,
)
from doorstep_geofences.verdict import MOST_ASKED
from geofences.making import (
    LAT,
    LON,
    claimed,
    fix,
    multipolygon,
    only_uncertain_grows,
    place,
    polygon,
    random_accuracies,
    random_fix_place,
    random_site,
    ring,
    round_ring,
    searched,
    site,
    square,
)

seeds = st.integers(0, 2**32)


@given(seeds)
def test_a_worse_fix_never_helps(seed):
    rng = random.Random(seed)
    at, where = random_site(rng), random_fix_place(rng)
    fixes = [Fix(**where, accuracy_m=a) for a in random_accuracies(rng)]
    fixes.append(Fix(**where, accuracy_m=None))
    assert only_uncertain_grows([claimed(f, at).outcome for f in fixes])


@given(seeds)
def test_a_worse_fix_never_helps_a_search(seed):
    rng = random.Random(seed)
    sites, where = [random_site(rng, i) for i in range(5)], random_fix_place(rng)
    fixes = [Fix(**where, accuracy_m=a) for a in random_accuracies(rng)]
    fixes.append(Fix(**where, accuracy_m=None))
    assert only_uncertain_grows([searched(f, *sites).outcome for f in fixes])


@pytest.mark.parametrize("freshness", Freshness)
@pytest.mark.parametrize("where", [{"lon": 0.0, "lat": 0.0}, {"lon": LON, "lat": LAT}])
@pytest.mark.parametrize("mocked", [False, True])
def test_a_worse_fix_never_helps_whatever_else_is_wrong(freshness, where, mocked):
    fixes = [Fix(**where, accuracy_m=a, mocked=mocked) for a in (1.0, 50.0, 500.0, None)]
    outcomes = [claimed(f, site(), freshness=freshness).outcome for f in fixes]
    assert only_uncertain_grows(outcomes)


def test_a_fix_in_a_hole_is_not_accepted_by_being_worse():
    at = site(polygon(round_ring(200), round_ring(10)))
    answers = [claimed(fix(accuracy_m=a), at).reason for a in (4.0, 8.0, 20.0, 50.0)]
    assert answers == [Reason.OUTSIDE, *[Reason.NEAR_BOUNDARY] * 3]


def test_a_fix_on_an_islet_is_not_accepted_again_once_uncertain():
    """At 10 m the islet is too small; at 60 m the ring around it has most of the probability."""
    at = site(multipolygon([round_ring(400), round_ring(25)], [round_ring(6)]))
    answers = [claimed(fix(accuracy_m=a), at).outcome for a in (2.0, 25.0, 90.0)]
    assert answers == [Outcome.ACCEPTED, Outcome.UNCERTAIN, Outcome.UNCERTAIN]


def test_well_inside_is_accepted():
    verdict = claimed(fix(accuracy_m=10.0), at := site())
    assert (verdict.outcome, verdict.reason, verdict.site) == (Outcome.ACCEPTED, Reason.INSIDE, at)


def test_farther_than_the_accuracy_explains_is_outside():
    assert claimed(fix(150, accuracy_m=24.0), site()).reason is Reason.OUTSIDE
    assert claimed(fix(150, accuracy_m=26.0), site()).reason is Reason.NEAR_BOUNDARY


def test_strict_sites_want_more_than_standard_ones():
    near_the_edge = fix(95, accuracy_m=20.0)
    assert claimed(near_the_edge, site()).outcome is Outcome.ACCEPTED
    assert claimed(near_the_edge, site(assurance=STRICT)).reason is Reason.NEAR_BOUNDARY


def test_accepted_is_never_less_probable_than_assured():
    """In the middle of 20 m: 1 - exp(-(1.51·20/accuracy)²/2) is 0.9 at 14.07 m."""
    at = site(Geofence.circle(*place(0, 0), 20.0), assurance=STRICT)
    assert claimed(fix(accuracy_m=13.0), at).reason is Reason.INSIDE
    assert claimed(fix(accuracy_m=15.0), at).reason is Reason.NEAR_BOUNDARY


def test_a_search_finds_a_site_by_its_tolerance():
    for shape in (polygon(square(100)), Geofence.circle(*place(0, 0), 100.0)):
        at = site(shape, tolerance_m=30.0)
        assert searched(fix(120, accuracy_m=1.0), at).site is at


def test_tolerance_moves_the_edge():
    beside = fix(110, accuracy_m=3.0)
    assert claimed(beside, site()).reason is Reason.OUTSIDE
    assert claimed(beside, site(tolerance_m=20.0)).reason is Reason.INSIDE
    disc = Geofence.circle(*place(0, 0), 100.0)
    assert claimed(beside, site(disc, tolerance_m=20.0)).reason is Reason.INSIDE


def test_missing_accuracy_is_never_perfect_accuracy():
    for accuracy_m in (None, 0, 0.0, -0.0):
        assert claimed(fix(accuracy_m=accuracy_m), site()).reason is Reason.ACCURACY_UNKNOWN
        assert searched(fix(accuracy_m=accuracy_m), site()).reason is Reason.ACCURACY_UNKNOWN


def test_above_the_cap_nothing_is_known_even_far_away():
    for east_m in (0, 50_000):
        verdict = claimed(fix(east_m, accuracy_m=101.0), site())
        assert verdict.reason is Reason.ACCURACY_TOO_LOW


def test_a_mocked_fix_is_rejected():
    assert claimed(fix(mocked=True), site()).reason is Reason.MOCKED
    assert searched(fix(mocked=True), site()).reason is Reason.MOCKED


def test_null_island_is_rejected_even_inside_a_fence():
    here = site(Geofence.circle(0.0, 0.0, 1000.0))
    assert claimed(Fix(lat=0.0, lon=0.0, accuracy_m=5.0), here).reason is Reason.NULL_ISLAND
    assert claimed(Fix(lat=-0.0, lon=0.0, accuracy_m=5.0), here).reason is Reason.NULL_ISLAND
    assert claimed(Fix(lat=0.0, lon=1e-5, accuracy_m=5.0), here).reason is Reason.INSIDE


def test_clocks_make_a_fix_uncertain():
    assert claimed(fix(), site(), freshness=Freshness.STALE).reason is Reason.STALE_FIX
    assert claimed(fix(), site(), freshness=Freshness.SKEWED).reason is Reason.CLOCK_SKEW


@pytest.mark.parametrize("freshness", Freshness)
def test_above_the_cap_the_clocks_are_not_asked(freshness):
    """The server keeps the claimed site of a stale fix, but nothing of place above the cap."""
    low, unknown = fix(accuracy_m=101.0), fix(accuracy_m=None)
    assert claimed(low, site(), freshness=freshness).reason is Reason.ACCURACY_TOO_LOW
    assert claimed(unknown, site(), freshness=freshness).reason is Reason.ACCURACY_UNKNOWN


def test_a_search_above_the_caps_near_builds_no_area_and_stops_at_the_first_site():
    sites = [site(site_id=i) for i in range(100)]
    elsewhere = site(polygon(square(10, 10.0, 10.0)), site_id="far", max_accuracy_m=5000.0)
    asked = []
    verdict = searched(
        fix(accuracy_m=500.0), *sites, elsewhere, admits=lambda s: not asked.append(s)
    )
    assert verdict.reason is Reason.ACCURACY_TOO_LOW
    assert len(asked) == 1
    assert all(s._area is None for s in sites)


def test_a_search_above_every_cap_says_the_same_near_and_far():
    """Else one answer would tell whether any site is within the accuracy that was made up."""
    strict, lenient = site(), site(site_id="lenient", max_accuracy_m=200.0)
    for east_m in (0, 2_000, 500_000):
        for accuracy_m in (200.1, 3_000.0, 1e308):
            place = fix(east_m, accuracy_m=accuracy_m)
            assert searched(place, strict, lenient).reason is Reason.ACCURACY_TOO_LOW
    within_a_cap = fix(500_000, accuracy_m=200.0)
    assert searched(within_a_cap, strict, lenient).reason is Reason.NO_SITE_NEAR
    # where there are no sites, there is nothing to tell
    assert searched(fix(accuracy_m=3_000.0)).reason is Reason.NO_SITE_NEAR


def test_an_edge_is_straight_in_degrees():
    """A great circle between the northern corners would pass north of the point."""
    fence = {"type": "Polygon", "coordinates": [[[0, 50], [40, 50], [40, 60], [0, 60], [0, 50]]]}
    at = site(Geofence.parse(fence))
    assert claimed(Fix(lon=20.0, lat=61.0, accuracy_m=10.0), at).reason is Reason.OUTSIDE
    assert claimed(Fix(lon=20.0, lat=50.1, accuracy_m=10.0), at).reason is Reason.INSIDE


@pytest.mark.parametrize("accuracy_m", [0.5, 1.0, 7.3, 20.0, 64.0, 100.0])
def test_upon_a_straight_edge_is_accepted_at_every_accuracy(accuracy_m):
    corners = [place(-2000, 0), place(2000, 0), place(2000, 3000), place(-2000, 3000)]
    at = site(polygon([*corners, corners[0]]))
    upon = Fix(lon=place(0, 0)[0], lat=place(0, 0)[1], accuracy_m=accuracy_m)
    assert claimed(upon, at).reason is Reason.INSIDE


@given(st.floats(0, 6.283), st.floats(-500, 500), st.floats(0.1, 100))
def test_upon_a_slanted_edge_the_verdict_follows_containment(turn, along_m, accuracy_m):
    """A rounded point is a hair inside or outside; if inside, it is at least even odds."""
    at = site(polygon(_turned_square(2000, turn)))
    (x0, y0), (x1, y1) = at.geofence.shape.exterior.coords[:2]
    share = 0.5 + along_m / 4000
    upon = Fix(lon=x0 + share * (x1 - x0), lat=y0 + share * (y1 - y0), accuracy_m=accuracy_m)
    covered = at.area.covers(upon.lon, upon.lat)
    expected = Reason.INSIDE if covered else Reason.NEAR_BOUNDARY
    assert claimed(upon, at).reason is expected


def test_upon_a_corner_is_uncertain():
    lon, lat = square(500)[0]
    assert claimed(Fix(lon=lon, lat=lat, accuracy_m=20.0), site()).outcome is not Outcome.ACCEPTED
    at = site(polygon(square(500)))
    assert claimed(Fix(lon=lon, lat=lat, accuracy_m=20.0), at).reason is Reason.NEAR_BOUNDARY


def test_a_search_names_the_site_that_accepts():
    near, far = site(), site(Geofence.circle(*place(5000, 0), 100.0), site_id="far")
    assert searched(fix(), near, far).site is near
    assert searched(fix(5000), near, far).site is far


def test_a_search_that_accepts_nothing_names_no_site():
    at = site()
    assert searched(fix(20_000), at) == searched(fix(20_000))
    assert searched(fix(20_000), at).reason is Reason.NO_SITE_NEAR
    uncertain = searched(fix(120, accuracy_m=30.0), at)
    assert (uncertain.reason, uncertain.site) == (Reason.NEAR_BOUNDARY, None)


def test_a_search_prefers_the_likelier_then_the_smaller_site():
    mall, shop = site(polygon(square(500)), site_id="mall"), site(site_id="shop")
    assert searched(fix(accuracy_m=5.0), mall, shop).site is shop
    assert searched(fix(accuracy_m=5.0), shop, mall).site is shop
    assert searched(fix(98, accuracy_m=10.0), shop, mall).site is mall


def test_a_search_takes_for_equal_what_differs_by_less_than_is_known():
    mall, shop = site(polygon(square(500)), site_id="mall"), site(site_id="shop")
    # 0.99 of being in the shop, and 1 of being in the mall
    assert searched(fix(accuracy_m=50.0), mall, shop).site is shop
    # 0.91
    assert searched(fix(accuracy_m=70.0), mall, shop).site is mall


def test_of_sites_of_one_size_a_search_prefers_the_likelier():
    here, beside = (site(polygon(square(100, LON + east)), site_id=east) for east in (0.0, 4e-4))
    for order in ((here, beside), (beside, here)):
        assert searched(fix(accuracy_m=20.0), *order).site is here


def test_a_search_asks_only_the_sites_that_are_admitted():
    mall, shop = site(polygon(square(500)), site_id="mall"), site(site_id="shop")
    verdict = searched(fix(accuracy_m=5.0), mall, shop, admits=lambda s: s.site_id == "mall")
    assert verdict.site is mall
    assert searched(fix(), shop, admits=lambda s: False).reason is Reason.NO_SITE_NEAR


def test_a_search_above_every_cap_near_says_so():
    near, far = site(), site(polygon(square(10, 10.0, 10.0)), site_id="far", max_accuracy_m=5000)
    assert searched(fix(accuracy_m=500.0), near, far).reason is Reason.ACCURACY_TOO_LOW
    assert searched(fix(accuracy_m=1e308), near).reason is Reason.ACCURACY_TOO_LOW
    lenient = site(site_id="lenient", max_accuracy_m=5000)
    assert searched(fix(accuracy_m=500.0), near, lenient).reason is Reason.NEAR_BOUNDARY


@given(seeds)
def test_a_batch_answers_as_one_by_one(seed):
    rng = random.Random(seed)
    index = SiteIndex([random_site(rng, i) for i in range(4)])
    questions = [
        Question(
            fix=Fix(**random_fix_place(rng), accuracy_m=rng.choice([None, 5.0, 30.0])),
            site_id=rng.choice([None, 0, 1, 2, 3]),
        )
        for _ in range(6)
    ]
    assert judge(questions, index) == [judge([q], index)[0] for q in questions]


def test_an_unknown_claimed_site_is_the_callers_error():
    with pytest.raises(KeyError):
        judge([Question(fix=fix(), site_id="nowhere")], SiteIndex([site()]))


def test_a_verdict_has_no_slot_for_a_distance():
    assert claimed(fix(), site())._fields == ("reason", "site")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_an_outcome_and_a_sentence(reason):
    assert reason.outcome in Outcome
    assert reason.meaning.endswith(".")


def _turned_square(half_m, turn):
    c, s = math.cos(turn) * half_m, math.sin(turn) * half_m
    return ring([(c - s, s + c), (-c - s, c - s), (-c + s, -c - s), (c + s, -c + s)])


# -- opening hours and who is admitted ---------------------------------------------------------

OPEN = datetime(2026, 3, 10, 12, tzinfo=UTC)
CLOSED = datetime(2026, 3, 10, 20, tzinfo=UTC)
HOURS = OpeningHours.parse({"weekly": {"tue": [["09:00", "18:00"]]}})


@pytest.mark.parametrize(
    ("at", "expected"), [(OPEN, "inside"), (CLOSED, "outside_hours"), (None, "inside")]
)
def test_a_claim_is_held_against_the_opening_hours(at, expected):
    assert claimed(fix(), site(hours=HOURS), at=at).reason == expected


def test_hours_come_after_the_clocks_and_before_the_place():
    shop = site(hours=HOURS)
    assert claimed(fix(9_000), shop, at=CLOSED).reason is Reason.OUTSIDE_HOURS
    for doubt, reason in (
        (Freshness.SKEWED, Reason.CLOCK_SKEW),
        (Freshness.STALE, Reason.STALE_FIX),
    ):
        assert claimed(fix(), shop, at=CLOSED, freshness=doubt).reason is reason
    poor = fix(accuracy_m=5_000.0)
    assert claimed(poor, shop, at=CLOSED).reason is Reason.ACCURACY_TOO_LOW


def test_a_search_finds_the_open_site_beside_the_closed_one():
    closed, around = site(site_id="shop", hours=HOURS), site(site_id="mall")
    assert searched(fix(), closed, around, at=CLOSED).site is around
    assert searched(fix(), closed, at=CLOSED).reason is Reason.OUTSIDE_HOURS
    assert searched(fix(9_000), closed, at=CLOSED).reason is Reason.NO_SITE_NEAR


def test_who_finds_too_many_sites_above_their_caps_is_told_so_without_asking_all():
    sites = [site(site_id=i) for i in range(MOST_ASKED + 500)]
    elsewhere = site(polygon(square(10, 10.0, 10.0)), site_id="far", max_accuracy_m=5000.0)
    asked = []
    verdict = searched(fix(accuracy_m=500.0), *sites, elsewhere, admits=asked.append)
    assert verdict.reason is Reason.ACCURACY_TOO_LOW
    assert len(asked) == MOST_ASKED


def test_a_site_admits_by_groups_and_purposes():
    anyone, some = site(), site(groups=frozenset("ab"), purposes=frozenset({"visit"}))
    assert anyone.admits(frozenset(), "visit")
    assert some.admits(frozenset("b"), "visit")
    assert not some.admits(frozenset("c"), "visit")
    assert not some.admits(frozenset("b"), "delivery")


@pytest.mark.parametrize("accuracy_m", [5.0, 20.0, 30.0])
def test_a_position_that_is_written_twice_changes_nothing(accuracy_m):
    """GEOS takes it, and so do files; it is no edge."""
    corners = square(20)
    twice = site(polygon([*corners[:2], corners[1], *corners[2:]]))
    for east_m in (0.0, 5.0, 15.0, 25.0, 100.0):
        one = fix(east_m, accuracy_m=accuracy_m)
        assert claimed(one, twice).reason is claimed(one, site(polygon(corners))).reason
