import copy
import logging
import math
import pickle
import traceback

import pytest

from doorstep_geofences import Fix, Question
from geofences.making import fix, site

LAT, LON = -23.123456, -46.654321
REDACTED = "<Fix redacted>"


def _fix():
    return Fix(lat=LAT, lon=LON, accuracy_m=7.25)


def test_a_fix_prints_as_redacted(caplog):
    shown = _fix()
    logging.getLogger("test").warning("judging %s %r", shown, shown)
    for text in (str(shown), repr(shown), f"{shown}", f"{shown:>30}", f"{shown!r}"):
        assert text == REDACTED
    assert caplog.messages == [f"judging {REDACTED} {REDACTED}"]


def test_what_holds_a_fix_prints_it_as_redacted():
    shown = repr([Question(fix=_fix(), site_id="office")])
    assert REDACTED in shown
    assert "23.1" not in shown


def test_a_traceback_tells_no_coordinate():
    with pytest.raises(RuntimeError) as raised:
        _fail_with(_fix())
    text = "".join(traceback.format_exception(raised.value))
    assert REDACTED in text
    assert "23.1" not in text


def _fail_with(evidence):
    raise RuntimeError(evidence)


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_fix_cannot_be_pickled_or_copied(take):
    with pytest.raises(TypeError, match="memory only"):
        take(_fix())


def test_a_fix_is_not_iterable():
    with pytest.raises(TypeError):
        tuple(_fix())


def test_a_fix_does_not_change():
    with pytest.raises(AttributeError):
        _fix().lat = 0.0


def test_equal_fixes_are_equal():
    assert _fix() == _fix()
    assert _fix() != Fix(lat=LAT, lon=LON)


@pytest.mark.parametrize("zero", [0, 0.0, -0.0, None])
def test_an_accuracy_of_nothing_is_unknown(zero):
    assert Fix(lat=LAT, lon=LON, accuracy_m=zero).accuracy_m is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"lat": 90.123456},
        {"lat": -90.123456},
        {"lat": math.nan},
        {"lat": math.inf},
        {"lon": 180.123456},
        {"lon": math.nan},
        {"lon": -math.inf},
        {"accuracy_m": -1.123456},
        {"accuracy_m": math.nan},
        {"accuracy_m": math.inf},
    ],
)
def test_a_fix_out_of_range_is_refused_without_an_echo(wrong):
    with pytest.raises(ValueError, match="must be") as refusal:
        Fix(**{"lat": LAT, "lon": LON} | wrong)
    assert "123456" not in str(refusal.value)


@pytest.mark.parametrize("lat", [-90.0, 90.0])
@pytest.mark.parametrize("lon", [-180.0, 180.0])
def test_the_ends_of_the_world_are_in_range(lat, lon):
    assert Fix(lat=lat, lon=lon).accuracy_m is None


def test_a_site_prints_no_fix():
    assert "redacted" not in repr(site())
    assert repr(fix()) == REDACTED
