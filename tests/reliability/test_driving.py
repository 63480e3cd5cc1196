"""The generator counts what somebody with a phone would see, and believes no answer unread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

import driving
import wrk
from driving import Magazine, Shot, Target, Turn, closed_loop, lines, open_loop

BODY = b'{"id":"%b","fix":{"captured_at":"%b"}}'
TARGET = Target(port=0, tokens=["a token"], bodies=[BODY], accepted=b'"outcome":"accepted"')


# --- an open loop --------------------------------------------------------------------------------


@dataclass
class Slow:
    """One line to a server that takes a second for each request, by a clock of its own."""

    now: float = 100.0
    busy: int = 0
    lines: list[Any] = field(default_factory=lambda: [Waiting()])

    def send(self, turn: Turn, line: Any, shot: Shot, due: float) -> None:
        self.busy, line.due = 1, due

    def answered(self, turn: Turn, timeout: float) -> Iterator[tuple[Any, float]]:
        if not self.busy:
            self.now += timeout or 0.001
            return
        self.busy, self.now = 0, self.now + 1.0
        turn.latencies_s.append(self.now - self.lines[0].due)
        yield self.lines[0], self.now

    def give_up(self, turn: Turn) -> None:
        assert not self.busy


@dataclass
class Waiting:
    due: float = 0.0


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr(driving.time, "perf_counter", lambda: slow.now)
    return slow


def test_who_had_to_wait_for_a_slow_one_waited(slow: Slow) -> None:
    """Ten a second to a server that does one: the last was due after 0.9 s, answered after 10."""
    opened: Any = slow
    turn = open_loop(opened, [([], b"")] * 10, rate=10.0)
    assert list(turn.latencies_s) == pytest.approx([1 + 0.9 * n for n in range(10)])
    assert turn.percentile_ms(0.99) == pytest.approx(9_100)
    # after the first second all are due, and two were sent
    assert turn.most_waiting == 8


def test_what_is_dropped_is_what_was_not_sent_in_time(slow: Slow) -> None:
    opened: Any = slow
    turn = open_loop(opened, [([], b"")] * 30, rate=10.0, is_dropped=True)
    # sent after 0, 1, 2 and 3 s, when the last one was due
    assert len(turn.latencies_s) == 4
    assert not turn.unsettled


# --- answers -------------------------------------------------------------------------------------


@contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """A port where one connection gets these answers, each in pieces; then it is closed."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def serve() -> None:
            with listening.accept()[0] as connection:
                for answer in answers:
                    asked = b""
                    while b"captured_at" not in asked:
                        asked += connection.recv(65536)
                    check_in = asked.partition(b'"id":"')[2][:36]
                    for piece in _pieces(answer.replace(b"ID", check_in)):
                        connection.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listening.getsockname()[1])
        thread.join()


def _pieces(answer: bytes) -> list[bytes]:
    middle = answer.find(b"\r\n\r\n") + 2
    return [answer[:middle], answer[middle:]]


def said(status: bytes, body: bytes, *headers: bytes) -> bytes:
    head = b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers])
    return head + b"\r\n\r\n" + body


GOOD = said(b"201 Created", b'{"id":"ID","outcome":"accepted"}')
OTHERS = said(b"201 Created", b'{"id":"00000000-0000-8000-8000-000000000000","outcome":"accepted"}')
UNCERTAIN = said(b"201 Created", b'{"id":"ID","outcome":"uncertain"}')
REFUSED = said(b"503 No", b'{"code":"unavailable"}', b"Retry-After: 1")
#: says so in the body only
HASTY = said(b"503 No", b'{"code":"unavailable"}\r\nRetry-After: 1\r\n')


def turn_of(*answers: bytes, may_refuse: bool = False) -> Turn:
    with answering(*answers) as port:
        target = replace(TARGET, port=port, may_refuse=may_refuse)
        with lines(target, 1, 1) as opened:
            return closed_loop(opened, Magazine(target, 1), 60.0)


def test_only_an_accepted_check_in_of_the_same_id_is_good() -> None:
    turn = turn_of(GOOD, GOOD, OTHERS)
    assert turn.accepted == len(turn.acknowledged) == len(set(turn.acknowledged)) == 2
    assert turn.failures == {"201 not an accepted check-in": 1}
    assert len(turn.unsettled) == 1
    assert turn_of(UNCERTAIN).failures == {"201 not an accepted check-in": 1}


def test_who_hangs_up_has_not_answered() -> None:
    turn = turn_of(GOOD)
    assert turn.accepted == 1
    assert turn.failures == {"a connection was closed": 1}
    [(ids, data)] = turn.unsettled
    assert ids[0] in data
    assert ids[0] not in turn.acknowledged


def test_a_refusal_says_when_to_come_back_or_is_a_failure() -> None:
    assert turn_of(REFUSED).failures == {"503 unavailable": 1}
    turn = turn_of(REFUSED, GOOD, HASTY, may_refuse=True)
    assert turn.refused == {"503 unavailable": 1}
    assert turn.accepted == len(turn.latencies_s) == 1
    assert turn.failures == {"503 unavailable": 1}


def test_what_wrk_noted_is_a_turn() -> None:
    told = ["0a-1", "took_us 2000000", "latency_us 1500", "latency_us 3000", "failed 503", "0a-2"]
    turn = wrk._turn(told)
    assert turn.acknowledged == [b"0a-1", b"0a-2"]
    assert turn.rate == pytest.approx(1.0)
    assert turn.percentile_ms(1.0) == pytest.approx(3.0)
    assert turn.failures == {"503": 1}
