"""What this device found for check-ins of purposes that it judges for. It holds no position.

The server tells a repeated id from another check-in by its content, and the verdict is content: one
that was judged anew after a lost answer would be refused as another one. So once it may have been
sent it stays, until the server says that the site has changed since.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable

from doorstep._check_in import JudgedCheckIn


def keep(database: sqlite3.Connection, id_: str, content: bytes) -> None:
    """In the place of an earlier one."""
    database.execute("INSERT OR REPLACE INTO verdicts (id, content) VALUES (?, ?)", (id_, content))


def of(database: sqlite3.Connection, ids: Iterable[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for id_ in ids:
        row = database.execute("SELECT content FROM verdicts WHERE id = ?", (id_,)).fetchone()
        if row is not None:
            found[id_] = row[0]
    return found


def drop(database: sqlite3.Connection, id_: str) -> None:
    database.execute("DELETE FROM verdicts WHERE id = ?", (id_,))


def encode(judged: JudgedCheckIn) -> bytes:
    """What is not in the claim: the site may be one that was found."""
    verdict = {
        "site_id": judged.site_id,
        "outcome": judged.outcome,
        "reason": judged.reason,
        "bundle_version": judged.bundle_version,
        "fence_mark": judged.fence_mark,
    }
    return json.dumps(verdict, separators=(",", ":")).encode()
