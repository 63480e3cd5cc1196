"""The keyring: where secrets live, outside the database and its backups.

One SQLite file for one machine. It is durable before the database names anything made with it.
The wrapping root, rotation by month and keys of subjects belong here when they come.
"""

import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

from doorstep_server.privacy.keys import TenantKeys

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keyring (id TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS keys (
    owner TEXT NOT NULL, name TEXT NOT NULL, secret BLOB NOT NULL, PRIMARY KEY (owner, name)
) WITHOUT ROWID;
"""
_DEPLOYMENT = "deployment"
_TENANT_SECRETS = {"labels": 32, "seals": 64}


LOST_DATABASE = (
    "There is a keyring here, but not the database that it belongs to. Put the database back. If "
    "there never was one, move the keyring away and run `doorstep init`."
)


_BEHIND = (
    "The keyring lacks a key that the database needs: it is older than the database. Put the "
    "newest copy of the keyring back."
)


class KeyringUnusable(RuntimeError):
    """The keyring is missing, damaged, or not the one that this database was made with."""


class Keyring:
    """Open keyring. Secrets are read from the file when asked for; nothing is cached here."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def create(cls, path: Path) -> "Keyring":
        """Make a keyring, readable by its owner alone. Raises `KeyringUnusable` if there is one."""
        try:
            path.touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            raise KeyringUnusable(LOST_DATABASE) from None
        keyring = cls(path)
        with keyring._connection() as connection:
            connection.executescript(_SCHEMA)
            connection.execute("INSERT INTO keyring VALUES (?)", (str(uuid4()),))
            _insert(connection, _DEPLOYMENT, "pepper", 32)
        return keyring

    @classmethod
    def open(cls, path: Path) -> "Keyring":
        """Open an existing keyring. Raises `KeyringUnusable`."""
        if not path.is_file():
            raise KeyringUnusable(
                "The keyring file is missing. Put the keyring that belongs to this database back, "
                "or set DOORSTEP_KEYRING to where it is."
            )
        keyring = cls(path)
        keyring.identity()
        return keyring

    def remove(self) -> None:
        """Take back a keyring that nothing was made with."""
        self._path.unlink()

    def identity(self) -> UUID:
        """The keyring's own id, which the database remembers."""
        with self._connection() as connection:
            row = connection.execute("SELECT id FROM keyring").fetchone()
        if row is None:
            raise KeyringUnusable("The keyring file is empty. Put a good copy of it back.")
        return UUID(row[0])

    def pepper(self) -> bytes:
        """The deployment's secret that API keys and device tokens are hashed with."""
        return self._secret(_DEPLOYMENT, "pepper")

    def add_tenant(self, tenant_id: UUID) -> TenantKeys:
        """Make a new tenant's secrets; durable when this returns."""
        with self._connection() as connection:
            for name, length in _TENANT_SECRETS.items():
                _insert(connection, str(tenant_id), name, length)
        return self.tenant(tenant_id)

    def tenant(self, tenant_id: UUID) -> TenantKeys:
        """A tenant's secrets. Raises `KeyringUnusable` when the keyring has none for it."""
        return TenantKeys(**{name: self._secret(str(tenant_id), name) for name in _TENANT_SECRETS})

    def require(self, tenant_ids: Sequence[UUID]) -> None:
        """Raise `KeyringUnusable` unless there are secrets for all these tenants."""
        with self._connection() as connection:
            owners = {row[0] for row in connection.execute("SELECT DISTINCT owner FROM keys")}
        if not {str(tenant_id) for tenant_id in tenant_ids} <= owners:
            raise KeyringUnusable(_BEHIND)

    def _secret(self, owner: str, name: str) -> bytes:
        with self._connection() as connection:
            row = connection.execute(
                "SELECT secret FROM keys WHERE owner = ? AND name = ?", (owner, name)
            ).fetchone()
        if row is None:
            raise KeyringUnusable(_BEHIND)
        secret: bytes = row[0]
        return secret

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=5.0)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            with connection:
                yield connection
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorname", "unreadable")
            raise KeyringUnusable(
                f"The keyring file cannot be read or written now ({code}). If it is damaged, put a "
                "good copy of it back."
            ) from None
        finally:
            connection.close()


def _insert(connection: sqlite3.Connection, owner: str, name: str, length: int) -> None:
    connection.execute(
        "INSERT INTO keys VALUES (?, ?, ?)", (owner, name, secrets.token_bytes(length))
    )
