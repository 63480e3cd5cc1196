"""The vault itself: a SQLite file, apart from the database and from its backups.

Entries lie in groups, as they were written, sealed; in clear is only of which day a group is.
"""

import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag

from doorstep_server.access_vault.entries import Entry
from doorstep_server.access_vault.key import VaultKey, VaultUnusable
from doorstep_server.settings import InvalidSetting, Settings

#: marks the file as a vault (PRAGMA application_id)
APPLICATION_ID = 0x44565654
_NONCE_BYTES = 12
_WAIT_S = 5.0

_SCHEMA = f"""
PRAGMA journal_mode = WAL;
PRAGMA application_id = {APPLICATION_ID};
CREATE TABLE IF NOT EXISTS accesses (
    day TEXT NOT NULL, nonce BLOB NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (day, nonce)
) WITHOUT ROWID;
"""

_WRONG_KEY = (
    "The access vault cannot be opened with this key. Put the key that it was made with back, or "
    "set DOORSTEP_ACCESS_VAULT_KEY to where it is."
)


def open_vault(settings: Settings) -> "AccessVault | None":
    """The vault that the settings name, made on first use; None when they name none.

    Raises `InvalidSetting`, `VaultUnusable`.
    """
    if settings.access_vault is None:
        return None
    key = settings.access_vault_key or Path(f"{settings.access_vault}.key")
    if key.absolute() == settings.access_vault.absolute():
        raise InvalidSetting("DOORSTEP_ACCESS_VAULT_KEY must be a file of its own.")
    return AccessVault.open(settings.access_vault, key, days=settings.access_vault_days)


class AccessVault:
    """An open vault. Several processes may write to one file."""

    def __init__(self, path: Path, key: VaultKey, *, days: int) -> None:
        self._path = path
        self._key = key
        self._kept_for = timedelta(days=days)

    @classmethod
    def open(cls, path: Path, key_path: Path, *, days: int) -> "AccessVault":
        """Open a vault, or make one with its key. Raises `VaultUnusable`."""
        is_made = path.exists() and path.stat().st_size > 0
        vault = cls(path, (VaultKey.open if is_made else VaultKey.create)(key_path), days=days)
        path.touch(mode=0o600)
        with vault._connection() as connection:
            _require_vault(connection)
            connection.executescript(_SCHEMA)
            some = connection.execute("SELECT day, nonce, sealed FROM accesses LIMIT 1").fetchone()
            if some is not None:
                vault._unsealed(*some)
        return vault

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries; durable when this returns. Raises `VaultUnusable`."""
        by_day = sorted(entries, key=_day)
        rows = [self._sealed(day, list(some)) for day, some in groupby(by_day, key=_day)]
        with self._connection() as connection, connection:
            connection.executemany("INSERT INTO accesses VALUES (?, ?, ?)", rows)

    def read(self, since: datetime, until: datetime, today: date) -> Iterator[Entry]:
        """Entries from one instant until before another, in their order, day by day.

        Those whose time is over are not among them, deleted or not. Raises `VaultUnusable`.
        """
        first = max(since.astimezone(UTC).date(), self._first_day(today))
        for day in self._days_between(first, until.astimezone(UTC).date()):
            for entry in sorted(self._of_day(day), key=attrgetter("time")):
                if since <= entry.time < until:
                    yield entry

    def expire(self, today: date) -> bool:
        """Delete what is too old, from every byte of the files; False when it is still in one."""
        with self._connection() as connection:
            with connection:
                first = self._first_day(today).isoformat()
                connection.execute("DELETE FROM accesses WHERE day < ?", (first,))
            # what was deleted is overwritten in the log; this carries it into the file
            [busy, _, _] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def _first_day(self, today: date) -> date:
        """The oldest day that is kept: whole days, the day itself not counted."""
        return today - self._kept_for

    def _days_between(self, first: date, last: date) -> list[date]:
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT DISTINCT day FROM accesses WHERE day BETWEEN ? AND ? ORDER BY day",
                (first.isoformat(), last.isoformat()),
            ).fetchall()
        return [date.fromisoformat(day) for (day,) in rows]

    def _of_day(self, day: date) -> list[Entry]:
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT day, nonce, sealed FROM accesses WHERE day = ?", (day.isoformat(),)
            ).fetchall()
        return [entry for row in rows for entry in self._unsealed(*row)]

    def _sealed(self, day: date, entries: list[Entry]) -> tuple[str, bytes, bytes]:
        nonce, text = secrets.token_bytes(_NONCE_BYTES), msgspec.msgpack.encode(entries)
        named = day.isoformat()
        return named, nonce, self._key.of_day(day).encrypt(nonce, text, named.encode())

    def _unsealed(self, day: str, nonce: bytes, sealed: bytes) -> list[Entry]:
        try:
            text = self._key.of_day(date.fromisoformat(day)).decrypt(nonce, sealed, day.encode())
        except InvalidTag:
            raise VaultUnusable(_WRONG_KEY) from None
        return msgspec.msgpack.decode(text, type=list[Entry])

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=_WAIT_S)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA secure_delete = ON")
                yield connection
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorname", "unreadable")
            raise VaultUnusable(
                f"The access vault cannot be read or written now ({code})."
            ) from None


def _day(entry: Entry) -> date:
    return entry.time.astimezone(UTC).date()


def _require_vault(connection: sqlite3.Connection) -> None:
    """A file of something else stays as it is."""
    [made_by] = connection.execute("PRAGMA application_id").fetchone()
    [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and made_by != APPLICATION_ID:
        raise VaultUnusable("DOORSTEP_ACCESS_VAULT names a file of something else. Name another.")
