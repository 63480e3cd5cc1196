"""Two ways to send check-ins, both over connections that are kept, from one thread.

- **Closed loop**: each connection sends as soon as it was answered. Finds how much a server can do;
  its latencies say little, as a slow answer also delays the next request.
- **Open loop**: requests are due at a constant rate, whether or not those before were answered.
  Each one's latency counts from the moment at which it was due, so that one that had to wait for a
  free connection waited. This is what somebody with a phone sees.

The generator must not be what is measured: requests are made before the clock runs, an answer is
looked through for what it must hold instead of being parsed, and nothing is between us and the
sockets. `bench.py` shows its ceiling beside the results.
"""

import gc
import random
import re
import selectors
import socket
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle

from doorstep import check_in_id

HOST = "127.0.0.1"
#: nobody waits longer for an answer
STALL_S = 60.0
#: what lies within this is waited for without sleeping: sleeps are no more exact
_SPIN_S = 0.002
#: how often a loop looks at the clock while nothing comes
_LOOK_UP_S = 1.0
_RECEIVED_AT_ONCE = 262_144
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CLOSED = "a connection was closed"
_CODE = re.compile(rb'"code":"([a-z-]+)"')
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *\d+\r\n", re.IGNORECASE)
_REFUSED = (b"HTTP/1.1 429 ", b"HTTP/1.1 503 ")

