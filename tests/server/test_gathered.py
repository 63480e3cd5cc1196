"""Questions that come while others are answered are asked together; each gets its own answer."""

import asyncio
from collections.abc import Sequence

import pytest

from doorstep_server.gathered import Gathered


class Oracle:
    """Answers when it is let go; remembers what was asked together."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.goes_on = asyncio.Event()
        self.fails = False

    async def answer(self, questions: Sequence[int]) -> list[int]:
        self.asked.append(list(questions))
        await self.goes_on.wait()
        if self.fails:
            raise LookupError
        return [question * 10 for question in questions]


async def soon() -> None:
    """Everything that can go on has."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_comes_while_others_are_answered_is_asked_together() -> None:
    async def run() -> None:
        oracle = Oracle()
        gathered = Gathered(oracle.answer, limit=3)
        asking = [asyncio.create_task(gathered.ask(1))]
        await soon()
        asking += [asyncio.create_task(gathered.ask(n)) for n in (2, 3, 4, 5)]
        await soon()
        assert oracle.asked == [[1]]
        oracle.goes_on.set()
        assert await asyncio.gather(*asking) == [10, 20, 30, 40, 50]
        assert oracle.asked == [[1], [2, 3, 4], [5]]

    asyncio.run(run())


def test_who_is_gone_is_not_asked_about() -> None:
    async def run() -> None:
        oracle = Oracle()
        gathered = Gathered(oracle.answer)
        asking = [asyncio.create_task(gathered.ask(n)) for n in (1, 2, 3)]
        await soon()
        late = [asyncio.create_task(gathered.ask(n)) for n in (4, 5)]
        await soon()
        late[0].cancel()
        oracle.goes_on.set()
        assert await late[1] == 50
        assert await asyncio.gather(*asking) == [10, 20, 30]
        assert oracle.asked[-1] == [5]

    asyncio.run(run())


def test_a_failure_is_told_to_all_that_asked_and_the_next_are_asked_again() -> None:
    async def run() -> None:
        oracle = Oracle()
        gathered = Gathered(oracle.answer)
        oracle.goes_on.set()
        oracle.fails = True
        failed = await asyncio.gather(*(gathered.ask(n) for n in (1, 2)), return_exceptions=True)
        assert [type(error) for error in failed] == [LookupError, LookupError]
        oracle.fails = False
        assert await gathered.ask(3) == 30

    asyncio.run(run())


def test_an_error_of_one_that_asked_is_raised_where_it_asked() -> None:
    async def run() -> None:
        oracle = Oracle()
        oracle.goes_on.set()
        oracle.fails = True
        with pytest.raises(LookupError):
            await Gathered(oracle.answer).ask(1)

    asyncio.run(run())
