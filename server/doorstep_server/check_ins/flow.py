"""The way of a check-in, whole:

    claim → judge (pure, within the probe budget) → doubt travel
          → minimize (pure: the fix dies here) → journal → answer

Decoding and authentication come before, in `api`. Everything takes lists: the requests of one turn
of the event loop go together, as far as they are of one tenant; and each is told for itself.
A replay is answered even where the claim would be refused today, so a refusal found here travels
with the proposal and is only spoken when the transaction finds no receipt.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice

import msgspec
from msgspec import UNSET

from doorstep_geofences import (
    CaptureTimes,
    Clocks,
    Fix,
    Freshness,
    Question,
    Reason,
    Site,
    Verdict,
    judge,
    judge_cell,
)
from doorstep_server.callers import Caller
from doorstep_server.check_ins import travel
from doorstep_server.check_ins.claim import Claim, Told, is_random
from doorstep_server.check_ins.exact import with_exact
from doorstep_server.check_ins.journal import (
    Failed,
    Journal,
    JournalClosed,
    JournalFull,
    Result,
    Settling,
)
from doorstep_server.check_ins.probes import Claimant, ProbeBudget
from doorstep_server.check_ins.travel import LastPresences
from doorstep_server.check_ins.turns import Turns
from doorstep_server.keyring import Keyring
from doorstep_server.meters import Meters
from doorstep_server.policies import Policy
from doorstep_server.privacy import cells, labels
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.minimize import Evidence, Judged, Minimized, Unprinted, minimize
from doorstep_server.privacy.policy import JudgedBy, Purpose
from doorstep_server.store.check_ins import TOO_OLD, Proposal, Refused, Settled
from doorstep_server.store.database import DatabaseUnavailable

#: some microseconds each, but hundreds where a fix is near an edge
FEW = 16

BUNDLE_OUTDATED = "bundle-outdated"

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Arrival(Unprinted, frozen=True, kw_only=True):
    """A claim as it arrived: by whom and when, with what is worked out of that once."""

    caller: Caller
    claim: Claim
    received_at: datetime
    #: None when the device judged its position itself
    fix: Fix | None
    age_s: float
    is_skewed: bool
    captured_at: datetime
    #: None when the tenant has no such purpose
    purpose: Purpose | None
    receipt_key: bytes
    digest: bytes

    @classmethod
    def of(cls, policy: Policy, caller: Caller, claim: Claim, received_at: datetime) -> "Arrival":
        """Of a claim that just arrived."""
        clocks = Clocks.of(
            CaptureTimes(
                captured_at=claim.captured_at,
                received_at=received_at,
                sent_at=claim.sent_at,
                age_s=claim.age_s,
            )
        )
        return cls(
            caller=caller,
            claim=claim,
            received_at=received_at,
            fix=None if claim.fix is UNSET else claim.fix.fix(),
            age_s=clocks.age_s,
            is_skewed=clocks.is_skewed,
            captured_at=clocks.captured_at,
            purpose=policy.purposes.get(claim.purpose),
            receipt_key=labels.receipt_key(policy.keys, claim.id),
            digest=_digest(policy, caller, claim),
        )

    @property
    def has_no_sites(self) -> bool:
        """Whether its purpose is about no sites."""
        return self.purpose is not None and self.purpose.level is Level.CELL

    @property
    def tells_of_no_place(self) -> bool:
        """Whether its answer cannot be a way to measure where a site is.

        A device that judges by itself knows the fences.
        """
        return self.has_no_sites or self.fix is None


@dataclass(kw_only=True, slots=True, eq=False)
class Way:
    """What the way of a check-in leads through, beside the pure functions."""

    journal: Journal
    last: LastPresences
    probes: ProbeBudget
    keyring: Keyring
    meters: Meters
    turns: "Turns[_Request]" = field(init=False)
    #: who waits for the database on their way: a loop keeps its tasks but weakly
    asking: set[asyncio.Task[None]] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self.turns = Turns(partial(_lead_all, self))


@dataclass(slots=True, eq=False)
class _Request:
    """Claims of one device on their way."""

    policy: Policy
    arrivals: Sequence[Arrival]
    #: by whose budget each is judged; None where its answer tells of no place
    claimants: Sequence[Claimant | None]
    results: Settling
    #: how far they are: verdicts, later doubted ones; the codes of refusals
    judged: Sequence[Judged | str] = ()


def claimant(caller: Caller, claim: Claim) -> Claimant:
    """By whose budget a claim is judged."""
    return Claimant.of(caller.tenant_id, caller.subject_id, claim.site_id)


async def check_in(way: Way, policy: Policy, arrivals: Sequence[Arrival]) -> list[Result]:
    """Settle a device's claims durably, in their order.

    Raises `JournalFull`, before anything is judged where that is known then, and `JournalClosed`.
    """
    settleable = [a for a in arrivals if is_random(a.claim.id)]
    way.journal.require_room(policy.tenant_id, len(settleable))
    if len(settleable) == len(arrivals):
        return await _settled(way, policy, arrivals) if arrivals else []
    settled = iter(await _settled(way, policy, settleable) if settleable else [])
    return [
        next(settled) if is_random(arrival.claim.id) else Refused(code="id-not-random")
        for arrival in arrivals
    ]


async def _settled(way: Way, policy: Policy, arrivals: Sequence[Arrival]) -> list[Result]:
    """What was taken from the budget for no new answer is given back.

    Not when the caller goes away: what is settled then is told to who asks with the same id.
    """
    claimants = [
        None if arrival.tells_of_no_place else claimant(arrival.caller, arrival.claim)
        for arrival in arrivals
    ]
    waiting: Settling = asyncio.get_running_loop().create_future()
    request = _Request(policy, arrivals, claimants, waiting)
    try:
        if len(arrivals) > FEW:
            await _lead_aside(way, request)
        else:
            way.turns.join(request)
        results = await waiting
    except (JournalFull, JournalClosed):
        way.probes.settle(claimants, request.judged, [Failed()] * len(request.judged))
        raise
    way.probes.settle(claimants, request.judged, results)
    way.last.note(policy.tenant_id, request.judged, results)
    _count(way.meters, request.judged, results)
    return results


def _count(meters: Meters, judged: Sequence[Judged | str], results: Sequence[Result]) -> None:
    for one, result in zip(judged, results, strict=True):
        if not isinstance(result, Settled):
            continue
        if result.replayed:
            meters.replays.add()
        elif isinstance(one, Judged):
            meters.check_ins.add(one.verdict.outcome.value, one.verdict.reason.value)


# -- from claim to journal ---------------------------------------------------------------------


async def _lead_aside(way: Way, request: _Request) -> None:
    """A long list takes its steps in a thread, so that others need not wait for it."""
    policy = request.policy
    await asyncio.to_thread(_judge, way, policy, [request])
    if await _ask(way, request):
        proposals = await asyncio.to_thread(propose, policy, request.arrivals, request.judged)
        way.journal.put(proposals, request.results)


def _lead_all(way: Way, requests: Sequence[_Request]) -> None:
    """Short ones go together, those of each tenant."""
    by_policy: dict[int, list[_Request]] = {}
    for request in requests:
        by_policy.setdefault(id(request.policy), []).append(request)
    for some in by_policy.values():
        _lead(way, some)


def _lead(way: Way, requests: Sequence[_Request]) -> None:
    """Those of one policy. Whatever happens, each of them is told."""
    judged = _each_alone_if_fails(partial(_judge, way, requests[0].policy), requests)
    at_hand: dict[_Request, bool] = {}

    def doubt(some: Sequence[_Request]) -> None:
        at_hand.update((request, _is_at_hand(way, request)) for request in some)

    doubted = _each_alone_if_fails(doubt, judged)
    asking = [request for request in doubted if not at_hand[request]]
    if asking:
        task = asyncio.create_task(_lead_asking(way, asking))
        way.asking.add(task)
        task.add_done_callback(way.asking.discard)
    _propose(way, [request for request in doubted if at_hand[request]])


async def _lead_asking(way: Way, requests: Sequence[_Request]) -> None:
    """Those for whom the database or the keyring has to be asked first: together as well."""
    found = await asyncio.gather(*(_ask(way, request) for request in requests))
    _propose(way, [request for request, is_known in zip(requests, found, strict=True) if is_known])


def _judge(way: Way, policy: Policy, requests: Sequence[_Request]) -> None:
    arrivals = [arrival for request in requests for arrival in request.arrivals]
    claimants = [claimant for request in requests for claimant in request.claimants]

    def judge_some(places: Sequence[int]) -> list[Judged | str]:
        return judge_claims(policy, [arrivals[i] for i in places])

    judged = iter(way.probes.judge(claimants, judge_some))
    for request in requests:
        request.judged = list(islice(judged, len(request.arrivals)))


def _is_at_hand(way: Way, request: _Request) -> bool:
    """Doubt travel, where nobody has to be asked for it; whether that was so."""
    if request.policy.limits.max_level is Level.EXACT:
        return False
    doubted = travel.doubted_at_hand(way.last, request.policy, request.judged)
    if doubted is not None:
        request.judged = doubted
    return doubted is not None


async def _ask(way: Way, request: _Request) -> bool:
    """Doubt travel, and seal what is to be kept exactly; False where the request ends with it."""
    policy, results = request.policy, request.results
    try:
        request.judged = await travel.doubted(way.last, policy, request.judged)
        if policy.limits.max_level is Level.EXACT:
            fixes = [arrival.fix for arrival in request.arrivals]
            request.judged = await with_exact(way.keyring, policy, request.judged, fixes)
    except DatabaseUnavailable:
        _tell(results, [Failed()] * len(request.arrivals))
        return False
    except Exception as error:  # noqa: BLE001 - the one request that it concerns is told
        _tell(results, error)
        return False
    return True


def _propose(way: Way, requests: Sequence[_Request]) -> None:
    """Into the journal. The fixes end in here."""
    proposed: dict[_Request, Sequence[Proposal]] = {}

    def propose_all(some: Sequence[_Request]) -> None:
        for request in some:
            proposed[request] = propose(request.policy, request.arrivals, request.judged)

    for request in _each_alone_if_fails(propose_all, requests):
        try:
            way.journal.put(proposed[request], request.results)
        except (JournalFull, JournalClosed) as error:
            _tell(request.results, error)


def _each_alone_if_fails(
    step: Callable[[Sequence[_Request]], None], requests: Sequence[_Request]
) -> list[_Request]:
    """Have requests take a step; those that could. What fails for one must not for the others."""
    present = [request for request in requests if not request.results.done()]
    try:
        if present:
            step(present)
    except Exception as error:  # noqa: BLE001 - whatever it is, one must not take the others along
        if len(present) > 1:
            return [one for each in present for one in _each_alone_if_fails(step, [each])]
        _tell(present[0].results, error)
        return []
    return present


def _tell(results: Settling, said: list[Result] | Exception) -> None:
    if results.done():
        return
    if isinstance(said, Exception):
        results.set_exception(said)
    else:
        results.set_result(said)


def judge_claims(policy: Policy, arrivals: Sequence[Arrival]) -> list[Judged | str]:
    """The verdict on each claim, or the code of its refusal."""
    outcomes: list[Judged | str] = [_refusal(policy, a) or "" for a in arrivals]
    judged = [i for i, refusal in enumerate(outcomes) if not refusal]
    at_sites: list[tuple[int, Question]] = []
    for i in judged:
        arrival = arrivals[i]
        if arrival.claim.told is not None:
            verdict = _as_told(policy, arrival, arrival.claim.told)
            outcomes[i] = _judged(policy, arrival, verdict)
        elif arrival.has_no_sites:
            verdict = judge_cell(_question(arrival), cells.MAX_ACCURACY_M)
            outcomes[i] = _judged(policy, arrival, verdict)
        else:
            at_sites.append((i, _question(arrival)))
    verdicts = judge([question for _, question in at_sites], policy.index)
    for (i, _), verdict in zip(at_sites, verdicts, strict=True):
        outcomes[i] = _judged(policy, arrivals[i], verdict)
    return outcomes


_REASONS = {reason.value: reason for reason in Reason}
#: These come before the clocks and the hours, as in judging a position.
_BEFORE_THE_CLOCKS = frozenset({
    Reason.MOCKED, Reason.NULL_ISLAND, Reason.ACCURACY_UNKNOWN, Reason.ACCURACY_TOO_LOW,
})  # fmt: skip


def _as_told(policy: Policy, arrival: Arrival, told: Told) -> Verdict:
    """What the device found, unless the clocks or the site's hours say otherwise."""
    site_id, reason = arrival.claim.site_id, _REASONS[told.reason]
    site = None if site_id is None else policy.index.get(site_id)
    if reason in _BEFORE_THE_CLOCKS:
        return Verdict(reason, site)
    if arrival.is_skewed:
        return Verdict(Reason.CLOCK_SKEW, site)
    if site is not None and not site.is_open(arrival.captured_at):
        return Verdict(Reason.OUTSIDE_HOURS, site)
    return Verdict(reason, site)


