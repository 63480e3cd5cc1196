"""The journal: groups, bounds, poison, drain."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from doorstep_server.check_ins.journal import (
    Failed,
    Journal,
    JournalClosed,
    JournalFull,
    WaitedTooLong,
)
from doorstep_server.privacy.keys import SubjectKeys
from doorstep_server.store.check_ins import Proposal, Refused, Settled
from doorstep_server.store.database import WAIT_S, Conflicted, DatabaseUnavailable


def proposal(purpose: str = "visit", tenant_id: UUID | None = None) -> Proposal:
    return Proposal(
        tenant_id=tenant_id or uuid4(), subject_id=uuid4(), kid="k", id=uuid4(),
        subject_keys=SubjectKeys.of(b"s" * 32),
        receipt_key=b"", digest=b"", epoch=None, age_s=0, purpose=purpose,
        received_at=datetime(2026, 3, 10, 12, tzinfo=UTC), outcome="too-old",
    )  # fmt: skip


class Committer:
    """Commits groups when told to, and remembers them."""

    def __init__(self) -> None:
        self.groups: list[list[str | None]] = []
        self.go = asyncio.Event()

    async def __call__(self, group: Sequence[Proposal]) -> list[Settled | Refused]:
        self.groups.append([p.purpose for p in group])
        await self.go.wait()
        if any(p.purpose == "poison" for p in group):
            raise ValueError
        return [Refused(code=str(p.purpose)) for p in group]


def run(test: Callable[[Committer], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await test(Committer())

    asyncio.run(main())


async def started(*waits: Awaitable[Any]) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.ensure_future(w) for w in waits]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks  # type: ignore[return-value]


def test_what_waits_while_a_group_commits_becomes_the_next_group() -> None:
    async def test(commit: Committer) -> None:
        journal = Journal(commit)
        first = await started(journal.append([proposal("a")]))
        rest = await started(*(journal.append([proposal(p)]) for p in "bcd"))
        commit.go.set()
        results = await asyncio.gather(*first, *rest)
        assert commit.groups == [["a"], ["b", "c", "d"]]
        assert [r[0].code for r in results] == list("abcd")

    run(test)


def test_a_group_is_bounded_and_requests_stay_whole() -> None:
    async def test(commit: Committer) -> None:
        journal = Journal(commit, group_limit=3)
        commit.go.set()
        await asyncio.gather(
            *(journal.append([proposal(p), proposal(p)]) for p in "ab"),
            journal.append([proposal("c")] * 5),
            journal.append([proposal("d")]),
        )
        assert commit.groups == [["a", "a"], ["b", "b"], ["c"] * 5, ["d"]]

    run(test)


def test_a_full_journal_refuses_and_recovers() -> None:
    async def test(commit: Committer) -> None:
        journal = Journal(commit, capacity=2)
        tasks = await started(journal.append([proposal("under way")]))
        tasks += await started(*(journal.append([proposal()]) for _ in range(2)))
        with pytest.raises(JournalFull):
            await journal.append([proposal()])
        commit.go.set()
        await asyncio.gather(*tasks)
        assert await journal.append([proposal("x"), proposal("y")])

    run(test)


def test_room_is_known_before_anything_is_done() -> None:
    async def test(commit: Committer) -> None:
        journal = Journal(commit, capacity=2)
        await started(journal.append([proposal("under way")]))
        journal.require_room(uuid4(), 2)
        with pytest.raises(JournalFull):
            journal.require_room(uuid4(), 3)
        commit.go.set()
        await journal.drain()
        with pytest.raises(JournalClosed):
            journal.require_room(uuid4(), 1)

    run(test)


def test_a_tenant_that_floods_takes_neither_all_places_nor_all_turns() -> None:
    async def test(commit: Committer) -> None:
        journal, eve = Journal(commit, capacity=20, group_limit=4), uuid4()
        tasks = await started(journal.append([proposal("under way")]))
        tasks += await started(*(journal.append([proposal("eve", eve)]) for _ in range(10)))
        with pytest.raises(JournalFull):
            await journal.append([proposal("eve", eve)])
        tasks += await started(*(journal.append([proposal(name)]) for name in ("ana", "bob")))
        commit.go.set()
        await asyncio.gather(*tasks)
        assert commit.groups[1] == ["eve", "ana", "bob", "eve"]

    run(test)


def test_who_waited_too_long_is_not_tried_and_who_is_in_a_group_is() -> None:
    async def test(commit: Committer) -> None:
        now_s = 1_000.0
        journal = Journal(commit, monotonic=lambda: now_s)
        [first] = await started(journal.append([proposal("first")]))
        [late] = await started(journal.append([proposal("late")]))
        now_s += WAIT_S + 1
        [fresh] = await started(journal.append([proposal("fresh")]))
        commit.go.set()
        # however long the group took that it was in
        assert [result.code for result in await first] == ["first"]
        with pytest.raises(WaitedTooLong):
            await late
        await fresh
        assert commit.groups == [["first"], ["fresh"]]

    run(test)


def test_a_poison_row_fails_alone() -> None:
    async def test(commit: Committer) -> None:
        journal = Journal(commit)
        commit.go.set()
        results = await asyncio.gather(
            *(journal.append([proposal(p)]) for p in ("a", "poison", "b"))
        )
        good, bad, also_good = [r[0] for r in results]
        assert (good, also_good) == (Refused(code="a"), Refused(code="b"))
        assert isinstance(bad, Failed)
        assert isinstance(bad.cause, ValueError)

    run(test)


def test_an_unavailable_database_is_not_asked_row_by_row() -> None:
    async def test(commit: Committer) -> None:
        calls = 0

        async def away(group: Sequence[Proposal]) -> list[Settled | Refused]:
            nonlocal calls
            calls += 1
            raise DatabaseUnavailable("away")

        journal = Journal(away)
        assert await journal.append([proposal()] * 3) == [Failed()] * 3
        assert calls == 1

    run(test)


def test_a_group_that_lost_a_race_is_settled_once_more_as_a_whole() -> None:
    async def test(commit: Committer) -> None:
        groups: list[int] = []

        async def lost_once(group: Sequence[Proposal]) -> list[Settled | Refused]:
            groups.append(len(group))
            if len(groups) == 1:
                raise Conflicted("another was faster")
            return [Refused(code=str(p.purpose)) for p in group]

        results = await Journal(lost_once).append([proposal("a"), proposal("b")])
        assert [r.code for r in results if isinstance(r, Refused)] == ["a", "b"]
        assert groups == [2, 2]

    run(test)


def test_a_caller_that_is_gone_is_skipped() -> None:
    async def test(commit: Committer) -> None:
        journal = Journal(commit)
        first = await started(journal.append([proposal("a")]))
        gone, stays = await started(
            journal.append([proposal("gone")]), journal.append([proposal("b")])
        )
        gone.cancel()
        commit.go.set()
        await asyncio.gather(*first, stays)
        assert commit.groups == [["a"], ["b"]]

    run(test)


def test_draining_settles_what_waits_and_takes_nothing_new() -> None:
    async def test(commit: Committer) -> None:
        journal = Journal(commit)
        tasks = await started(*(journal.append([proposal(p)]) for p in "ab"))
        drained = asyncio.ensure_future(journal.drain())
        await asyncio.sleep(0)
        with pytest.raises(JournalClosed):
            await journal.append([proposal()])
        commit.go.set()
        await drained
        assert all(task.done() for task in tasks)

    run(test)
