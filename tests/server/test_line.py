"""The line before the journal: bounded, and fair between tenants."""

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from doorstep_server.check_ins.line import Line

ANA, BOB, EVE = uuid4(), uuid4(), uuid4()


def taken(line: Line[str]) -> list[str]:
    return [line.take() for _ in iter(lambda: line.next_things, 0)]


def add(line: Line[str], tenant_id: UUID, *entries: str, things: int = 1) -> None:
    for entry in entries:
        line.add(tenant_id, things, entry)


def fill(line: Line[str], tenant_id: UUID) -> int:
    """One more as long as there is room; how many."""
    count = 0
    while line.has_room(tenant_id, 1):
        line.add(tenant_id, 1, "")
        count += 1
    return count


def test_a_tenant_alone_is_served_in_its_order() -> None:
    line: Line[str] = Line(100)
    add(line, ANA, *"abcdef")
    assert taken(line) == list("abcdef")


def test_who_wants_little_does_not_stand_behind_who_wants_much() -> None:
    line: Line[str] = Line(100)
    add(line, EVE, *"123456")
    add(line, ANA, "a")
    add(line, BOB, "b", "c")
    assert taken(line) == ["1", "a", "b", "2", "c", "3", "4", "5", "6"]


def test_turns_are_of_things_not_of_entries() -> None:
    line: Line[str] = Line(100)
    add(line, EVE, "E1", "E2", things=20)
    add(line, ANA, *"abcdefghi")
    assert taken(line) == ["E1", *"abcdefghi", "E2"]


def test_who_waited_for_nothing_gets_no_more_turns_for_it() -> None:
    line: Line[str] = Line(100)
    add(line, EVE, *"123456")
    assert [line.take() for _ in range(4)] == list("1234")
    add(line, ANA, *"abcd")
    assert taken(line) == ["a", "5", "b", "6", "c", "d"]


def test_one_that_floods_leaves_as_much_room_as_it_takes() -> None:
    line: Line[str] = Line(90)
    assert fill(line, EVE) == 45
    assert not line.has_room(EVE, 1)
    assert line.has_room(ANA, 45)


def test_however_many_flood_there_is_room_for_the_next() -> None:
    line: Line[str] = Line(1_000)
    for _ in range(9):
        assert fill(line, uuid4()) > 0
    assert line.has_room(ANA, 1)


@given(st.lists(st.tuples(st.sampled_from([ANA, BOB, EVE]), st.integers(1, 9), st.booleans())))
def test_nothing_is_lost_and_everything_is_counted(
    steps: list[tuple[UUID, int, bool]],
) -> None:
    line: Line[tuple[UUID, int, int]] = Line(30)
    waiting: list[tuple[UUID, int, int]] = []
    for number, (tenant_id, things, take) in enumerate(steps):
        if line.has_room(tenant_id, things):
            line.add(tenant_id, things, (tenant_id, things, number))
            waiting.append((tenant_id, things, number))
        if take and waiting:
            entry = line.take()
            # of each tenant's, the first
            assert entry == next(each for each in waiting if each[0] == entry[0])
            waiting.remove(entry)
        assert line.size == sum(things for _, things, _ in waiting) <= 30
        assert bool(line.next_things) == bool(waiting)
        assert set(line._shares) == {tenant_id for tenant_id, _, _ in waiting}
