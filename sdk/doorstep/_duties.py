"""What must be finished before anything is sent, even after a kill."""

from __future__ import annotations

import sqlite3


def purge(database: sqlite3.Connection) -> None:
    """In the transaction that deletes positions: their bytes must leave the log, too."""
    database.execute("INSERT OR IGNORE INTO duties (name) VALUES ('purge')")


def has_purge(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT 1 FROM duties WHERE name = 'purge'").fetchone() is not None


def purged(database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM duties WHERE name = 'purge'")
