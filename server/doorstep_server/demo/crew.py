"""Phones in threads: each lives its simulated day and checks in through the public SDK."""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from doorstep import (
    ApiError,
    CheckIn,
    Client,
    DeviceInfo,
    DoorstepError,
    Fix,
    HTTPTransport,
    NewCheckIn,
    Transport,
    TransportError,
)
from doorstep_server.demo.events import Ended, Event, Told, refused, told
from doorstep_server.demo.phone import Attempt, Keep, Phone, Report, Send, SendKept, Step

PURPOSE = "visit"

#: what a phone sends its requests with; tests wrap it to see what was submitted
TransportFactory = Callable[[str], Transport]
Emit = Callable[[Event], None]


def over_http(_: str) -> Transport:
    """The SDK's own transport."""
    return HTTPTransport()


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Who carries a phone, and the code to enroll it with."""

    number: int
    name: str
    code: str = field(repr=False)
    phone: Phone = field(repr=False)


class Pacer:
    """Spreads check-ins over time: `rate` a second for all phones together; 0 is no limit."""

    def __init__(self, rate: float, rng: random.Random) -> None:
        self._rate = rate
        self._rng = rng
        self._next = time.monotonic()
        self._lock = threading.Lock()

    def wait_turn(self, check_ins: int, stop: threading.Event) -> None:
        """Wait until so many check-ins may be made, or for the end."""
        if self._rate <= 0:
            return
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + check_ins / self._rate * self._rng.uniform(0.6, 1.4)
        stop.wait(turn - time.monotonic())


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """What all phones share."""

    base_url: str
    pacer: Pacer
    emit: Emit
    stop: threading.Event
    #: the sites' names by their ids
    names: Mapping[str, str]
    transport_factory: TransportFactory = over_http


def run_phones(people: Sequence[Person], around: Round) -> list[threading.Thread]:
    """Start every phone in a thread of its own; they end soon after `around.stop` is set."""
    threads = [
        threading.Thread(target=_live, args=(person, around), name=person.name, daemon=True)
        for person in people
    ]
    for thread in threads:
        thread.start()
    return threads


def _live(person: Person, around: Round) -> None:
    transport = around.transport_factory(person.name)
    try:
        _Installation(person, around, transport).live()
    except DoorstepError as error:
        if not around.stop.is_set():
            around.emit(Ended(phone=person.name, why=str(error)))
    except BaseException as error:
        around.emit(Ended(phone=person.name, why=f"unexpected {type(error).__name__}"))
        raise
    finally:
        if isinstance(transport, HTTPTransport):
            transport.close()


class _Installation:
    """The app on one phone."""

    def __init__(self, person: Person, around: Round, transport: Transport) -> None:
        self._person = person
        self._around = around
        self._client = Client(around.base_url, transport=transport)
        self._kept: list[tuple[Attempt, NewCheckIn]] = []
        self._epoch = 0

    def live(self) -> None:
        enrollment = self._client.device.enroll(
            self._person.code,
            installation_id=f"demo-installation-{self._person.number:04}",
            device=DeviceInfo(platform="android", os_version="16", model="Simulated phone"),
        )
        self._epoch = enrollment.permission_epoch
        self._client.permission.report("precise")
        while not self._around.stop.is_set():
            episode = self._person.phone.next()
            self._around.pacer.wait_turn(episode.check_ins(), self._around.stop)
            for step in episode.steps:
                if self._around.stop.is_set():
                    return
                self._do(step)

    def _do(self, step: Step) -> None:
        match step:
            case Report(state):
                status = self._client.permission.report(state)
                self._epoch = status.permission_epoch
                self._emit(Told(phone=self._person.name, claimed=f"permission: {state}"))
            case Keep(attempt):
                # it carries the epoch of its capture, however late it is sent
                self._kept.append((attempt, self._new(attempt)))
            case Send(attempt, answer_lost):
                self._send(attempt, answer_lost=answer_lost)
            case SendKept():
                self._send_kept()

    def _send(self, attempt: Attempt, *, answer_lost: bool) -> None:
        new = self._new(attempt)
        try:
            answer = self._create(new)
            if answer_lost:
                answer = self._create(new)
        except (ApiError, TransportError) as error:
            self._emit(refused(self._person.name, attempt, error))
            return
        self._emit(self._told(attempt, answer))

    def _create(self, new: NewCheckIn) -> CheckIn:
        return self._client.check_ins.create(
            purpose=new.purpose,
            fix=new.fix,
            site_id=new.site_id,
            action=new.action,
            id=new.id,
            permission_epoch=new.permission_epoch,
        )

    def _send_kept(self) -> None:
        kept, self._kept = self._kept, []
        try:
            results = self._client.check_ins.create_batch([new for _, new in kept])
        except TransportError as error:
            for attempt, _ in kept:
                self._emit(refused(self._person.name, attempt, error, kept=True))
            return
        for (attempt, _), result in zip(kept, results, strict=True):
            if result.check_in is not None:
                self._emit(self._told(attempt, result.check_in, kept=True))
            elif result.error is not None:
                self._emit(refused(self._person.name, attempt, result.error, kept=True))

    def _new(self, attempt: Attempt) -> NewCheckIn:
        return NewCheckIn(
            purpose=PURPOSE,
            fix=_fix(attempt),
            site_id=attempt.claimed.site_id if attempt.claimed else None,
            action=attempt.action,
            permission_epoch=self._epoch,
        )

    def _told(self, attempt: Attempt, answer: CheckIn, *, kept: bool = False) -> Told:
        found = self._around.names.get(answer.site_id or "", "")
        return told(self._person.name, attempt, answer, found, kept=kept)

    def _emit(self, event: Event) -> None:
        self._around.emit(event)


def _fix(attempt: Attempt) -> Fix:
    return Fix(
        lat=attempt.fix.lat,
        lon=attempt.fix.lon,
        accuracy_m=attempt.accuracy_m,
        captured_at=datetime.now(UTC) - timedelta(seconds=attempt.age_s),
        mocked=attempt.mocked,
        source=attempt.source,
    )
