"""Simulated devices that check in through the SDK, under Locust.

    DOORSTEP_LOAD_API_KEY=dsk_… locust -f loadtests/locustfile.py --host http://127.0.0.1:8000

Each user enrolls a device of its own, and then checks in at the tenant's sites. The key needs the
scopes `sites:read` and `subjects:write`. Use a tenant made for this: people, devices and check-ins
remain in it.
"""

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import gevent  # type: ignore[import-untyped]
from locust import User, between, task
from locust.env import Environment
from locust.exception import StopUser

from doorstep import (
    ApiError,
    CheckIn,
    Client,
    Fix,
    HTTPTransport,
    NewCheckIn,
    Request,
    Response,
    Timeout,
    Transport,
    TransportError,
)
from doorstep_server.demo.admin import Admin, AdminFailed
from doorstep_server.demo.city import Place

PURPOSE = "visit"
#: a file that takes the id of every check-in whose answer says that it was stored
STORED_IDS = "DOORSTEP_LOAD_STORED_IDS"
API_KEY = "DOORSTEP_LOAD_API_KEY"
ROUTES = frozenset(
    {
        "/v1/enrollments",
        "/v1/device",
        "/v1/device/permission",
        "/v1/check-ins",
        "/v1/check-ins/batch",
    }
)
#: far outside every site, as accuracies go
OUTSIDE_M = 5_000.0


class StatusFailed(Exception):
    """The server answered with a status that no user here should see."""


class Measured:
    """A transport that tells Locust about every request by its route: no id, no query, no body."""

    def __init__(self, environment: Environment, transport: Transport) -> None:
        self._environment = environment
        self._transport = transport

    def send(self, request: Request, *, timeout: Timeout) -> Response:
        """Send, and tell."""
        began = time.perf_counter()
        try:
            response = self._transport.send(request, timeout=timeout)
        except TransportError as error:
            self._tell(request, began, 0, error)
            raise
        failed = StatusFailed(str(response.status)) if response.status >= 400 else None
        self._tell(request, began, len(response.body), failed)
        return response

    def _tell(self, request: Request, began: float, length: int, error: Exception | None) -> None:
        self._environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type=request.method,
            name=route(request.url),
            response_time=(time.perf_counter() - began) * 1000,
            response_length=length,
            exception=error,
            context={},
        )


def route(url: str) -> str:
    """The route of a request: one of a fixed few."""
    path = "/" + url.partition("://")[2].partition("/")[2].partition("?")[0]
    return path if path in ROUTES else "other"


class Places:
    """The tenant's sites, asked for once in each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: list[Place] = []

    def get(self, admin: Admin) -> list[Place]:
        """Those that are active and open to everyone."""
        with self._lock:
            if not self._places:
                shown = [site for site in admin.sites() if site["active"] and not site["groups"]]
                self._places = [Place.of(site) for site in shown]
            return self._places


class Acknowledged:
    """Writes down what the server says it stored. Whole lines, also from several processes."""

    def __init__(self, path: str | None) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._file = os.open(path, flags, 0o600) if path else None

    def note(self, answer: CheckIn) -> None:
        """Note an answer."""
        if self._file is not None and answer.stored.level != "none":
            os.write(self._file, f"{answer.id}\n".encode())


PLACES = Places()
ACKNOWLEDGED = Acknowledged(os.environ.get(STORED_IDS))


class Device(User):
    """A device that checks in every now and then, mostly where it should."""

    wait_time = between(0.05, 0.25)

    def on_start(self) -> None:
        """Enroll."""
        self._transport = HTTPTransport(max_connections=1)
        self._random = random.Random()
        host: str = self.host or "http://127.0.0.1:8000"
        admin = Admin(base_url=host, api_key=os.environ.get(API_KEY, ""))
        try:
            self._places = PLACES.get(admin)
            code = admin.code(admin.subject(f"load-{uuid4()}")).text
        except AdminFailed as error:
            self._fail("set up", error)
            raise StopUser from None
        # a load test has no real positions, and often no certificate
        self._client = Client(
            host, transport=Measured(self.environment, self._transport), allow_insecure=True
        )
        try:
            self._client.device.enroll(code)
            self._client.permission.report("precise")
        except (ApiError, TransportError):
            raise StopUser from None

    def on_stop(self) -> None:
        """Close the connection."""
        self._transport.close()

    @task(75)
    def claim(self) -> None:
        """At a site, which is claimed."""
        place = self._random.choice(self._places)
        finished(lambda: self._check_in(place, fix(place), action="in"))

    @task(12)
    def search(self) -> None:
        """At a site, which is not named."""
        place = self._random.choice(self._places)
        finished(lambda: self._check_in(None, fix(place)))

    @task(8)
    def outside(self) -> None:
        """At no site, claiming one."""
        place = self._random.choice(self._places)
        finished(lambda: self._check_in(place, fix(place, off_m=OUTSIDE_M)))

    @task(5)
    def batch(self) -> None:
        """A few at once."""
        places = self._random.sample(self._places, k=min(4, len(self._places)))
        new = [NewCheckIn(purpose=PURPOSE, fix=fix(p), site_id=p.site_id) for p in places]
        finished(lambda: self._check_in_many(new))

    def _check_in_many(self, new: list[NewCheckIn]) -> None:
        try:
            results = self._client.check_ins.create_batch(new)
        except (ApiError, TransportError):
            return
        for result in results:
            if result.check_in is not None:
                ACKNOWLEDGED.note(result.check_in)
            else:
                self._fail("batch item", result.error)

    def _check_in(self, place: Place | None, at: Fix, *, action: Any = None) -> None:
        site_id = place.site_id if place else None
        try:
            answer = self._client.check_ins.create(
                purpose=PURPOSE, fix=at, site_id=site_id, action=action
            )
        except (ApiError, TransportError):
            return  # Locust was told
        ACKNOWLEDGED.note(answer)

    def _fail(self, name: str, error: Exception | None) -> None:
        self.environment.events.request.fire(
            request_type="", name=name, response_time=0, response_length=0, exception=error
        )


def finished(call: Callable[[], None]) -> None:
    """Do it, and finish it even if Locust ends this user meanwhile: its answer has to be counted.

    `--stop-timeout` does not suffice: a user that wakes up as it is stopped is killed in its task.
    """
    working = gevent.spawn(call)
    try:
        working.get()
    except gevent.GreenletExit:
        working.join()
        raise


def fix(place: Place, *, off_m: float = 0.0) -> Fix:
    """A good position in the middle of a site, or so far from it."""
    spot = place.middle().moved(0.0, off_m)
    return Fix.now(lat=spot.lat, lon=spot.lon, accuracy_m=6.0, source="gps")
