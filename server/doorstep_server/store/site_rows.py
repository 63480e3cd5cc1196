"""Rows of very many sites, made ready before the transaction that writes them.

On SQLite a transaction that writes keeps every other writer waiting, check-ins among them. To make
rows of sites takes several times as long as to insert them, so it is done before; then they are
handed to the database as they are. On PostgreSQL nobody waits for it, and rows are made as always.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Dialect, Table

from doorstep_server.store.schema import site_versions, sites
from doorstep_server.store.sites import StoredSite, version_row
from doorstep_server.store.tenants import note_change

#: of a site's row and of its version's: what the database keeps, column by column
Ready = tuple[list[Any], list[Any]]

# what is known only in the transaction comes last
_SITE = ("version", "external_id", "site_id", "changed", "tenant_id")
_VERSION = (
    *(c.name for c in site_versions.columns if c.name not in {"tenant_id", "valid_from"}),
    "tenant_id",
    "valid_from",
)


def are_wanted(connection: Connection) -> bool:
    """Whether this database is kept waiting by rows that are made late."""
    return connection.dialect.name == "sqlite"


class Making:
    """Makes rows ready for one kind of database."""

    def __init__(self, dialect: Dialect) -> None:
        self._site = _processors(sites, _SITE[:3], dialect)
        self._version = _processors(site_versions, _VERSION[:-2], dialect)

    def ready(self, site: StoredSite) -> Ready:
        """A site's rows."""
        row = version_row(site) | {"external_id": site.content.external_id}
        return _processed(row, self._site), _processed(row, self._version)


def write_ready(
    connection: Connection, tenant_id: UUID, rows: Sequence[Ready], valid_from: datetime
) -> None:
    """As `sites.write_many`, of rows that are ready. Every row is of the tenant that is named."""
    changed = note_change(connection, tenant_id)
    dialect = connection.dialect
    tenant = _processors(sites, ("tenant_id",), dialect)["tenant_id"](tenant_id)
    since = _processors(site_versions, ("valid_from",), dialect)["valid_from"](valid_from)
    of_sites = [(*site, changed, tenant) for site, _ in rows]
    new, revised = ([r for r in of_sites if (r[0] == 1) is first] for first in (True, False))
    if new:
        connection.exec_driver_sql(_insertion(sites, _SITE), new)
    if revised:
        moved = [(version, name, at, tenant, site) for version, name, site, at, tenant in revised]
        connection.exec_driver_sql(_REVISION, moved)
    versions = [(*version, tenant, since) for _, version in rows]
    connection.exec_driver_sql(_insertion(site_versions, _VERSION), versions)


_REVISION = (
    "UPDATE sites SET version = ?, external_id = ?, changed = ? WHERE tenant_id = ? AND site_id = ?"
)


def _insertion(table: Table, columns: Sequence[str]) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    return f"INSERT INTO {table.name} ({names}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608


def _processors(table: Table, columns: Sequence[str], dialect: Dialect) -> dict[str, Any]:
    """What makes of each column's value what the database keeps."""
    kinds = {name: table.c[name].type.dialect_impl(dialect) for name in columns}
    return {name: kind.bind_processor(dialect) or _as_it_is for name, kind in kinds.items()}


def _as_it_is(value: Any) -> Any:
    return value


def _processed(row: dict[str, Any], processors: dict[str, Any]) -> list[Any]:
    return [process(row[name]) for name, process in processors.items()]