def propose(
    policy: Policy, arrivals: Sequence[Arrival], judged: Sequence[Judged | str]
) -> list[Proposal]:
    """What each claim would write, or why it is refused. The fixes end in here."""
    return [
        _proposal(arrival, one if isinstance(one, str) else minimize(policy.keys, one))
        for arrival, one in zip(arrivals, judged, strict=True)
    ]


def _refusal(policy: Policy, arrival: Arrival) -> str | None:
    """Why a claim is refused before it is judged: the code of a problem."""
    if arrival.purpose is None:
        return "purpose-unknown"
    return (
        _purpose_refusal(arrival.purpose, arrival)
        or _site_refusal(policy, arrival)
        or _told_refusal(policy, arrival)
    )


def _purpose_refusal(purpose: Purpose, arrival: Arrival) -> str | None:
    if not purpose.active:
        return "purpose-restricted"
    if purpose.requires_consent:
        # no consent can be recorded yet, so none was given
        return "consent-required"
    if arrival.age_s > purpose.max_age_s:
        return TOO_OLD
    if arrival.fix is None:
        return None if purpose.judged_by is JudgedBy.DEVICE else "verdict-not-taken"
    return None if purpose.judged_by is JudgedBy.SERVER else "position-not-taken"


def _site_refusal(policy: Policy, arrival: Arrival) -> str | None:
    site_id = arrival.claim.site_id
    if site_id is None:
        return None
    if arrival.has_no_sites:
        return "site-not-taken"
    site = policy.index.get(site_id)
    if site is None:
        return "site-unknown"
    if not site.admits(arrival.caller.groups, arrival.claim.purpose):
        return "not-assigned"
    return None


