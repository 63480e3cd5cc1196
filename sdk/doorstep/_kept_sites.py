"""The sites that a device judges by, kept from one start of the app to the next."""

from __future__ import annotations

import sqlite3

from doorstep._sealing import Sealer
from doorstep._value import Unpicklable, Value

_AAD = b"bundle "


class KeptSites(Unpicklable, Value):
    """A bundle as it is written, and whose it is."""

    identity: str
    sealed: bool
    content: bytes


def seal(identity: str, content: bytes, sealer: Sealer | None) -> KeptSites | None:
    """As it is to be written; None where the sealer fails: then the next start goes without."""
    try:
        if sealer is not None:
            content = sealer.seal(content, _AAD + identity.encode())
    except Exception:  # noqa: BLE001 (the app's own code, which may raise anything)
        return None
    return KeptSites(identity=identity, sealed=sealer is not None, content=content)


def opened(kept: KeptSites, sealer: Sealer | None) -> bytes | None:
    """The bundle's content, if it can be read now."""
    if not kept.sealed or sealer is None:
        return None if kept.sealed else kept.content
    try:
        return sealer.open(kept.content, _AAD + kept.identity.encode())
    except Exception:  # noqa: BLE001 (as above)
        return None


def keep(database: sqlite3.Connection, kept: KeptSites) -> None:
    """In the place of earlier ones."""
    database.execute(
        "INSERT OR REPLACE INTO bundles (identity, sealed, content) "
        "VALUES (:identity, :sealed, :content)",
        kept.__dict__,
    )


def of(database: sqlite3.Connection, identity: str) -> KeptSites | None:
    row = database.execute(
        "SELECT sealed, content FROM bundles WHERE identity = ?", (identity,)
    ).fetchone()
    return (
        None if row is None else KeptSites(identity=identity, sealed=bool(row[0]), content=row[1])
    )


def forget_identity(database: sqlite3.Connection, identity: str) -> None:
    database.execute("DELETE FROM bundles WHERE identity = ?", (identity,))
