"""The long proofs, in short: each is a command of its own (`make prove`)."""

import random
from collections import Counter

import agreement
import grows
import scale
from doorstep_geofences import Outcome
from doorstep_server.settings import Settings


def test_only_uncertain_grows() -> None:
    seen = Counter(grows.cases(random.Random(11), 20_000))
    assert all(map(grows.is_kept, seen))
    # each kind of pair that there may be was there
    assert len(seen) == 5


def test_what_would_be_wrong_is_told() -> None:
    assert not grows.is_kept((Outcome.REJECTED, Outcome.ACCEPTED))
    assert not grows.is_kept((Outcome.UNCERTAIN, Outcome.ACCEPTED))
    assert not grows.is_kept((Outcome.ACCEPTED, Outcome.REJECTED))


def test_databases_and_judging_agree_with_planar_geos(settings: Settings) -> None:
    fences = list(agreement.drawn(40, random.Random(12)))
    tally = agreement.run(settings, fences, 4_000, "13")
    assert tally.agrees, tally
    assert 0 < tally.covered < tally.points


def test_many_sites_and_tenants(settings: Settings) -> None:
    figures = scale.run(settings, 300, 6, 2, "14")
    assert figures.kept == 299
    assert figures.asked == 7
    # the large one, and as many of the small ones as there is room for
    assert 1 < figures.loaded < figures.asked
    assert figures.taken_bytes <= figures.allowed_bytes