def _told_refusal(policy: Policy, arrival: Arrival) -> str | None:
    """Why what a device found is not taken."""
    told, site_id = arrival.claim.told, arrival.claim.site_id
    if told is None:
        return None
    if site_id is None and told.reason == "inside":
        return "site-required"
    # where it is later than all that is known here, the deployment was restored since
    changed = policy.index[site_id].since if site_id is not None else 0
    return None if changed <= told.bundle_version <= policy.version else BUNDLE_OUTDATED


def _question(arrival: Arrival) -> Question:
    claim, groups, fix = arrival.claim, arrival.caller.groups, arrival.fix
    assert fix is not None, "what a device told is not asked again"

    def admits(site: Site) -> bool:
        return site.admits(groups, claim.purpose)

    return Question(
        fix=fix,
        site_id=claim.site_id,
        # an older one was queued by the app: how old it may be is the purpose's to say, and
        # whether its capture was permitted the epoch's
        freshness=Freshness.SKEWED if arrival.is_skewed else Freshness.FRESH,
        # closing time is that of the capture: a check-in may come in when the site has closed
        at=arrival.captured_at,
        admits=admits,
    )


def _judged(policy: Policy, arrival: Arrival, verdict: Verdict) -> Judged:
    claim, fix = arrival.claim, arrival.fix
    assert arrival.purpose is not None
    return Judged(
        id=claim.id,
        subject_id=arrival.caller.subject_id,
        subject_keys=arrival.caller.subject_keys,
        purpose=arrival.purpose,
        max_level=policy.limits.max_level,
        claimed_site_id=claim.site_id,
        action=claim.action,
        verdict=verdict,
        evidence=Evidence.DEVICE if fix is None else Evidence.GPS,
        cell=cells.cell_of(fix.lat, fix.lon) if fix and arrival.has_no_sites else None,
        exact=None,
        captured_at=None if arrival.is_skewed else arrival.captured_at,
        received_at=arrival.received_at,
        receipt_key=arrival.receipt_key,
        digest=arrival.digest,
    )


