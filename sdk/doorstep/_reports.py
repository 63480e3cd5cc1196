"""Permission reports on their way: they hold no place, and go before every check-in."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime

from doorstep import _identities as identities
from doorstep._endpoints import PermissionState
from doorstep._identities import Identity
from doorstep._permissions import WITHDRAWN
from doorstep._value import Value


class Report(Value):
    """One report. Its sequence is None until the server's is known: then it gets one."""

    number: int
    state: PermissionState
    sequence: int | None
    observed_at: datetime


def append(
    database: sqlite3.Connection, identity: Identity, state: PermissionState, wall: datetime
) -> int | None:
    """Queue a report and give its sequence. What it makes needless goes.

    A withdrawal stays when the permission is back: the server must hear of it all the same.
    """
    needless = (
        "DELETE FROM reports WHERE identity = ?"
        if state in WITHDRAWN
        else "DELETE FROM reports WHERE identity = ? "
        "AND state NOT IN ('denied', 'restricted', 'services_off')"
    )
    database.execute(needless, (identity.label,))
    sequence = None if identity.report_sequence is None else identity.report_sequence + 1
    database.execute(
        "INSERT INTO reports (identity, state, sequence, observed_at) VALUES (?, ?, ?, ?)",
        (identity.label, state, sequence, wall.astimezone(UTC).isoformat()),
    )
    epoch = sequence if state in WITHDRAWN else None
    identities.raise_to(database, identity.label, epoch=epoch, sequence=sequence)
    return sequence


def next_of(database: sqlite3.Connection, labels: Iterable[str]) -> Report | None:
    wanted = frozenset(labels)
    rows = database.execute(
        "SELECT identity, number, state, sequence, observed_at FROM reports ORDER BY number"
    )
    found = next((row for row in rows if row[0] in wanted), None)
    rows.close()
    if found is None:
        return None
    return Report(
        number=found[1],
        state=found[2],
        sequence=found[3],
        observed_at=datetime.fromisoformat(found[4]),
    )


def number_them(database: sqlite3.Connection, identity: Identity) -> None:
    """Give sequences to the reports that were queued before the server's was known."""
    sequence = identity.report_sequence
    assert sequence is not None, "it was just learned"
    rows = database.execute(
        "SELECT number, state FROM reports WHERE identity = ? AND sequence IS NULL ORDER BY number",
        (identity.label,),
    ).fetchall()
    for number, state in rows:
        sequence += 1
        database.execute("UPDATE reports SET sequence = ? WHERE number = ?", (sequence, number))
        epoch = sequence if state in WITHDRAWN else None
        identities.raise_to(database, identity.label, epoch=epoch, sequence=sequence)


def done(database: sqlite3.Connection, number: int) -> None:
    database.execute("DELETE FROM reports WHERE number = ?", (number,))


def forget_identity(database: sqlite3.Connection, label: str) -> None:
    database.execute("DELETE FROM reports WHERE identity = ?", (label,))
