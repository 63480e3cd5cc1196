"""A SQLite file as a thief reads it: page by page, with what the write-ahead log still holds.

Within a page SQLite puts each new row below the ones before it, whatever their keys: the place of a
row tells when it came. The log tells which rows came in one transaction.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import Any

# kinds of pages: an index's (or table's without rowid) inner page and leaf, a table's
_INDEX_INNER, _TABLE_INNER, _INDEX_LEAF, _TABLE_LEAF = 2, 5, 10, 13
_INTERIOR = {_INDEX_INNER, _TABLE_INNER}
_ROWS = {_INDEX_INNER, _INDEX_LEAF, _TABLE_LEAF}
_WAL_HEADER, _FRAME_HEADER = 32, 24
_FIXED = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A row in a leaf page."""

    #: from the page's beginning: the lower, the later it came
    offset: int
    rowid: int | None
    values: list[Any]


@dataclass(frozen=True, slots=True)
class Frame:
    """A page as one transaction left it."""

    number: int
    commits: bool
    image: bytes


class Pages:
    """A file and its log, as one."""

    def __init__(self, file: bytes | mmap, log: bytes) -> None:
        self._file = file
        self.size = int.from_bytes(file[16:18]) or 65_536
        self._newer: dict[int, bytes] = {}
        generations = list(generations_of(log))
        pending: dict[int, bytes] = {}
        # frames of an earlier generation are in the file by now
        for frame in generations[-1][1] if generations else []:
            pending[frame.number] = frame.image
            if frame.commits:
                self._newer |= pending
                pending = {}

    def page(self, number: int) -> bytes:
        """One of them, counted from 1."""
        newer = self._newer.get(number)
        return newer or self._file[(number - 1) * self.size : number * self.size]

    def tree(self, root: int) -> Iterator[int]:
        """The pages of a table, from its root on."""
        yield root
        page = self.page(root)
        if page[0] in _INTERIOR:
            for child in _children(page):
                yield from self.tree(child)


def cells(page: bytes) -> list[Cell]:
    """The rows of a page: of a table without rowid its inner pages hold some, too."""
    kind = page[0]
    if kind not in _ROWS:
        return []
    found = []
    for offset in _offsets(page):
        rowid, at = None, offset + 4 if kind in _INTERIOR else offset
        length, at = _varint(page, at)
        if kind == _TABLE_LEAF:
            rowid, at = _varint(page, at)
        found.append(Cell(offset, rowid, _record(page[at : at + length])))
    return found


def generations_of(log: bytes) -> Iterator[tuple[int, list[Frame]]]:
    """What a log holds: frames since its last reset, and behind them those of earlier ones."""
    if len(log) < _WAL_HEADER:
        return
    size = int.from_bytes(log[8:12])
    by_salt: dict[int, list[Frame]] = {}
    for at in range(_WAL_HEADER, len(log) - size - _FRAME_HEADER + 1, size + _FRAME_HEADER):
        number, pages, salt = struct.unpack(">III", log[at : at + 12])
        image = log[at + _FRAME_HEADER : at + _FRAME_HEADER + size]
        by_salt.setdefault(salt, []).append(Frame(number, pages > 0, image))
    # each reset counts the first salt up by one
    yield from sorted(by_salt.items())


def _offsets(page: bytes) -> tuple[int, ...]:
    count = int.from_bytes(page[3:5])
    return struct.unpack_from(f">{count}H", page, 12 if page[0] in _INTERIOR else 8)


def _children(page: bytes) -> Iterator[int]:
    for offset in _offsets(page):
        yield int.from_bytes(page[offset : offset + 4])
    yield int.from_bytes(page[8:12])


def _varint(page: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(8):
        byte = page[at + i]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    return value << 8 | page[at + 8], at + 9


def _record(payload: bytes) -> list[Any]:
    """The columns of a row; what lies on an overflow page is cut off."""
    header, at = _varint(payload, 0)
    kinds: list[int] = []
    while at < header:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Any] = []
    at = header
    for kind in kinds:
        length = _FIXED.get(kind, 8 if kind == 7 else (kind - 12) // 2 if kind >= 12 else 0)
        values.append(_value(kind, payload[at : at + length]))
        at += length
    return values


def _value(kind: int, raw: bytes) -> Any:
    if kind >= 12:
        return raw if kind % 2 == 0 else raw.decode(errors="replace")
    if kind == 7:
        return struct.unpack(">d", raw)[0] if len(raw) == 8 else None
    constants: dict[int, int | None] = {0: None, 8: 0, 9: 1}
    return constants[kind] if kind in constants else int.from_bytes(raw, signed=True)
