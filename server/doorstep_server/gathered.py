"""Questions to the database that are asked together: while one read is under way, others wait.

As the journal does with what is written. At nine in the morning everyone is asked about for the
first time of the day: a transaction for each would cost as much again as the check-in.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar
from uuid import UUID

Question = TypeVar("Question")
Answer = TypeVar("Answer")

#: so many are asked at once, at most
LIMIT = 500


class Gathered(Generic[Question, Answer]):
    """Joins concurrent questions, which one function answers in their order."""

    def __init__(
        self,
        answer: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]],
        *,
        limit: int = LIMIT,
    ) -> None:
        self._answer = answer
        self._limit = limit
        self._waiting: deque[tuple[Question, asyncio.Future[Answer]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Answer:
        """Raises what answering it raises, as for all that were asked with it."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="gathered")
        return await future

    async def _work(self) -> None:
        try:
            while group := self._next():
                await self._answered(group)
        finally:
            self._worker = None

    def _next(self) -> list[tuple[Question, asyncio.Future[Answer]]]:
        """Without those whose caller is gone."""
        group: list[tuple[Question, asyncio.Future[Answer]]] = []
        while self._waiting and len(group) < self._limit:
            question, future = self._waiting.popleft()
            if not future.done():
                group.append((question, future))
        return group

    async def _answered(self, group: Sequence[tuple[Question, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._answer([question for question, _ in group])
        except Exception as error:  # noqa: BLE001 - each that asked is told
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(group, answers, strict=True):
            if not future.done():
                future.set_result(answer)


def for_each_tenant(
    asked: Sequence[tuple[UUID, Question]],
    answer: Callable[[UUID, Sequence[Question]], Sequence[Answer]],
) -> list[Answer]:
    """Answers to questions about whatever tenants, each tenant's together; in their order."""
    places: dict[UUID, list[int]] = {}
    for place, (tenant_id, _) in enumerate(asked):
        places.setdefault(tenant_id, []).append(place)
    found: dict[int, Answer] = {}
    for tenant_id, of_tenant in places.items():
        answers = answer(tenant_id, [asked[place][1] for place in of_tenant])
        found.update(zip(of_tenant, answers, strict=True))
    return [found[place] for place in range(len(asked))]
