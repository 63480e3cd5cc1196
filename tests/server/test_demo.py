"""The demo's simulation: its city, its walkers, its receivers and its phones."""

import random
import re
from datetime import UTC, datetime
from itertools import pairwise
from statistics import quantiles

import pytest
from rich.console import Console
from shapely import MultiPolygon, Polygon

from doorstep import Invalid
from doorstep_geofences import ParsedFeature
from doorstep_server import deployment
from doorstep_server.demo import city, receiver, stage
from doorstep_server.demo.board import Heading, Lines
from doorstep_server.demo.city import Place
from doorstep_server.demo.events import Told, Totals, away, refused, stored_text
from doorstep_server.demo.phone import (
    WITHDRAWALS,
    Keep,
    Kind,
    Phone,
    Report,
    Send,
    SendKept,
    attempts,
)
from doorstep_server.demo.walking import FASTEST_M_S, STEP_S, Spot, walk
from doorstep_server.store import api_keys, sites, tenants
from doorstep_server.store.reach import DIRECTORY, Reach

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def places():
    return [
        Place.of(
            {
                "id": feature.properties["external_id"],
                "version": 1,
                "name": feature.name,
                "groups": feature.properties.get("groups", []),
                "geofence": feature.geofence.to_document(),
            }
        )
        for feature in city.features()
    ]


def episodes(count, *, seed=1):
    phone = Phone(groups=frozenset(), places=places(), rng=random.Random(seed))
    return [phone.next() for _ in range(count)]


def of_kind(kind, *, among=300):
    return [episode for episode in episodes(among) if episode.kind is kind]


# The city


def test_the_city_has_thirty_valid_sites_that_are_marked_as_demo():
    features = city.features()
    assert len(features) >= 30
    for feature in features:
        assert isinstance(feature, ParsedFeature)
        assert feature.name.endswith("(demo)")
        assert feature.properties["external_id"].startswith("demo-")
        assert feature.properties["timezone"] == "America/Sao_Paulo"


def test_the_city_has_every_kind_of_site():
    features = city.features()
    shapes = [feature.geofence.shape for feature in features]
    said = [feature.properties for feature in features]
    assert any(isinstance(shape, Polygon) and shape.interiors for shape in shapes)
    assert any(isinstance(shape, MultiPolygon) for shape in shapes)
    assert any(feature.geofence.radius_m for feature in features)
    assert any(properties.get("assurance") == "strict" for properties in said)
    assert any(properties.get("groups") for properties in said)
    assert any(properties.get("tolerance_m") for properties in said)


def test_people_stand_on_the_ground_of_a_site_never_in_its_courtyard():
    rng = random.Random(5)
    for place in places():
        spots = [place.middle(), *(place.spot_inside(rng) for _ in range(20))]
        assert {place.distance_m(spot) for spot in spots} == {0.0}


def test_a_spot_does_not_print_itself():
    printed = repr(Spot(lat=-23.517391, lon=-46.638265))
    assert "517391" not in printed
    assert "638265" not in printed


# Walking


def test_a_walk_goes_in_small_steps_and_arrives():
    start = places()[0].middle()
    goal = start.moved(700.0, -300.0)
    way = [start, *walk(start, goal, random.Random(2))]
    steps = [a.distance_m(b) for a, b in pairwise(way)]
    assert max(steps) <= FASTEST_M_S * STEP_S * 1.001
    assert way[-1] == goal
    assert sum(steps) < 1.2 * start.distance_m(goal)


# Receivers


def test_accuracies_are_those_of_real_phones():
    rng = random.Random(3)
    drawn = [receiver.accuracy_m(rng) for _ in range(20_000)]
    at = quantiles(drawn, n=100)
    assert at[9] == pytest.approx(8, abs=0.5)
    assert 16 <= at[49] <= 24
    assert at[74] == pytest.approx(48, abs=2)
    assert at[89] == pytest.approx(64, abs=2)
    assert sum(accuracy > 600 for accuracy in drawn) / len(drawn) == pytest.approx(0.05, abs=0.01)
    assert min(drawn) >= 3


def test_the_accuracy_is_the_radius_of_68_percent():
    rng = random.Random(4)
    true = places()[0].middle()
    off_m = [true.distance_m(receiver.measured(true, 20.0, rng)) for _ in range(5_000)]
    assert sum(off <= 20.0 for off in off_m) / len(off_m) == pytest.approx(0.68, abs=0.02)


# Phones


def test_everything_happens_in_time():
    assert {episode.kind for episode in episodes(300)} == set(Kind)


def test_the_same_seed_lives_the_same_day():
    assert [e.kind for e in episodes(100)] == [e.kind for e in episodes(100)]
    first, again = episodes(30), episodes(30)
    assert [a.fix for e in first for a in attempts(e)] == [
        a.fix for e in again for a in attempts(e)
    ]
    assert [e.kind for e in episodes(100)] != [e.kind for e in episodes(100, seed=2)]


def test_who_claims_honestly_is_there():
    assert {a.off_m for episode in of_kind(Kind.CLAIMED) for a in attempts(episode)} == {0.0}


