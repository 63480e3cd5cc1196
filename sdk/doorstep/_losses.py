"""Every check-in that will not be sent is counted, by the reason."""

from __future__ import annotations

import sqlite3


def count(database: sqlite3.Connection, reason: str, more: int) -> None:
    if more:
        database.execute(
            "INSERT INTO losses (reason, count) VALUES (?, ?) "
            "ON CONFLICT (reason) DO UPDATE SET count = count + excluded.count",
            (reason, more),
        )


def all_of(database: sqlite3.Connection) -> dict[str, int]:
    return dict(database.execute("SELECT reason, count FROM losses ORDER BY reason"))
