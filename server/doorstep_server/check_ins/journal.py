"""Group commit: everything that waits is written in one transaction.

While one group commits, requests wait in a line that is bounded and fair between tenants; then one
transaction takes all that wait, but for those that waited too long. An answer is given only after
the commit.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from doorstep_server.check_ins.line import Line
from doorstep_server.meters import Meters
from doorstep_server.store.check_ins import ID_REUSED, Proposal, Refused, Settled
from doorstep_server.store.database import WAIT_S, Conflicted, DatabaseUnavailable, KeyTaken

Commit = Callable[[Sequence[Proposal]], Awaitable[list[Settled | Refused]]]


#: how many proposals may wait
CAPACITY = 10_000


class JournalFull(RuntimeError):
    """More is waiting than the journal may hold: try again in a moment."""


class WaitedTooLong(JournalFull):
    """Its turn did not come in time, so it was not tried: try again in a moment."""


class JournalClosed(RuntimeError):
    """The server is stopping and takes nothing new."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """This proposal was not written."""

    #: what went wrong with this one alone; None when the database takes nothing at all now
    cause: Exception | None = None


Result = Settled | Refused | Failed
#: where the results of some proposals are told
Settling = asyncio.Future[list[Result]]


@dataclass(frozen=True, slots=True)
class _Waiting:
    proposals: Sequence[Proposal]
    result: Settling
    since_s: float


class Journal:
    """Joins concurrent requests into groups and commits one group after the other."""

    def __init__(
        self,
        commit: Commit,
        *,
        capacity: int = CAPACITY,
        group_limit: int = 1_000,
        monotonic: Callable[[], float] = time.monotonic,
        meters: Meters | None = None,
    ) -> None:
        self._commit = commit
        self._line: Line[_Waiting] = Line(capacity)
        self._group_limit = group_limit
        self._monotonic = monotonic
        self._meters = meters or Meters()
        self._closed = False
        self._worker: asyncio.Task[None] | None = None

    def require_room(self, tenant_id: UUID, proposals: int) -> None:
        """Raise `JournalFull` or `JournalClosed` unless so many would be taken now.

        To be asked before anything is done for them: what is refused must cost little.
        """
        if self._closed:
            self._meters.not_taken.add("stopping", count=proposals)
            raise JournalClosed
        if not self._line.has_room(tenant_id, proposals):
            self._meters.not_taken.add("journal-full", count=proposals)
            raise JournalFull

    async def append(self, proposals: Sequence[Proposal]) -> list[Result]:
        """Settle a tenant's proposals durably, in their order.

        Raises `JournalFull`, also when they waited too long, and `JournalClosed`.
        """
        result: Settling = asyncio.get_running_loop().create_future()
        self.put(proposals, result)
        return await result

    def put(self, proposals: Sequence[Proposal], result: Settling) -> None:
        """As `append`, and what comes of it is told by a future; whose is cancelled has gone."""
        tenant_id = proposals[0].tenant_id
        self.require_room(tenant_id, len(proposals))
        waiting = _Waiting(proposals, result, self._monotonic())
        self._line.add(tenant_id, len(proposals), waiting)
        self._meters.waiting.set(self._line.size)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="journal")

    async def drain(self) -> None:
        """Take nothing new, and return when everything that waits is settled."""
        self._closed = True
        await self.quiet()

    async def quiet(self) -> None:
        """Return when everything that waits is settled."""
        if self._worker is not None:
            await self._worker

    async def _work(self) -> None:
        """Runs while something waits; one group after the other."""
        try:
            while self._line.size:
                group = self._next_group()
                if group:
                    await self._settle(group)
        finally:
            self._worker = None

    def _next_group(self) -> list[_Waiting]:
        """As many waiting requests as fit, whole, without those whose caller is gone.

        Whoever waited too long is told so; who is in a group is not, however long that takes.
        """
        group: list[_Waiting] = []
        count, too_old_s = 0, self._monotonic() - WAIT_S
        while (next_ := self._line.next_things) and (
            not group or count + next_ <= self._group_limit
        ):
            waiting = self._line.take()
            if waiting.result.done():
                self._meters.not_taken.add("caller-gone", count=next_)
            elif waiting.since_s < too_old_s:
                self._meters.not_taken.add("waited-too-long", count=next_)
                waiting.result.set_exception(WaitedTooLong())
            else:
                group.append(waiting)
                count += next_
        self._meters.waiting.set(self._line.size)
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
            return await self._measured(proposals)
        except Conflicted:
            return await self._measured(proposals)

    async def _measured(self, proposals: list[Proposal]) -> list[Settled | Refused]:
        begun_s, came_to = time.perf_counter(), "failed"
        try:
            results = await self._commit(proposals)
        except Conflicted:
            came_to = "conflicted"
            raise
        except DatabaseUnavailable:
            came_to = "unavailable"
            raise
        else:
            came_to = "done"
            return results
        finally:
            self._meters.commits.add(came_to)
            self._meters.commit_s.add(time.perf_counter() - begun_s)
            self._meters.group_sizes.add(len(proposals))

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
