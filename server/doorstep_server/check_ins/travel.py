"""Doubting travel: can who is accepted here have come from where they were last accepted?

No position is kept for it: the sites of two check-ins have places, and their times are known as
far as they are stored. Each unknown counts for the person: the nearest places of both sites, and
the longest time that can lie between, whichever of the two was first. So nobody who kept to the
limit is doubted, late and offline check-ins included; and a purpose whose times are cut to 15
minutes lets pass what would have taken up to 15 minutes longer (250 km at 1,000 km/h).

A process remembers for a quarter of an hour where it last accepted somebody, in memory; others may
have accepted them since. After that, or where it knows nothing, the stored check-ins next in time
are asked. Two check-ins of one person that are under way at once do not see each other.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

from msgspec.structs import replace

from doorstep_geofences import Bounds, Outcome, Reason, Verdict
from doorstep_geofences.travel import FARTHEST_M, are_within, gap_m, is_implausible
from doorstep_server.check_ins.journal import Result
from doorstep_server.gathered import Gathered, for_each_tenant
from doorstep_server.policies import Policy
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.minimize import (
    MAX_TIME_PRECISION_S,
    Judged,
    cut_time,
)
from doorstep_server.store import whereabouts
from doorstep_server.store.check_ins import Settled
from doorstep_server.store.database import Database
from doorstep_server.store.reach import Reach
from doorstep_server.store.tokens import PersonRows
from doorstep_server.store.whereabouts import Asked, Stay

#: how long what this process knows is taken for the last
KNOWN_FOR = timedelta(minutes=15)
#: a slow limit must not make us look through everything that is stored
KEPT_AT_LEAST = timedelta(days=30)


@dataclass(frozen=True, slots=True, repr=False)
class Presence:
    """That somebody was at a site, at some time of a slot. Lives in memory, and does not print."""

    bounds: Bounds
    slot_begins: datetime
    slot_ends: datetime

    def __repr__(self) -> str:
        return "<Presence redacted>"

    def longest_s(self, at: datetime) -> float:
        """The longest time that can lie between this and an instant, either way."""
        return max((at - self.slot_begins).total_seconds(), (self.slot_ends - at).total_seconds())


@dataclass(frozen=True, slots=True, repr=False)
class _Known:
    presence: Presence
    noted_at: datetime


#: a tenant and a subject, as numbers: ids are compared in Python, which takes many times as long
_Person = tuple[int, int]


def _person(tenant_id: UUID, subject_id: UUID) -> _Person:
    return tenant_id.int, subject_id.int


class LastPresences:
    """Where each subject was last accepted: what this process knows, and the way to ask."""

    def __init__(self, database: Database, *, limit: int = 50_000) -> None:
        self._database = database
        self._stored = Gathered(self._read)
        self._limit = limit
        # in the order in which they were noted
        self._known: OrderedDict[_Person, _Known] = OrderedDict()

    def at_hand(self, policy: Policy, judged: Judged) -> list[Presence] | None:
        """As `around`, where this process knows; None where the database is to be asked."""
        self._let_go(judged.received_at)
        known = self._known.get(_person(policy.tenant_id, judged.subject_id))
        if known is None or _is_old(known, judged.received_at):
            return None
        return [known.presence]

    async def around(self, policy: Policy, judged: Judged) -> list[Presence]:
        """Where the subject of a check-in was accepted, as near to it in time as is known."""
        known = self.at_hand(policy, judged)
        if known is not None:
            return known
        asked = Asked(rows=_rows_near(policy, judged), at=_captured_at(judged))
        stays = await self._stored.ask((policy.tenant_id, asked))
        presences = (_stored_presence(policy, stay) for stay in stays)
        return [presence for presence in presences if presence is not None]

    async def _read(self, asked: Sequence[tuple[UUID, Asked]]) -> Sequence[list[Stay]]:
        """What is stored of people, of whatever tenants, in one read."""
        return await self._database.read(
            Reach.of_all(tenant_id for tenant_id, _ in asked),
            lambda c: for_each_tenant(asked, partial(whereabouts.next_to, c)),
        )

    def forget(self, tenant_id: UUID, subject_id: UUID) -> None:
        """Nothing is known of a subject any more."""
        self._known.pop(_person(tenant_id, subject_id), None)

    def note(
        self, tenant_id: UUID, judged: Sequence[Judged | str], results: Sequence[Result]
    ) -> None:
        """Remember where a subject's check-ins were newly stored as accepted; not late ones."""
        for one, result in zip(reversed(judged), reversed(results), strict=True):
            if isinstance(one, str) or not _is_accepted(one) or not _is_new_presence(result):
                continue
            if one.received_at - _captured_at(one) < KNOWN_FOR:
                person = _person(tenant_id, one.subject_id)
                self._known[person] = _Known(_presence(one), one.received_at)
                self._known.move_to_end(person)
                self._let_go(one.received_at)
                return

    def _let_go(self, now: datetime) -> None:
        """Of what was noted longest ago: all that is too old, and what is too much."""
        while self._known:
            key, oldest = next(iter(self._known.items()))
            if len(self._known) <= self._limit and not _is_old(oldest, now):
                return
            del self._known[key]


