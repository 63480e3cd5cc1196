"""The tables of the outbox's file, as steps from each version to the next.

A step is one transaction with the version in it: whoever is killed half-way finds the version
before. A new file takes all steps. Never change a step that was released: add one.
"""

from __future__ import annotations

#: "Door": tells our file from another program's
APPLICATION_ID = 0x446F6F72

_FIRST = (
    """
    CREATE TABLE identities (
        label TEXT PRIMARY KEY,
        base_url TEXT NOT NULL,
        token_mark TEXT NOT NULL,
        device_id TEXT,
        subject_id TEXT,
        epoch INTEGER,
        report_sequence INTEGER,
        permission TEXT NOT NULL,
        UNIQUE (base_url, token_mark)
    )
    """,
    # rows are written once, and deleted: nothing of them ever changes
    """
    CREATE TABLE check_ins (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        base_url TEXT NOT NULL,
        identity TEXT NOT NULL,
        epoch INTEGER,
        schema INTEGER NOT NULL,
        captured_at REAL NOT NULL,
        boot TEXT NOT NULL,
        clock REAL,
        sealed INTEGER NOT NULL,
        claim BLOB NOT NULL
    )
    """,
    """
    CREATE TABLE reports (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        identity TEXT NOT NULL,
        state TEXT NOT NULL,
        sequence INTEGER,
        observed_at TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE tickets (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        identity TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        settled_at REAL NOT NULL
    )
    """,
    "CREATE TABLE losses (reason TEXT PRIMARY KEY, count INTEGER NOT NULL)",
    "CREATE TABLE duties (name TEXT PRIMARY KEY)",
    """
    CREATE TABLE lease (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        owner TEXT NOT NULL,
        boot TEXT NOT NULL,
        until REAL NOT NULL
    )
    """,
)

#: what is precise is told apart, so that it can go when the permission becomes approximate; what
#: was there before counts as precise. A ticket keeps what the app may need of the answer, and a
#: verdict of this device stays as it was.
_PRECISE_APART = (
    "ALTER TABLE check_ins ADD COLUMN precise INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE tickets ADD COLUMN time_confidence TEXT NOT NULL DEFAULT 'high'",
    "ALTER TABLE tickets ADD COLUMN expires_on TEXT",
    "ALTER TABLE tickets ADD COLUMN decision TEXT",
    "ALTER TABLE tickets ADD COLUMN request_id TEXT",
    "CREATE TABLE verdicts (id TEXT PRIMARY KEY, content BLOB NOT NULL)",
)

#: a judged check-in waits without its position, and what stood beside one is found anew; the sites
#: that this device judges by are there at the next start
_JUDGED_AT_ONCE = (
    "DELETE FROM verdicts",
    """
    CREATE TABLE bundles (
        identity TEXT PRIMARY KEY, sealed INTEGER NOT NULL, content BLOB NOT NULL
    )
    """,
)

STEPS: tuple[tuple[str, ...], ...] = (_FIRST, _PRECISE_APART, _JUDGED_AT_ONCE)
VERSION = len(STEPS)
