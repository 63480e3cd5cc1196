"""A set of sites that changes a little at a time answers as one that was made anew."""

import random
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_geofences import Fix, Question, SiteIndex, index, judge
from geofences.making import random_fix_place, random_site


@given(st.integers(0, 2**32), st.sampled_from([3, 100]))
def test_a_changed_set_answers_as_a_new_one(seed, most_changes):
    rng = random.Random(seed)
    current = {number: random_site(rng, number) for number in range(8)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "MOST_CHANGES", most_changes)
        changing = SiteIndex(current.values())
        for _ in range(4):
            # some that were there, some that were gone or never there
            new = {n: random_site(rng, n) for n in rng.sample(range(12), 2)}
            gone = rng.sample([n for n in range(12) if n not in new], 2)
            changing = changing.changed(new.values(), gone)
            current = {n: s for n, s in (current | new).items() if n not in gone}
    assert len(changing) == len(current)
    assert {site.site_id: site for site in changing} == current
    assert all(changing.get(n) is current.get(n) for n in range(12))
    assert changing.widest_cap_m == max((s.max_accuracy_m for s in current.values()), default=inf)
    fixes = [Fix(**random_fix_place(rng), accuracy_m=10 ** rng.uniform(0, 3)) for _ in range(20)]
    questions = [Question(fix=f) for f in fixes]
    questions += [Question(fix=f, site_id=rng.choice(list(current))) for f in fixes if current]
    fresh = SiteIndex(current.values())
    for mine, theirs in zip(judge(questions, changing), judge(questions, fresh), strict=True):
        assert (mine.reason, mine.site and mine.site.site_id) == (
            theirs.reason,
            theirs.site and theirs.site.site_id,
        )


def test_the_set_before_a_change_stays_as_it_was():
    rng = random.Random(1)
    before = SiteIndex([random_site(rng, number) for number in range(3)])
    was = {number: before.get(number) for number in range(3)}
    before.changed([random_site(rng, 1)], gone=[2])
    assert {number: before.get(number) for number in range(3)} == was


def test_who_is_gone_cannot_be_claimed():
    rng = random.Random(2)
    changed = SiteIndex([random_site(rng, 1), random_site(rng, 2)]).changed([], gone=[1])
    with pytest.raises(KeyError):
        changed[1]


def test_size_grows_with_sites_and_their_positions():
    rng = random.Random(3)
    few, more = ([random_site(rng, n) for n in range(count)] for count in (2, 5))
    assert 0 < SiteIndex(few).size_bytes < SiteIndex([*more, *few[2:]]).size_bytes
    changed = SiteIndex(few).changed(more)
    assert changed.size_bytes > SiteIndex(more).size_bytes
