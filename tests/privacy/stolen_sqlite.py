"""A thief of a SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from mmap import ACCESS_READ, mmap
from typing import Any

from privacy.stolen_copies import ABOUT_PEOPLE, Copier, Row, raw, slot_of
from privacy.stolen_filling import Filled
from privacy.stolen_pages import Pages, cells, generations_of


class SqliteCopier(Copier):
    """Takes the file, and the write-ahead log beside it."""

    def __init__(self, filled: Filled) -> None:
        super().__init__(filled)
        self._file = filled.settings.home / "doorstep.db"
        self._log = filled.settings.home / "doorstep.db-wal"
        self._transaction = 0
        self._transactions: dict[bytes, int] = {}
        #: how many frames of the newest generation of the log were read, and which one it is
        self._read: tuple[int, int] = (0, 0)
        self._seen: dict[tuple[str, bytes], list[Any]] | None = None
        #: check-ins that the copy before had
        self._old: set[bytes] = set()

    def _query(self, statement: str) -> list[dict[str, Any]]:
        # of its own each time: one that is held would keep the log from being reset
        with closing(sqlite3.connect(self._file)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(statement)]

    def _select(self, table: str) -> list[dict[str, Any]]:
        return self._query(f"SELECT * FROM {table}")

    def _new_check_ins(self) -> list[bytes]:
        found = self._query(f"SELECT id FROM check_ins WHERE expires_on = '{self._expiring}'")
        return [row["id"] for row in found]

    def _columns(self, table: str) -> list[str]:
        """In the order in which they are stored: those of the key first."""
        found = self._query(f"PRAGMA table_info({table})")
        with_rowid = table == "check_ins" and self._has_rowid()
        return [
            row["name"]
            for row in sorted(found, key=lambda row: 0 if with_rowid else row["pk"] or 99)
        ]

    def _has_rowid(self) -> bool:
        made = self._query("SELECT sql FROM sqlite_master WHERE name = 'check_ins'")
        return "WITHOUT ROWID" not in made[0]["sql"]

    def _roots(self) -> dict[str, int]:
        found = self._query("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'")
        return {row["name"]: row["rootpage"] for row in found}

    def _look_closer(self) -> None:
        """Which rows are new or other in each transaction that the log still holds."""
        log = self._log.read_bytes() if self._log.exists() else b""
        columns = {table: self._columns(table) for table in (*ABOUT_PEOPLE, "check_ins")}
        with self._file.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as whole:
            pages = Pages(whole, log)
            tables = {
                number: table
                for table, root in self._roots().items()
                if table in columns
                for number in pages.tree(root)
            }
            if self._seen is not None:
                self._follow(log, tables, columns)
            self._seen = {
                (table, raw(cell.values[1])): cell.values
                for number, table in tables.items()
                if table != "check_ins"
                for cell in cells(pages.page(number))
            }
        self._old = set(self._new_check_ins())
        for self._read in [(salt, len(frames)) for salt, frames in generations_of(log)]:
            pass

    def _follow(self, log: bytes, tables: dict[int, str], columns: dict[str, list[str]]) -> None:
        generation, count = self._read
        for salt, frames in generations_of(log):
            if salt < generation:
                continue
            for frame in frames[count if salt == generation else 0 :]:
                table = tables.get(frame.number)
                if table is not None:
                    self._written(table, columns[table], frame.image)
                self._transaction += frame.commits

    def _written(self, table: str, columns: list[str], image: bytes) -> None:
        assert self._seen is not None
        for cell in cells(image):
            row = dict(zip(columns, cell.values, strict=False))
            if table == "check_ins":
                if row["expires_on"] == self._expiring and row["id"] not in self._old:
                    self._transactions.setdefault(row["id"], self._transaction)
                continue
            name = table, raw(cell.values[1])
            if self._seen.get(name) != cell.values:
                self._seen[name] = cell.values
                key = self._key(table, row)
                self._touched(key, transaction=self._transaction)

    def _rows(self) -> Iterator[Row]:
        columns = self._columns("check_ins")
        log = self._log.read_bytes() if self._log.exists() else b""
        with self._file.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as whole:
            pages = Pages(whole, log)
            for number in pages.tree(self._roots()["check_ins"]):
                for cell in cells(pages.page(number)):
                    row = dict(zip(columns, cell.values, strict=True))
                    yield self._row(row, (number, -cell.offset), cell.rowid)

    def _row(self, row: Mapping[str, Any], place: tuple[int, int], rowid: int | None) -> Row:
        time = datetime.fromisoformat(row["time"]).replace(tzinfo=UTC)
        return Row(
            site=row["site_id"],
            slot=slot_of(time),
            action=row["action"],
            secrets=(row["id"], row["token"], row["sealed"]),
            place=place,
            order=rowid,
            transaction=self._transactions.get(row["id"]),
            hour=self._hours.get(row["id"]),
        )
