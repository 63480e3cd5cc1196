"""A run of the demo: stage, server and phones, until the end is asked for."""

import queue
import random
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from rich.console import Console

from doorstep_server.demo import board, stage
from doorstep_server.demo.admin import Admin, AdminFailed
from doorstep_server.demo.board import Heading, Screen
from doorstep_server.demo.child import Server, ServerEnded, free_port
from doorstep_server.demo.city import Place
from doorstep_server.demo.crew import (
    Pacer,
    Person,
    Round,
    TransportFactory,
    over_http,
    run_phones,
)
from doorstep_server.demo.events import Event, Told, Totals
from doorstep_server.demo.invitation import Invitation
from doorstep_server.demo.phone import Phone
from doorstep_server.settings import Settings

TECHNICIANS = frozenset({"tecnicos"})
_NAMES = ("Ana", "Bruno", "Clara", "Davi", "Elisa", "Fabio", "Gabi", "Hugo")
#: events that wait to be shown; phones wait when it is full
_WAITING = 1_000
_LOOK_EVERY_S = 0.25
_JOIN_S = 20.0


class PhoneEnded(RuntimeError):
    """A simulated phone could not go on."""


#: each says what to do next
TOLD = (ServerEnded, AdminFailed, PhoneEnded)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """How to play."""

    phones: int = 8
    seed: int = 1
    port: int = 8000
    #: end after so many answered check-ins; None: when told
    check_ins: int | None = None
    #: check-ins a second; 0: as fast as possible
    rate: float = 2.0
    transport_factory: TransportFactory = over_http


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """What a run came to."""

    totals: Totals
    home: Path

    def lines(self) -> list[str]:
        """The summary."""
        stored = ", ".join(
            f"{count} at level {level}" for level, count in sorted(self.totals.stored.items())
        )
        return [
            f"{self.totals.answers()} check-ins answered: {self.totals.text()}.",
            f"Stored: {stored or 'nothing'}.",
            f"The state is in {self.home}: delete it, or go on with `doorstep demo`.",
        ]


class Ending:
    """Takes SIGINT and SIGTERM as a wish to end, while the `with` block lasts."""

    def __init__(self) -> None:
        self._wished = False

    def wished(self) -> bool:
        """Whether somebody wants it to end."""
        return self._wished

    def __enter__(self) -> Self:
        self._before = {
            number: signal.signal(number, self._wish) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _wish(self, _: int, __: FrameType | None) -> None:
        self._wished = True


def play(settings: Settings, wanted: Wanted, console: Console) -> Played:
    """Play until somebody wants it to end, or there were enough check-ins.

    Raises `ServerEnded`, `AdminFailed`, `PhoneEnded`.
    """
    totals = Totals()
    with Ending() as ending:
        staged = stage.prepare(settings, datetime.now(UTC))
        port = free_port(wanted.port)
        with Server(settings, port) as server:
            if server.wait_ready(ending.wished):
                admin = Admin(base_url=server.base_url, api_key=staged.api_key)
                heading = Heading(docs_url=f"{server.base_url}/docs", notes=_notes(wanted, port))
                screen = board.screen(console, heading, totals)
                try:
                    _Show(wanted, server, admin, screen, totals).run(ending)
                finally:
                    screen.close()
    return Played(totals=totals, home=settings.home)


def _notes(wanted: Wanted, port: int) -> tuple[str, ...]:
    taken = wanted.port not in {0, port}
    return (f"Port {wanted.port} is taken, so it is {port}.",) if taken else ()


def make_people(admin: Admin, places: Sequence[Place], wanted: Wanted) -> list[Person]:
    """The people, known to the server, each with a code for a phone."""
    people = []
    for number in range(wanted.phones):
        groups = TECHNICIANS if number % 3 == 1 else frozenset[str]()
        subject_id = admin.subject(f"demo-person-{number + 1:02}", sorted(groups))
        rng = random.Random(f"{wanted.seed}/{number}")
        people.append(
            Person(
                number=number,
                name=_name(number),
                code=admin.code(subject_id).text,
                phone=Phone(groups=groups, places=places, rng=rng),
            )
        )
    return people


def _name(number: int) -> str:
    again, name = divmod(number, len(_NAMES))
    return f"{_NAMES[name]} {again + 1}" if again else _NAMES[name]


class _Show:
    """The phones at work and the terminal that follows them."""

    def __init__(
        self, wanted: Wanted, server: Server, admin: Admin, screen: Screen, totals: Totals
    ) -> None:
        self._wanted = wanted
        self._server = server
        self._admin = admin
        self._screen = screen
        self._totals = totals
        self._events: queue.Queue[Event] = queue.Queue(_WAITING)
        self._stop = threading.Event()

    def run(self, ending: Ending) -> None:
        """Run the phones until the end, and end them."""
        places = [Place.of(site) for site in self._admin.sites() if site["active"]]
        people = make_people(self._admin, places, self._wanted)
        invitation = Invitation(self._admin, datetime.now(UTC))
        self._screen.invite(invitation.lines())
        threads = run_phones(people, self._round(places))
        try:
            while not (ending.wished() or self._enough()):
                self._follow(invitation)
        finally:
            self._stop.set()
            self._see_off(threads)

    def _round(self, places: Sequence[Place]) -> Round:
        return Round(
            base_url=self._server.base_url,
            pacer=Pacer(self._wanted.rate, random.Random(self._wanted.seed)),
            emit=self._emit,
            stop=self._stop,
            names={place.site_id: place.name for place in places},
            transport_factory=self._wanted.transport_factory,
        )

    def _enough(self) -> bool:
        return (
            self._wanted.check_ins is not None and self._totals.answers() >= self._wanted.check_ins
        )

    def _follow(self, invitation: Invitation) -> None:
        try:
            self._take(self._events.get(timeout=_LOOK_EVERY_S))
        except queue.Empty:
            self._server.check()
        try:
            renewed = invitation.refresh(datetime.now(UTC))
        except AdminFailed:
            self._server.check()
            raise
        if renewed:
            self._screen.invite(invitation.lines())

    def _take(self, event: Event) -> None:
        if isinstance(event, Told):
            self._totals.add(event)
            self._screen.show(event)
            return
        if not self._stop.is_set():
            self._server.check()
            raise PhoneEnded(f"{event.phone}'s phone cannot go on: {event.why}")

    def _see_off(self, threads: Sequence[threading.Thread]) -> None:
        """Let the phones finish what is under way, and show that too."""
        for thread in threads:
            for _ in range(int(_JOIN_S / _LOOK_EVERY_S)):
                if not thread.is_alive():
                    break
                self._take_waiting()
                thread.join(_LOOK_EVERY_S)
        self._take_waiting()

    def _take_waiting(self) -> None:
        while not self._events.empty():
            self._take(self._events.get_nowait())

    def _emit(self, event: Event) -> None:
        """Called by the phones: they wait while too much waits to be shown."""
        self._events.put(event)
