"""Bringing a database to this version's schema, with Alembic."""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect


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
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Take the schema back to a revision inside the caller's transaction."""
    config = _config()
    config.attributes["connection"] = connection
    command.downgrade(config, revision)


def is_empty(connection: Connection) -> bool:
    """Whether nothing was ever made here. Raises `ForeignDatabase`."""
    found = set(inspect(connection).get_table_names()) - _OF_POSTGIS
    if found and not {"alembic_version", "deployment"} <= found and found != _EMPTIED:
        raise ForeignDatabase
    return not found


def require_current(connection: Connection) -> None:
    """Raise `SchemaOutdated` unless the schema is exactly this version's."""
    here = MigrationContext.configure(connection).get_current_revision()
    if here != ScriptDirectory.from_config(_config()).get_current_head():
        raise SchemaOutdated(
            "The database's schema is not this version's. Stop every server that uses it, make a "
            "backup, and run `doorstep migrate`."
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "doorstep_server.store:migrations")
    config.set_main_option("path_separator", "os")
    return config
