"""All that a database really holds: columns, and whatever else could hold or move a value."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from world import World

#: what PostGIS and PL/pgSQL bring along is theirs
_EXTENSIONS = {"plpgsql", "postgis"}
_NOT_OF_AN_EXTENSION = """
    NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e' AND d.objid = {})
"""
_OURS = "n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"

_POSTGRESQL = (
    # tables, views, foreign tables, sequences; of a partition the table that it is a part of
    f"""
    SELECT (CASE WHEN c.relispartition THEN pg_partition_root(c.oid) ELSE c.oid END)::regclass
           || '.' || a.attname
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    JOIN pg_attribute a ON attrelid = c.oid
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND attnum > 0 AND NOT attisdropped
    AND {_OURS} AND {_NOT_OF_AN_EXTENSION.format("c.oid")}
    """,
    f"""
    SELECT 'index of ' || pg_get_expr(indexprs, indrelid)
    FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_namespace n ON n.oid = relnamespace
    WHERE indexprs IS NOT NULL AND {_OURS} AND {_NOT_OF_AN_EXTENSION.format("indrelid")}
    """,
    f"""
    SELECT 'function ' || p.oid::regprocedure
    FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
    WHERE {_OURS} AND {_NOT_OF_AN_EXTENSION.format("p.oid")}
    """,
    "SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal",
    "SELECT 'event trigger ' || evtname FROM pg_event_trigger",
    f"""
    SELECT 'rule ' || rulename FROM pg_rewrite JOIN pg_class c ON c.oid = ev_class
    JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind NOT IN ('v', 'm') AND {_OURS} AND {_NOT_OF_AN_EXTENSION.format("c.oid")}
    """,
    "SELECT 'statistics ' || stxname FROM pg_statistic_ext",
    "SELECT 'publication ' || pubname FROM pg_publication",
    "SELECT 'large object' FROM pg_largeobject_metadata",
    "SELECT 'extension ' || extname FROM pg_extension",
)


def in_database(world: World) -> set[str]:
    """What there is in the world's database, each by a name of its own."""
    if world.settings.admin_database_url is None:
        return in_file(world.settings.home / "doorstep.db")
    return in_postgresql(world.rows)


def in_postgresql(rows: Callable[[str], list[tuple[Any, ...]]]) -> set[str]:
    """What there is where a statement's rows come from."""
    found = {str(name) for query in _POSTGRESQL for (name,) in rows(query)}
    return found - {f"extension {name}" for name in _EXTENSIONS}


def in_file(file: Path) -> set[str]:
    """What there is in a SQLite file."""
    with closing(sqlite3.connect(file)) as database:
        found = database.execute("SELECT type, name, tbl_name FROM sqlite_schema").fetchall()
        named = {(kind, name) for kind, name, _ in found}
        columns = {
            f"{table}.{row[1]}"
            for kind, table in named
            if kind == "table"
            # hidden and generated ones as well
            for row in database.execute("SELECT * FROM pragma_table_xinfo(?)", (table,))
        }
        expressions = {
            f"index of {name}"
            for kind, name in named
            if kind == "index"
            for row in database.execute("SELECT * FROM pragma_index_xinfo(?)", (name,))
            if row[1] == _EXPRESSION
        }
    others = {f"{kind} {name}" for kind, name in named if kind not in {"table", "index"}}
    return columns | expressions | others


#: in place of a column's number
_EXPRESSION = -2
