"""What `rates.py` compares: an empty Litestar handler and two deployments, each in a process.

As a program it is the empty handler.
"""

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import uvicorn
from litestar import Litestar, get, post
from sqlalchemy import select, text

from doorstep_geofences import Geofence
from doorstep_server import credentials, deployment
from doorstep_server.check_ins.claim import Claim
from doorstep_server.credentials import Kind
from doorstep_server.demo.child import HOST, ServerEnded, free_port
from doorstep_server.keyring import KnownSubject
from doorstep_server.privacy.permission import Permission, State, after_report
from doorstep_server.privacy.personal import (
    DeviceDetails,
    SubjectDetails,
    seal_device_details,
    seal_subject_details,
)
from doorstep_server.settings import PREFIX, Settings
from doorstep_server.store import Connection, devices, sites, subjects, tenants
from doorstep_server.store.devices import Device, Token
from doorstep_server.store.reach import NOTHING, Reach
from doorstep_server.store.schema import check_ins
from doorstep_server.store.sites import SiteContent, StoredSite
from doorstep_server.store.subjects import StoredSubject
from doorstep_server.store.tenants import Tenant

EMPTY, SQLITE, POSTGRESQL = "empty handler", "SQLite", "PostgreSQL"
_READY_S = _STOP_S = 60


# --- the empty handler ---------------------------------------------------------------------------


class Claims(msgspec.Struct):
    """A batch as Doorstep takes it, but decoded in one go."""

    check_ins: list[Claim]


class Answer(msgspec.Struct):
    """What the empty handler answers, and what is read of every answer."""

    id: str
    outcome: str = ""
    status: int = 201


class Answers(msgspec.Struct):
    """The same of a batch."""

    results: list[Answer]


@post("/v1/check-ins")
async def take_one(data: Claim) -> Answer:
    """Do nothing."""
    return Answer(str(data.id), "accepted")


@post("/v1/check-ins/batch", status_code=200)
async def take_many(data: Claims) -> Answers:
    """Do nothing, a hundred times."""
    return Answers([Answer(str(claim.id), "accepted") for claim in data.check_ins])


@get("/health/ready")
async def ready() -> None:
    """Where Doorstep has it."""


def serve_empty(port: int) -> None:
    """What `doorstep serve` tells uvicorn, which chooses uvloop and httptools then."""
    app = Litestar([take_one, take_many, ready], openapi_config=None, logging_config=None)
    uvicorn.run(
        app,
        host=HOST,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )


