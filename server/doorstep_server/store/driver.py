"""SQL as text, said to the driver itself, within a connection's transaction.

SQLAlchemy makes a context, a cursor and a result for each execution. Of the few statements of a
group of check-ins that costs more than the database does. What comes in and goes out here is what
the driver takes and gives; what a statement may touch its caller has looked at.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.util import await_only

Row = Sequence[Any]


def fetch(connection: Connection, sql: str, parameters: Sequence[Any]) -> Sequence[Row]:
    """What a statement selects."""
    driver = _driver(connection)
    if connection.dialect.name == "sqlite":
        rows: Sequence[Row] = driver.execute(sql, parameters).fetchall()
    else:
        rows = await_only(driver.fetch(sql, *parameters))
    return rows


def write(connection: Connection, sql: str, rows: Iterable[Row]) -> None:
    """Run a statement with each of these rows: on SQLite, where it costs no way to a server."""
    _driver(connection).executemany(sql, rows)


def _driver(connection: Connection) -> Any:
    """The driver's connection, which is in a transaction."""
    return connection.connection.driver_connection
