"""Opening hours: read strictly once, and asked by what a clock on the site's wall shows.

A span starts on a day and goes on to its end, past midnight if need be. An exception takes the
place of all spans that start on its date; a night shift that began on the evening before goes on.

The wall clock decides, also when it is changed. Of an hour that it skips nothing is open, and a
span that would end in it ends when the clock jumps. An hour that it shows twice is open twice, or
closed twice. Where a whole date is skipped, the night before goes on into the date that follows.
"""

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any, Self

from .advised import Advised

#: In the order of datetime.weekday().
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_SPANS = 10
MAX_EXCEPTIONS = 1_000

_DAY_MINUTES = 24 * 60
_TIME = re.compile(r"(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)

#: From its start to before its end, in minutes since the midnight at which its day began.
Span = tuple[int, int]
#: Those that start on one day, in order.
Spans = tuple[Span, ...]


class HoursFlaw(Advised):
    """A stable code, with a sentence that tells the person what to do next."""

    MALFORMED = (
        "malformed",
        (
            "Give weekly with the days mon, tue, wed, thu, fri, sat and sun, each a list of"
            ' ["09:00", "18:00"], and exceptions as a list of {"date", "open"}, and nothing else.'
        ),
    )
    WRONG_TIME = (
        "wrong_time",
        "Write times as HH:MM, from 00:00 to 23:59; 24:00 only where a span ends.",
    )
    WRONG_DATE = ("wrong_date", "Write dates as YYYY-MM-DD, and only such as there are.")
    SPANS_UNSORTED = ("spans_unsorted", "Put the spans of a day in the order of their starts.")
    SPANS_OVERLAP = (
        "spans_overlap",
        (
            "Start each span of a day when the one before has ended, or later; one that ends past"
            " midnight is the day's last."
        ),
    )
    TOO_MANY_SPANS = ("too_many_spans", "Give at most 10 spans a day.")
    DATE_REPEATED = ("date_repeated", "Give each date once, with all its spans.")
    TOO_MANY_EXCEPTIONS = (
        "too_many_exceptions",
        "Give at most 1000 exceptions: leave out those that are over.",
    )
    NEVER_OPEN = (
        "never_open",
        "Give at least one span. Leave the hours out for always open; deactivate what is closed.",
    )


class InvalidHours(ValueError):
    """Opening hours that cannot be judged by; its message carries nothing of the document."""

    def __init__(self, flaw: HoursFlaw, *, at: str | None = None) -> None:
        super().__init__(flaw.advice)
        self.flaw = flaw
        #: The place in the document, such as "weekly.mon[0][1]".
        self.at = at

    @property
    def code(self) -> str:
        """Stable, for programs."""
        return self.flaw.value

    @property
    def message(self) -> str:
        """A sentence for the person who wrote the hours."""
        return self.flaw.advice


@dataclass(frozen=True, kw_only=True, slots=True)
class OpeningHours:
    """When a site is open, in its local time. Made by `parse`."""

    #: Those of each weekday, from Monday on.
    weekly: tuple[Spans, ...]
    #: What holds instead on certain dates, in their order.
    exceptions: tuple[tuple[date, Spans], ...] = ()
    _dates: tuple[date, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_dates", tuple(day for day, _ in self.exceptions))

    @classmethod
    def parse(cls, document: object) -> Self:
        """Read a document as parsed from JSON; raises InvalidHours."""
        members = _members(document, {"weekly", "exceptions"}, None)
        week = _members(members.get("weekly"), set(DAYS), "weekly")
        weekly = tuple(_parse_spans(week.get(day, []), f"weekly.{day}") for day in DAYS)
        exceptions = _parse_exceptions(members.get("exceptions", []))
        if not any(weekly) and not any(spans for _, spans in exceptions):
            raise InvalidHours(HoursFlaw.NEVER_OPEN)
        return cls(weekly=weekly, exceptions=exceptions)

    def to_document(self) -> dict[str, Any]:
        """The document that `parse` reads back to equal hours: the same one for equal hours."""
        week = zip(DAYS, self.weekly, strict=True)
        document: dict[str, Any] = {
            "weekly": {day: _written(spans) for day, spans in week if spans}
        }
        if self.exceptions:
            document["exceptions"] = [
                {"date": day.isoformat(), "open": _written(spans)} for day, spans in self.exceptions
            ]
        return document

    def is_open(self, at: datetime, zone: tzinfo) -> bool:
        """Whether the site is open at an instant, by a clock on its wall."""
        if at.utcoffset() is None:
            raise ValueError("at must name its time zone")
        wall = at.astimezone(zone)
        minute = wall.hour * 60 + wall.minute
        if _hold(self._starting_on(wall.date()), minute):
            return True
        evening_before = self._starting_on(_date_before(wall.date(), zone))
        return _hold(evening_before, minute + _DAY_MINUTES)

    def _starting_on(self, day: date) -> Spans:
        place = bisect_left(self._dates, day)
        if place < len(self._dates) and self._dates[place] == day:
            return self.exceptions[place][1]
        return self.weekly[day.weekday()]


def _hold(spans: Spans, minute: int) -> bool:
    return any(start <= minute < end for start, end in spans)


def _date_before(day: date, zone: tzinfo) -> date:
    """The date that the clock showed before: not always yesterday's.

    Who moves over the date line skips a whole date, as Samoa did. The instant that a skipped
    time of day stands for has another name, so a date is skipped if its noon has another date.
    """
    before = day - timedelta(days=1)
    noon = datetime.combine(before, time(12), zone)
    shown = datetime.fromtimestamp(noon.timestamp(), zone).date()
    return before if shown == before else before - timedelta(days=1)


def _members(value: object, known: set[str], at: str | None) -> dict[str, Any]:
    """An object's members. Those that we do not know meant something to whoever wrote them."""
    if not isinstance(value, dict) or not value.keys() <= known:
        raise InvalidHours(HoursFlaw.MALFORMED, at=at)
    return value


def _list(value: object, at: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidHours(HoursFlaw.MALFORMED, at=at)
    return value


def _parse_exceptions(value: object) -> tuple[tuple[date, Spans], ...]:
    items = _list(value, "exceptions")
    if len(items) > MAX_EXCEPTIONS:
        raise InvalidHours(HoursFlaw.TOO_MANY_EXCEPTIONS, at="exceptions")
    exceptions: dict[date, Spans] = {}
    for i, item in enumerate(items):
        at = f"exceptions[{i}]"
        members = _members(item, {"date", "open"}, at)
        day = _parse_date(members.get("date"), f"{at}.date")
        if day in exceptions:
            raise InvalidHours(HoursFlaw.DATE_REPEATED, at=f"{at}.date")
        exceptions[day] = _parse_spans(members.get("open"), f"{at}.open")
    return tuple(sorted(exceptions.items()))


def _parse_date(value: object, at: str) -> date:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise InvalidHours(HoursFlaw.WRONG_DATE, at=at)
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise InvalidHours(HoursFlaw.WRONG_DATE, at=at) from None


def _parse_spans(value: object, at: str) -> Spans:
    items = _list(value, at)
    if len(items) > MAX_SPANS:
        raise InvalidHours(HoursFlaw.TOO_MANY_SPANS, at=at)
    spans: list[Span] = []
    for i, item in enumerate(items):
        span = _parse_span(item, f"{at}[{i}]")
        if spans and span[0] < spans[-1][0]:
            raise InvalidHours(HoursFlaw.SPANS_UNSORTED, at=f"{at}[{i}]")
        if spans and span[0] < spans[-1][1]:
            raise InvalidHours(HoursFlaw.SPANS_OVERLAP, at=f"{at}[{i}]")
        spans.append(span)
    return tuple(spans)


def _parse_span(value: object, at: str) -> Span:
    """A start and an end; an end that is not after the start is of the next day."""
    times = _list(value, at)
    if len(times) != 2:
        raise InvalidHours(HoursFlaw.MALFORMED, at=at)
    start, end = (_parse_time(times[i], f"{at}[{i}]") for i in (0, 1))
    if start == _DAY_MINUTES:
        raise InvalidHours(HoursFlaw.WRONG_TIME, at=f"{at}[0]")
    return start, end if end > start else end + _DAY_MINUTES


def _parse_time(value: object, at: str) -> int:
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise InvalidHours(HoursFlaw.WRONG_TIME, at=at)
    hours, minutes = found.groups()
    return _DAY_MINUTES if hours is None else int(hours) * 60 + int(minutes)


def _written(spans: Spans) -> list[list[str]]:
    return [[_clock(start), _clock(end)] for start, end in spans]


def _clock(minute: int) -> str:
    """The time of day; midnight is the end of the day, as long as it is not passed."""
    hours, minutes = divmod(minute if minute <= _DAY_MINUTES else minute - _DAY_MINUTES, 60)
    return f"{hours:02}:{minutes:02}"
