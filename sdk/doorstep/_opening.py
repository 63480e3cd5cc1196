"""Opening hours of a site, as the server reads them: by what a clock on the site's wall shows.

A span starts on a day and goes on to its end, past midnight if need be; an exception takes the
place of all spans that start on its date.
"""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta, tzinfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60

#: from its start to before its end, in minutes since midnight
Span = tuple[int, int]


class OpeningHours:
    """When a site is open, in its local time."""

    def __init__(self, document: str, zone: str) -> None:
        """Of a bundle's document, which the server has checked."""
        members = json.loads(document)
        week = members.get("weekly", {})
        self._weekly = [_spans(week.get(day, [])) for day in _DAYS]
        self._exceptions = {
            date.fromisoformat(one["date"]): _spans(one["open"])
            for one in members.get("exceptions", [])
        }
        self._zone = zone

    def is_open(self, at: datetime) -> bool:
        """Whether it is open; also where this phone knows no such zone: the server looks again."""
        zone = _zone(self._zone)
        if zone is None:
            return True
        wall = at.astimezone(zone)
        minute = wall.hour * 60 + wall.minute
        if _hold(self._starting_on(wall.date()), minute):
            return True
        before = _date_before(wall.date(), zone)
        return _hold(self._starting_on(before), minute + _DAY_MINUTES)

    def _starting_on(self, day: date) -> list[Span]:
        exception = self._exceptions.get(day)
        return self._weekly[day.weekday()] if exception is None else exception


def _zone(name: str) -> tzinfo | None:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415 (slow to import)

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _hold(spans: list[Span], minute: int) -> bool:
    return any(start <= minute < end for start, end in spans)


def _date_before(day: date, zone: tzinfo) -> date:
    """The date that the clock showed before: not yesterday's where a date was skipped."""
    before = day - timedelta(days=1)
    noon = datetime.combine(before, time(12), zone)
    shown = datetime.fromtimestamp(noon.timestamp(), zone).date()
    return before if shown == before else before - timedelta(days=1)


def _spans(written: list[list[str]]) -> list[Span]:
    return [_span(*map(_minutes, pair)) for pair in written]


def _span(start: int, end: int) -> Span:
    """An end that is not after the start is of the next day."""
    return start, end if end > start else end + _DAY_MINUTES


def _minutes(written: str) -> int:
    hours, minutes = written.split(":")
    return int(hours) * 60 + int(minutes)
