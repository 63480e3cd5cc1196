"""A bounded line that is fair between tenants.

Who wants much at once stands behind who wants little: each tenant's things come as if all tenants
that wait were served in turns, thing by thing (start-time fair queueing). And no tenant may have
more waiting than there is room left: so a tenant that floods takes half of the line, two take a
third each, and there is always room for one that has nothing in it.
"""

import heapq
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar
from uuid import UUID

T = TypeVar("T")


@dataclass(slots=True)
class _Share:
    """Of one tenant that waits: how many things, and where the next one begins."""

    waiting: int = 0
    end: int = 0


class Line(Generic[T]):
    """Entries of one or more things each, which come whole."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._heap: list[tuple[int, int, UUID, int, T]] = []
        self._shares: dict[UUID, _Share] = {}
        self._numbers = count()
        # where the entry began that came last
        self._begun = 0
        #: how many things wait
        self.size = 0

    def has_room(self, tenant_id: UUID, things: int) -> bool:
        """Whether a tenant may have so many more waiting."""
        share = self._shares.get(tenant_id)
        waiting = 0 if share is None else share.waiting
        return waiting + things <= self._capacity - self.size

    def add(self, tenant_id: UUID, things: int, entry: T) -> None:
        """Put an entry in its place."""
        share = self._shares.setdefault(tenant_id, _Share())
        start = max(self._begun, share.end)
        share.end = start + things
        share.waiting += things
        self.size += things
        heapq.heappush(self._heap, (start, next(self._numbers), tenant_id, things, entry))

    @property
    def next_things(self) -> int:
        """How many things come next; 0 when nothing waits."""
        return self._heap[0][3] if self._heap else 0

    def take(self) -> T:
        """The entry that comes next."""
        self._begun, _, tenant_id, things, entry = heapq.heappop(self._heap)
        share = self._shares[tenant_id]
        share.waiting -= things
        self.size -= things
        if not share.waiting:
            del self._shares[tenant_id]
        return entry