# --- servers -------------------------------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class Contender:
    """A server to compare, and what it answered."""

    name: str
    port: int
    pid: int
    #: whose devices check in
    deployed: "Deployed"
    database_pid: int | None = None
    acknowledged: list[str] = field(default_factory=list, repr=False)
    failures: list[str] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class Deployed:
    """A deployment with a tenant that has sites and people with devices."""

    settings: Settings
    #: PostgreSQL's first process, if it is ours
    database_pid: int | None = None
    tenant: Tenant = field(default_factory=lambda: deployment.new_tenant("Rates"))
    tokens: list[str] = field(default_factory=list, repr=False)
    #: with a place for an id and a time
    bodies: list[bytes] = field(default_factory=list, repr=False)

    def furnish(self, people: int, places: int) -> None:
        """Make all of it in a database that must be empty."""
        now = datetime.now(UTC)
        if deployment.initialize(self.settings, now, tenant=self.tenant) is None:
            sys.exit("The database is not empty: name one that was made for this.")
        opened, keyring = deployment.open_deployment(self.settings)
        keys = keyring.tenant(self.tenant.tenant_id, now.date())
        known = [
            keyring.subject_named(keys, self.tenant.tenant_id, f"person-{number}")
            for number in range(people)
        ]
        generation = keyring.head().generation

        def fill(connection: Connection) -> None:
            tenants.note_keyring(connection, generation)
            for person in known:
                self._add_person(connection, keyring.pepper(), person, now)
            for number in range(places):
                self._add_site(connection, number, now)

        with deployment.closed_after(opened) as database:
            database.write_now(Reach.of(self.tenant.tenant_id), fill)

    def _add_person(
        self, connection: Connection, pepper: bytes, person: KnownSubject, now: datetime
    ) -> None:
        tenant_id, device_id = self.tenant.tenant_id, uuid4()
        sealed = seal_subject_details(person.keys, person.subject_id, SubjectDetails())
        new = StoredSubject(subject_id=person.subject_id, sealed=sealed)
        subjects.get_or_add(connection, tenant_id, new)
        details = DeviceDetails(
            platform="android",
            os_major="15",
            model="Phone",
            permission=after_report(Permission(), State.PRECISE, 1, now),
        )
        device = Device(
            device_id=device_id,
            subject_id=person.subject_id,
            installation_label=os.urandom(32),
            sealed=seal_device_details(person.keys, device_id, details),
            revoked=False,
        )
        devices.add(connection, tenant_id, device)
        credential = credentials.new_credential(Kind.DEVICE_TOKEN, self.tenant.handle)
        token = Token(
            kid=credential.kid,
            secret_hash=credentials.secret_hash(pepper, credential),
            fresh=False,
            device_id=device_id,
            subject_id=person.subject_id,
        )
        devices.add_token(connection, tenant_id, token)
        self.tokens.append(credential.text())

    def _add_site(self, connection: Connection, number: int, now: datetime) -> None:
        """A circle somewhere at sea, apart from the others; devices stand in its middle."""
        lat, lon = -30 + number // 100 * 0.01, -20 + number % 100 * 0.01
        content = SiteContent(
            name=f"Site {number}",
            external_id=None,
            geofence=Geofence.circle(lon, lat, 150.0),
            tolerance_m=0.0,
            assurance="standard",
            max_accuracy_m=100.0,
            timezone="UTC",
            purposes=[],
            groups=[],
            active=True,
        )
        site = StoredSite(site_id=uuid4(), version=1, valid_from=now, content=content)
        sites.add(connection, self.tenant.tenant_id, site)
        fix = '{"lat":%.2f,"lon":%.2f,"accuracy_m":8.0,"source":"gps","captured_at":"%%b"}'
        body = '{"id":"%%b","purpose":"visit","site_id":"%s","fix":' + fix + "}"
        self.bodies.append((body % (site.site_id, lat, lon)).encode())

    def rows(self) -> list[UUID]:
        """The ids of all that is stored; read after its server has stopped."""
        tenant_id = self.tenant.tenant_id
        query = select(check_ins.c.id).where(check_ins.c.tenant_id == tenant_id)
        with deployment.closed_after(deployment.database(self.settings)) as database:
            found = database.read_now(Reach.of(tenant_id), lambda c: c.scalars(query).all())
            return list(found)

    def shown(self, setting: str) -> str:
        """A setting of PostgreSQL's."""
        with deployment.closed_after(deployment.database(self.settings)) as database:
            return str(database.read_now(NOTHING, lambda c: c.scalar(text(f"SHOW {setting}"))))


@contextmanager
def started(name: str, deployed: Deployed, folder: Path) -> Iterator[Contender]:
    """A server in its process, once it is ready. No setting of ours is told to it."""
    port = free_port(0)
    serve = ["-m", "doorstep_server", "--home", str(deployed.settings.home), "serve"]
    command = [*serve, "--host", HOST, "--port", str(port)]
    if name == EMPTY:
        command = [__file__, str(port)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
    # few devices send what many would
    environment[PREFIX + "DEVICE_AT_ONCE"] = "0"
    if deployed.settings.database_url:
        environment[PREFIX + "DATABASE_URL"] = deployed.settings.database_url
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 (our own command)
            [sys.executable, *command], stdout=out, stderr=out, env=environment, process_group=0
        )
    try:
        deadline = time.monotonic() + _READY_S
        while not _is_ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerEnded(f"A server does not come up:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        database_pid = None if name == EMPTY else deployed.database_pid
        yield Contender(
            name=name, port=port, pid=process.pid, deployed=deployed, database_pid=database_pid
        )
    finally:
        process.terminate()
        process.wait(_STOP_S)


def _is_ready(port: int) -> bool:
    with closing(http.client.HTTPConnection(HOST, port, timeout=5.0)) as connection:
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False


if __name__ == "__main__":
    serve_empty(int(sys.argv[1]))
