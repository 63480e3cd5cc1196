"""Where people were accepted, as far as it is stored: no more than doubting travel asks for."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

from sqlalchemy import Connection

from doorstep_geofences import Outcome
from doorstep_server.privacy.minimize import Unprinted
from doorstep_server.store.driver import Row
from doorstep_server.store.prepared import uuid_of
from doorstep_server.store.schema import check_ins
from doorstep_server.store.tokens import PersonRows, prepared, series_of, values_of


class Stay(Unprinted, frozen=True, kw_only=True):
    """That a check-in at a site was accepted, at some time of a slot. Does not print."""

    site_id: UUID | None
    site_version: int | None
    purpose: str
    policy_version: int
    #: when the slot begins
    time: datetime


class Asked(Unprinted, frozen=True, kw_only=True):
    """Where somebody was, next to an instant."""

    rows: PersonRows
    at: datetime


_COLUMNS = ("time", "outcome", "site_id", "site_version", "purpose", "policy_version")
_LOOK = prepared(*(check_ins.c[name] for name in _COLUMNS))
_TIME, _OUTCOME = 1, 2


def next_to(connection: Connection, tenant_id: UUID, asked: Sequence[Asked]) -> list[list[Stay]]:
    """The last stay of each before their instant, and the first one after it."""
    accepted: list[list[tuple[datetime, Row]]] = [[] for _ in asked]
    wanted = series_of([one.rows for one in asked])
    whose = list(wanted.values())
    for series, row in values_of(connection, tenant_id, list(wanted), _LOOK):
        if row[_OUTCOME] == Outcome.ACCEPTED:
            for place in whose[series]:
                accepted[place].append((_instant(row[_TIME]), row))
    return [_next_to(found, one.at) for found, one in zip(accepted, asked, strict=True)]


def _next_to(found: Sequence[tuple[datetime, Row]], at: datetime) -> list[Stay]:
    before = max((one for one in found if one[0] <= at), key=_time, default=None)
    after = min((one for one in found if one[0] > at), key=_time, default=None)
    return [_stay(*one) for one in (before, after) if one is not None]


def _time(one: tuple[datetime, Row]) -> datetime:
    return one[0]


def _stay(time: datetime, row: Row) -> Stay:
    _, _, _, site_id, site_version, purpose, policy_version = row
    return Stay(
        site_id=None if site_id is None else uuid_of(site_id),
        site_version=site_version,
        purpose=purpose,
        policy_version=policy_version,
        time=time,
    )


# slots are few
@lru_cache(512)
def _instant(value: datetime | str) -> datetime:
    """A moment as a driver gives it."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=moment.tzinfo or UTC)
