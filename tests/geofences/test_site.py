import math
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

import doorstep_geofences
from doorstep_geofences import Fix, Geofence, Question, Reason, SiteIndex, judge
from doorstep_geofences.verdict import reasons_at
from geofences.making import (
    fix,
    place,
    polygon,
    random_fix_place,
    random_site,
    round_ring,
    searched,
    site,
)


@given(st.integers(0, 2**32))
def test_the_index_leaves_out_no_site_that_matters(seed):
    """What a scan of all sites calls inside or near, the index finds."""
    rng = random.Random(seed)
    sites = [random_site(rng, i) for i in range(12)]
    one_fix = Fix(**random_fix_place(rng), accuracy_m=10 ** rng.uniform(-1, 4))
    found = SiteIndex(sites).near([one_fix], [2.01 * one_fix.accuracy_m])
    reasons = reasons_at([(one_fix, s) for s in sites])
    near = {s.site_id for s, reason in zip(sites, reasons, strict=True) if reason != "outside"}
    assert near <= {s.site_id for s in found.sites()}


def test_a_hundred_thousand_fences_answer_as_a_scan_does():
    rng = random.Random(3)
    sites = [
        site(Geofence.circle(rng.uniform(-180, 180), rng.uniform(-80, 80), 9000.0), site_id=i)
        for i in range(100_000)
    ]
    index = SiteIndex(sites)
    centers = [at.geofence.center for at in rng.sample(sites, 2)]
    fixes = [Fix(lon=lon, lat=lat, accuracy_m=90.0) for lon, lat in [*centers, (0.0, 85.0)]]
    for one_fix, verdict in zip(fixes, judge([Question(fix=f) for f in fixes], index), strict=True):
        reasons = set(reasons_at([(one_fix, s) for s in sites]))
        if Reason.INSIDE in reasons:
            assert verdict.reason is Reason.INSIDE
        else:
            expected = Reason.NEAR_BOUNDARY if len(reasons) > 1 else Reason.NO_SITE_NEAR
            assert verdict.reason is expected


def test_the_reach_of_a_search_is_enough_at_high_latitudes():
    """A degree of longitude there is a sixth of what it is at the equator."""
    north = site(Geofence.circle(10.0, 80.0, 50.0), site_id="north")
    south = site(Geofence.circle(10.0, 0.0, 50.0), site_id="south")
    beside = Fix(lon=10.008, lat=80.0, accuracy_m=80.0)
    assert searched(beside, north, south).reason is Reason.NEAR_BOUNDARY


def test_an_empty_index_has_no_site_near():
    assert len(SiteIndex([])) == 0
    assert searched(fix()).reason is Reason.NO_SITE_NEAR


def test_sites_are_found_by_id():
    at = site()
    assert SiteIndex([at]).get("office") is at
    assert SiteIndex([at]).get("elsewhere") is None


def test_two_sites_of_one_id_are_refused():
    with pytest.raises(ValueError, match="same site_id"):
        SiteIndex([site(), site()])


@pytest.mark.parametrize(
    "wrong",
    [
        {"tolerance_m": -1.0},
        {"tolerance_m": math.nan},
        {"tolerance_m": 10_001.0},
        {"assurance": 0.49},
        {"assurance": 1.0},
        {"assurance": math.nan},
        {"max_accuracy_m": 0.0},
        {"max_accuracy_m": math.inf},
    ],
)
def test_a_site_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        site(**wrong)


def test_threads_agree():
    rng = random.Random(5)
    sites = [random_site(rng, i) for i in range(50)]
    questions = [
        Question(fix=Fix(lon=place(x, 0)[0], lat=place(x, 0)[1], accuracy_m=20.0), site_id=i)
        for i in range(50)
        for x in (-200, 0, 200)
    ]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: judge(questions, SiteIndex(sites)), range(16)))
    assert all(answer == answers[0] for answer in answers)


def test_what_is_public_is_what_all_names():
    public = {
        name
        for name, value in vars(doorstep_geofences).items()
        if not name.startswith("_") and (name == "travel" or not isinstance(value, type(math)))
    }
    assert public == set(doorstep_geofences.__all__)


def test_the_index_makes_large_fences_ready():
    large, small = site(polygon(round_ring(100, 600)), site_id="large"), site(site_id="small")
    SiteIndex([large, small])
    assert (large._area is None, small._area is None) == (False, True)
