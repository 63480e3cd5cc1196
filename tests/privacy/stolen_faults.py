"""Faults of which each would betray people: planted here, never in the product."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, datetime
from enum import StrEnum
from unittest.mock import patch
from uuid import UUID

from sqlalchemy import bindparam, text

from doorstep_server.privacy import minimize, unlinkable
from doorstep_server.privacy.keys import TenantKeys
from doorstep_server.privacy.unlinkable import TokenSeries
from doorstep_server.store import Connection, check_ins
from doorstep_server.store.columns import Id
from doorstep_server.store.postgres import PostgresDatabase


class Fault(StrEnum):
    """What would betray people."""

    #: the devices of a group are locked by their rows, and not by advisory locks
    FOR_SHARE = "for share"
    #: rows lie in the order in which they arrive, and nobody mixes them afterwards
    ARRIVAL_ORDER = "order of arrival"
    #: a device's row tells when it last checked in
    LAST_SEEN = "last seen"
    #: every row of a person's day has the token of the first
    REPEATED_SLOT = "repeated slot"
    #: the same person, sealed, is always the same bytes
    SAME_SEAL = "same seal"


def faults_of(kind: str) -> list[Fault]:
    """Those that can be planted on a kind of database: SQLite locks no rows."""
    return [fault for fault in Fault if kind == "postgresql" or fault is not Fault.FOR_SHARE]


def plant(fault: Fault, connection: Connection) -> None:
    """What a fault needs of the schema."""
    sqlite = connection.dialect.name == "sqlite"
    if fault is Fault.LAST_SEEN:
        kind = "BLOB" if sqlite else "bytea"
        connection.execute(text(f"ALTER TABLE devices ADD COLUMN last_seen {kind}"))
    elif fault is Fault.REPEATED_SLOT:
        _without_unique_tokens(connection)
    elif fault is Fault.ARRIVAL_ORDER and sqlite:
        _remake(connection, lambda made: made.replace("WITHOUT ROWID", ""))


def _without_unique_tokens(connection: Connection) -> None:
    connection.execute(text("DROP INDEX ix_check_ins_token"))
    columns = "(tenant_id, token, expires_on)"
    connection.execute(text(f"CREATE INDEX ix_check_ins_token ON check_ins {columns}"))


def _remake(connection: Connection, change: Callable[[str], str]) -> None:
    """Make the empty table of check-ins anew, by another statement."""
    made = "SELECT sql FROM sqlite_master WHERE tbl_name = 'check_ins' AND sql IS NOT NULL"
    table, *indexes = connection.execute(text(f"{made} ORDER BY type DESC")).scalars().all()
    assert change(table) != table, table
    connection.execute(text("DROP TABLE check_ins"))
    for statement in [change(table), *indexes]:
        connection.exec_driver_sql(statement)


def betray(
    fault: Fault, connection: Connection, tenant_id: UUID, people: Collection[UUID], now: datetime
) -> None:
    """What a fault does to people's rows in the transaction that writes their check-ins."""
    theirs = "WHERE tenant_id = :tenant_id AND subject_id IN :people"
    statements = {
        Fault.FOR_SHARE: f"SELECT 1 FROM devices {theirs} FOR SHARE",
        Fault.LAST_SEEN: f"UPDATE devices SET last_seen = :now {theirs}",
    }
    if fault in statements:
        values: dict[str, object] = {"tenant_id": tenant_id, "people": list(people)}
        if fault is Fault.LAST_SEEN:
            values["now"] = now.isoformat().encode()
        ids = bindparam("tenant_id", type_=Id()), bindparam("people", type_=Id(), expanding=True)
        connection.execute(text(statements[fault]).bindparams(*ids), values)


@contextmanager
def planted(faults: Collection[Fault]) -> Iterator[None]:
    """What faults need of the code, while they are there."""
    first = TokenSeries.token
    patches = {
        Fault.ARRIVAL_ORDER: [
            patch.object(check_ins, "_by_id", lambda _: 0),
            patch.object(PostgresDatabase, "mix_now", lambda *_: 0),
        ],
        Fault.REPEATED_SLOT: [patch.object(TokenSeries, "token", lambda self, _: first(self, 0))],
        Fault.SAME_SEAL: [patch.object(minimize, "seal_subject", _sealed_alike)],
    }
    with ExitStack() as stack:
        for fault in faults:
            for one in patches.get(fault, []):
                stack.enter_context(one)
        yield


def _sealed_alike(keys: TenantKeys, row_id: UUID, expires_on: date, subject_id: UUID) -> bytes:
    with patch.object(unlinkable.os, "urandom", lambda length: subject_id.bytes[:length][::-1]):
        return unlinkable.seal_subject(keys, row_id, expires_on, subject_id)
