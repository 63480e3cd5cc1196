"""What is said to a database, whichever way it is said: by SQLAlchemy or to its driver."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import event

from doorstep_server.store import Connection, driver

#: a statement, and its parameters as the driver gets them
Spoken = tuple[str, Any]


@contextmanager
def listening(connection: Connection) -> Iterator[list[Spoken]]:
    """Each statement from now on."""
    spoken: list[Spoken] = []
    fetch = driver.fetch

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: object) -> None:
        spoken.append((statement, parameters))

    def noting(of: Connection, sql: str, parameters: Sequence[Any]) -> Sequence[driver.Row]:
        # other threads speak, too
        if of is connection:
            spoken.append((sql, tuple(parameters)))
        return fetch(of, sql, parameters)

    event.listen(connection, "before_cursor_execute", note)
    try:
        with patch.object(driver, "fetch", noting):
            yield spoken
    finally:
        event.remove(connection, "before_cursor_execute", note)
