"""What a thief has: rows of check-ins, of people and of devices, with all that lies around them.

And the *ideal copy*, in which that says nothing: the same visible columns, but ids, tokens, sealed
bytes, physical order and transaction numbers drawn anew, and people's tables that never change.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from privacy.stolen_filling import Filled
from privacy.stolen_people import START

#: every table about persons or devices
ABOUT_PEOPLE = (
    "subjects",
    "devices",
    "device_tokens",
    "enrollment_codes",
    "receipts",
    "erasures",
)
#: what says whom or what a row of theirs is about: the first of these that it has
_NAMING = ("subject_id", "device_id", "key", "code_label", "kid", "erasure_id")
#: what leads, in ids and tokens, and says a day that another column says as well
DAY_BYTES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A check-in. What is visible of it by design: where and when."""

    site: bytes
    #: the beginning of its time slot, in seconds since the first midnight
    slot: int
    action: str | None
    #: id, token, sealed subject
    secrets: tuple[bytes, ...]
    #: which page, and the how manieth there
    place: tuple[int, int]
    #: where the table says in which order its rows came
    order: int | None = None
    transaction: int | None = None
    #: the first hourly copy that has it
    hour: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Touch:
    """A row about a person or device was written: by a transaction, or between two copies."""

    entity: bytes
    transaction: int | None = None
    hour: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """All of it."""

    rows: list[Row]
    #: whatever the other tables hold, by whom or what it is about
    values: list[tuple[bytes, tuple[bytes, ...]]]
    touches: list[Touch]


def ideal(real: Copy, rng: random.Random) -> Copy:
    """The copy that says nothing beside what is visible by design."""
    places, transactions = [r.place for r in real.rows], [r.transaction for r in real.rows]
    orders = [r.order for r in real.rows]
    for column in (places, transactions, orders):
        rng.shuffle(column)
    rows = [
        replace(
            row,
            secrets=tuple(_redrawn(secret, rng) for secret in row.secrets),
            place=places[i],
            order=orders[i],
            transaction=transactions[i],
            hour=None if row.hour is None else row.slot // 3_600,
        )
        for i, row in enumerate(real.rows)
    ]
    anew: dict[bytes, bytes] = {}

    def other(value: bytes) -> bytes:
        return anew.setdefault(value, rng.randbytes(len(value)))

    values = [(other(entity), tuple(map(other, of))) for entity, of in real.values]
    return Copy(rows=rows, values=values, touches=[])


def _redrawn(secret: bytes, rng: random.Random) -> bytes:
    """The day that leads ids and tokens is visible by design; of a sealed value nothing is."""
    lead = secret[:DAY_BYTES] if len(secret) == 16 else b""
    return lead + rng.randbytes(len(secret) - len(lead))


class Copier(ABC):
    """A thief who comes every hour for some days, and in the end takes all."""

    def __init__(self, filled: Filled) -> None:
        self.filled = filled
        self._touches: set[Touch] = set()
        self._values: dict[tuple[str, bytes], tuple[bytes, ...]] = {}
        self._hours: dict[bytes, int] = {}
        self._owners_of_devices: dict[bytes, bytes] = {}
        self._last_hour: int | None = None
        self.copy: Copy | None = None

    def look(self, day: int, hour: int) -> None:
        """Another copy, and what is different from the one before."""
        now = day * 24 + hour
        follows = self._last_hour == now - 1
        before, self._values = self._values, dict(self._tables())
        if follows:
            for (table, key), values in self._values.items():
                if before.get((table, key)) != values:
                    self._touched(key, hour=now)
        for row_id in self._new_check_ins():
            if row_id not in self._hours and follows:
                self._hours[row_id] = now
        self._look_closer()
        self._last_hour = now

    def take(self) -> None:
        """The last copy is whole."""
        self._values = dict(self._tables())
        self._look_closer()
        values = [(self._entity(key), of) for (table, key), of in self._values.items()]
        touches = sorted(self._touches, key=repr)
        self.copy = Copy(rows=list(self._rows()), values=values, touches=touches)

    @property
    def _expiring(self) -> str:
        """When check-ins of today expire."""
        kept = timedelta(days=self.filled.policy.purposes["visit"].retention_days)
        return (self.filled.clock.now.date() + kept).isoformat()

    def _touched(self, key: bytes, **when: int) -> None:
        """Of what is about nobody, a receipt, a row is never written again: it leads nowhere."""
        entity = self._entity(key)
        if ("subjects", entity) in self._values:
            self._touches.add(Touch(entity=entity, **when))

    def _entity(self, key: bytes) -> bytes:
        """A person where a row names one, directly or by a device; else the row itself."""
        return self._owners_of_devices.get(key, key)

    def _key(self, table: str, row: Mapping[str, Any]) -> bytes:
        """Whom or what a row is about."""
        if table == "devices":
            self._owners_of_devices[raw(row["device_id"])] = raw(row["subject_id"])
        return next(raw(row[name]) for name in _NAMING if row.get(name))

    def _tables(self) -> dict[tuple[str, bytes], tuple[bytes, ...]]:
        """What stands in every table about people."""
        read: dict[tuple[str, bytes], tuple[bytes, ...]] = {}
        for table in ABOUT_PEOPLE:
            for row in self._select(table):
                values = tuple(raw(v) for name, v in row.items() if name != "tenant_id")
                key = self._key(table, row)
                read[table, key] = (*read.get((table, key), ()), *values)
        return read

    @abstractmethod
    def _select(self, table: str) -> list[dict[str, Any]]:
        """Every row of a table about people."""

    @abstractmethod
    def _new_check_ins(self) -> list[bytes]:
        """The ids of check-ins that came today."""

    @abstractmethod
    def _look_closer(self) -> None:
        """At transactions and what they wrote."""

    @abstractmethod
    def _rows(self) -> Iterator[Row]:
        """Every check-in."""


def raw(value: Any) -> bytes:
    """As bytes, however the database gives it."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, UUID):
        return value.bytes
    return b"" if value is None else str(value).encode()


def slot_of(time: datetime) -> int:
    """Seconds since the first midnight."""
    return int((time - START).total_seconds())
