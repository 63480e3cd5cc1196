"""What comes within one turn of the event loop goes on together.

At nine in the morning dozens come in each turn, and most of what a step costs is to begin it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")

#: others must not wait for longer than these take
LIMIT = 64


class Turns(Generic[T]):
    """Leads on, at the end of each turn, those that joined in it."""

    def __init__(self, lead: Callable[[Sequence[T]], None], *, limit: int = LIMIT) -> None:
        self._lead = lead
        self._limit = limit
        self._joined: deque[T] = deque()

    def join(self, one: T) -> None:
        """Have one led on with the others."""
        if not self._joined:
            asyncio.get_running_loop().call_soon(self._next)
        self._joined.append(one)

    def _next(self) -> None:
        some = list(islice(self._joined, self._limit))
        for _ in some:
            self._joined.popleft()
        if self._joined:
            asyncio.get_running_loop().call_soon(self._next)
        self._lead(some)
