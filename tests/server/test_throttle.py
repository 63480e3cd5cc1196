"""An allowance: a number at once, another one every so often, and each caller's own."""

from dataclasses import dataclass

import pytest

from doorstep_server.throttle import Allowance

ANA, BOB = b"ana", b"bob"


@dataclass
class Seconds:
    """A clock that is never set: it moves when a test says so."""

    now: float = 1_000_000.7

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


def taken(allowance: Allowance, caller: bytes, tries: int = 20) -> int:
    return sum(allowance.take(caller) for _ in range(tries))


def test_so_many_at_once_and_then_one_every_so_often(clock: Seconds) -> None:
    allowance = Allowance(clock, at_once=10, each_s=7_200.1)
    assert taken(allowance, ANA) == 10
    for _ in range(30):
        clock.now += 7_200.1
        assert taken(allowance, ANA) == 1


def test_it_is_never_fuller_than_full(clock: Seconds) -> None:
    allowance = Allowance(clock, at_once=3, each_s=60.0)
    taken(allowance, ANA)
    clock.now += 86_400.0
    assert taken(allowance, ANA) == 3


def test_the_wait_is_told_and_enough(clock: Seconds) -> None:
    allowance = Allowance(clock, at_once=2, each_s=60.0)
    assert allowance.wait_s(ANA) == 0
    taken(allowance, ANA)
    clock.now += 10.0
    assert allowance.wait_s(ANA) == 50
    clock.now += 49.0
    assert not allowance.take(ANA)
    clock.now += 1.0
    assert allowance.wait_s(ANA) == 0
    assert allowance.take(ANA)


def test_of_many_that_are_wanted_those_are_taken_that_are_there(clock: Seconds) -> None:
    allowance = Allowance(clock, at_once=10, each_s=60.0)
    assert allowance.take_some(ANA, 7) == 7
    assert allowance.left(ANA) == 3
    assert allowance.take_some(ANA, 7) == 3
    assert allowance.left(ANA) == 0
    assert allowance.take_some(ANA, 7) == 0
    clock.now += 150.0
    assert allowance.take_some(ANA, 7) == 2
    assert allowance.wait_s(ANA) == 30
    clock.now += 1e6
    assert allowance.left(ANA) == 10
    assert allowance.take_some(ANA, 70) == 10


def test_callers_have_their_own(clock: Seconds) -> None:
    allowance = Allowance(clock, at_once=2, each_s=60.0)
    taken(allowance, ANA)
    assert taken(allowance, BOB) == 2


def test_what_is_given_back_can_be_taken_again_and_makes_nothing_fuller(clock: Seconds) -> None:
    allowance = Allowance(clock, at_once=2, each_s=60.0)
    allowance.give_back(ANA)
    assert taken(allowance, ANA) == 2
    allowance.give_back(ANA)
    assert taken(allowance, ANA) == 1


def test_nothing_is_remembered_of_who_has_all(clock: Seconds) -> None:
    allowance = Allowance(clock, at_once=2, each_s=60.0)
    allowance.take(ANA)
    allowance.give_back(ANA)
    assert not allowance._full_at


def test_memory_is_bounded_and_who_took_most_is_remembered_longest(clock: Seconds) -> None:
    allowance = Allowance(clock, at_once=5, each_s=60.0, callers=64)
    assert taken(allowance, ANA) == 5
    for n in range(1_000):
        assert allowance.take(f"other-{n}".encode())
        assert len(allowance._full_at) <= 64
    assert taken(allowance, ANA) == 0


def test_no_caller_can_be_read_from_it(clock: Seconds) -> None:
    allowance = Allowance(clock, at_once=1, each_s=60.0)
    another = Allowance(clock, at_once=1, each_s=60.0)
    for each in (allowance, another):
        each.take(ANA)
        assert all(ANA not in label for label in each._full_at)
        assert "full_at" not in repr(each)
    assert set(allowance._full_at).isdisjoint(another._full_at)
