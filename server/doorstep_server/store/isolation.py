"""Every statement names its tenant: checked on both databases, before each statement runs.

A statement that reads, changes or deletes rows of tenants must say `tenant_id = …` or
`tenant_id IN (…)` of each such table, in a condition that nothing can go around; one that inserts
must give the column. What it names must be within the transaction's reach. Otherwise it does not
run: a forgotten filter is an error, never another tenant's row. (On PostgreSQL row level security
says the same once more.)

The shape of a statement is looked at once and remembered with its compiled form, so what is left
for each execution is a comparison of values.
"""

from collections.abc import Iterable, Iterator
from enum import Enum, auto
from itertools import count
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnClause,
    ColumnElement,
    CompoundSelect,
    Connection,
    Delete,
    Engine,
    Insert,
    Join,
    Select,
    TableClause,
    TextClause,
    Update,
    event,
)
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList
from sqlalchemy.sql.operators import and_, eq, in_op
from sqlalchemy.sql.selectable import AliasedReturnsRows, TextualSelect

from doorstep_server.store.reach import Reach, reach_of
from doorstep_server.store.schema import metadata, tenants


class TenantNotNamed(RuntimeError):
    """A statement would touch rows of tenants that its transaction did not name."""

    def __init__(self) -> None:
        super().__init__("A statement does not name its tenant, or names one beyond its reach.")


class _By(Enum):
    """How a statement says whose rows it touches."""

    TENANT = auto()
    #: a list of them
    TENANTS = auto()
    HANDLE = auto()
    #: it does not: only the list of tenants may be read so
    NOTHING = auto()


#: how, and the bound parameter that says it
Naming = tuple[_By, str]


def enforce(engine: Engine) -> None:
    """From now on, no statement of this engine runs beyond its transaction's reach."""
    event.listen(engine, "before_cursor_execute", _check)


_known: WeakKeyDictionary[SQLCompiler, tuple[Naming, ...]] = WeakKeyDictionary()


def _check(connection: Connection, _: Any, __: str, ___: Any, context: Any, ____: bool) -> None:  # noqa: FBT001
    compiled = context.compiled
    # what was not compiled from an expression is ours: transaction control, pragmas, DDL
    if not isinstance(compiled, SQLCompiler) or type(compiled.statement) is TextClause:
        return
    if reach_of(connection).owner:
        return
    found = _known.get(compiled)
    if found is None:
        found = _known[compiled] = namings(compiled)
    for parameters in context.compiled_parameters:
        require_within(connection, found, parameters)


def namings(compiled: SQLCompiler) -> tuple[Naming, ...]:
    """How a statement says whose rows it touches. Raises `TenantNotNamed` where it does not."""
    return tuple(_namings(compiled))


def require_within(
    connection: Connection, found: Iterable[Naming], parameters: dict[str, Any]
) -> None:
    """Raise `TenantNotNamed` unless a statement stays within its transaction's reach."""
    reach = reach_of(connection)
    if reach.owner:
        return
    for naming in found:
        _require_within(reach, naming, parameters)


def _require_within(reach: Reach, naming: Naming, parameters: dict[str, Any]) -> None:
    by, name = naming
    if by is _By.NOTHING:
        within = reach.directory
    elif by is _By.HANDLE:
        within = parameters[name] == reach.handle
    elif by is _By.TENANTS:
        within = reach.tenants.issuperset(_expanded(parameters, name))
    else:
        within = parameters.get(name) in reach.tenants
    if not within:
        raise TenantNotNamed


def _expanded(parameters: dict[str, Any], name: str) -> Iterator[UUID]:
    """The values of a list: SQLAlchemy has made parameters of them by now."""
    for number in count(1):
        if f"{name}_{number}" not in parameters:
            return
        yield parameters[f"{name}_{number}"]


def _namings(compiled: SQLCompiler) -> Iterator[Naming]:
    """What each part of a statement names. Raises `TenantNotNamed` for one that names nothing."""
    statement: Any = compiled.statement
    if not isinstance(statement, Select | CompoundSelect | Insert | Update | Delete):
        raise TenantNotNamed
    for part in visitors.iterate(statement):
        if isinstance(part, TableClause | AliasedReturnsRows):
            _require_as_in_schema(part)
        if isinstance(part, TextualSelect):
            raise TenantNotNamed
        if isinstance(part, Select):
            yield from _conditions(compiled, _tables(part), part.whereclause)
        elif isinstance(part, Update | Delete):
            _require_alone(compiled, part)
            yield from _conditions(compiled, [part.table], part.whereclause)
        elif isinstance(part, Insert) and "tenant_id" in part.table.c:
            _require_conflict_within_tenant(part)
            # as a parameter, which rows that are selected do not have
            yield _By.TENANT, "tenant_id"


def _require_as_in_schema(source: TableClause | AliasedReturnsRows) -> None:
    """Under another name, or made up, a table could go unnoticed."""
    table = source if isinstance(source, TableClause) else source.element
    known = metadata.tables.get(getattr(table, "name", ""))
    if known is not None and source is not known:
        raise TenantNotNamed


def _require_alone(compiled: SQLCompiler, change: Update | Delete) -> None:
    """A change is by columns of its own table alone, and moves no row to another tenant."""
    columns = (c for c in visitors.iterate(change) if isinstance(c, ColumnClause))
    if any(c.table is not None and c.table is not change.table for c in columns):
        raise TenantNotNamed
    if isinstance(change, Update) and "tenant_id" in compiled.binds:
        raise TenantNotNamed


def _require_conflict_within_tenant(insertion: Insert) -> None:
    """A row that is written over is one of the same tenant."""
    # not public, but there is no other way to it; a test tells if it goes
    conflict: Any = getattr(insertion, "_post_values_clause", None)
    if conflict is None:
        return
    targets = getattr(conflict, "inferred_target_elements", None) or ()
    if "tenant_id" not in {getattr(target, "key", target) for target in targets}:
        raise TenantNotNamed


def _tables(select: Select[Any]) -> Iterator[TableClause]:
    for source in select.get_final_froms():
        yield from _tables_of(source)


def _tables_of(source: Any) -> Iterator[TableClause]:
    """Without those of selections within it, each of which is looked at by itself."""
    if isinstance(source, Join):
        yield from _tables_of(source.left)
        yield from _tables_of(source.right)
    elif isinstance(source, TableClause):
        yield source


def _conditions(
    compiled: SQLCompiler, tables: Iterable[Any], where: ColumnElement[Any] | None
) -> Iterator[Naming]:
    said = {clause.left: clause for clause in _said(where)}
    for table in tables:
        if "tenant_id" not in table.c:
            continue
        if table.c.tenant_id in said:
            clause = said[table.c.tenant_id]
            by = _By.TENANT if clause.operator is eq else _By.TENANTS
            yield by, compiled.bind_names[clause.right]
        elif table is not tenants:
            raise TenantNotNamed
        elif tenants.c.handle in said:
            yield _By.HANDLE, compiled.bind_names[said[tenants.c.handle].right]
        else:
            yield _By.NOTHING, ""


def _said(where: ColumnElement[Any] | None) -> Iterator[Any]:
    """The clauses that bind a column to a given value, or to one of a given list."""
    if isinstance(where, BooleanClauseList) and where.operator is and_:
        for clause in where.clauses:
            yield from _said(clause)
    elif (
        isinstance(where, BinaryExpression)
        and where.operator in {eq, in_op}
        and isinstance(where.left, Column)
        and isinstance(where.right, BindParameter)
    ):
        yield where
