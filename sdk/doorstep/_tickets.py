"""What became of each check-in: kept without any place, for as long as the app may ask."""

from __future__ import annotations

import sqlite3
from datetime import date
from typing import ClassVar

from doorstep._check_in import JudgedCheckIn
from doorstep._clock import Moment
from doorstep._value import Value

SETTLED_BY_SERVER = frozenset({"accepted", "uncertain", "rejected"})


class ProvisionalVerdict(Value):
    """What this device found, before the server has answered: nothing is stored by it yet.

    The server may say otherwise: a site may have changed since, or the permission.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"site_id"})

    #: accepted, uncertain or rejected, as far as the device can tell
    outcome: str
    reason: str
    #: the claimed site, or the one that was found
    site_id: str | None
    #: of the sites that it was judged by
    bundle_version: int

    @classmethod
    def of(cls, judged: JudgedCheckIn) -> ProvisionalVerdict:
        """What a judged check-in says."""
        return cls(
            outcome=judged.outcome,
            reason=judged.reason,
            site_id=judged.site_id,
            bundle_version=judged.bundle_version,
        )


class TicketStatus(Value):
    """How it stands with one check-in."""

    _hidden: ClassVar[frozenset[str]] = frozenset({"decision"})

    id: str
    #: queued, accepted, uncertain, rejected, expired, withdrawn or failed
    state: str
    #: the server's word, or the outbox's
    reason: str | None = None
    #: low after a reboot: then the age is by the wall clock, which anybody can set
    time_confidence: str = "high"
    #: the day on which the server forgets it
    expires_on: date | None = None
    #: sealed for the business: the app shows it in a review request
    decision: str | None = None
    request_id: str | None = None
    #: while it waits, for purposes that devices judge for: what this device found
    provisional: ProvisionalVerdict | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it waits no more, whatever became of it."""
        return self.state != "queued"


def keep(database: sqlite3.Connection, status: TicketStatus, identity: str, now: Moment) -> None:
    database.execute(
        "INSERT OR IGNORE INTO tickets (id, identity, state, reason, time_confidence, expires_on, "
        "decision, request_id, settled_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            status.id,
            identity,
            status.state,
            status.reason,
            status.time_confidence,
            status.expires_on.isoformat() if status.expires_on else None,
            status.decision,
            status.request_id,
            now.wall.timestamp(),
        ),
    )


def of(database: sqlite3.Connection, id_: str) -> TicketStatus | None:
    row = database.execute(
        "SELECT id, state, reason, time_confidence, expires_on, decision, request_id "
        "FROM tickets WHERE id = ?",
        (id_,),
    ).fetchone()
    if row is None:
        return None
    return TicketStatus(
        id=row[0],
        state=row[1],
        reason=row[2],
        time_confidence=row[3],
        expires_on=date.fromisoformat(row[4]) if row[4] else None,
        decision=row[5],
        request_id=row[6],
    )


def forget(database: sqlite3.Connection, *, before: float, most: int) -> None:
    """Those of old, and the oldest beyond a number."""
    database.execute(
        "DELETE FROM tickets WHERE settled_at < ? OR number <= "
        "(SELECT coalesce(max(number), 0) FROM tickets) - ?",
        (before, most),
    )


def forget_identity(database: sqlite3.Connection, identity: str) -> None:
    database.execute("DELETE FROM tickets WHERE identity = ?", (identity,))
