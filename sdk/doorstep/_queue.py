"""The check-ins that wait, in the device's order."""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterable, Sequence

from doorstep import _losses as losses
from doorstep import _tickets as tickets
from doorstep import _verdicts as verdicts
from doorstep._clock import Moment
from doorstep._tickets import TicketStatus
from doorstep._waiting import Waiting

_MEMBERS = (
    "id", "base_url", "identity", "epoch", "schema", "captured_at", "boot", "clock", "precise",
    "sealed", "claim", "sequence",
)  # fmt: skip
_SELECT = f"SELECT {', '.join(_MEMBERS)} FROM check_ins"  # noqa: S608 (names of our own)


class End(TicketStatus):
    """How a waiting check-in ended, and under what it counts as lost; None when it arrived."""

    loss: str | None = None


def append(database: sqlite3.Connection, row: Waiting) -> None:
    database.execute(
        "INSERT INTO check_ins (id, base_url, identity, epoch, schema, captured_at, boot, clock, "
        "precise, sealed, claim) VALUES (:id, :base_url, :identity, :epoch, :schema, "
        ":captured_at, :boot, :clock, :precise, :sealed, :claim)",
        row.__dict__,
    )


def count(database: sqlite3.Connection) -> int:
    [number] = database.execute("SELECT count(*) FROM check_ins").fetchone()
    return int(number)


def has(database: sqlite3.Connection, id_: str) -> bool:
    found = database.execute("SELECT 1 FROM check_ins WHERE id = ?", (id_,))
    return found.fetchone() is not None


def one(database: sqlite3.Connection, id_: str) -> Waiting | None:
    """A check-in; None when it does not wait."""
    row = database.execute(f"{_SELECT} WHERE id = ?", (id_,)).fetchone()
    return None if row is None else _waiting(row)


def take_place(database: sqlite3.Connection, row: Waiting) -> None:
    """Take the position out of a row that was judged since: this one has none."""
    database.execute(
        "UPDATE check_ins SET schema = :schema, precise = :precise, sealed = :sealed, "
        "claim = :claim WHERE id = :id",
        row.__dict__,
    )


def head(
    database: sqlite3.Connection,
    identities: Iterable[str],
    most: int,
    *,
    resting: Container[str] = (),
) -> list[Waiting]:
    """The oldest of these identities, but for those that are to rest."""
    wanted = frozenset(identities)
    rows = database.execute(f"{_SELECT} ORDER BY sequence")
    found: list[Waiting] = []
    for row in rows:
        if row[2] in wanted and row[0] not in resting:
            found.append(_waiting(row))
        if len(found) == most:
            break
    rows.close()
    return found


def oldest(database: sqlite3.Connection) -> str:
    [id_] = database.execute("SELECT id FROM check_ins ORDER BY sequence LIMIT 1").fetchone()
    return str(id_)


def expired(database: sqlite3.Connection, now: Moment, boot: str, ttl_s: float) -> list[str]:
    """Those that are too old, by the clock that nobody sets where that can be told.

    After a reboot the wall clock must do. A capture that is as far in the future is too old as
    well: nobody can tell when it would expire.
    """
    rows = database.execute(
        "SELECT id FROM check_ins WHERE CASE WHEN boot = :boot AND clock IS NOT NULL "
        "THEN :clock - clock > :ttl ELSE abs(:wall - captured_at) > :ttl END",
        {"boot": boot, "clock": now.elapsed_s, "wall": now.wall.timestamp(), "ttl": ttl_s},
    )
    return _ids(rows)


def of_identities(database: sqlite3.Connection, identities: Iterable[str]) -> list[str]:
    wanted = frozenset(identities)
    rows = database.execute("SELECT id, identity FROM check_ins ORDER BY sequence")
    return [id_ for id_, identity in rows if identity in wanted]


def precise_of(database: sqlite3.Connection, identities: Iterable[str]) -> list[str]:
    wanted = frozenset(identities)
    rows = database.execute("SELECT id, identity FROM check_ins WHERE precise ORDER BY sequence")
    return [id_ for id_, identity in rows if identity in wanted]


def up_to_epoch(database: sqlite3.Connection, identity: str, epoch: int | None) -> list[str]:
    """Those that a refusal of this epoch refuses too; of an unknown epoch, only such."""
    rows = database.execute(
        "SELECT id FROM check_ins WHERE identity = ?1 AND (epoch <= ?2 OR epoch IS ?2)",
        (identity, epoch),
    )
    return _ids(rows)


def end(database: sqlite3.Connection, ends: Sequence[End], now: Moment) -> list[End]:
    """Delete check-ins, keeping what became of each for its ticket. Gives those that waited."""
    done: list[End] = []
    for one in ends:
        identity = database.execute(
            "SELECT identity FROM check_ins WHERE id = ?", (one.id,)
        ).fetchone()
        if identity is None:
            continue
        database.execute("DELETE FROM check_ins WHERE id = ?", (one.id,))
        verdicts.drop(database, one.id)
        tickets.keep(database, one, identity[0], now)
        done.append(one)
    for reason in sorted({one.loss for one in done if one.loss}):
        losses.count(database, reason, sum(one.loss == reason for one in done))
    return done


def _ids(rows: sqlite3.Cursor) -> list[str]:
    return [id_ for [id_] in rows]


def _waiting(row: tuple[object, ...]) -> Waiting:
    members = dict(zip(_MEMBERS, row, strict=True))
    return Waiting(
        **{**members, "precise": bool(members["precise"]), "sealed": bool(members["sealed"])}  # type: ignore[arg-type]
    )
