"""Where a fix ends. In go a judged check-in, out comes what may be kept of it.

None of the records here has a slot for a coordinate, a distance, an accuracy or an address. What
is not named here cannot be stored, whatever the code behind it does.
"""

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from uuid import UUID

import msgspec
from msgspec.structs import replace

from doorstep_geofences import Outcome, Reason, Verdict
from doorstep_server.privacy import seals
from doorstep_server.privacy.keys import SubjectKeys, TenantKeys
from doorstep_server.privacy.levels import Level, least
from doorstep_server.privacy.policy import Purpose
from doorstep_server.privacy.unlinkable import TokenSeries, seal_subject

#: receipts outlive the oldest position that is still taken, by a day
MAX_AGE_LIMIT_S = 7 * 86_400
#: no purpose cuts times down more coarsely
MAX_TIME_PRECISION_S = 86_400
RECEIPT_DAYS = 8
#: a cell is stored with no finer time than this
CELL_TIME_PRECISION_S = 3_600
#: exact positions of a day are readable until the end of the next one: 24 to 48 hours
EXACT_DAYS = 2


class Unprinted(msgspec.Struct, frozen=True, kw_only=True):
    """A value of a person's, made for each check-in: quick to make, and never written out."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Evidence(StrEnum):
    """What a check-in rests on. QR codes and second persons come later."""

    #: a position that was sent and judged here
    GPS = "gps"
    #: the word of the device, which judged its position itself
    DEVICE = "device"


class CheckInRecord(Unprinted, frozen=True, kw_only=True):
    """A stored check-in: every column of its row but the tenant and the token."""

    id: UUID
    expires_on: date
    #: who it is about, for the controller
    sealed: bytes
    purpose: str
    policy_version: int
    legal_basis: str
    level: Level
    #: site and version, or a cell
    site_id: UUID | None
    site_version: int | None
    cell: int | None
    action: str | None
    #: capture time, cut to the purpose's precision
    time: datetime
    outcome: Outcome
    reason: Reason
    evidence: Evidence


class Unstored(msgspec.Struct, frozen=True, kw_only=True):
    """What the receipt of a check-in that stored nothing holds, sealed, to repeat its answer."""

    outcome: Outcome
    reason: Reason
    purpose: str
    #: as the app claimed it, never one that we found
    site_id: UUID | None
    action: str | None
    day: date
    #: capture time, cut to the purpose's precision; None when the clock was wrong
    time: datetime | None


class Tally(Unprinted, frozen=True, kw_only=True):
    """What is counted where nothing is stored: how often, on which day, for which reason."""

    purpose: str
    day: date
    reason: str


class Receipt(Unprinted, frozen=True, kw_only=True):
    """What lets a retry be answered with the same answer."""

    key: bytes
    digest: bytes
    expires_on: date
    #: where the stored check-in lies, or None when nothing was stored
    record_expires_on: date | None
    #: a sealed `Unstored`, or None when a record was stored
    sealed: bytes | None


class ExactPosition(Unprinted, frozen=True, kw_only=True):
    """Where exactly somebody was, for disputes: sealed under a key that is soon destroyed."""

    id: UUID
    #: from this day on nobody can read it
    expires_on: date
    sealed: bytes


class Minimized(Unprinted, frozen=True, kw_only=True):
    """Everything that is written for one check-in: its receipt, and a record or a tally."""

    receipt: Receipt
    record: CheckInRecord | None
    #: the tokens of which the record gets the next one
    tokens: TokenSeries | None
    exact: ExactPosition | None
    tally: Tally | None

    def without_exact(self) -> "Minimized":
        """The same where the permission is for an approximate place only."""
        if self.exact is None or self.record is None:
            return self
        return replace(self, exact=None, record=replace(self.record, level=Level.SITE))


class Judged(Unprinted, frozen=True, kw_only=True):
    """A judged check-in on its way to storage: the verdict in place of the fix."""

    id: UUID
    subject_id: UUID
    subject_keys: SubjectKeys
    purpose: Purpose
    #: the most that the tenant lets be stored
    max_level: Level
    claimed_site_id: UUID | None
    action: str | None
    verdict: Verdict
    #: the cell of the fix, for a purpose without sites
    cell: int | None
    #: the sealed fix, for a purpose that keeps it
    exact: bytes | None
    #: None when the device's clock was wrong
    captured_at: datetime | None
    received_at: datetime
    #: where its receipt lies
    receipt_key: bytes
    #: of the content, to notice an id used again for another
    digest: bytes
    evidence: Evidence = Evidence.GPS


def minimize(keys: TenantKeys, judged: Judged) -> Minimized:
    """Reduce a judged check-in to the least that its purpose needs."""
    level = stored_level(judged)
    if level is Level.NONE:
        return _counted(keys, judged)
    record = _record(keys, judged, level)
    return Minimized(
        receipt=_receipt(judged, record_expires_on=record.expires_on, sealed=None),
        record=record,
        tokens=TokenSeries(judged.subject_keys, record.purpose, record.expires_on),
        exact=_exact(judged) if level is Level.EXACT else None,
        tally=None,
    )


def stored_level(judged: Judged) -> Level:
    """How much place is kept: the least of what the purpose and the tenant allow and the verdict
    justifies. (What the permission allows is known when it is written.)

    An accepted check-in names its site, or its cell where the purpose has no sites. An uncertain
    one keeps the site that was claimed, never one that we would infer, and nothing at all when the
    accuracy was unknown or above the cap. A rejected one keeps nothing.
    """
    wanted, accepted = judged.purpose.level, judged.verdict.outcome is Outcome.ACCEPTED
    allowed = least(wanted, judged.max_level)
    if wanted is Level.CELL:
        # less than a cell would be a site, and there is none
        return Level.CELL if accepted and allowed is Level.CELL else Level.NONE
    if allowed is Level.NONE or not (accepted or _keeps_claim(judged)):
        return Level.NONE
    exact = accepted and allowed is Level.EXACT and judged.exact is not None
    return Level.EXACT if exact else Level.SITE


def _keeps_claim(judged: Judged) -> bool:
    return (
        judged.verdict.outcome is Outcome.UNCERTAIN
        and judged.claimed_site_id is not None
        and judged.verdict.reason not in {Reason.ACCURACY_TOO_LOW, Reason.ACCURACY_UNKNOWN}
    )


def _counted(keys: TenantKeys, judged: Judged) -> Minimized:
    unstored = _unstored(judged)
    sealed = seal_unstored(keys, judged.id, unstored)
    return Minimized(
        receipt=_receipt(judged, record_expires_on=None, sealed=sealed),
        record=None,
        tokens=None,
        exact=None,
        tally=tally(unstored),
    )


def cut_time(instant: datetime, precision_s: int) -> datetime:
    """The start of the time slot that holds an instant: `precision_s` seconds long, in UTC."""
    seconds = int(instant.timestamp())
    return datetime.fromtimestamp(seconds - seconds % precision_s, UTC)


def tally(unstored: Unstored) -> Tally:
    """What is counted of a check-in that stored nothing."""
    return Tally(purpose=unstored.purpose, day=unstored.day, reason=unstored.reason)


def seal_unstored(keys: TenantKeys, check_in_id: UUID, unstored: Unstored) -> bytes:
    """What the receipt keeps: readable with the tenant's key and the check-in's id together."""
    return seals.seal(keys, b"unstored" + check_in_id.bytes, msgspec.json.encode(unstored))


def unseal_unstored(keys: TenantKeys, check_in_id: UUID, sealed: bytes) -> Unstored:
    """The inverse of `seal_unstored`. Raises `seals.BrokenSeal`."""
    text = seals.unseal(keys, b"unstored" + check_in_id.bytes, sealed)
    return msgspec.json.decode(text, type=Unstored)


def _record(keys: TenantKeys, judged: Judged, level: Level) -> CheckInRecord:
    purpose, site = judged.purpose, judged.verdict.site
    precision_s, in_cell = purpose.time_precision_s, level is Level.CELL
    assert (judged.cell is not None) if in_cell else (site is not None)
    expires_on = _day(judged.received_at) + timedelta(days=purpose.retention_days)
    return CheckInRecord(
        id=judged.id,
        expires_on=expires_on,
        sealed=seal_subject(keys, judged.id, expires_on, judged.subject_id),
        purpose=purpose.name,
        policy_version=purpose.version,
        legal_basis=purpose.legal_basis,
        level=level,
        site_id=_site_id(site.site_id) if site else None,
        site_version=site.version if site else None,
        cell=judged.cell if in_cell else None,
        action=judged.action,
        time=cut_time(
            judged.captured_at or judged.received_at,
            max(precision_s, CELL_TIME_PRECISION_S) if in_cell else precision_s,
        ),
        outcome=judged.verdict.outcome,
        reason=judged.verdict.reason,
        evidence=judged.evidence,
    )


def exact_expires_on(received_at: datetime) -> date:
    """From which day on an exact position that came in then is read no more."""
    return _day(received_at) + timedelta(days=EXACT_DAYS)


def _exact(judged: Judged) -> ExactPosition:
    assert judged.exact is not None
    return ExactPosition(
        id=judged.id, expires_on=exact_expires_on(judged.received_at), sealed=judged.exact
    )


def _site_id(site_id: object) -> UUID:
    assert isinstance(site_id, UUID)
    return site_id


def _unstored(judged: Judged) -> Unstored:
    captured_at, precision_s = judged.captured_at, judged.purpose.time_precision_s
    return Unstored(
        outcome=judged.verdict.outcome,
        reason=judged.verdict.reason,
        purpose=judged.purpose.name,
        site_id=judged.claimed_site_id,
        action=judged.action,
        day=_day(judged.received_at),
        time=cut_time(captured_at, precision_s) if captured_at else None,
    )


def _receipt(judged: Judged, *, record_expires_on: date | None, sealed: bytes | None) -> Receipt:
    return Receipt(
        key=judged.receipt_key,
        digest=judged.digest,
        expires_on=_day(judged.received_at) + timedelta(days=RECEIPT_DAYS),
        record_expires_on=record_expires_on,
        sealed=sealed,
    )


def _day(instant: datetime) -> date:
    return instant.astimezone(UTC).date()
