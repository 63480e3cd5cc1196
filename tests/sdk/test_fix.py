"""A position is exact about what is unknown, and keeps itself to itself."""

import copy
import math
import pickle
from datetime import UTC, datetime

import pytest

from doorstep import Fix, NewCheckIn, Request, Response, Stored
from doorstep._clock import Moment
from sdk.scripted import LAT, LON, NOON, a_fix


def test_it_prints_redacted():
    assert repr(a_fix()) == str(a_fix()) == f"{a_fix()}" == "<Fix redacted>"


def test_a_missing_accuracy_is_unknown_never_zero():
    assert Fix(lat=LAT, lon=LON, captured_at=NOON).accuracy_m is None
    assert a_fix(accuracy_m=0.0).accuracy_m is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"lat": 90.0000417},
        {"lat": math.nan},
        {"lat": "52.3702157"},
        {"lat": True},
        {"lon": -180.0000417},
        {"lon": math.inf},
        {"lon": None},
        {"accuracy_m": -1.0000417},
        {"accuracy_m": math.nan},
        {"captured_at": datetime(2026, 3, 9)},  # noqa: DTZ001
        {"captured_at": "2026-03-09T12:00:00Z"},
        {"mocked": 1},
        {"source": "GPS receiver"},
        {"elapsed_s": -1.0},
    ],
)
def test_what_is_no_position_is_refused_without_its_value(wrong):
    with pytest.raises(ValueError, match="must be") as refused:
        a_fix(**wrong)
    for digits in ("52.37", "0000417", "nan", "inf", "2026-03-09", "receiver"):
        assert digits not in str(refused.value)


def test_the_time_of_capture_is_required():
    with pytest.raises(TypeError):
        Fix(lat=LAT, lon=LON)


def test_it_takes_no_positional_coordinates_that_could_be_swapped():
    with pytest.raises(TypeError):
        Fix(LAT, LON, captured_at=NOON)


def test_it_is_frozen():
    fix = a_fix()
    with pytest.raises(AttributeError):
        fix.lat = 1.0
    with pytest.raises(AttributeError):
        del fix.lat
    assert copy.deepcopy(fix) is copy.copy(fix) is fix


@pytest.mark.parametrize(
    "holder",
    [
        a_fix(),
        NewCheckIn(purpose="visit", fix=a_fix()),
        Request(method="POST", url="https://x/", headers={}, body=b""),
        Response(status=200, headers={}, body=b""),
        Stored(level="exact", fields={"lat": LAT}),
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_no_holder_of_a_position_can_be_pickled(holder):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(holder, protocol)


def test_now_takes_both_clocks():
    before = datetime.now(UTC)
    fix = Fix.now(lat=LAT, lon=LON, accuracy_m=0)
    assert before <= fix.captured_at <= datetime.now(UTC)
    assert fix.accuracy_m is None
    assert fix.elapsed_s is not None
    assert fix.age_s(Moment(wall=NOON, elapsed_s=fix.elapsed_s + 90)) == 90


def test_after_a_reboot_the_age_is_unknown():
    assert a_fix(elapsed_s=5000.0).age_s(Moment(wall=NOON, elapsed_s=12.0)) is None
