"""The answer to a check-in: a function of what was stored, so a replay gets the same bytes."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from doorstep_geofences import Outcome, Reason
from doorstep_server.privacy import seals
from doorstep_server.privacy.cells import cell_name
from doorstep_server.privacy.keys import TenantKeys
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.minimize import (
    EXACT_DAYS,
    RECEIPT_DAYS,
    CheckInRecord,
    Evidence,
    Unstored,
    unseal_unstored,
)
from doorstep_server.store.check_ins import Settled

DECISION_DAYS = 30


class StoredSite(msgspec.Struct, frozen=True, kw_only=True, tag_field="level", tag="site"):
    """Level `site`: these fields were stored, and nothing else."""

    subject_id: UUID
    purpose: str
    policy_version: int
    legal_basis: str
    site_id: UUID
    site_version: int
    action: str | None
    time: datetime
    outcome: Outcome
    reason: Reason
    evidence: Evidence
    expires_on: date


class StoredExact(StoredSite, frozen=True, kw_only=True, tag_field="level", tag="exact"):
    """Level `exact`: as `site`, and the position, sealed, until this day."""

    exact_until: date


class StoredCell(msgspec.Struct, frozen=True, kw_only=True, tag_field="level", tag="cell"):
    """Level `cell`: these fields were stored, and nothing else."""

    subject_id: UUID
    purpose: str
    policy_version: int
    legal_basis: str
    #: H3, resolution 7
    cell: str
    action: str | None
    time: datetime
    outcome: Outcome
    reason: Reason
    evidence: Evidence
    expires_on: date


class StoredNothing(msgspec.Struct, frozen=True, kw_only=True, tag_field="level", tag="none"):
    """Level `none`: one more was counted under these three, and nobody was named."""

    purpose: str
    day: date
    reason: Reason


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict, and exactly what was stored."""

    id: UUID
    outcome: Outcome
    reason: Reason
    site_id: UUID | None
    action: str | None
    stored: StoredSite | StoredExact | StoredCell | StoredNothing
    expires_on: date | None
    #: sealed for the tenant; only the app keeps it, and a request for review brings it back
    decision: str | UnsetType = UNSET


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a sealed decision says."""

    check_in_id: UUID
    subject_id: UUID
    site_id: UUID | None
    time: datetime | None
    outcome: Outcome
    reason: Reason
    expires_on: date


def answer(keys: TenantKeys, check_in_id: UUID, subject_id: UUID, settled: Settled) -> Answer:
    """The answer to a settled check-in of this subject."""
    if settled.record is not None:
        return _stored(subject_id, settled, settled.record)
    assert settled.receipt.sealed is not None, "a receipt without a record holds its answer"
    unstored = unseal_unstored(keys, check_in_id, settled.receipt.sealed)
    return _unstored(keys, check_in_id, subject_id, unstored)


def _stored(subject_id: UUID, settled: Settled, record: CheckInRecord) -> Answer:
    return Answer(
        id=record.id,
        outcome=record.outcome,
        reason=record.reason,
        site_id=record.site_id,
        action=record.action,
        stored=_kept(subject_id, settled, record),
        expires_on=record.expires_on,
    )


def _kept(
    subject_id: UUID, settled: Settled, record: CheckInRecord
) -> StoredSite | StoredExact | StoredCell:
    kept: dict[str, Any] = {
        "subject_id": subject_id,
        "purpose": record.purpose,
        "policy_version": record.policy_version,
        "legal_basis": record.legal_basis,
        "action": record.action,
        "time": record.time.astimezone(UTC),
        "outcome": record.outcome,
        "reason": record.reason,
        "evidence": record.evidence,
        "expires_on": record.expires_on,
    }
    if record.cell is not None:
        return StoredCell(cell=cell_name(record.cell), **kept)
    assert record.site_id is not None
    assert record.site_version is not None
    at: dict[str, Any] = {"site_id": record.site_id, "site_version": record.site_version}
    if record.level is Level.EXACT:
        came_in = settled.receipt.expires_on - timedelta(days=RECEIPT_DAYS)
        return StoredExact(exact_until=came_in + timedelta(days=EXACT_DAYS), **at, **kept)
    return StoredSite(**at, **kept)


def _unstored(keys: TenantKeys, check_in_id: UUID, subject_id: UUID, unstored: Unstored) -> Answer:
    decision = Decision(
        check_in_id=check_in_id,
        subject_id=subject_id,
        site_id=unstored.site_id,
        time=unstored.time,
        outcome=unstored.outcome,
        reason=unstored.reason,
        expires_on=unstored.day + timedelta(days=DECISION_DAYS),
    )
    return Answer(
        id=check_in_id,
        outcome=unstored.outcome,
        reason=unstored.reason,
        site_id=unstored.site_id,
        action=unstored.action,
        stored=StoredNothing(purpose=unstored.purpose, day=unstored.day, reason=unstored.reason),
        expires_on=None,
        decision=seals.seal_text(keys, b"decision", msgspec.json.encode(decision)),
    )
