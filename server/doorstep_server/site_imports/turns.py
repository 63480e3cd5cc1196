"""How many imports a process takes at once: each keeps a thread busy and a file on disk."""

from collections.abc import Iterator
from contextlib import contextmanager

AT_ONCE = 2


class NoTurn(Exception):
    """As many imports run as may: try later."""


class Turns:
    """Counts what runs."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = at_once

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a turn. Raises `NoTurn` at once when there is none: nobody waits with a body."""
        if not self._free:
            raise NoTurn
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1
