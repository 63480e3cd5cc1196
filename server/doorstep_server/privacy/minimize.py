"""Where a fix ends. In go a judged check-in, out comes what may be kept of it.

None of the records here has a slot for a coordinate, a distance, an accuracy or an address. What
is not named here cannot be stored, whatever the code behind it does.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from uuid import UUID

import msgspec

from doorstep_geofences import Outcome, Reason, Verdict
from doorstep_server.privacy import labels, seals, subject_reference
from doorstep_server.privacy.keys import TenantKeys
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.policy import Purpose

#: receipts outlive the oldest position that is still taken, by a day
MAX_AGE_LIMIT_S = 7 * 86_400
#: no purpose cuts times down more coarsely
MAX_TIME_PRECISION_S = 86_400
RECEIPT_DAYS = 8


class Evidence(StrEnum):
    """What a check-in rests on. QR codes, second persons and device-judged ones come later."""

    GPS = "gps"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckInRecord:
    """A stored check-in: every column of its row but the tenant."""

    id: UUID
    expires_on: date
    subject_ref: bytes
    purpose: str
    policy_version: int
    legal_basis: str
    level: Level
    site_id: UUID
    site_version: int
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """What is counted where nothing is stored: how often, on which day, for which reason."""

    purpose: str
    day: date
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What lets a retry be answered with the same answer."""

    key: bytes
    digest: bytes
    expires_on: date
    #: where the stored check-in lies, or None when nothing was stored
    record_expires_on: date | None
    #: a sealed `Unstored`, or None when a record was stored
    sealed: bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Minimized:
    """Everything that is written for one check-in: its receipt, and a record or a tally."""

    receipt: Receipt
    record: CheckInRecord | None
    tally: Tally | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A judged check-in on its way to storage: the verdict in place of the fix."""

    id: UUID
    subject_id: UUID
    purpose: Purpose
    claimed_site_id: UUID | None
    action: str | None
    verdict: Verdict
    #: None when the device's clock was wrong
    captured_at: datetime | None
    received_at: datetime
    #: of the content, to notice an id used again for another
    digest: bytes


def minimize(keys: TenantKeys, judged: Judged) -> Minimized:
    """Reduce a judged check-in to the least that its purpose needs."""
    level = stored_level(judged.purpose, judged.claimed_site_id, judged.verdict)
    if level is Level.SITE:
        record = _record(keys, judged)
        return Minimized(
            receipt=_receipt(keys, judged, record_expires_on=record.expires_on, sealed=None),
            record=record,
            tally=None,
        )
    unstored = _unstored(judged)
    sealed = seal_unstored(keys, judged.id, unstored)
    return Minimized(
        receipt=_receipt(keys, judged, record_expires_on=None, sealed=sealed),
        record=None,
        tally=tally(unstored),
    )


def stored_level(purpose: Purpose, claimed_site_id: UUID | None, verdict: Verdict) -> Level:
    """How much place is kept: the least of what the purpose allows and the verdict justifies.

    An accepted check-in names its site. An uncertain one keeps the site that was claimed, never
    one that we would infer, and nothing at all when the accuracy was unknown or above the cap.
    A rejected one keeps nothing.
    """
    justified = verdict.outcome is Outcome.ACCEPTED or (
        verdict.outcome is Outcome.UNCERTAIN
        and claimed_site_id is not None
        and verdict.reason not in {Reason.ACCURACY_TOO_LOW, Reason.ACCURACY_UNKNOWN}
    )
    return Level.SITE if justified and purpose.level is not Level.NONE else Level.NONE


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


def _record(keys: TenantKeys, judged: Judged) -> CheckInRecord:
    site = judged.verdict.site
    assert site is not None, "only a verdict that names a site is stored at level site"
    purpose = judged.purpose
    return CheckInRecord(
        id=judged.id,
        expires_on=_day(judged.received_at) + timedelta(days=purpose.retention_days),
        subject_ref=subject_reference.make(keys, judged.subject_id),
        purpose=purpose.name,
        policy_version=purpose.version,
        legal_basis=purpose.legal_basis,
        level=Level.SITE,
        site_id=_site_id(site.site_id),
        site_version=site.version,
        action=judged.action,
        time=cut_time(judged.captured_at or judged.received_at, purpose.time_precision_s),
        outcome=judged.verdict.outcome,
        reason=judged.verdict.reason,
        evidence=Evidence.GPS,
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


def _receipt(
    keys: TenantKeys, judged: Judged, *, record_expires_on: date | None, sealed: bytes | None
) -> Receipt:
    return Receipt(
        key=labels.receipt_key(keys, judged.id),
        digest=judged.digest,
        expires_on=_day(judged.received_at) + timedelta(days=RECEIPT_DAYS),
        record_expires_on=record_expires_on,
        sealed=sealed,
    )


def _day(instant: datetime) -> date:
    return instant.astimezone(UTC).date()
