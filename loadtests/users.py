"""Simulated devices that check in through the SDK, and an admin who changes sites."""

import json
import os
import random
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import uuid4

import gevent  # type: ignore[import-untyped]
from locust import User, between, constant, task
from locust.exception import StopUser

from doorstep import (
    ApiError,
    CheckIn,
    Client,
    Fix,
    HTTPTransport,
    NewCheckIn,
    PermissionWithdrawn,
    Request,
    Retry,
    Timeout,
    TransportError,
)
from doorstep_server.demo.admin import Admin, AdminFailed
from doorstep_server.demo.city import Place
from measured import Measured
from shapes import SHAPES

PURPOSE = "visit"
#: a file that takes the id of every check-in whose answer says that it was stored
STORED_IDS = "DOORSTEP_LOAD_STORED_IDS"
API_KEY = "DOORSTEP_LOAD_API_KEY"
#: of another tenant, who is not to notice what the first one does; by default the same
OTHER_API_KEY = "DOORSTEP_LOAD_OTHER_API_KEY"
#: far outside every site, as accuracies go
OUTSIDE_M = 5_000.0
#: what a phone's outbox sends at once, and how long a phone may have been offline
QUEUED, OFFLINE_S = 50, 8 * 3600.0
ADMIN_TIMEOUT = Timeout(connect=5.0, total=30.0)


class StoredAfterWithdrawal(Exception):
    """A check-in was taken although a withdrawal had been answered."""


