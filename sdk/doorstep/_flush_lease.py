"""One sends at a time. The lease ends by itself, so nobody has to be alive to give it back."""

from __future__ import annotations

import os
import sqlite3

#: nobody takes one for longer
MAX_LEASE_S = 600.0


class Holder:
    """Somebody who wants to send: each outbox that is open."""

    def __init__(self, lease_s: float) -> None:
        self.name = f"{os.getpid()}.{os.urandom(8).hex()}"
        self.lease_s = lease_s


def take(database: sqlite3.Connection, holder: Holder, boot: str, now_s: float) -> bool:
    """Take the lease or renew it; False while another holds it.

    A lease of another boot, of a dead process, or of longer than anybody takes is nobody's.
    """
    row = database.execute("SELECT owner, boot, until FROM lease").fetchone()
    if row is not None:
        owner, of_boot, until = row
        is_running = of_boot == boot and 0 < until - now_s <= MAX_LEASE_S
        if is_running and owner != holder.name and not _is_dead(owner):
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


def _is_dead(owner: str) -> bool:
    """Whether its process is gone for sure: then a restarted app need not wait for the lease's end.

    Who is wrong here sends an id twice, which counts once.
    """
    if os.name != "posix":  # elsewhere signal 0 is no question
        return False
    try:
        os.kill(int(owner.partition(".")[0]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return False
