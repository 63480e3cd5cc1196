"""Statements that every check-in needs: compiled once, and run with as little as can be between.

SQLAlchemy makes parameters anew for each execution, and of each row twice; for a group of check-ins
that costs more than the database does. Here a statement is an expression as everywhere else, so it
follows the schema and names its tenant; what is done once is to compile it, to look at how it names
its tenant, and to find how its values are bound. What is left for each execution is to bind them,
and the same comparison with the transaction's reach that `isolation` makes of every statement.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Date,
    Dialect,
    Executable,
    LargeBinary,
    any_,
    bindparam,
)
from sqlalchemy.sql.compiler import SQLCompiler

from doorstep_server.store import isolation
from doorstep_server.store.columns import Id, Instant

Bind = Callable[[Any], Any]
Row = Sequence[Any]

#: of lists there are so few lengths that the driver keeps their statements; what is left is null
_LENGTHS = (1, 4, 16, 64, 256, 1024)
LONGEST_LIST = _LENGTHS[-1]
#: days and time slots of a group are few
_REMEMBERED = 512


def among(column: Column[Any], name: str, dialect: str) -> ColumnElement[bool]:
    """A condition: the column is one of a list of values, given as the parameter of that name."""
    if dialect == "postgresql":
        return column == any_(bindparam(name, type_=ARRAY(column.type)))
    return column.in_(bindparam(name, expanding=True, type_=column.type))


@dataclass(frozen=True, slots=True)
class _Compiled:
    sql: str
    namings: tuple[isolation.Naming, ...]
    #: the parameters in their order, and how each is bound
    binds: tuple[tuple[str, Bind | None], ...]
    #: where a list of values goes in, for databases that know no arrays
    list_marker: str | None


class Prepared:
    """One statement, on whichever kind of database it is run."""

    def __init__(self, making: Callable[[str], Executable]) -> None:
        self._making = making
        self._compiled: dict[str, _Compiled] = {}

    def rows(
        self, connection: Connection, values: dict[str, Any], listed: str = ""
    ) -> Iterable[Row]:
        """What it selects; the values of the parameter `listed` are at most `LONGEST_LIST`."""
        compiled = self._on(connection)
        isolation.require_within(connection, compiled.namings, values)
        sql, parameters = _bound(compiled, values, listed)
        return connection.exec_driver_sql(sql, parameters)

    def write(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Run it with each of these rows."""
        compiled = self._on(connection)
        for row in rows:
            isolation.require_within(connection, compiled.namings, row)
        binds = compiled.binds
        connection.exec_driver_sql(
            compiled.sql,
            [
                tuple([row[name] if bind is None else bind(row[name]) for name, bind in binds])
                for row in rows
            ],
        )

    def _on(self, connection: Connection) -> _Compiled:
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _compile(self._making(dialect.name), dialect)
        return compiled


def _compile(statement: Any, dialect: Dialect) -> _Compiled:
    compiled: SQLCompiler = statement.compile(dialect=dialect)
    expanding = [name for name, bind in compiled.binds.items() if bind.expanding]
    marker = f"(__[POSTCOMPILE_{expanding[0]}])" if expanding else None
    return _Compiled(
        sql=compiled.string,
        namings=isolation.namings(compiled),
        binds=tuple(
            (name, _binding(compiled.binds[name], dialect)) for name in compiled.positiontup or ()
        ),
        list_marker=marker,
    )


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
    return None if value is None else value.bytes


def _bound(compiled: _Compiled, values: dict[str, Any], listed: str) -> tuple[str, tuple[Any, ...]]:
    sql, parameters = compiled.sql, []
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


def date_of(value: Any) -> date | None:
    """A day as a driver gives it."""
    return date.fromisoformat(value) if isinstance(value, str) else value
