"""Statements that every check-in needs: compiled once, and run with as little as can be between.

SQLAlchemy makes parameters anew for each execution, of each row twice, and much around it (see
`driver`); for a group of check-ins that costs more than the database does. Here a statement is an
expression as everywhere else, so it follows the schema and names its tenant; what is done once is
to compile it, to look at how it names its tenant, and to find how its values are bound. What is
left for each execution is to bind them, and the same comparison with the transaction's reach that
`isolation` makes of every statement.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import (
    BindParameter,
    Connection,
    Date,
    Dialect,
    Executable,
    LargeBinary,
)
from sqlalchemy.sql.compiler import SQLCompiler

from doorstep_server.store import driver, isolation
from doorstep_server.store.columns import Id, Instant
from doorstep_server.store.driver import Row

Bind = Callable[[Any], Any]

#: of lists there are so few lengths that the driver keeps their statements; what is left is null
_LENGTHS = (1, 4, 16, 64, 256, 1024)
LONGEST_LIST = _LENGTHS[-1]
_BYTES = "BYTEA"
_json = msgspec.json.Encoder()
#: days and time slots of a group are few
_REMEMBERED = 512


@dataclass(frozen=True, slots=True)
class _Compiled:
    sql: str
    namings: tuple[isolation.Naming, ...]
    #: the parameters in their order, and how each is bound
    binds: tuple[tuple[str, Bind | None], ...]
    #: values that the statement itself gives
    constants: dict[str, Any]
    #: where a list of values goes in, for databases that know no arrays
    list_marker: str | None


class Prepared:
    """One statement that selects, on whichever kind of database it is run."""

    def __init__(self, making: Callable[[str], Executable]) -> None:
        self._making = making
        self._compiled: dict[str, _Compiled] = {}

    def rows(
        self, connection: Connection, values: dict[str, Any], listed: str = ""
    ) -> Sequence[Row]:
        """What it selects; the values of the parameter `listed` are at most `LONGEST_LIST`."""
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _compile(self._making(dialect.name), dialect)
        isolation.require_within(connection, compiled.namings, values)
        sql, parameters = _bound(compiled, values, listed)
        return driver.fetch(connection, sql, parameters)


class PreparedRows:
    """One statement that inserts rows, which are tuples of the values of columns in this order."""

    def __init__(self, making: Callable[[str], Executable], columns: Sequence[str]) -> None:
        self._making = making
        self._columns = tuple(columns)
        self._tenant = self._columns.index("tenant_id")
        self._compiled: dict[str, _Compiled] = {}

    def write(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert them in their order, in which those of a tenant follow each other."""
        if not rows:
            return
        compiled = self._on(connection.dialect)
        self._require_within(connection, compiled, rows)
        if connection.dialect.name == "postgresql":
            given = [dict(zip(self._columns, row, strict=True)) for row in rows]
            driver.fetch(connection, compiled.sql, [_json.encode(given).decode()])
        else:
            driver.write(connection, compiled.sql, self._bound(compiled, rows))

    def _bound(self, compiled: _Compiled, rows: Sequence[Row]) -> Iterable[Row]:
        """In the statement's order; column by column, which is faster than row by row."""
        given = dict(zip(self._columns, zip(*rows, strict=True), strict=True))
        return zip(
            *(
                given[name] if bind is None else map(bind, given[name])
                for name, bind in compiled.binds
            ),
            strict=True,
        )

    def _require_within(
        self, connection: Connection, compiled: _Compiled, rows: Sequence[Row]
    ) -> None:
        before = None
        for row in rows:
            tenant_id = row[self._tenant]
            if tenant_id is not before:
                named = {"tenant_id": tenant_id}
                isolation.require_within(connection, compiled.namings, named)
                before = tenant_id

    def _on(self, dialect: Dialect) -> _Compiled:
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = _compile(self._making(dialect.name), dialect, self._columns)
            if dialect.name == "postgresql":
                compiled = replace(compiled, sql=_of_json(compiled))
            self._compiled[dialect.name] = compiled
        return compiled


def _compile(statement: Any, dialect: Dialect, columns: tuple[str, ...] | None = None) -> _Compiled:
    compiled: SQLCompiler = statement.compile(dialect=dialect, column_keys=columns)
    expanding = [name for name, bind in compiled.binds.items() if bind.expanding]
    marker = f"(__[POSTCOMPILE_{expanding[0]}])" if expanding else None
    return _Compiled(
        sql=compiled.string,
        namings=isolation.namings(compiled),
        binds=tuple(
            (name, _binding(compiled.binds[name], dialect)) for name in compiled.positiontup or ()
        ),
        constants={name: bind.value for name, bind in compiled.binds.items() if not bind.required},
        list_marker=marker,
    )


def _of_json(compiled: _Compiled) -> str:
    """The same insertion of all rows at once, which are one JSON text: bytes in it are base64.

    Arrays of each column take the driver twice as long, a statement for each row somewhat longer.
    """
    before, values, after = re.split(r"VALUES \((.*?)\)", compiled.sql, maxsplit=1)
    types = [value.partition("::")[2] for value in values.split(", ")]
    assert all(types), "each value says its type"
    columns = [(name, type_) for (name, _), type_ in zip(compiled.binds, types, strict=True)]
    taken = ", ".join(
        f"decode(given.{name}, 'base64')" if type_ == _BYTES else f"given.{name}"
        for name, type_ in columns
    )
    given = ", ".join(f"{name} {'TEXT' if type_ == _BYTES else type_}" for name, type_ in columns)
    return f"{before}SELECT {taken} FROM json_to_recordset($1::json) AS given({given}){after}"  # noqa: S608 - compiled


def _binding(parameter: BindParameter[Any], dialect: Dialect) -> Bind | None:
    kind = parameter.type
    if isinstance(kind, LargeBinary):
        # every driver takes bytes as they are; SQLAlchemy would wrap each
        return None
    if isinstance(kind, Id) and dialect.name == "sqlite":
        return _bytes_of
    bind = kind.dialect_impl(dialect).bind_processor(dialect)
    if bind is not None and isinstance(kind, Date | Instant):
        return lru_cache(_REMEMBERED)(bind)
    return bind


def _bytes_of(value: UUID | None) -> bytes | None:
    return None if value is None else value.int.to_bytes(16)


def _bound(compiled: _Compiled, values: dict[str, Any], listed: str) -> tuple[str, tuple[Any, ...]]:
    sql, parameters = compiled.sql, []
    values = compiled.constants | values
    for name, bind in compiled.binds:
        if name == listed and compiled.list_marker is not None:
            items = [item if bind is None else bind(item) for item in values[name]]
            length = next(n for n in _LENGTHS if n >= len(items))
            marks = ", ".join("?" * length)
            sql = sql.replace(compiled.list_marker, f"({marks})")
            # null is equal to nothing
            parameters += items + [None] * (length - len(items))
        else:
            parameters.append(values[name] if bind is None else bind(values[name]))
    return sql, tuple(parameters)


def in_lists(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """In parts that one statement takes."""
    return (values[i : i + LONGEST_LIST] for i in range(0, len(values), LONGEST_LIST))


def uuid_of(value: Any) -> UUID:
    """An id as a driver gives it."""
    return UUID(bytes=value) if isinstance(value, bytes) else value


def bytes_of(value: UUID | bytes) -> bytes:
    """The bytes of an id as a driver gives it."""
    return value if isinstance(value, bytes) else value.bytes


def date_of(value: Any) -> date | None:
    """A day as a driver gives it."""
    return date.fromisoformat(value) if isinstance(value, str) else value
