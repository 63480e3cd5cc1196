"""More than is taken: a device that floods, a journal that is full, clocks that are set."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from doorstep_server.app import make_services
from doorstep_server.check_ins.device_limit import AT_ONCE, PER_MINUTE, DeviceLimit
from doorstep_server.check_ins.journal import CAPACITY, Journal
from doorstep_server.settings import InvalidSetting, Settings, read
from world import Phone, World, opened

BATCH = "/v1/check-ins/batch"


@dataclass
class Seconds:
    """A clock that is never set: it moves when a test says so."""

    now: float = 5_000.5

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def small(made_on_sqlite: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Devices have three check-ins at once and one every ten seconds; six may wait."""
    home = tmp_path_factory.mktemp("small") / "home"
    settings = Settings(home=home, device_at_once=3, device_per_minute=6, queue=6)
    with opened(settings) as world:
        world.first.site()
        yield world


@pytest.fixture
def clock(small: World) -> Seconds:
    clock = Seconds()
    assert small.services.device_limit.allowance is not None
    small.services.device_limit.allowance.monotonic = clock
    return clock


def codes(answer: httpx.Response) -> list[str]:
    """Of each item, its outcome or the code of its problem."""
    assert answer.status_code == 200
    return [item.get("outcome") or item["code"] for item in answer.json()["results"]]


def send(phone: Phone, count: int) -> httpx.Response:
    return phone.post(BATCH, json={"check_ins": [phone.claim() for _ in range(count)]})


def test_a_device_that_floods_is_told_to_wait_and_others_are_not(
    small: World, clock: Seconds
) -> None:
    flooding, quiet = small.first.phone(), small.first.phone()
    answers = [flooding.check_in(flooding.claim()) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 429, 429]
    assert answers[3].json()["code"] == "rate-limited"
    assert answers[3].headers["retry-after"] == "10"
    assert answers[3].json()["retry_after_s"] == 10
    assert quiet.check_in(quiet.claim()).status_code == 201


def test_whoever_waits_as_long_as_told_is_taken_again(small: World, clock: Seconds) -> None:
    phone, body = small.first.phone(), {}
    for _ in range(4):
        body = phone.claim()
        answer = phone.check_in(body)
    assert answer.status_code == 429
    clock.now += int(answer.headers["retry-after"])
    # the refusal left no receipt
    again = phone.check_in(body)
    assert again.status_code == 201
    assert "doorstep-replayed" not in again.headers


def test_of_a_batch_the_first_ones_are_taken_and_the_rest_is_told_to_wait(
    small: World, clock: Seconds
) -> None:
    phone = small.first.phone()
    answer = send(phone, 5)
    assert codes(answer) == ["accepted"] * 3 + ["rate-limited"] * 2
    last = answer.json()["results"][-1]
    assert (last["status"], last["retry_after_s"]) == (429, 10)
    # what has its id is named by it
    assert last["id"] is not None


def test_a_batch_of_which_nothing_is_taken_is_refused_whole(small: World, clock: Seconds) -> None:
    phone = small.first.phone()
    send(phone, 3)
    answer = send(phone, 2)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
    assert codes(send(phone, 0)) == []


def test_what_is_refused_is_counted_too(small: World, clock: Seconds) -> None:
    """Else a device could ask as often as it likes for what it is not given."""
    phone = small.first.phone(state="denied")
    answers = [phone.check_in(phone.claim()).status_code for _ in range(4)]
    assert answers == [403, 403, 403, 429]


def test_a_clock_that_is_set_locks_nobody_up(small: World) -> None:
    limit = small.services.device_limit.allowance
    assert limit is not None
    limit.monotonic = time.monotonic
    phone, noon = small.first.phone(), small.clock.now
    try:
        for days in (-400, 400, -1):
            small.clock.now = noon + timedelta(days=days)
            phone = small.first.phone()
            answers = [phone.check_in(phone.claim()).status_code for _ in range(3)]
            assert answers == [201] * 3
    finally:
        small.clock.now = noon


def test_limits_go_by_the_clock_that_is_never_set_and_are_as_documented(small: World) -> None:
    services = make_services(small.settings)
    assert services.device_limit.allowance is not None
    assert services.device_limit.allowance.monotonic is time.monotonic
    assert services.way.journal._monotonic is time.monotonic
    services.database.close_now()
    settings = Settings()
    assert (
        (settings.device_at_once, settings.device_per_minute) == (AT_ONCE, PER_MINUTE) == (600, 60)
    )
    assert settings.queue == CAPACITY


def test_without_a_limit_everything_is_taken(small: World) -> None:
    phone = small.first.phone()
    limited = small.services.device_limit.allowance
    object.__setattr__(small.services.device_limit, "allowance", None)
    try:
        assert {phone.check_in(phone.claim()).status_code for _ in range(5)} == {201}
    finally:
        object.__setattr__(small.services.device_limit, "allowance", limited)
    assert DeviceLimit.of(time.monotonic, at_once=0).allowance is None


@contextmanager
def held(world: World) -> Iterator[None]:
    """Nothing is committed until the block ends."""
    journal: Journal = world.services.way.journal
    commit, go, begun = journal._commit, threading.Event(), threading.Event()

    async def later(group: Any) -> Any:
        begun.set()
        await asyncio.to_thread(go.wait)
        return await commit(group)

    journal._commit = later
    with ThreadPoolExecutor(1) as thread:
        phone = world.first.phone()
        first = thread.submit(lambda: phone.check_in(phone.claim()))
        begun.wait()
        try:
            yield
        finally:
            journal._commit = commit
            go.set()
        assert first.result().status_code == 201


def test_a_full_journal_refuses_at_once_and_takes_again_when_there_is_room(small: World) -> None:
    one, other = small.first.phone(), small.first.phone()
    with ThreadPoolExecutor(1) as thread:
        with held(small):
            waiting = thread.submit(lambda: send(one, 3))
            while not small.services.way.journal._line.size:
                threading.Event().wait(0.001)
            # nothing goes on before this is answered
            body = other.claim()
            refused = other.check_in(body)
            assert refused.status_code == 503
            assert refused.json()["code"] == "unavailable"
            assert refused.json()["retry_after_s"] == int(refused.headers["retry-after"]) >= 1
            assert not waiting.done()
        assert codes(waiting.result()) == ["accepted"] * 3
    assert other.check_in(body).status_code == 201


@pytest.mark.parametrize(
    ("name", "value"),
    [("QUEUE", "0"), ("QUEUE", "many"), ("DEVICE_AT_ONCE", "-1"), ("DEVICE_PER_MINUTE", "0")],
)
def test_limits_are_whole_numbers(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=f"DOORSTEP_{name} must be"):
        read({f"DOORSTEP_{name}": value})


def test_limits_are_settings() -> None:
    chosen = read({
        "DOORSTEP_QUEUE": "5", "DOORSTEP_DEVICE_AT_ONCE": "0", "DOORSTEP_DEVICE_PER_MINUTE": "7",
    })  # fmt: skip
    assert replace(Settings(), queue=5, device_at_once=0, device_per_minute=7) == chosen
