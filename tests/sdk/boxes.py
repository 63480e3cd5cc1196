"""Outboxes, sessions and phones for tests: real files, a clock that is set by hand."""

# ruff: noqa: ASYNC109 (names that are not ours)

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from doorstep import (
    AsyncClient,
    Client,
    ConnectFailed,
    Fix,
    NewCheckIn,
    Outbox,
    Request,
    Response,
    Session,
    Unsealable,
)
from doorstep._clock import System
from doorstep._known import Who, token_mark
from doorstep._location import Unavailable
from doorstep._outbox import Batch
from sdk.scripted import ACCEPTED, LAT, LON, NOON, REPORTED, STATUS, TOKEN, answer

URL = "https://doorstep.test"
HOUR_S = 3600.0
#: what `kill -9` leaves is the same in memory, and there it is fast
_MEMORY = Path("/dev/shm")


def fast_folder() -> Path:
    return _MEMORY if _MEMORY.is_dir() else Path(gettempdir())


class Phone:
    """A phone's clocks: the wall's, the one that nobody sets, and its boots."""

    def __init__(self) -> None:
        self.wall = NOON
        self.elapsed_s = 5000.0
        self.boots = 1

    def system(self) -> System:
        return System(
            wall=lambda: self.wall,
            monotonic=lambda: self.elapsed_s,
            elapsed=lambda: self.elapsed_s,
            chance=lambda: 0.5,
            entropy=lambda count: b"\x11" * count,
            boot=lambda: f"boot-{self.boots}",
        )

    def wait(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.elapsed_s += seconds

    def set_wall(self, wall: datetime) -> None:
        self.wall = wall

    def reboot(self, after_s: float = 60.0) -> None:
        self.wall += timedelta(seconds=after_s)
        self.elapsed_s = 20.0
        self.boots += 1

    def fix(self, **changes: Any) -> Fix:
        taken = {"captured_at": self.wall, "elapsed_s": self.elapsed_s, "accuracy_m": 8.5}
        return Fix(**{"lat": LAT, "lon": LON, **taken, **changes})

    def new(self, **changes: Any) -> NewCheckIn:
        return NewCheckIn(**{"purpose": "visit", "fix": self.fix(), **changes})

    def outbox(self, path: Path, **options: Any) -> Outbox:
        system = self.system()

        class OfPhone(Outbox):
            _system = system

        return OfPhone(path, **options)

    @contextmanager
    def opened(self, path: Path, **options: Any) -> Iterator[Outbox]:
        with self.outbox(path, **options) as outbox:
            yield outbox


def a_person(name: str = "ann", **changes: Any) -> Who:
    return Who(
        **{
            "base_url": URL,
            "mark": token_mark(f"dst_{name}"),
            "former_mark": None,
            "device_id": f"device-of-{name}",
            "subject_id": name,
            "epoch": 0,
            "sequence": 0,
            **changes,
        }
    )


ANN = a_person()


def permit(outbox: Outbox, who: Who = ANN, state: Any = "precise") -> None:
    """The platform permits, and the server has heard of it."""
    outbox.note_permission(who, state)
    report = outbox.next_up(who, state)
    outbox.reported(who, report.number)


def put(outbox: Outbox, new: NewCheckIn, who: Who = ANN, permission: Any = "precise") -> str:
    outbox.put(who, new, permission=permission, epoch=outbox.identity(who).epoch)
    return new.id


def waiting_ids(outbox: Outbox, who: Who = ANN, state: Any = "precise") -> list[str]:
    up = outbox.next_up(who, state)
    return [row.id for row in up.rows] if isinstance(up, Batch) else []


#: a place as it stands in a claim: any of these bytes would tell it
PLACE = (str(LAT).encode(), str(LON).encode())


def bytes_of(path: Path) -> bytes:
    """Everything that is on the disk around an outbox's file."""
    return b"".join(one.read_bytes() for one in path.parent.iterdir() if one.is_file())


def holds_place(path: Path, place: tuple[bytes, ...] = PLACE) -> bool:
    everything = bytes_of(path)
    return any(digits in everything for digits in place)


class Provider:
    """A phone's location, as the test says: a fixed place, where the phone is, or none."""

    def __init__(self, place: Phone | Fix | None = None, state: Any = "precise") -> None:
        self.place = place
        self.state = state

    async def permission(self) -> Any:
        return self.state

    async def request_permission(self) -> Any:
        return self.state

    async def current(self, *, max_age_s: float, timeout_s: float) -> Fix:
        if self.place is None:
            raise Unavailable
        return self.place if isinstance(self.place, Fix) else self.place.fix()

    async def watch(self) -> AsyncIterator[Fix]:
        yield await self.current(max_age_s=10, timeout_s=10)


class Keystore:
    """Not a cipher: enough to see that what is written went through it, and comes back."""

    def __init__(self) -> None:
        self.fails: Exception | None = None

    def seal(self, plain: bytes, aad: bytes) -> bytes:
        if self.fails:
            raise self.fails
        return aad + b"|" + bytes(byte ^ 0x5A for byte in plain)

    def open(self, sealed: bytes, aad: bytes) -> bytes:
        if self.fails:
            raise self.fails
        said, _, hidden = sealed.partition(b"|")
        if said != aad:
            raise Unsealable
        return bytes(byte ^ 0x5A for byte in hidden)


Says = Callable[[dict[str, Any]], dict[str, Any]]


def accepted(item: dict[str, Any]) -> dict[str, Any]:
    return {**ACCEPTED, "id": item["id"], "status": 201, "replayed": False}


def refused(status: int, code: str) -> Says:
    return lambda item: {"id": item["id"], "status": status, "code": code}


class Server:
    """Answers like Doorstep, until a test says otherwise. It keeps what it was sent."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.says: Says = accepted
        #: each is asked once, before `says`: an answer or an error for a whole request
        self.next: list[Response | Exception | Callable[[Request], Awaitable[Response]]] = []
        #: whether there is a network
        self.reaches = True
        self.sequence = self.epoch = 0

    async def send(self, request: Request, *, timeout: Any) -> Response:
        self.requests.append(request)
        await asyncio.sleep(0)
        if not self.reaches:
            raise ConnectFailed
        if self.next:
            step = self.next.pop(0)
            if isinstance(step, Exception):
                raise step
            return step if isinstance(step, Response) else await step(request)
        return self.answer(request)

    def answer(self, request: Request) -> Response:
        path = request.url.partition("/v1/")[2]
        if path == "device":
            numbers = {"permission_sequence": self.sequence, "permission_epoch": self.epoch}
            return answer({**STATUS, **numbers}, 200)
        if path == "device/permission":
            return self._take_report(json.loads(request.body or b""))
        items = json.loads(request.body or b"")["check_ins"]
        results = [{"index": n, **self.says(item)} for n, item in enumerate(items)]
        return answer({"results": results}, 200)

    def _take_report(self, report: dict[str, Any]) -> Response:
        self.sequence = max(self.sequence, report["sequence"])
        if report["state"] in {"denied", "restricted", "services_off"}:
            self.epoch = max(self.epoch, report["sequence"])
        return answer({**REPORTED, "permission_epoch": self.epoch}, 200)

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [json.loads(one.body or b"null") for one in self.requests if one.url.endswith(path)]

    @property
    def batches(self) -> list[list[dict[str, Any]]]:
        return [body["check_ins"] for body in self.bodies("/batch")]

    @property
    def sent_ids(self) -> list[str]:
        return [item["id"] for batch in self.batches for item in batch]

    @property
    def reports(self) -> list[tuple[str, int]]:
        return [(body["state"], body["sequence"]) for body in self.bodies("/permission")]


class Blocking:
    """The same server for a blocking client."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def send(self, request: Request, *, timeout: Any) -> Response:
        return asyncio.run(self._server.send(request, timeout=timeout))


def client_of(phone: Phone, server: Server, *, blocking: bool = False, **options: Any) -> Any:
    system = phone.system()
    options = {
        "token": TOKEN,
        "permission_epoch": 0,
        "permission_sequence": 0,
        **options,
    }
    kind: Any = Client if blocking else AsyncClient
    of_phone = type("OfPhone", (kind,), {"_system": system})
    return of_phone(URL, transport=Blocking(server) if blocking else server, **options)


class App:
    """A session on a phone, with all that belongs to it."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.phone: Phone = options.pop("phone", None) or Phone()
        self.server: Server = options.pop("server", None) or Server()
        self.provider = Provider(self.phone, options.pop("state", "precise"))
        self.losses: list[tuple[str, int]] = []
        self.client_is_blocking = options.pop("blocking", False)
        self._client_options = options.pop("client", {})
        self._outbox_options = options

    def session(self) -> Session:
        self.client = client_of(
            self.phone, self.server, blocking=self.client_is_blocking, **self._client_options
        )
        self.outbox = self.phone.outbox(
            self.path,
            on_loss=lambda reason, count: self.losses.append((reason, count)),
            **self._outbox_options,
        )
        return Session(self.client, outbox=self.outbox, provider=self.provider)
