"""What this device found for check-ins of purposes that it judges for, from the first send on.

The server tells a repeated id from another check-in by its content, and the verdict is content: one
that was judged anew after a lost answer would be refused as another one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable

from doorstep._check_in import JudgedCheckIn, NewCheckIn


def keep(database: sqlite3.Connection, id_: str, content: bytes) -> None:
    """The first one stays."""
    database.execute("INSERT OR IGNORE INTO verdicts (id, content) VALUES (?, ?)", (id_, content))


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
    }
    return json.dumps(verdict, separators=(",", ":")).encode()


def decode(new: NewCheckIn, content: bytes) -> JudgedCheckIn:
    return JudgedCheckIn(
        purpose=new.purpose,
        action=new.action,
        id=new.id,
        captured_at=new.fix.captured_at,
        elapsed_s=new.fix.elapsed_s,
        permission_epoch=new.permission_epoch,
        **json.loads(content),
    )
