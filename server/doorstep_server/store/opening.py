"""Which database a URL names."""

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from doorstep_server.store.database import Database, UnsupportedDatabase
from doorstep_server.store.sqlite import SqliteDatabase


def database_at(url: str, *, admin_url: str | None = None) -> Database:
    """The database of a URL; nothing is opened or made yet. Raises `UnsupportedDatabase`."""
    if url.startswith(("postgresql://", "postgres://")):
        # only who uses PostgreSQL waits for its driver to load
        from doorstep_server.store.postgres import PostgresDatabase  # noqa: PLC0415

        return PostgresDatabase(url, admin_url)
    return SqliteDatabase(_file(url))


def _file(url: str) -> Path:
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = URL.create("none")
    if parsed.drivername != "sqlite" or parsed.database in {None, "", ":memory:"}:
        raise UnsupportedDatabase(
            "Doorstep runs on SQLite files and on PostgreSQL: set DOORSTEP_DATABASE_URL to "
            "sqlite:///path/to/doorstep.db or postgresql://user:password@host/database, or leave "
            "it unset."
        )
    return Path(str(parsed.database))
