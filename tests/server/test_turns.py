"""What comes within one turn of the event loop is led on together."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pkgutil import resolve_name
from typing import Any, cast

import httpx
import pytest

from doorstep_server.check_ins.line import Line
from doorstep_server.check_ins.turns import Turns
from world import FAR_OUTSIDE, INSIDE, World


def led(joining: Sequence[Sequence[str]], limit: int = 64) -> list[list[str]]:
    """What was led in each turn, of those that joined in it."""
    found: list[list[str]] = []

    async def run() -> list[list[str]]:
        turns: Turns[str] = Turns(lambda some: found.append(list(some)), limit=limit)
        for some in joining:
            for one in some:
                turns.join(one)
            await asyncio.sleep(0)
        return list(found)

    return asyncio.run(run())


def test_those_of_one_turn_go_together_in_their_order() -> None:
    assert led(["abc", "", "d", ""]) == [["a", "b", "c"], ["d"]]


def test_more_than_others_can_wait_for_go_in_the_next_turns() -> None:
    assert led(["abcde", ""], limit=2) == [["a", "b"], ["c", "d"]]
    assert led(["abcde", "", ""], limit=2) == [["a", "b"], ["c", "d"], ["e"]]


def test_who_joins_meanwhile_stands_behind() -> None:
    assert led(["abc", "de", "", ""], limit=2) == [["a", "b"], ["c", "d"], ["e"]]


def test_what_fails_for_some_does_not_stop_those_after_them() -> None:
    found: list[str] = []

    def lead(some: Sequence[str]) -> None:
        found.extend(some)
        if "poison" in some:
            raise ValueError

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        turns: Turns[str] = Turns(lead, limit=1)
        turns.join("poison")
        turns.join("b")
        await asyncio.sleep(0.0)
        await asyncio.sleep(0.0)

    asyncio.run(run())
    assert found == ["poison", "b"]


# -- check-ins of one turn ---------------------------------------------------------------------


def together(world: World, sending: Sequence[Callable[[], httpx.Response]]) -> list[Any]:
    """The answers to check-ins that all came within one turn."""
    turns, joined = world.services.way.turns, []

    class Held:
        def join(self, one: Any) -> None:
            joined.append(one)
            if len(joined) == len(sending):
                for each in joined:
                    turns.join(each)

    world.services.way.turns = cast("Any", Held())
    try:
        with ThreadPoolExecutor(len(sending)) as threads:
            answers = list(threads.map(lambda send: send(), sending))
    finally:
        world.services.way.turns = turns
    return answers


STEPS: dict[str, Callable[..., set[str]]] = {
    # each with whose check-ins it is called
    "judge_claims": lambda _, arrivals: {str(arrival.claim.id) for arrival in arrivals},
    "travel.doubted_at_hand": lambda _, __, judged: {str(one.id) for one in judged},
    "travel.doubted": lambda _, __, judged: {str(one.id) for one in judged},
    "propose": lambda _, arrivals, __: {str(arrival.claim.id) for arrival in arrivals},
}


def failing(monkeypatch: pytest.MonkeyPatch, step: str, bad_id: str) -> None:
    """A step that fails where a certain check-in takes it."""
    name = f"doorstep_server.check_ins.flow.{step}"
    takes: Any = resolve_name(name.replace(".flow.travel", ".travel"))

    def taken(*given: Any) -> Any:
        if bad_id in STEPS[step](*given):
            raise ValueError
        return takes(*given)

    monkeypatch.setattr(name, taken)


def test_each_gets_an_answer_of_its_own(world: World) -> None:
    people = [
        (phone, site["id"], place)
        for tenancy in (world.first, world.tenant())
        for site in [tenancy.site(), tenancy.site()]
        for phone, place in [(tenancy.phone(), INSIDE), (tenancy.phone(), FAR_OUTSIDE)]
    ]
    # some are known, so that nothing is to be asked of them, and some are not
    for phone, site_id, _ in people[::3]:
        assert phone.check_in(phone.claim(site_id=site_id)).status_code == 201
    claims = [phone.claim(place, site_id=site_id) for phone, site_id, place in people]
    sending = [partial(p.check_in, c) for (p, *_), c in zip(people, claims, strict=True)]
    answers = together(world, sending)
    for (phone, site_id, place), claim, answer in zip(people, claims, answers, strict=True):
        said = answer.json()
        assert (said["id"], said["site_id"]) == (claim["id"], site_id)
        assert said["outcome"] == ("accepted" if place == INSIDE else "rejected")
        if place == INSIDE:
            assert said["stored"]["subject_id"] == phone.subject_id
        assert phone.check_in(claim).json() == said


@pytest.mark.parametrize("step", STEPS)
def test_what_fails_for_one_does_not_fail_for_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    world.first.site()
    people = [world.first.phone() for _ in range(4)]
    claims = [phone.claim() for phone in people]
    failing(monkeypatch, step, claims[1]["id"])
    sending = [partial(p.check_in, c) for p, c in zip(people, claims, strict=True)]
    assert [a.status_code for a in together(world, sending)] == [201, 500, 201, 201]
    # nothing of it went to the journal, or is taken from anybody's budget
    monkeypatch.undo()
    assert people[1].check_in(claims[1]).status_code == 201
    assert world.rows("SELECT count(*) FROM check_ins") == [(4,)]


def test_who_finds_no_room_is_told_and_the_others_are_taken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.first.site()
    people = [world.first.phone() for _ in range(3)]
    journal = world.services.way.journal
    monkeypatch.setattr(journal, "_line", Line(3))
    sending = [partial(phone.check_in, phone.claim()) for phone in people]
    assert sorted(answer.status_code for answer in together(world, sending)) == [201, 201, 503]
    assert world.rows("SELECT count(*) FROM check_ins") == [(2,)]


def test_of_a_tenant_that_keeps_exact_positions_each_keeps_its_own(world: World) -> None:
    tenant = world.first
    limits = tenant.admin.get("/v1/settings").json()
    tenant.admin.put("/v1/settings", limits | {"max_level": "exact"})
    tenant.purpose("dispute", level="exact")
    tenant.site()
    people = [tenant.phone() for _ in range(3)]
    claims = [phone.claim(purpose="dispute") for phone in people]
    sending = [partial(p.check_in, c) for p, c in zip(people, claims, strict=True)]
    answers = [answer.json() for answer in together(world, sending)]
    assert [answer["stored"]["level"] for answer in answers] == ["exact"] * 3
    kept = {str(row[0]) for row in world.rows("SELECT id FROM exact_positions")}
    assert len(kept) == 3
