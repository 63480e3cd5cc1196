"""Whose check-ins the file holds. Nothing is ever sent by another than its own.

A token is known by a mark. Where only the token is known (an app that started offline), the device
behind it is learned before the first send: until then what belongs to others waits, and is then
dropped.
"""

from __future__ import annotations

import os
import sqlite3

from doorstep._endpoints import PermissionState
from doorstep._known import Who
from doorstep._value import Value


class Identity(Value):
    """A device at a server, as one token shows it."""

    label: str
    base_url: str
    device_id: str | None
    #: None while nothing is known of it
    epoch: int | None
    #: the highest of any report; None while nothing is known of it
    report_sequence: int | None
    #: the last that was noted here
    permission: PermissionState


def current(database: sqlite3.Connection, who: Who) -> Identity:
    """The identity of who is signed in, made or completed with what the client knows by now."""
    label = _label(database, who) or _new(database, who)
    _complete(database, label, who)
    return _read(database, label)


def own(database: sqlite3.Connection, identity: Identity) -> frozenset[str]:
    """The labels of the same device at the same server: more than one after a rotated token."""
    if identity.device_id is None:
        return frozenset({identity.label})
    rows = database.execute(
        "SELECT label FROM identities WHERE base_url = ? AND device_id = ?",
        (identity.base_url, identity.device_id),
    )
    return frozenset(label for [label] in rows)


def others(database: sqlite3.Connection, identity: Identity) -> frozenset[str]:
    """Whose things must go. None while it is not known who this is: it may turn out the same."""
    if identity.device_id is None:
        return frozenset()
    return labels(database) - own(database, identity)


def labels(database: sqlite3.Connection) -> frozenset[str]:
    return frozenset(label for [label] in database.execute("SELECT label FROM identities"))


def forget(database: sqlite3.Connection, label: str) -> None:
    database.execute("DELETE FROM identities WHERE label = ?", (label,))


def raise_to(
    database: sqlite3.Connection, label: str, *, epoch: int | None, sequence: int | None
) -> None:
    """Both only grow."""
    database.execute(
        "UPDATE identities SET epoch = max(coalesce(epoch, 0), ?) WHERE label = ? "
        "AND ? > coalesce(epoch, -1)",
        (epoch, label, epoch),
    )
    database.execute(
        "UPDATE identities SET report_sequence = max(coalesce(report_sequence, 0), ?) "
        "WHERE label = ? AND ? > coalesce(report_sequence, -1)",
        (sequence, label, sequence),
    )


def note_permission(database: sqlite3.Connection, label: str, state: PermissionState) -> None:
    database.execute("UPDATE identities SET permission = ? WHERE label = ?", (state, label))


def name_device(database: sqlite3.Connection, label: str, device_id: str) -> None:
    database.execute("UPDATE identities SET device_id = ? WHERE label = ?", (device_id, label))


def _label(database: sqlite3.Connection, who: Who) -> str | None:
    """By the token; by the one that it replaced; by the device that it belongs to."""
    row = database.execute(
        "SELECT label FROM identities WHERE base_url = ? AND token_mark = ?",
        (who.base_url, who.mark),
    ).fetchone()
    if row is not None:
        return str(row[0])
    row = database.execute(
        "SELECT label FROM identities WHERE base_url = ? AND (token_mark = ? OR device_id = ?)",
        (who.base_url, who.former_mark, who.device_id),
    ).fetchone()
    if row is None:
        return None
    database.execute("UPDATE identities SET token_mark = ? WHERE label = ?", (who.mark, row[0]))
    return str(row[0])


def _new(database: sqlite3.Connection, who: Who) -> str:
    label = os.urandom(8).hex()
    database.execute(
        "INSERT INTO identities (label, base_url, token_mark, permission) "
        "VALUES (?, ?, ?, 'unknown')",
        (label, who.base_url, who.mark),
    )
    return label


def _complete(database: sqlite3.Connection, label: str, who: Who) -> None:
    raise_to(database, label, epoch=who.epoch, sequence=who.sequence)
    database.execute(
        "UPDATE identities SET device_id = coalesce(device_id, ?1), "
        "subject_id = coalesce(subject_id, ?2) WHERE label = ?3 AND "
        "(device_id IS NULL AND ?1 IS NOT NULL OR subject_id IS NULL AND ?2 IS NOT NULL)",
        (who.device_id, who.subject_id, label),
    )


def _read(database: sqlite3.Connection, label: str) -> Identity:
    row = database.execute(
        "SELECT label, base_url, device_id, epoch, report_sequence, permission "
        "FROM identities WHERE label = ?",
        (label,),
    ).fetchone()
    return Identity(
        label=row[0],
        base_url=row[1],
        device_id=row[2],
        epoch=row[3],
        report_sequence=row[4],
        permission=row[5],
    )
