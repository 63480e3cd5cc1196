import random
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_geofences import InvalidHours, OpeningHours
from doorstep_geofences.hours import DAYS

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
OFFICE = {day: [["09:00", "18:00"]] for day in DAYS[:5]}
BAR = {"fri": [["22:00", "06:00"]]}

MINUTE = timedelta(minutes=1)


def hours(weekly, *exceptions):
    listed = [{"date": day, "open": spans} for day, spans in exceptions]
    return OpeningHours.parse({"weekly": weekly, "exceptions": listed})


def local(text, zone=SAO_PAULO, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def opened(what, text, zone=SAO_PAULO, fold=0):
    return what.is_open(local(text, zone, fold), zone)


# -- the week ----------------------------------------------------------------------------------


def test_a_span_holds_its_start_and_not_its_end():
    office = hours(OFFICE)
    times = ("08:59:59", "09:00:00", "17:59:59", "18:00:00")
    assert [opened(office, f"2026-03-10 {t}") for t in times] == [False, True, True, False]


def test_a_day_that_is_not_named_is_closed():
    assert not opened(hours(OFFICE), "2026-03-14 12:00")


def test_the_instant_counts_and_not_the_zone_it_is_written_in():
    noon = datetime(2026, 3, 10, 12, tzinfo=SAO_PAULO)
    for zone in (UTC, ZoneInfo("Asia/Tokyo"), timezone(timedelta(hours=-11))):
        assert hours(OFFICE).is_open(noon.astimezone(zone), SAO_PAULO)


def test_a_time_without_a_zone_is_no_instant():
    with pytest.raises(ValueError, match="time zone"):
        hours(OFFICE).is_open(datetime(2026, 3, 10, 12), SAO_PAULO)  # noqa: DTZ001


def test_a_night_goes_on_into_the_next_day():
    bar = hours(BAR)
    assert opened(bar, "2026-03-13 23:30")
    assert opened(bar, "2026-03-14 05:59")
    assert not opened(bar, "2026-03-14 06:00")
    assert not opened(bar, "2026-03-13 05:00")


def test_the_night_of_sunday_goes_on_into_monday():
    assert opened(hours({"sun": [["22:00", "06:00"]]}), "2026-03-16 01:00")


def test_a_whole_day_ends_where_the_next_begins():
    saturday = hours({"sat": [["00:00", "24:00"]]})
    times = ("13 23:59", "14 00:00", "14 23:59", "15 00:00")
    assert [opened(saturday, f"2026-03-{t}") for t in times] == [False, True, True, False]


def test_an_end_that_is_the_start_is_a_day_later():
    always = hours({"sat": [["09:00", "09:00"]]})
    times = ("14 08:59", "14 09:00", "15 08:59", "15 09:00")
    assert [opened(always, f"2026-03-{t}") for t in times] == [False, True, True, False]


# -- exceptions --------------------------------------------------------------------------------


def test_an_exception_takes_the_place_of_its_day():
    office = hours(OFFICE, ("2026-12-24", [["09:00", "13:00"]]), ("2026-12-25", []))
    assert opened(office, "2026-12-24 12:59")
    assert not opened(office, "2026-12-24 13:00")
    assert not opened(office, "2026-12-25 12:00")
    assert opened(office, "2026-12-23 13:00")


def test_a_night_that_began_before_an_exception_goes_on():
    bar = hours(BAR, ("2026-03-14", []))
    assert opened(bar, "2026-03-14 03:00")


def test_a_night_that_an_exception_cancels_is_cancelled_till_the_morning():
    bar = hours(BAR, ("2026-03-13", []))
    assert not opened(bar, "2026-03-13 23:00")
    assert not opened(bar, "2026-03-14 03:00")


def test_an_exception_may_open_a_night_on_a_closed_day():
    office = hours(OFFICE, ("2026-03-14", [["20:00", "02:00"]]))
    assert opened(office, "2026-03-15 01:59")


# -- clocks that change ------------------------------------------------------------------------


def test_an_hour_that_comes_twice_is_open_twice():
    berlin, early = ZoneInfo("Europe/Berlin"), hours({"sun": [["02:00", "02:30"]]})
    for fold in (0, 1):
        assert opened(early, "2026-10-25 02:29", berlin, fold)
        assert not opened(early, "2026-10-25 02:30", berlin, fold)


def test_a_span_that_would_end_in_the_skipped_hour_ends_when_the_clock_jumps():
    berlin, early = ZoneInfo("Europe/Berlin"), hours({"sun": [["01:00", "02:30"]]})
    assert opened(early, "2026-03-29 01:59", berlin)
    assert not opened(early, "2026-03-29 03:00", berlin)


def test_a_span_within_the_skipped_hour_is_not_open_on_that_day():
    berlin, early = ZoneInfo("Europe/Berlin"), hours({"sun": [["02:00", "02:45"]]})
    jump = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert not any(early.is_open(jump + n * MINUTE, berlin) for n in range(-60, 60))


def test_a_day_without_a_midnight_opens_when_it_begins():
    """In São Paulo, 4 November 2018 began at 01:00."""
    sunday = hours({"sun": [["00:00", "24:00"]]})
    begins = datetime(2018, 11, 4, 3, tzinfo=UTC)
    assert not sunday.is_open(begins - MINUTE, SAO_PAULO)
    assert sunday.is_open(begins, SAO_PAULO)


def test_a_night_goes_on_over_a_date_that_never_was():
    """Samoa went from Thursday, 29 December 2011, to Saturday."""
    apia = ZoneInfo("Pacific/Apia")
    thursday, friday = (hours({day: [["22:00", "06:00"]]}) for day in ("thu", "fri"))
    saturday = datetime(2011, 12, 30, 10, tzinfo=UTC)
    assert saturday.astimezone(apia).isoformat() == "2011-12-31T00:00:00+14:00"
    for minutes, still in ((-1, True), (0, True), (359, True), (360, False)):
        assert thursday.is_open(saturday + minutes * MINUTE, apia) is still
        assert not friday.is_open(saturday + minutes * MINUTE, apia)


#: around changes of the clock: by an hour, by half an hour, at midnight, by a day
CHANGES = [
    ("America/Sao_Paulo", datetime(2018, 11, 4, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2019, 2, 17, tzinfo=UTC)),
    ("America/St_Johns", datetime(2009, 11, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 3, 29, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, tzinfo=UTC)),
    ("Pacific/Kwajalein", datetime(1993, 8, 21, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2026, 1, 1, tzinfo=UTC)),
]


def random_time(rng, to_the=1_439):
    """Any time of day, often one at which clocks change."""
    minute = rng.choice([rng.randrange(0, to_the + 1), rng.randrange(0, 8) * 30])
    return f"{minute // 60:02}:{minute % 60:02}"


def random_spans(rng):
    cuts = sorted({random_time(rng) for _ in range(rng.choice([0, 1, 2, 2, 4, 7]))})
    spans = [list(pair) for pair in zip(cuts[::2], cuts[1::2], strict=False)]
    if len(cuts) % 2:
        spans.append([cuts[-1], rng.choice(["24:00", random_time(rng, _minutes(cuts[-1]))])])
    return spans


def random_document(rng, around):
    weekly = {day: random_spans(rng) for day in rng.sample(DAYS, 6)}
    weekly[rng.choice(list(weekly))] = [["22:00", "02:30"]]
    days = rng.sample(range(-3, 4), rng.randrange(3))
    exceptions = [
        {"date": (around + timedelta(days=n)).date().isoformat(), "open": random_spans(rng)}
        for n in days
    ]
    return {"weekly": weekly, "exceptions": exceptions}


def _minutes(text):
    return int(text[:2]) * 60 + int(text[3:])


def painted(document, dates):
    """Every minute that is open, as the wall clock shows it, over dates that follow each other."""
    instead = {date.fromisoformat(one["date"]): one["open"] for one in document["exceptions"]}
    minutes = set()
    for day, after in pairwise(dates):
        for start, end in instead.get(day, document["weekly"].get(DAYS[day.weekday()], [])):
            minute, shown = _minutes(start), day
            while True:
                minutes.add((shown, minute))
                minute += 1
                if minute == 1_440:
                    minute, shown = 0, after
                    if end == "24:00":
                        break
                if minute == _minutes(end):
                    break
    return minutes


@given(st.sampled_from(CHANGES), st.integers(0, 2**32))
def test_around_changes_of_the_clock_sites_are_open_as_the_wall_clock_shows(changed, seed):
    (name, change), rng = changed, random.Random(seed)
    zone = ZoneInfo(name)
    document = random_document(rng, change)
    what = OpeningHours.parse(document)
    hourly = (change + timedelta(hours=n) for n in range(-120, 121))
    dates = sorted({instant.astimezone(zone).date() for instant in hourly})
    open_minutes = painted(document, dates)
    for minutes in range(-2_880, 2_880, 7):
        instant = change + (minutes + rng.randrange(7)) * MINUTE
        wall = instant.astimezone(zone)
        shown = (wall.date(), wall.hour * 60 + wall.minute)
        assert what.is_open(instant, zone) is (shown in open_minutes)


# -- documents ---------------------------------------------------------------------------------


@given(st.integers(0, 2**32))
def test_a_document_comes_back_as_what_it_means(seed):
    rng = random.Random(seed)
    what = OpeningHours.parse(random_document(rng, datetime(2026, 1, 5, tzinfo=UTC)))
    written = what.to_document()
    assert OpeningHours.parse(written) == what
    assert OpeningHours.parse(written).to_document() == written


def test_equal_hours_are_written_alike():
    loose = {
        "exceptions": [
            {"open": [], "date": "2026-12-25"},
            {"date": "2026-01-01", "open": [["22:00", "00:00"]]},
        ],
        "weekly": {"fri": [["00:00", "00:00"]], "tue": [], "mon": [["18:00", "00:00"]]},
    }
    assert OpeningHours.parse(loose).to_document() == {
        "weekly": {"mon": [["18:00", "24:00"]], "fri": [["00:00", "24:00"]]},
        "exceptions": [
            {"date": "2026-01-01", "open": [["22:00", "24:00"]]},
            {"date": "2026-12-25", "open": []},
        ],
    }


def test_without_exceptions_none_are_written():
    assert list(hours(OFFICE).to_document()) == ["weekly"]


def weekly(*spans):
    return {"weekly": {"mon": list(spans)}}


def excepted(*exceptions):
    return {"weekly": OFFICE, "exceptions": list(exceptions)}


CLOSED = {"date": "2026-12-25", "open": []}


@pytest.mark.parametrize(
    ("document", "code", "at"),
    [
        ([], "malformed", None),
        ({}, "malformed", "weekly"),
        ({"weekly": OFFICE, "public_holidays": "closed"}, "malformed", None),
        ({"weekly": {"monday": [["09:00", "18:00"]]}}, "malformed", "weekly"),
        ({"weekly": {"mon": "09:00-18:00"}}, "malformed", "weekly.mon"),
        ({"weekly": {"mon": None}}, "malformed", "weekly.mon"),
        (weekly("09:00"), "malformed", "weekly.mon[0]"),
        (weekly(["09:00"]), "malformed", "weekly.mon[0]"),
        (weekly(["09:00", "12:00", "18:00"]), "malformed", "weekly.mon[0]"),
        (weekly(["9:00", "18:00"]), "wrong_time", "weekly.mon[0][0]"),
        (weekly(["09:00", "24:01"]), "wrong_time", "weekly.mon[0][1]"),
        (weekly(["09:00", "18:60"]), "wrong_time", "weekly.mon[0][1]"),
        (weekly(["09:00", "18:00:00"]), "wrong_time", "weekly.mon[0][1]"),
        (weekly(["09:00", "18:00\n"]), "wrong_time", "weekly.mon[0][1]"),
        (weekly(["٠٩:00", "18:00"]), "wrong_time", "weekly.mon[0][0]"),
        (weekly([9, 18]), "wrong_time", "weekly.mon[0][0]"),
        (weekly(["24:00", "06:00"]), "wrong_time", "weekly.mon[0][0]"),
        (weekly(["14:00", "18:00"], ["09:00", "12:00"]), "spans_unsorted", "weekly.mon[1]"),
        (weekly(["09:00", "14:00"], ["13:00", "18:00"]), "spans_overlap", "weekly.mon[1]"),
        (weekly(["09:00", "14:00"], ["09:00", "14:00"]), "spans_overlap", "weekly.mon[1]"),
        (weekly(["09:00", "02:00"], ["20:00", "22:00"]), "spans_overlap", "weekly.mon[1]"),
        (
            weekly(*[[f"{h:02}:00", f"{h:02}:30"] for h in range(11)]),
            "too_many_spans",
            "weekly.mon",
        ),
        ({"weekly": OFFICE, "exceptions": None}, "malformed", "exceptions"),
        (excepted("2026-12-25"), "malformed", "exceptions[0]"),
        (excepted({"date": "2026-12-25"}), "malformed", "exceptions[0].open"),
        (excepted({**CLOSED, "name": "Christmas"}), "malformed", "exceptions[0]"),
        (excepted({"open": []}), "wrong_date", "exceptions[0].date"),
        (excepted({**CLOSED, "date": "2026-02-29"}), "wrong_date", "exceptions[0].date"),
        (excepted({**CLOSED, "date": "20261225"}), "wrong_date", "exceptions[0].date"),
        (excepted({**CLOSED, "date": "2026-W52-5"}), "wrong_date", "exceptions[0].date"),
        (excepted(CLOSED, CLOSED), "date_repeated", "exceptions[1].date"),
        (excepted({**CLOSED, "open": [["9", "13:00"]]}), "wrong_time", "exceptions[0].open[0][0]"),
        (excepted(*[CLOSED] * 1_001), "too_many_exceptions", "exceptions"),
        ({"weekly": {}}, "never_open", None),
        ({"weekly": {"mon": []}, "exceptions": [CLOSED]}, "never_open", None),
    ],
)
def test_hours_that_cannot_be_judged_by_are_refused_with_the_place(document, code, at):
    with pytest.raises(InvalidHours) as refused:
        OpeningHours.parse(document)
    assert (refused.value.code, refused.value.at) == (code, at)
    assert refused.value.message


def test_spans_may_follow_each_other_at_once():
    both = hours({"mon": [["09:00", "12:00"], ["12:00", "15:00"]]})
    assert opened(both, "2026-03-09 12:00")


def test_a_site_may_be_open_on_certain_dates_alone():
    fair = hours({}, ("2026-05-01", [["10:00", "16:00"]]))
    assert opened(fair, "2026-05-01 10:00")
    assert not opened(fair, "2026-05-08 10:00")