def doubted_at_hand(
    last: LastPresences, policy: Policy, judged: Sequence[Judged | str]
) -> Sequence[Judged | str] | None:
    """As `doubted`, where nobody is to be asked; None where the database is."""
    first = _first_accepted(policy, judged)
    if first is None:
        return judged
    presences = last.at_hand(policy, first)
    return None if presences is None else _doubted_after(policy, judged, presences)


async def doubted(
    last: LastPresences, policy: Policy, judged: Sequence[Judged | str]
) -> Sequence[Judged | str]:
    """A subject's judged check-ins (or the codes of refusals), the implausible ones uncertain.

    In their order: each that stays accepted is where the next one comes from.
    """
    first = _first_accepted(policy, judged)
    if first is None:
        return judged
    return _doubted_after(policy, judged, await last.around(policy, first))


def _first_accepted(policy: Policy, judged: Sequence[Judged | str]) -> Judged | None:
    """The first that may be doubted."""
    if policy.max_speed_m_s is None:
        return None
    return next((one for one in judged if isinstance(one, Judged) and _is_accepted(one)), None)


def _doubted_after(
    policy: Policy, judged: Sequence[Judged | str], presences: Sequence[Presence]
) -> list[Judged | str]:
    assert policy.max_speed_m_s is not None, "else nobody is doubted"
    results = list(judged)
    for i, one in enumerate(judged):
        if isinstance(one, str) or not _is_accepted(one):
            continue
        here, at = _presence(one), _captured_at(one)
        if any(_is_too_fast(there, here, at, policy.max_speed_m_s) for there in presences):
            results[i] = _doubted(one)
        else:
            presences = [here]
    return results


def _rows_near(policy: Policy, judged: Judged) -> PersonRows:
    """Where the rows are of when somebody could not have been just anywhere."""
    assert policy.max_speed_m_s is not None
    # whoever had so long can be anywhere
    reach = timedelta(seconds=FARTHEST_M / policy.max_speed_m_s + MAX_TIME_PRECISION_S)
    today = judged.received_at.astimezone(UTC).date()
    # a row came in at the earliest when it was captured, and at the latest now
    first = max((_captured_at(judged) - reach).date(), today - KEPT_AT_LEAST)
    came_in = [first + timedelta(days=i) for i in range((today - first).days + 1)]
    kept_for = {purpose.retention_days for purpose in policy.purposes.values()}
    days = {day + timedelta(days=kept) for day in came_in for kept in kept_for}
    return PersonRows(
        keys=judged.subject_keys,
        purposes=[p.name for p in policy.purposes.values() if p.level is not Level.CELL],
        # what has expired is never read, whether it is there or not
        expires_on=sorted(day for day in days if day > today),
    )


def _is_old(known: _Known, now: datetime) -> bool:
    return now - known.noted_at >= KNOWN_FOR


def _is_new_presence(result: Result) -> bool:
    if not isinstance(result, Settled) or result.replayed or result.record is None:
        return False
    return result.record.outcome is Outcome.ACCEPTED


def _is_accepted(judged: Judged) -> bool:
    return judged.verdict.outcome is Outcome.ACCEPTED and judged.verdict.site is not None


def _is_too_fast(there: Presence, here: Presence, at: datetime, max_speed_m_s: float) -> bool:
    elapsed_s = there.longest_s(at)
    if are_within(there.bounds, here.bounds, elapsed_s * max_speed_m_s):
        return False
    return is_implausible(gap_m(there.bounds, here.bounds), elapsed_s, max_speed_m_s)


def _doubted(judged: Judged) -> Judged:
    """The same with another verdict. A site that was found, not claimed, is not named any more."""
    site = judged.verdict.site if judged.claimed_site_id is not None else None
    return replace(judged, verdict=Verdict(Reason.IMPLAUSIBLE_TRAVEL, site))


def _presence(judged: Judged) -> Presence:
    """As much as is stored of an accepted check-in: no time but its slot's is remembered."""
    site, precision_s = judged.verdict.site, judged.purpose.time_precision_s
    assert site is not None, "an accepted check-in has a site"
    slot_begins = cut_time(_captured_at(judged), precision_s)
    return Presence(site.bounds, slot_begins, slot_begins + timedelta(seconds=precision_s))


def _stored_presence(policy: Policy, stay: Stay) -> Presence | None:
    """What a stored check-in says; None where the site is not as it was any more.

    A site that was revised may have moved, and one that is inactive is not in the snapshot: who
    was there is not doubted for it.
    """
    site = policy.index.get(stay.site_id) if stay.site_id else None
    if site is None or site.version != stay.site_version:
        return None
    purpose = policy.purposes.get(stay.purpose)
    # an earlier version of the purpose may have cut times to longer slots
    as_then = purpose is not None and purpose.version == stay.policy_version
    precision_s = purpose.time_precision_s if purpose and as_then else MAX_TIME_PRECISION_S
    return Presence(site.bounds, stay.time, stay.time + timedelta(seconds=precision_s))


def _captured_at(judged: Judged) -> datetime:
    assert judged.captured_at is not None, "an accepted check-in has a time"
    return judged.captured_at
