"""One sends at a time. The lease ends by itself, so nobody has to be alive to give it back."""

from __future__ import annotations

import sqlite3


class Holder:
    """Somebody who wants to send: each outbox that is open."""

    def __init__(self, name: str, lease_s: float) -> None:
        self.name = name
        self.lease_s = lease_s


def take(database: sqlite3.Connection, holder: Holder, boot: str, now_s: float) -> bool:
    """Take the lease or renew it; False while another holds it.

    A lease of another boot, or of longer than anybody takes, is nobody's.
    """
    row = database.execute("SELECT owner, boot, until FROM lease").fetchone()
    if row is not None:
        owner, of_boot, until = row
        left_s = until - now_s
        if owner != holder.name and of_boot == boot and 0 < left_s <= MAX_LEASE_S:
            return False
    database.execute(
        "INSERT INTO lease (one, owner, boot, until) VALUES (1, ?, ?, ?) "
        "ON CONFLICT (one) DO UPDATE SET owner = excluded.owner, boot = excluded.boot, "
        "until = excluded.until",
        (holder.name, boot, now_s + holder.lease_s),
    )
    return True


def give_back(database: sqlite3.Connection, holder: Holder) -> None:
    database.execute("DELETE FROM lease WHERE owner = ?", (holder.name,))


MAX_LEASE_S = 600.0