def _proposal(arrival: Arrival, outcome: Minimized | str) -> Proposal:
    claim, caller = arrival.claim, arrival.caller
    return Proposal(
        tenant_id=caller.tenant_id,
        subject_id=caller.subject_id,
        subject_keys=caller.subject_keys,
        kid=caller.kid,
        opened=caller.opened,
        id=claim.id,
        receipt_key=arrival.receipt_key,
        digest=arrival.digest,
        epoch=claim.permission_epoch,
        age_s=arrival.age_s,
        purpose=None if arrival.purpose is None else claim.purpose,
        received_at=arrival.received_at,
        outcome=outcome,
    )


def _digest(policy: Policy, caller: Caller, claim: Claim) -> bytes:
    """Of what makes a check-in this one and no other. What changes on a retry is left out."""
    content = (
        caller.device_id.bytes,
        claim.purpose,
        claim.site_id.bytes if claim.site_id else None,
        claim.action,
        *_evidence(claim),
    )
    return labels.content_digest(policy.keys, _packed.encode(content))


def _evidence(claim: Claim) -> tuple[object, ...]:
    captured_s = (claim.captured_at - EPOCH).total_seconds()
    if claim.fix is UNSET:
        assert claim.verdict is not UNSET, "a claim has one of them"
        return (claim.verdict.reason, captured_s, claim.verdict.bundle_version)
    fix = claim.fix
    return (fix.lat, fix.lon, fix.accuracy_m, captured_s, fix.mocked, fix.source)


_packed = msgspec.msgpack.Encoder()
