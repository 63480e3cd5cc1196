"""Conditions of statements that look up rows by lists of their keys.

On PostgreSQL each key is looked up by itself, whatever PostgreSQL makes of the tables. Before it
has statistics, as in a new deployment's first minutes, it takes all rows of a tenant for a few, and
to go through them for something no dearer than to look a few keys up.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Select,
    TableValuedAlias,
    bindparam,
    func,
    select,
)
from sqlalchemy.sql.selectable import LateralFromClause

from doorstep_server.store.columns import Id


def among(column: Column[Any], name: str) -> ColumnElement[bool]:
    """A condition: the column is one of a list, given as the parameter of that name. For SQLite."""
    return column.in_(bindparam(name, expanding=True, type_=column.type))


def given(column: Column[Any], name: str) -> TableValuedAlias:
    """A list of values of a column as rows with a column `value`. For PostgreSQL."""
    values = func.unnest(bindparam(name, type_=ARRAY(column.type)))
    return values.table_valued("value", name="given").render_derived()


def one(columns: Sequence[Column[Any]], *conditions: ColumnElement[bool]) -> LateralFromClause:
    """Of each row before it the one row that it leads to, if there is one. For PostgreSQL.

    With a limit it is looked up for each, and not joined some other way.
    """
    return select(*columns).where(*conditions).limit(1).lateral()


def looked_up(
    columns: Sequence[Column[Any]], key: Column[Any], name: str, dialect: str, *more: Any
) -> Select[Any]:
    """Rows of a tenant by a list of keys, of which each has one; `more` are further conditions."""
    mine = key.table.c.tenant_id == bindparam("tenant_id", type_=Id)
    if dialect != "postgresql":
        return select(*columns).where(mine, among(key, name), *more)
    asked = given(key, name)
    found = one(columns, mine, key == asked.c.value, *more)
    return select(*found.c).select_from(asked, found)