#: the ids of its check-ins, and all its bytes
Shot = tuple[list[bytes], bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A server, and who checks in there where."""

    port: int
    tokens: Sequence[str] = field(repr=False)
    #: of one check-in each, with a place for an id and a time
    bodies: Sequence[bytes] = field(repr=False)
    #: what stands in an answer once for each check-in that was accepted
    accepted: bytes
    #: whether 429 and 503 that say when to come back are answers as any others
    may_refuse: bool = False


class Magazine:
    """Requests of any devices in turn, made ahead."""

    def __init__(self, target: Target, size: int) -> None:
        self._bodies = target.bodies
        self._size = size
        route = "/v1/check-ins" if size == 1 else "/v1/check-ins/batch"
        head = f"POST {route} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer "
        rest = "\r\nContent-Type: application/json\r\nContent-Length: "
        tokens = random.sample(list(target.tokens), len(target.tokens))
        self._heads = cycle([f"{head}{token}{rest}".encode() for token in tokens])
        self._ready: deque[Shot] = deque()
        self._now = datetime.now(UTC)

    def fill(self, count: int) -> None:
        """Make so many, captured now: they must be sent within two minutes."""
        self._now = datetime.now(UTC)
        self._ready = deque(self._made() for _ in range(count))

    def next(self) -> Shot:
        """One that was made, or a new one when there is none left."""
        return self._ready.popleft() if self._ready else self._made()

    def _made(self) -> Shot:
        ids = [check_in_id(self._now).encode() for _ in range(self._size)]
        at = self._now.isoformat().encode()
        bodies = random.choices(self._bodies, k=self._size)
        claims = [body % (i, at) for i, body in zip(ids, bodies, strict=True)]
        body = claims[0] if self._size == 1 else b'{"check_ins":[%b]}' % b",".join(claims)
        return ids, b"%b%d\r\n\r\n%b" % (next(self._heads), len(body), body)


class Line:
    """A connection that is kept, with one request under way at most."""

    __slots__ = ("_received", "due", "sent", "shot", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=STALL_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.shot: Shot | None = None
        #: when the request was due, and when it was sent
        self.due = self.sent = 0.0
        self._received = b""

    def send(self, shot: Shot, due: float) -> None:
        """Send a request that is due at this moment. Raises `OSError`."""
        self.shot, self.due, self.sent = shot, due, time.perf_counter()
        self.socket.sendall(shot[1])

    def receive(self) -> bytes | None:
        """The answer, once all of it is there. Raises `OSError`."""
        received = self.socket.recv(_RECEIVED_AT_ONCE)
        if not received:
            raise ConnectionError
        if self._received:
            received = self._received + received
        end = received.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(received, 0, end) if end > 3 else None
        if length is None or len(received) < end + int(length[1]):
            self._received = received
            return None
        self._received = b""
        return received


@dataclass(kw_only=True, slots=True)
class Turn:
    """What came of some time of sending."""

    #: check-ins, and how long it took to get all answers
    accepted: int = 0
    took_s: float = 0.0
    #: of each request that was answered well
    latencies_s: "array[float]" = field(default_factory=lambda: array("d"), repr=False)
    #: the same from when it was sent
    served_s: "array[float]" = field(default_factory=lambda: array("d"), repr=False)
    failures: Counter[str] = field(default_factory=Counter)
    #: check-ins that were refused and told when to come back
    refused: Counter[str] = field(default_factory=Counter)
    acknowledged: list[bytes] = field(default_factory=list, repr=False)
    #: sent, and never answered, or not as they should be
    unsettled: list[Shot] = field(default_factory=list, repr=False)
    #: of an open loop: the most that were due and had no connection
    most_waiting: int = 0

    @property
    def rate(self) -> float:
        """Check-ins a second."""
        return self.accepted / self.took_s if self.took_s else 0.0

    def percentile_ms(self, share: float) -> float:
        """The latency that this share of the requests did not exceed."""
        return percentile_ms(self.latencies_s, share)


def percentile_ms(seconds: "array[float]", share: float) -> float:
    """What this share of them does not exceed."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else 0.0


class Lines:
    """Connections to one server, and what is said on them."""

    def __init__(self, target: Target, size: int, connections: int) -> None:
        self._target = target
        self._status = b"HTTP/1.1 201 " if size == 1 else b"HTTP/1.1 200 "
        self.lines = [Line(target.port) for _ in range(connections)]
        #: how many wait for an answer
        self.busy = 0
        self._selector = selectors.DefaultSelector()
        for line in self.lines:
            self._selector.register(line.socket, selectors.EVENT_READ, line)

    def close(self) -> None:
        """Hang up."""
        self._selector.close()
        for line in self.lines:
            line.socket.close()

    def send(self, turn: Turn, line: Line, shot: Shot, due: float) -> None:
        """Begin a request."""
        self.busy += 1
        try:
            line.send(shot, due)
        except OSError:
            self._lose(line, turn, _CLOSED)

    def answered(self, turn: Turn, timeout: float) -> Iterator[tuple[Line, float]]:
        """The lines that got a good answer, and when, once some did or the time is over."""
        for key, _ in self._selector.select(timeout):
            line: Line = key.data
            try:
                answer = line.receive()
            except OSError:
                self._lose(line, turn, _CLOSED)
                continue
            if answer is not None:
                now = time.perf_counter()
                if self._take(turn, line, answer, now):
                    yield line, now

    def give_up(self, turn: Turn) -> None:
        """Wait for no answer any more."""
        for line in self.lines:
            if line.shot is not None:
                self._lose(line, turn, "no answer came")

    def _lose(self, line: Line, turn: Turn, why: str) -> None:
        """A line that is used no more."""
        self._selector.unregister(line.socket)
        line.socket.close()
        if line.shot is not None:
            self.busy -= 1
            turn.failures[why] += 1
            turn.unsettled.append(line.shot)
            line.shot = None

    def _take(self, turn: Turn, line: Line, answer: bytes, now: float) -> bool:
        assert line.shot is not None, "answers come to requests"
        ids = line.shot[0]
        is_good = self._is_good(ids, answer)
        if not is_good and not (self._target.may_refuse and _says_when(answer)):
            self._lose(line, turn, _told(answer))
            return False
        line.shot = None
        self.busy -= 1
        if not is_good:
            turn.refused[_told(answer)] += len(ids)
            return True
        turn.accepted += len(ids)
        turn.acknowledged += ids
        turn.latencies_s.append(now - line.due)
        turn.served_s.append(now - line.sent)
        return True

    def _is_good(self, ids: list[bytes], answer: bytes) -> bool:
        if not answer.startswith(self._status):
            return False
        at = 0
        for check_in in ids:
            at = answer.find(check_in, at)
            if at < 0:
                return False
        marker = self._target.accepted
        return not marker or answer.count(marker) == len(ids)


def _says_when(answer: bytes) -> bool:
    """Whether it refuses, and says when to come back."""
    head = answer.find(b"\r\n\r\n") + 2
    return answer.startswith(_REFUSED) and _RETRY_AFTER.search(answer, 0, head) is not None


def _told(answer: bytes) -> str:
    """What was wrong with an answer: its status, and a code of ours."""
    code = _CODE.search(answer)
    return (answer[9:12] + b" " + (code[1] if code else b"not an accepted check-in")).decode()


@contextmanager
def lines(target: Target, size: int, connections: int) -> Iterator[Lines]:
    """Connected, until the block ends."""
    opened = Lines(target, size, connections)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def _timed(opened: Lines, turn: Turn) -> Iterator[float]:
    """Without a pause of our own making; the clock stops at the last answer."""
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    try:
        yield began
    finally:
        turn.took_s = time.perf_counter() - began
        gc.enable()
        opened.give_up(turn)


def closed_loop(opened: Lines, magazine: Magazine, seconds: float) -> Turn:
    """Each line as fast as it is answered, for some seconds and until the last answer."""
    turn = Turn()
    with _timed(opened, turn) as began:
        until = began + seconds
        for line in opened.lines:
            opened.send(turn, line, magazine.next(), time.perf_counter())
        while opened.busy and time.perf_counter() < until + STALL_S:
            for line, now in opened.answered(turn, _LOOK_UP_S):
                if now < until:
                    opened.send(turn, line, magazine.next(), now)
    return turn


def open_loop(
    opened: Lines, shots: Sequence[Shot], rate: float, *, is_dropped: bool = False
) -> Turn:
    """These requests, due at a constant rate, and until the last answer.

    Dropped are those that had no connection until the last one was due; else they are sent later.
    """
    turn = Turn()
    free = deque(opened.lines)
    with _timed(opened, turn) as began:
        count = len(shots)
        until, sent, now = began + count / rate, 0, began
        while (sent < count or opened.busy) and now < until + STALL_S:
            if is_dropped and now > until:
                count = sent
            due = min(count, int((now - began) * rate) + 1)
            while sent < due and free:
                opened.send(turn, free.popleft(), shots[sent], began + sent / rate)
                sent += 1
            turn.most_waiting = max(turn.most_waiting, due - sent)
            next_due = began + sent / rate if sent < count and free else until + STALL_S
            for line, _ in opened.answered(turn, _wait_s(next_due - now)):
                free.append(line)
            now = time.perf_counter()
        turn.unsettled += [shots[number] for number in range(sent, count)]
    return turn


def _wait_s(until_due_s: float) -> float:
    return min(max(until_due_s - _SPIN_S, 0.0), _LOOK_UP_S)