class Places:
    """A tenant's sites, asked for once in each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[str, list[Place]] = {}

    def get(self, admin: Admin) -> list[Place]:
        """Those that are active and open to everyone."""
        with self._lock:
            if admin.api_key not in self._places:
                shown = [site for site in admin.sites() if site["active"] and not site["groups"]]
                self._places[admin.api_key] = [Place.of(site) for site in shown]
            return self._places[admin.api_key]


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


class Person(User):
    """Somebody with a phone that was enrolled."""

    abstract = True
    #: stands beside the requests of these users
    whose: ClassVar[str] = ""
    key_named: ClassVar[str] = API_KEY
    retry: ClassVar[Retry] = Retry()

    def on_start(self) -> None:
        """Enroll."""
        self._transport = HTTPTransport(max_connections=1)
        self._random = random.Random()
        host: str = self.host or "http://127.0.0.1:8000"
        key = os.environ.get(self.key_named) or os.environ.get(API_KEY, "")
        admin = Admin(base_url=host, api_key=key)
        try:
            self._places = PLACES.get(admin)
            code = admin.code(admin.subject(f"load-{uuid4()}")).text
        except AdminFailed as error:
            self._fail("set up", error)
            raise StopUser from None
        # a load test has no real positions, and often no certificate
        self._client = Client(
            host,
            transport=Measured(self.environment, self._transport, self._meant, self.whose),
            allow_insecure=True,
            retry=self.retry,
        )
        try:
            self._client.device.enroll(code)
            self._client.permission.report("precise")
        except (ApiError, TransportError):
            raise StopUser from None

    def on_stop(self) -> None:
        """Close the connection."""
        self._transport.close()

    @property
    def _meant(self) -> frozenset[int]:
        """Who is not to notice anything is not to be refused anything."""
        if self.whose:
            return frozenset()
        return SHAPES[self.environment.parsed_options.shape].meant

    def _check_in(self, place: Place | None, at: Fix, **more: Any) -> CheckIn | None:
        site_id = place.site_id if place else None
        try:
            answer = self._client.check_ins.create(purpose=PURPOSE, fix=at, site_id=site_id, **more)
        except (ApiError, TransportError):
            return None  # Locust was told
        ACKNOWLEDGED.note(answer)
        return answer

    def _check_in_many(self, new: Sequence[NewCheckIn]) -> None:
        try:
            results = self._client.check_ins.create_batch(new)
        except (ApiError, TransportError):
            return
        for result in results:
            if result.check_in is not None:
                ACKNOWLEDGED.note(result.check_in)
            elif getattr(result.error, "status", 0) not in self._meant:
                self._fail("batch item", result.error)

    def _fail(self, name: str, error: Exception | None) -> None:
        self.environment.events.request.fire(
            request_type="", name=name, response_time=0, response_length=0, exception=error
        )


class Device(Person):
    """Checks in every now and then, mostly where it should."""

    wait_time = between(0.05, 0.25)

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


class OfflineDevice(Person):
    """Was offline, and sends all that it queued; sometimes twice, as if no answer had come."""

    wait_time = between(0.5, 2.0)

    @task
    def flush(self) -> None:
        """What somebody did on a day without a network."""
        now, epoch = datetime.now(UTC), 0
        queued = []
        for number in range(QUEUED):
            place = self._random.choice(self._places)
            ago = timedelta(seconds=OFFLINE_S * (QUEUED - number) / QUEUED)
            at = fix(place, captured_at=now - ago)
            queued.append(
                NewCheckIn(purpose=PURPOSE, fix=at, site_id=place.site_id, permission_epoch=epoch)
            )
        finished(lambda: self._check_in_many(queued))
        if self._random.random() < 0.2:
            finished(lambda: self._check_in_many(queued))


class WithdrawingDevice(Person):
    """Withdraws its permission, tries all the same, and gives it again."""

    wait_time = between(0.05, 0.25)
    retry = Retry(attempts=1)

    @task
    def withdraw(self) -> None:
        """What was queued before is never taken, not even when permission is given again."""
        finished(self._withdraw)

    def _withdraw(self) -> None:
        place = self._random.choice(self._places)
        self._check_in(place, fix(place))
        queued = NewCheckIn(purpose=PURPOSE, fix=fix(place), permission_epoch=self._epoch())
        try:
            self._client.permission.report("denied")
        except (ApiError, TransportError):
            return
        self._refused(NewCheckIn(purpose=PURPOSE, fix=fix(place)))
        self._refused(queued)
        try:
            self._client.permission.report("precise")
        except (ApiError, TransportError):
            return
        self._refused(queued)

    def _epoch(self) -> int:
        try:
            return self._client.device.status().permission_epoch
        except (ApiError, TransportError):
            return 0

    def _refused(self, new: NewCheckIn) -> None:
        try:
            self._client.check_ins.create(
                purpose=PURPOSE, fix=new.fix, id=new.id, permission_epoch=new.permission_epoch
            )
        except PermissionWithdrawn:
            return
        except (ApiError, TransportError):
            return  # Locust was told
        self._fail("after a withdrawal", StoredAfterWithdrawal())


class FloodingDevice(Person):
    """An app gone wrong: one device that sends as fast as it is answered, and never waits."""

    fixed_count = 1
    wait_time = constant(0)
    retry = Retry(attempts=1)

    @task
    def flood(self) -> None:
        """Again, and again."""
        place = self._random.choice(self._places)
        finished(lambda: self._check_in(place, fix(place)))


class QuietDevice(Person):
    """A device of another tenant, which is not to notice that one floods."""

    wait_time = between(1.0, 3.0)
    whose = "quiet"
    key_named = OTHER_API_KEY

    @task
    def claim(self) -> None:
        """At a site, which is claimed."""
        place = self._random.choice(self._places)
        finished(lambda: self._check_in(place, fix(place), action="in"))


class SiteAdmin(User):
    """Makes sites and changes them: each change makes every process read it."""

    fixed_count = 1
    wait_time = between(0.2, 0.8)

    def on_start(self) -> None:
        """Connect."""
        self._transport = HTTPTransport(max_connections=1)
        self._measured = Measured(self.environment, self._transport, frozenset())
        self._site: dict[str, Any] | None = None

    def on_stop(self) -> None:
        """Hang up."""
        self._transport.close()

    @task
    def change(self) -> None:
        """A new site first, far from where anybody checks in; then its next versions."""
        finished(self._change)

    def _change(self) -> None:
        site = self._site or {"name": f"Churn {uuid4()}", "timezone": "UTC"}
        center = [round(random.uniform(-30.0, -20.0), 4), round(random.uniform(0.0, 10.0), 4)]
        body = {name: site[name] for name in ("name", "timezone", "version") if name in site}
        body["geofence"] = {"type": "Circle", "center": center, "radius_m": 80}
        way = ("POST", "/v1/sites") if self._site is None else ("PUT", f"/v1/sites/{site['id']}")
        answer = self._ask(*way, body)
        self._site = answer or self._site

    def _ask(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        headers = {
            "Authorization": f"Bearer {os.environ.get(API_KEY, '')}",
            "Content-Type": "application/json",
        }
        host = (self.host or "http://127.0.0.1:8000").rstrip("/")
        request = Request(
            method=method, url=host + path, headers=headers, body=json.dumps(body).encode()
        )
        try:
            response = self._measured.send(request, timeout=ADMIN_TIMEOUT)
        except TransportError:
            return None
        found: dict[str, Any] | None = json.loads(response.body) if response.status < 300 else None
        return found


def finished(call: Callable[[], Any]) -> None:
    """Do it, and finish it even if Locust ends this user meanwhile: its answer has to be counted.

    `--stop-timeout` does not suffice: a user that wakes up as it is stopped is killed in its task.
    """
    working = gevent.spawn(call)
    try:
        working.get()
    except gevent.GreenletExit:
        working.join()
        raise


def fix(place: Place, *, off_m: float = 0.0, captured_at: datetime | None = None) -> Fix:
    """A good position in the middle of a site, or so far from it."""
    spot = place.middle().moved(0.0, off_m)
    if captured_at is None:
        return Fix.now(lat=spot.lat, lon=spot.lon, accuracy_m=6.0, source="gps")
    return Fix(lat=spot.lat, lon=spot.lon, accuracy_m=6.0, source="gps", captured_at=captured_at)
