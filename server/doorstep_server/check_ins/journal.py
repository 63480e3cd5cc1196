"""Group commit: everything that waits is written in one transaction.

While one group commits, requests queue; then one transaction takes all that wait. The queue is
bounded, and an answer is given only after the commit.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from doorstep_server.store.check_ins import ID_REUSED, Proposal, Refused, Settled
from doorstep_server.store.database import Conflicted, DatabaseUnavailable, KeyTaken

Commit = Callable[[Sequence[Proposal]], Awaitable[list[Settled | Refused]]]


class JournalFull(RuntimeError):
    """More is waiting than the journal may hold: try again in a moment."""


class JournalClosed(RuntimeError):
    """The server is stopping and takes nothing new."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """This proposal was not written."""

    #: what went wrong with this one alone; None when the database takes nothing at all now
    cause: Exception | None = None


Result = Settled | Refused | Failed


@dataclass(frozen=True, slots=True)
class _Waiting:
    proposals: Sequence[Proposal]
    result: asyncio.Future[list[Result]]


class Journal:
    """Joins concurrent requests into groups and commits one group after the other."""

    def __init__(self, commit: Commit, *, capacity: int = 10_000, group_limit: int = 1_000) -> None:
        self._commit = commit
        self._capacity = capacity
        self._group_limit = group_limit
        self._queue: deque[_Waiting] = deque()
        self._size = 0
        self._closed = False
        self._worker: asyncio.Task[None] | None = None

    async def append(self, proposals: Sequence[Proposal]) -> list[Result]:
        """Settle proposals durably, in their order. Raises `JournalFull`, `JournalClosed`."""
        if self._closed:
            raise JournalClosed
        if self._size + len(proposals) > self._capacity:
            raise JournalFull
        waiting = _Waiting(proposals, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._size += len(proposals)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="journal")
        return await waiting.result

    async def drain(self) -> None:
        """Take nothing new, and return when everything that waits is settled."""
        self._closed = True
        if self._worker is not None:
            await self._worker

    async def _work(self) -> None:
        """Runs while something waits; one group after the other."""
        try:
            while self._queue:
                group = self._next_group()
                if group:
                    await self._settle(group)
        finally:
            self._worker = None

    def _next_group(self) -> list[_Waiting]:
        """As many waiting requests as fit, whole, without those whose caller is gone."""
        group: list[_Waiting] = []
        count = 0
        while self._queue and (
            not group or count + len(self._queue[0].proposals) <= self._group_limit
        ):
            waiting = self._queue.popleft()
            self._size -= len(waiting.proposals)
            if not waiting.result.done():
                group.append(waiting)
                count += len(waiting.proposals)
        return group

    async def _settle(self, group: list[_Waiting]) -> None:
        results = await self._committed([p for waiting in group for p in waiting.proposals])
        start = 0
        for waiting in group:
            end = start + len(waiting.proposals)
            if not waiting.result.done():
                waiting.result.set_result(results[start:end])
            start = end

    async def _committed(self, proposals: list[Proposal]) -> list[Result]:
        """Commit a group; if it fails as a whole, each proposal alone, so only a bad one fails."""
        try:
            return list(await self._settled(proposals))
        except Conflicted:
            return [await self._alone(proposal) for proposal in proposals]
        except DatabaseUnavailable:
            return [Failed()] * len(proposals)
        except Exception:  # noqa: BLE001 - whatever it is, one row must not take the others along
            return [await self._alone(proposal) for proposal in proposals]

    async def _settled(self, proposals: list[Proposal]) -> list[Settled | Refused]:
        """Once more where another process was faster: then its receipts answer what it settled."""
        try:
            return await self._commit(proposals)
        except Conflicted:
            return await self._commit(proposals)

    async def _alone(self, proposal: Proposal) -> Result:
        try:
            [result] = await self._settled([proposal])
        except KeyTaken:
            # it has no receipt any more, and yet there is a check-in of this id
            return Refused(code=ID_REUSED)
        except DatabaseUnavailable:
            return Failed()
        except Exception as cause:  # noqa: BLE001 - reported to the one caller it concerns
            return Failed(cause=cause)
        return result
