"""The evaluation of the rule measures what it says: places, accuracies, rules and shares."""

import csv
import gzip
import json
import math
import re
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely

from doorstep_geofences import STANDARD, STRICT, Geofence
from doorstep_geofences.gaussian import PLAUSIBLE_ACCURACIES, SIGMAS_PER_ACCURACY
from evaluation import accuracies, cost, fences, fixes, plots, rules, run, studies
from evaluation.claims import AS_REPORTED, ERROR_MODELS, HONEST, Claims, Kind, Scene
from evaluation.fences import Fence, FenceSet
from evaluation.records import Record, Sample, Setting, measure
from evaluation.shares import Share

ROOT = Path(__file__).parents[2]
README = ROOT / "geofences/evaluation/README.md"
BIEL, ZURICH = accuracies.read()
SETS = [fences.circle(75), fences.made_up()]
#: Mean radius of the Earth: a sphere's distances are within 0.6 % of the ellipsoid's.
EARTH_M = 6_371_008.8


def seeded(seed=1):
    return np.random.default_rng(seed)


def distances_m(lon, lat, edge):
    """Great-circle distances to the places of an edge: another way than the evaluation's."""
    lon2, lat2 = np.radians(edge).T
    lon1, lat1 = math.radians(lon), math.radians(lat)
    haversine = (
        np.sin((lat2 - lat1) / 2) ** 2
        + math.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * EARTH_M * np.arcsin(np.sqrt(haversine))


def edge_of(geofence: Geofence):
    """Places along the edge, a metre or less apart, in degrees."""
    if geofence.shape is not None:
        return shapely.get_coordinates(shapely.segmentize(geofence.shape.boundary, 5e-6))
    lon, lat = geofence.center
    radius = geofence.radius_m / EARTH_M
    turns = np.linspace(0, 2 * math.pi, 1000)
    east, north = np.cos(turns) * radius / math.cos(math.radians(lat)), np.sin(turns) * radius
    return np.degrees(np.stack([east, north], axis=1)) + np.array([lon, lat])


def is_inside(geofence: Geofence, lon, lat, slack=0.0):
    """Even or odd crossings of a ray; holes count themselves out."""
    if geofence.shape is None:
        [distance_m] = distances_m(lon, lat, np.array([geofence.center]))
        return distance_m <= geofence.radius_m * (1.0 + slack)
    crossings = 0
    for part in getattr(geofence.shape, "geoms", [geofence.shape]):
        for ring in (part.exterior, *part.interiors):
            for (x1, y1), (x2, y2) in pairwise(ring.coords):
                if (y1 > lat) != (y2 > lat):
                    crossings += lon < x1 + (lat - y1) / (y2 - y1) * (x2 - x1)
    return crossings % 2 == 1


def true_places(of: FenceSet, kind, count=150):
    """The fence of each claim, whether its true place is inside, and how far its edge is."""
    claims = Scene(fences=of, accuracies=BIEL).claims(kind, count, seeded())
    places = of.in_degrees(claims.fence, claims.true_m)
    geofences = [of.fences[number].geofence for number in claims.fence]
    slack = 0.006 if kind in HONEST else -0.006
    return [
        (is_inside(geofence, lon, lat, slack), distances_m(lon, lat, edge_of(geofence)).min())
        for geofence, (lon, lat) in zip(geofences, places, strict=True)
    ]


@pytest.mark.parametrize("of", SETS, ids=lambda of: of.name)
def test_the_honest_are_inside(of):
    assert all(inside for inside, _ in true_places(of, Kind.INSIDE))


@pytest.mark.parametrize("of", SETS, ids=lambda of: of.name)
def test_at_the_entrance_is_inside_and_near_the_edge(of):
    assert all(inside and edge_m < 10.5 for inside, edge_m in true_places(of, Kind.ENTRANCE))


@pytest.mark.parametrize("of", SETS, ids=lambda of: of.name)
@pytest.mark.parametrize(("kind", "low", "high"), [(Kind.NEAR, 0, 50), (Kind.FAR, 50, 500)])
def test_the_dishonest_are_as_far_beyond_the_edge_as_is_said(of, kind, low, high):
    found = true_places(of, kind)
    assert not any(inside for inside, _ in found)
    edges_m = [edge_m for _, edge_m in found]
    assert low * 0.99 - 0.5 < min(edges_m) < max(edges_m) < high * 1.01 + 0.5
    assert np.mean(edges_m) == pytest.approx((low + high) / 2, rel=0.15)


@pytest.mark.parametrize("of", [BIEL, ZURICH], ids=lambda of: of.name)
def test_accuracies_have_the_quantiles_of_real_phones(of):
    drawn = of.at(seeded().random(20_000))
    for level, accuracy_m in zip(of.quantiles_at, of.quantiles_m, strict=True):
        assert of.at(np.array([level]))[0] == accuracy_m
        # a value that many phones report is a step of the distribution
        assert np.mean(drawn < accuracy_m) - 0.01 <= level <= np.mean(drawn <= accuracy_m) + 0.01


def test_an_accuracy_of_zero_is_unknown():
    claims = Scene(fences=SETS[0], accuracies=BIEL).claims(Kind.INSIDE, 20_000, seeded())
    assert np.mean(np.isnan(claims.accuracy_m)) == pytest.approx(0.1, abs=0.01)
    assert np.nanmin(claims.accuracy_m) > 0.0
    unknown = np.isnan(claims.accuracy_m)
    assert (np.hypot(*(claims.fix_m - claims.true_m)[unknown].T) > 0.0).all()


@pytest.mark.parametrize("model", ERROR_MODELS, ids=lambda model: model.name)
def test_so_many_errors_are_within_the_true_accuracy(model):
    accuracy_m = np.full(20_000, 10.0)
    radius_m = np.hypot(*model.errors_m(accuracy_m, seeded()).T)
    assert np.mean(radius_m <= 10.0 * model.understated) == pytest.approx(0.68, abs=0.01)


def test_heavy_tails_are_heavy():
    gaussian, *_, heavy = [
        np.mean(np.hypot(*model.errors_m(np.full(20_000, 10.0), seeded()).T) > 20.1)
        for model in ERROR_MODELS
    ]
    assert gaussian == pytest.approx(0.01, abs=0.003)
    assert heavy > 0.05


#: A square of 100 m; drawn exactly, as the rules of others know metres alone.
_BOX = shapely.box(-50, -50, 50, 50)
SQUARE = FenceSet(name="square", fences=[replace(Fence.drawn(_BOX), shape=_BOX)])


def claims_at(*fixes_m, accuracy_m=10.0):
    fix_m = np.array(fixes_m, dtype=float)
    return Claims(
        fences=SQUARE,
        fence=np.zeros(len(fix_m), dtype=np.intp),
        true_m=np.zeros_like(fix_m),
        fix_m=fix_m,
        accuracy_m=np.full(len(fix_m), accuracy_m),
    )


def answers(claims, tolerance_m=0.0):
    """What each rule says: a for accepted, u for uncertain, r for rejected."""
    said = {}
    for rule in rules.compared(tolerance_m):
        found = rule.answers(claims)
        said[rule.name] = "".join(
            "a" if accepted else "r" if rejected else "u"
            for accepted, rejected in zip(found.accepted, found.rejected, strict=True)
        )
    return said


def test_the_rules_say_what_a_pencil_says():
    """In the middle; by the edge; 10 m beyond it, as the accuracy is; 11; 21; a corner's 14."""
    claims = claims_at((0, 0), (49, 0), (60, 0), (61, 0), (71, 0), (60, 60))
    assert answers(claims) == {
        "ours, standard": "aauuru",
        "ours, strict": "auuuru",
        "centre inside": "aarrrr",
        "d ≤ accuracy": "aaarrr",
        "d − accuracy < 0": "aarrrr",
    }


def test_a_tolerance_is_given_to_every_rule():
    claims = claims_at((50, 0), (74, 0), (84, 0), (86, 0))
    assert answers(claims, tolerance_m=25.0) == {
        "ours, standard": "aauu",
        "ours, strict": "auuu",
        "centre inside": "aarr",
        "d ≤ accuracy": "aaar",
        "d − accuracy < 0": "aaar",
    }


def test_an_unknown_accuracy_is_uncertain_to_us_and_perfect_to_others():
    assert answers(claims_at((40, 0), (51, 0), accuracy_m=np.nan)) == {
        "ours, standard": "uu",
        "ours, strict": "uu",
        "centre inside": "ar",
        "d ≤ accuracy": "ar",
        "d − accuracy < 0": "ar",
    }


def test_the_cap_is_that_of_the_rule():
    claims = claims_at((0, 0), accuracy_m=60.0)
    lenient = rules.ours(assurance=STANDARD, max_accuracy_m=60.0)(claims)
    strict = rules.ours(assurance=STANDARD, max_accuracy_m=59.0)(claims)
    assert [lenient.accepted[0], strict.accepted[0]] == [True, False]


def test_a_share_knows_how_sure_it_is():
    """Values from Wilson's formula, worked by hand."""
    assert Share(count=0, of=10).interval == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert Share(count=5, of=10).interval == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert str(Share(count=1, of=1000)) == "0.10 % (0.02–0.56)"


def test_the_reach_of_today_rejects_what_judge_rejects():
    claims = Scene(fences=SETS[1], accuracies=BIEL).claims(Kind.NEAR, 1_000, seeded())
    [today] = [rule for rule in studies.reaching() if rule.name == "2.01"]
    judged = rules.ours(assurance=STANDARD)(claims)
    assert (today.answers(claims).rejected == judged.rejected).all()
    assert 0.05 < judged.rejected.mean() < 0.95


@pytest.mark.parametrize("assurance", [STANDARD, STRICT])
@pytest.mark.parametrize("accuracy", [BIEL, ZURICH], ids=lambda of: of.name)
@pytest.mark.parametrize("of", SETS, ids=lambda of: of.name)
def test_our_rule_seldom_errs(of, accuracy, assurance):
    """The bars, for phones that tell the truth about their accuracy."""
    scene = Scene(fences=of, accuracies=accuracy)
    rule = rules.Rule(name="ours", answers=rules.ours(assurance=assurance))
    sample = Sample(kinds=(*HONEST, Kind.FAR), count=1_000, rng=seeded(20_260_101))
    for record in measure(Setting.of("rules", scene), scene, [rule], sample):
        if record.kind in HONEST:
            assert record.tally.rejected.value <= studies.MOST_FALSE_REJECTS
        else:
            assert record.tally.accepted.value <= studies.MOST_FALSE_ACCEPTS


def tally(accepted, rejected, of=1_000):
    return rules.Tally(
        accepted=Share(count=accepted, of=of),
        uncertain=Share(count=of - accepted - rejected, of=of),
        rejected=Share(count=rejected, of=of),
    )


@pytest.mark.parametrize(
    ("kind", "accepted", "rejected", "missed"),
    [
        (Kind.FAR, 30, 970, True),
        (Kind.FAR, 5, 900, False),
        (Kind.FAR, 6, 900, False),  # within what chance explains
        (Kind.NEAR, 300, 100, False),
        (Kind.INSIDE, 900, 30, True),
        (Kind.ENTRANCE, 900, 30, True),
        (Kind.INSIDE, 900, 10, False),
    ],
)
def test_a_missed_bar_is_told(kind, accepted, rejected, missed):
    setting = Setting.of("rules", Scene(fences=SETS[0], accuracies=BIEL))
    record = Record(
        setting=setting, rule="ours, standard", kind=kind, tally=tally(accepted, rejected)
    )
    assert bool(studies.missed_bars([record])) is missed
    assert not studies.missed_bars([replace(record, rule="centre inside")])


def some_fixes(fixes_m, accuracies_m, correlation=0.0):
    return fixes.Several(
        claims=claims_at(fixes_m[0], accuracy_m=accuracies_m[0]),
        fixes_m=np.array([fixes_m], dtype=float),
        accuracies_m=np.array([accuracies_m], dtype=float),
        correlation=correlation,
    )


def test_a_mean_is_as_accurate_as_its_errors_are_independent():
    four = some_fixes([(0, 0), (4, 0), (0, 4), (4, 4)], [20.0] * 4)
    for correlation, accuracy_m in ((0.0, 10.0), (1.0, 20.0), (0.5, math.sqrt(250.0))):
        mean = fixes.mean(four, correlation)
        assert mean.fix_m.tolist() == [[2.0, 2.0]]
        assert mean.accuracy_m == pytest.approx([accuracy_m])


def test_a_mean_weighs_by_the_inverse_of_the_variance():
    mean = fixes.mean(some_fixes([(0, 0), (10, 0), (99, 99)], [10.0, 20.0, np.nan]), 0.0)
    assert mean.fix_m.tolist() == [[pytest.approx(2.0), 0.0]]
    assert mean.accuracy_m == pytest.approx([math.sqrt(80.0)])


def test_a_mean_of_fixes_of_unknown_accuracy_is_as_unknown():
    mean = fixes.mean(some_fixes([(1, 1), (3, 3)], [np.nan, np.nan]), 0.0)
    assert mean.fix_m.tolist() == [[1.0, 1.0]]
    assert np.isnan(mean.accuracy_m).all()


@pytest.mark.parametrize(
    ("fixes_m", "best", "agree", "again"),
    [
        ([(0, 0), (0, 0)], "a", "a", "a"),
        ([(0, 0), (55, 0)], "u", "u", "a"),
        ([(0, 0), (200, 0)], "r", "u", "a"),
        ([(200, 0), (200, 0)], "r", "r", "r"),
        ([(200, 0), (55, 0)], "u", "u", "u"),
    ],
)
def test_ways_to_combine_two_fixes_of_which_the_second_is_better(fixes_m, best, agree, again):
    some = some_fixes(fixes_m, [10.0, 9.0])
    said = [way(some) for way in (fixes.best, fixes.all_agree, fixes.tried_again)]
    assert "".join("a" if s.accepted[0] else "r" if s.rejected[0] else "u" for s in said) == (
        best + agree + again
    )


@pytest.mark.parametrize("correlation", fixes.CORRELATIONS)
def test_errors_of_one_claim_are_as_correlated_as_is_said(correlation):
    scene = Scene(fences=SETS[0], accuracies=BIEL, errors=AS_REPORTED)
    sample = Sample(kinds=(), count=5_000, rng=seeded())
    taking = fixes.Taking(fixes=2, correlation=correlation, same_accuracy=0.5)
    some = fixes.several(scene, Kind.INSIDE, taking, sample)
    same = some.accuracies_m[:, 0] == some.accuracies_m[:, 1]
    known = ~np.isnan(some.accuracies_m).any(axis=1)
    errors = (some.fixes_m - some.claims.true_m[:, np.newaxis])[known]
    first, second = (errors / some.accuracies_m[known][:, :, np.newaxis])[:, :, 0].T
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(correlation, abs=0.05)
    assert 0.45 < same.mean() < 0.6


@pytest.fixture(scope="module")
def footprints_file(tmp_path_factory):
    """Two shops and a hall, as a file that anyone may have."""
    shapes = [fence.geofence.shape for fence in fences.made_up().fences[:4]]
    features = [
        {"type": "Feature", "properties": {}, "geometry": json.loads(shapely.to_geojson(shape))}
        for shape in shapes
    ]
    file = tmp_path_factory.mktemp("footprints") / "some.geojson.gz"
    file.write_bytes(gzip.compress(json.dumps({"features": features}).encode()))
    return file


def test_footprints_come_from_a_file_and_may_have_to_be_large(footprints_file):
    areas = [fence.shape.area for fence in fences.footprints(footprints_file, seeded()).fences]
    assert areas == pytest.approx([80, 660, 3_080, 6_720], rel=0.01)
    large = fences.footprints(footprints_file, seeded(), 1_000.0)
    assert len(large.fences) == 2


def test_the_command_tells_every_rule_and_writes_it_down(tmp_path, capsys):
    assert run.main(["--claims", "20", "--no-plots", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for rule in rules.compared():
        assert f"| {rule.name} " in said
    for way in fixes.COMBINING:
        assert f"| {way} " in said
    assert "seed" in said
    with (tmp_path / "judge.csv").open(encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    assert {row["section"] for row in rows} == set(run.SECTIONS)
    assert all(float(row["accepted_low"]) <= float(row["accepted"]) for row in rows)


def test_each_section_that_has_a_plot_is_plotted(tmp_path):
    world = studies.World(footprints=fences.circle(50), accuracies=[BIEL], count=10, seed=1)
    sections = (run.SECTIONS[name](world) for name in ("rules", "levels", "fixes"))
    records = [r for section in sections for r in section if "75 m" in r.setting.fences]
    assert plots.write(records, tmp_path) == ["rules.svg", "levels.svg", "fixes.svg"]
    for file in tmp_path.iterdir():
        assert "<svg" in file.read_text()


def test_the_same_seed_says_the_same(tmp_path):
    written = []
    for folder, seed in (("one", "7"), ("two", "7"), ("three", "8")):
        arguments = ["--claims", "50", "--only", "reaches", "--no-plots", "--seed", seed]
        run.main([*arguments, "--out", str(tmp_path / folder)])
        written.append((tmp_path / folder / "judge.csv").read_text())
    assert written[0] == written[1] != written[2]


def documented():
    """Every way to run the evaluation that is written down: in blocks, and within a sentence."""
    decision = (ROOT / "server/decisions/0010-one-fix-a-claim.md").read_text()
    texts = README.read_text() + decision
    blocks = re.findall(r"^```sh\n(.*?)^```", texts, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`(python geofences/[^`]*)`", texts)
    return list(dict.fromkeys([*"".join(blocks).splitlines(), *inline]))


def test_the_documented_commands_run(tmp_path, footprints_file):
    makefile = (ROOT / "Makefile").read_text()
    script = "python geofences/evaluation/run.py"
    commands = documented()
    assert len(commands) > 2
    for command in commands:
        if command == "make judge":
            assert re.search(rf"^judge:.*## .*\n\t\$\(BIN\)/{script}$", makefile, re.MULTILINE)
            continue
        if command == "make cost":
            told = r"^cost:.*## .*\n\t\$\(BIN\)/python geofences/evaluation/cost.py$"
            assert re.search(told, makefile, re.MULTILINE)
            cost.main(["--sizes", "20", "30", "--rounds", "1", "--fences", str(footprints_file)])
            continue
        assert command.startswith(f"{script} "), command
        arguments = shlex.split(command.replace("FILE.geojson.gz", str(footprints_file)))[2:]
        assert run.main([*arguments, "--claims", "10", "--no-plots", "--out", str(tmp_path)]) == 0


def test_an_honest_phone_is_falsely_rejected_once_in_a_hundred_times_at_most():
    """The fence is never farther than the true place, so only the largest errors count."""
    reach = PLAUSIBLE_ACCURACIES * SIGMAS_PER_ACCURACY
    assert 0.0095 < math.exp(-(reach**2) / 2) < studies.MOST_FALSE_REJECTS


def test_the_documentation_leads_somewhere():
    for file in (README, README.parent / "data/README.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)", file.read_text()):
            assert (file.parent / target).exists(), target
