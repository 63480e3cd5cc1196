"""A small world for tests: a deployment on a real database, its API in this process, people."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
from litestar import Litestar
from litestar.testing import TestClient
from sqlalchemy import delete

import postgres
from doorstep_server import deployment
from doorstep_server.app import build_app, follow_changes, make_services
from doorstep_server.deployment import NewTenant
from doorstep_server.privacy.keys import SubjectKeys, TenantKeys
from doorstep_server.privacy.personal import DeviceDetails, unseal_device_details
from doorstep_server.services import Services
from doorstep_server.settings import Settings
from doorstep_server.store import Connection, devices
from doorstep_server.store.database import Database
from doorstep_server.store.opening import database_at
from doorstep_server.store.reach import OWNER, Reach
from doorstep_server.store.schema import metadata

T = TypeVar("T")

#: the kinds of database that everything runs on
DATABASES = ("sqlite", "postgresql")

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)

#: a square of about 200 m around a point in São Paulo
SQUARE = {
    "type": "Polygon",
    "coordinates": [
        [
            [-46.6560, -23.5620],
            [-46.6540, -23.5620],
            [-46.6540, -23.5600],
            [-46.6560, -23.5600],
            [-46.6560, -23.5620],
        ]
    ],
}
INSIDE = {"lat": -23.561, "lon": -46.655}
FAR_OUTSIDE = {"lat": -23.6, "lon": -46.7}


@dataclass
class Clock:
    """Time that moves when a test says so."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **parts: float) -> None:
        self.now += timedelta(**parts)


Described = list[tuple[re.Pattern[str], dict[str, Any]]]
_described: Described = []


def described(app: Litestar) -> Described:
    """Our OpenAPI, made once: a pattern for each path, with what its methods may answer."""
    if not _described:
        for path, methods in app.openapi_schema.to_schema()["paths"].items():
            _described.append((re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), methods))
    return _described


def assert_documented(app: Litestar, method: str, path: str, answer: httpx.Response) -> None:
    """Every answer that any test sees is one that the API describes for its route."""
    bare = path.partition("?")[0]
    for pattern, methods in described(app):
        operation = methods.get(method.lower())
        if pattern.fullmatch(bare) and operation is not None:
            response = operation["responses"].get(str(answer.status_code))
            assert response is not None, f"{method} {bare}: {answer.status_code} is not described"
            if answer.status_code >= 400:
                code = answer.json()["code"]
                assert f"`{code}`" in response["description"], f"{method} {bare}: {code}"
            return


