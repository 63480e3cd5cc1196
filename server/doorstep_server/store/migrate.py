"""Bringing a database to this version's schema, with Alembic.

Alembic is loaded where it is used: it takes a fifth of what a server needs to start, and only
`init` and `migrate` need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

if TYPE_CHECKING:
    from alembic.config import Config

#: the last revision in `migrations/versions`
CURRENT = "0008"


class SchemaOutdated(RuntimeError):
    """The database's schema is not this version's."""


class CannotMigrate(RuntimeError):
    """What is in the database cannot be brought to this version's schema."""


class ForeignDatabase(RuntimeError):
    """The database belongs to something else."""

    def __init__(self) -> None:
        super().__init__(
            "The database has tables that are not Doorstep's. Give Doorstep a database of its own."
        )


_OF_POSTGIS = {"spatial_ref_sys"}
#: what is left when every migration was taken back
_EMPTIED = {"alembic_version"}


def migrate(connection: Connection, revision: str = "head") -> None:
    """Bring the schema to a revision inside the caller's transaction: all of it or nothing."""
    from alembic import command  # noqa: PLC0415

    command.upgrade(_config(connection), revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Take the schema back to a revision inside the caller's transaction."""
    from alembic import command  # noqa: PLC0415

    command.downgrade(_config(connection), revision)


def is_empty(connection: Connection) -> bool:
    """Whether nothing was ever made here. Raises `ForeignDatabase`."""
    found = set(inspect(connection).get_table_names()) - _OF_POSTGIS
    if found and not {"alembic_version", "deployment"} <= found and found != _EMPTIED:
        raise ForeignDatabase
    return not found


def require_current(connection: Connection) -> None:
    """Raise `SchemaOutdated` unless the schema is exactly this version's."""
    tables = inspect(connection).get_table_names()
    known = "alembic_version" in tables
    found = connection.execute(text("SELECT version_num FROM alembic_version")) if known else None
    if found is None or found.scalars().all() != [CURRENT]:
        raise SchemaOutdated(
            "The database's schema is not this version's. Stop every server that uses it, make a "
            "backup, and run `doorstep migrate`."
        )


def _config(connection: Connection) -> Config:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "doorstep_server.store:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