def test_who_claims_to_be_elsewhere_is_on_the_street():
    off_m = [a.off_m for episode in of_kind(Kind.ELSEWHERE) for a in attempts(episode)]
    assert min(off_m) > 20
    assert max(off_m) < 1_000


def test_a_made_up_position_is_in_the_site_and_the_person_is_not():
    for episode in of_kind(Kind.MOCKED):
        [attempt] = attempts(episode)
        assert attempt.mocked
        assert attempt.claimed.distance_m(attempt.fix) == 0.0
        assert attempt.off_m > 0


def test_who_searches_claims_nothing():
    assert {a.claimed for episode in of_kind(Kind.SEARCHED) for a in attempts(episode)} == {None}


def test_a_batch_is_captured_first_and_sent_later_the_oldest_first():
    for episode in of_kind(Kind.OFFLINE):
        assert isinstance(episode.steps[-1], SendKept)
        assert all(isinstance(step, Keep) for step in episode.steps[:-1])
        ages = [attempt.age_s for attempt in attempts(episode)]
        assert ages == sorted(ages, reverse=True)
        assert min(ages) > 120


def test_a_position_captured_before_a_withdrawal_waits_for_the_next_grant():
    kinds = {Kind.WITHDRAWN, Kind.STILL_WITHDRAWN, Kind.GRANTED}
    for episode in episodes(300):
        if episode.kind is Kind.WITHDRAWN:
            keep, report, send = episode.steps
            assert (type(keep), report.state in WITHDRAWALS, type(send)) == (Keep, True, Send)
        if episode.kind is Kind.GRANTED:
            assert episode.steps[:2] == (Report("precise"), SendKept())
        if episode.kind not in kinds:
            assert not any(isinstance(step, Report) for step in episode.steps)


# What is told


def test_a_line_tells_everything_that_was_stored(capsys):
    lines = Lines(Console(), Heading(docs_url="http://127.0.0.1:8000/docs"))
    event = Told(
        phone="Ana",
        claimed="in: Café",
        fix="±8 m, inside",
        verdict="accepted",
        reason="inside",
        level="site",
        stored={"purpose": "visit", "action": None},
        marks=("replayed",),
    )
    lines.show(event)
    told = capsys.readouterr().out
    assert "http://127.0.0.1:8000/docs" in told
    assert "accepted: inside | stored level site: purpose=visit, action=– | replayed" in told


def test_a_refusal_stores_nothing():
    event = Told(phone="Ana", claimed="in: Café", verdict="refused", reason="403 x")
    assert stored_text(event) == "nothing"


def test_only_answers_count_as_answered():
    totals = Totals()
    for verdict in ["accepted", "refused", "no answer", ""]:
        totals.add(Told(phone="Ana", claimed="", verdict=verdict))
    assert totals.answers() == 2


@pytest.mark.parametrize(
    ("off_m", "words"),
    [(0.0, "inside"), (3.0, "10 m away"), (184.0, "180 m away"), (1_240.0, "1.2 km away")],
)
def test_distances_are_told_in_round_words(off_m, words):
    assert away(off_m) == words


# The stage


def read(settings, reach, function):
    with deployment.closed_after(deployment.open_deployment(settings)[0]) as database:
        return database.read_now(reach, function)


def sites_of(settings, tenant_id):
    return read(
        settings, Reach.of(tenant_id), lambda c: sites.page(c, tenant_id, after=None, limit=500)
    )


def test_the_demo_has_a_marked_tenant_of_its_own_beside_a_real_one(settings):
    deployment.initialize(settings, NOW, tenant=deployment.new_tenant("Real"))
    staged = stage.prepare(settings, NOW)
    known = read(settings, DIRECTORY, tenants.all_tenants)
    assert {(t.name, t.is_demo) for t in known} == {("Real", False), (stage.TENANT_NAME, True)}
    [real] = [t for t in known if not t.is_demo]
    assert sites_of(settings, real.tenant_id) == []
    assert staged.tenant.is_demo


def test_a_second_run_has_the_same_tenant_and_sites_and_a_new_key(settings):
    first, second = stage.prepare(settings, NOW), stage.prepare(settings, NOW)
    assert second.tenant == first.tenant
    assert second.api_key != first.api_key
    tenant_id = second.tenant.tenant_id
    found = sites_of(settings, tenant_id)
    assert {site.version for site in found} == {1}
    assert len(found) == len(city.features())
    keys = read(
        settings,
        Reach.of(tenant_id),
        lambda c: api_keys.page(c, tenant_id, after=None, limit=10),
    )
    mine = [key for key in keys if key.name == stage.KEY_NAME]
    assert [key.revoked_at is None for key in mine].count(True) == 1
    assert len(mine) == 2
    assert re.search(r"dsk_", repr(second)) is None


def test_an_error_has_the_servers_code():
    [attempt] = attempts(of_kind(Kind.CLAIMED)[0])
    event = refused("Ana", attempt, Invalid(422, code="site-unknown"))
    assert (event.verdict, event.reason, event.level) == ("refused", "422 site-unknown", "")