@dataclass
class Api:
    """A caller with its credentials."""

    client: TestClient[Litestar]
    token: str

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        answer = self.client.request(method, path, headers=headers, **options)
        assert_documented(self.client.app, method, path, answer)
        return answer

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        return self.request("POST", path, json=json, **options)

    def put(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        return self.request("PUT", path, json=json, **options)

    def delete(self, path: str) -> httpx.Response:
        return self.request("DELETE", path)


@dataclass
class Phone(Api):
    """An enrolled device."""

    clock: Clock
    device_id: str
    subject_id: str
    sequence: int = 0

    def report(self, state: str, sequence: int | None = None) -> httpx.Response:
        self.sequence = sequence if sequence is not None else self.sequence + 1
        body = {
            "state": state,
            "sequence": self.sequence,
            "observed_at": self.clock.now.isoformat(),
        }
        return self.put("/v1/device/permission", json=body)

    def claim(self, place: dict[str, float] = INSIDE, **members: Any) -> dict[str, Any]:
        """A check-in's body; members of the fix go in by `fix`."""
        fix = {
            **place,
            "accuracy_m": 10,
            "captured_at": self.clock.now.isoformat(),
            **members.pop("fix", {}),
        }
        return {"id": str(uuid4()), "purpose": "visit", "fix": fix, **members}

    def check_in(self, body: dict[str, Any]) -> httpx.Response:
        return self.post("/v1/check-ins", json=body)


@dataclass
class Tenancy:
    """A tenant with its admin."""

    world: World
    new: NewTenant

    @property
    def tenant_id(self) -> UUID:
        return self.new.tenant.tenant_id

    @property
    def keys(self) -> TenantKeys:
        return self.world.services.keyring.tenant(self.tenant_id, self.world.clock.now.date())

    def keys_of(self, subject_id: str) -> SubjectKeys:
        """As the keyring has them; whoever has none was erased."""
        known = self.world.services.keyring.subject(self.tenant_id, UUID(subject_id))
        assert known is not None
        return known.keys

    def device_details(self, phone: Phone) -> DeviceDetails:
        """What is written of a device, whatever waits in memory to be written."""
        device_id = UUID(phone.device_id)
        device = self.world.read(
            self.tenant_id, lambda c: devices.find(c, self.tenant_id, device_id)
        )
        assert device is not None
        return unseal_device_details(self.keys_of(phone.subject_id), device_id, device.sealed)

    @property
    def admin(self) -> Api:
        return Api(self.world.client, self.new.api_key)

    def site(self, **members: Any) -> dict[str, Any]:
        body = {
            "name": "Office",
            "geofence": SQUARE,
            "timezone": "America/Sao_Paulo",
            **members,
        }
        answer = self.admin.post("/v1/sites", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def purpose(self, name: str, **members: Any) -> dict[str, Any]:
        body = {"name": name, "title": name, "legal_basis": "contract", **members}
        answer = self.admin.post("/v1/purposes", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def subject(self, external_id: str | None = None, **members: Any) -> dict[str, Any]:
        body = {"external_id": external_id or f"person-{uuid4()}", **members}
        return dict(self.admin.post("/v1/subjects", json=body).json())

    def code(self, subject_id: str) -> str:
        return str(self.admin.post(f"/v1/subjects/{subject_id}/enrollments").json()["code"])

    def enroll(self, code: str, installation_id: str | None = None) -> httpx.Response:
        return self.world.client.post(
            "/v1/enrollments",
            json={
                "code": code,
                "installation_id": installation_id or uuid4().hex,
                "device": {"platform": "android", "os_version": "15.1", "model": "Pixel 9"},
            },
        )

    def phone(self, *, state: str | None = "precise", subject_id: str | None = None) -> Phone:
        enrolled = self.enroll(self.code(subject_id or self.subject()["id"])).json()
        phone = Phone(
            self.world.client,
            enrolled["token"],
            clock=self.world.clock,
            device_id=enrolled["device_id"],
            subject_id=enrolled["subject_id"],
        )
        if state is not None:
            assert phone.report(state).status_code == 200
        return phone


@dataclass
class World:
    """A deployment, its clock and its API."""

    settings: Settings
    clock: Clock
    services: Services
    client: TestClient[Litestar]
    first: Tenancy = field(init=False)
    _tenants: list[Tenancy] = field(default_factory=list, init=False)
    #: kept open: on PostgreSQL to connect takes longer than what is then asked
    _owned: tuple[postgres.LoopThread, Database] | None = field(default=None, init=False)

    def tenant(self, name: str = "Another") -> Tenancy:
        tenant = deployment.new_tenant(name)
        new = self.write(
            tenant.tenant_id,
            lambda c: deployment.add_tenant(c, self.services.keyring, tenant, self.clock.now),
        )
        return self.settle(new)

    def settle(self, new: NewTenant) -> Tenancy:
        """Take in a tenant that is there."""
        tenancy = Tenancy(self, new)
        self._tenants.append(tenancy)
        return tenancy

    def begin_anew(self) -> None:
        """Nothing is left of any tenant but what the server remembers; there is a new first one."""
        self.owner(_empty)
        for tenancy in self._tenants:
            self.services.policies.forget(tenancy.tenant_id)
        self._tenants.clear()
        # by the address, which is everybody's here
        self.services.enrollment_throttle._seen.clear()
        self.clock.now = NOON
        self.first = self.tenant("First")

    def write(self, tenant_id: UUID, function: Callable[[Connection], T]) -> T:
        """As another process would, naming one tenant."""
        return self.services.database.write_now(Reach.of(tenant_id), function)

    def read(self, tenant_id: UUID, function: Callable[[Connection], T]) -> T:
        """As another process would, naming one tenant."""
        return self.services.database.read_now(Reach.of(tenant_id), function)

    def owner(self, function: Callable[[Connection], T]) -> T:
        """Past all that keeps tenants apart: as the owner of the file, or as a superuser."""
        if self._owned is None:
            url = self.settings.admin_database_url or self.settings.database()
            self._owned = postgres.LoopThread(), database_at(url)
        thread, database = self._owned
        return thread.run(database.write(OWNER, function))

    def close(self) -> None:
        if self._owned is not None:
            thread, database = self._owned
            thread.run(database.close())
            thread.close()

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What a look into the database shows to whoever holds all of it."""
        return behind(self.settings, statement)


def _empty(connection: Connection) -> None:
    for table in reversed(metadata.sorted_tables):
        if "tenant_id" in table.c:
            connection.execute(delete(table))


def behind(settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement behind Doorstep's back: as the owner of the file, or as a superuser."""
    if settings.admin_database_url is not None:
        return postgres.sql(settings.admin_database_url, statement)
    return behind_file(settings.home / "doorstep.db", statement)


def behind_file(file: Path, statement: str) -> list[tuple[Any, ...]]:
    """The same on a file."""
    with closing(sqlite3.connect(file)) as database, database:
        return list(database.execute(statement))


def on_postgres(home: Path, database: postgres.ScratchDatabase) -> Settings:
    return Settings(home=home, database_url=database.url, admin_database_url=database.admin_url)


def initialized(settings: Settings) -> NewTenant:
    """Make a deployment with a first tenant."""
    new = deployment.initialize(settings, NOON, tenant=deployment.new_tenant("First"))
    assert new is not None
    return new


@contextmanager
def opened(settings: Settings, new: NewTenant | None = None) -> Iterator[World]:
    """A world where the settings say, made if there is none; `new` is its first tenant."""
    clock = Clock()
    new = new or deployment.initialize(settings, NOON, tenant=deployment.new_tenant("First"))
    services = make_services(settings, clock)
    # what has expired goes when a test says so
    app = build_app(services, background=[follow_changes])
    with TestClient(app, raise_server_exceptions=False) as client:
        world = World(settings, clock, services, client)
        if new is not None:
            world.first = world.settle(new)
        with closing(world):
            yield world
