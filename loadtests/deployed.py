"""Deployments of Doorstep to put load on: a tenant with sites, people and their devices."""

import math
import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select, text

import statements
from doorstep_geofences import Geofence, Site
from doorstep_server import credentials, deployment
from doorstep_server.credentials import Kind
from doorstep_server.privacy.permission import Permission, State, after_report
from doorstep_server.privacy.personal import (
    DeviceDetails,
    SubjectDetails,
    seal_device_details,
    seal_subject_details,
)
from doorstep_server.settings import PREFIX, Settings
from doorstep_server.store import Connection, devices, sites, subjects
from doorstep_server.store.database import Database
from doorstep_server.store.devices import Device, Token
from doorstep_server.store.reach import Reach
from doorstep_server.store.schema import check_ins
from doorstep_server.store.sites import SiteContent, StoredSite
from doorstep_server.store.subjects import StoredSubject
from doorstep_server.store.tenants import Tenant
from filling import DAYS, Filler, People

#: sites are circles in a grid, apart from each other, in one region: nobody is doubted who goes
#: from any of them to any other in no time. Times are known to a quarter of an hour: in its middle
#: seven minutes are sure to be possible, or 125 km, and 170,000 sites reach over 112 km
RADIUS_M = 80.0
STEP_DEG = 0.0018
SOUTH, WEST = -24.0, -47.5
#: as many places are checked in at, of however many there are
PLACES = 5_000
_WRITTEN_AT_ONCE = 1_000


@dataclass(kw_only=True, slots=True)
class Deployed:
    """A deployment, and what a generator must know of it."""

    settings: Settings
    #: PostgreSQL's first process, if it is ours
    database_pid: int | None = None
    tenant: Tenant = field(default_factory=lambda: deployment.new_tenant("Load"))
    #: of the admin
    api_key: str = field(default="", repr=False)
    tokens: list[str] = field(default_factory=list, repr=False)
    #: check-ins at a claimed site, and at one that is searched for
    claims: list[bytes] = field(default_factory=list, repr=False)
    searches: list[bytes] = field(default_factory=list, repr=False)
    stored: int = 0
    _people: People | None = None
    _sites: list[Site] = field(default_factory=list, repr=False)
    _numbers: Counter[tuple[date, int]] = field(default_factory=Counter, repr=False)

    @property
    def variables(self) -> dict[str, str]:
        """What a server must be told."""
        named = {"DATABASE_URL": self.settings.database_url}
        return {PREFIX + name: value for name, value in named.items() if value}

    def furnish(self, people: int, places: int) -> None:
        """Make the deployment, its sites, people and devices, in a database that is empty."""
        now = datetime.now(UTC)
        new = deployment.initialize(self.settings, now, tenant=self.tenant)
        assert new is not None, "there is a deployment already"
        self.api_key = new.api_key
        opened, keyring = deployment.open_deployment(self.settings)
        self._people = People(keyring, self.tenant.tenant_id, people)
        pepper = keyring.pepper()
        with deployment.closed_after(opened) as database:
            database.write_now(
                Reach.of(self.tenant.tenant_id), lambda c: self._add_people(c, pepper, now)
            )
            self._note_sites(add_sites(database, self.tenant.tenant_id, places, now))
            if self.settings.database_url is not None:
                # as PostgreSQL does by itself within a minute: without knowing how many there are,
                # it looks for a device among all of them
                database.administer(lambda c: c.execute(text("ANALYZE")))

    def _note_sites(self, made: list[StoredSite]) -> None:
        chosen = made[:: max(1, len(made) // PLACES)]
        for site in chosen:
            assert site.content.geofence.center is not None
            lon, lat = site.content.geofence.center
            self.claims.append(body(lon, lat, site.site_id))
            self.searches.append(body(lon, lat, None))
            self._sites.append(
                Site(site_id=site.site_id, version=1, geofence=site.content.geofence)
            )

    def fill(self, stored: int, days: int = DAYS) -> None:
        """Store check-ins until there are so many; while no server runs."""
        opened, keyring = deployment.open_deployment(self.settings)
        today = datetime.now(UTC).date()
        keys = keyring.tenant(self.tenant.tenant_id, today)
        assert self._people is not None, "furnish it first"
        with deployment.closed_after(opened) as database:
            filler = Filler(
                database=database,
                tenant_id=self.tenant.tenant_id,
                keys=keys,
                people=self._people,
                sites=self._sites,
                today=today,
                numbers=self._numbers,
            )
            filler.store(stored - self.stored, days)
            if self.settings.admin_database_url is None:
                # the write-ahead log is written back
                database.scrub_now(None)
        if self.settings.admin_database_url is not None:
            statements.rest(self.settings.admin_database_url)
        self.stored = stored

    def _add_people(self, connection: Connection, pepper: bytes, now: datetime) -> None:
        assert self._people is not None
        for person in self._people.ids:
            self._add_person(connection, pepper, person, now)

    def _add_person(
        self, connection: Connection, pepper: bytes, person: UUID, now: datetime
    ) -> None:
        assert self._people is not None
        tenant_id, device_id, keys = self.tenant.tenant_id, uuid4(), self._people.keys[person]
        sealed = seal_subject_details(keys, person, SubjectDetails())
        subjects.get_or_add(connection, tenant_id, StoredSubject(subject_id=person, sealed=sealed))
        details = DeviceDetails(
            platform="android",
            os_major="15",
            model="Phone",
            permission=after_report(Permission(), State.PRECISE, 1, now),
        )
        device = Device(
            device_id=device_id,
            subject_id=person,
            installation_label=os.urandom(32),
            sealed=seal_device_details(keys, device_id, details),
            revoked=False,
        )
        devices.add(connection, tenant_id, device)
        credential = credentials.new_credential(Kind.DEVICE_TOKEN, self.tenant.handle)
        token = Token(
            kid=credential.kid,
            secret_hash=credentials.secret_hash(pepper, credential),
            fresh=False,
            device_id=device_id,
            subject_id=person,
        )
        devices.add_token(connection, tenant_id, token)
        self.tokens.append(credential.text())

    def size_bytes(self) -> int:
        """How large its database is."""
        url = self.settings.admin_database_url
        if url is not None:
            return statements.size_bytes(url)
        return (self.settings.home / "doorstep.db").stat().st_size

    def rows(self) -> list[bytes]:
        """The ids of all that is stored."""
        return stored_ids(self.settings, self.tenant.tenant_id)


def add_sites(database: Database, tenant_id: UUID, places: int, now: datetime) -> list[StoredSite]:
    """So many sites, in a grid."""
    made = [_site(number, places, now) for number in range(places)]
    reach = Reach.of(tenant_id)
    for written in (sites.write_current, sites.write_versions):
        for start in range(0, places, _WRITTEN_AT_ONCE):
            some = made[start : start + _WRITTEN_AT_ONCE]
            database.write_now(reach, lambda c, w=written, some=some: w(c, tenant_id, some))
    database.write_now(reach, sites.renew_statistics)
    return made


def stored_ids(settings: Settings, tenant_id: UUID) -> list[bytes]:
    """The ids of all that a tenant has stored; read after its server has stopped."""
    query = select(check_ins.c.id).where(check_ins.c.tenant_id == tenant_id)
    with deployment.closed_after(deployment.database(settings)) as database:
        found = database.read_now(Reach.of(tenant_id), lambda c: c.scalars(query).all())
        return [check_in.bytes for check_in in found]


def centre(number: int, places: int) -> tuple[float, float]:
    """Where a site is, as longitude and latitude."""
    columns = math.isqrt(max(places - 1, 0)) + 1
    row, column = divmod(number, columns)
    return round(WEST + column * STEP_DEG, 4), round(SOUTH + row * STEP_DEG, 4)


def _site(number: int, places: int, now: datetime) -> StoredSite:
    content = SiteContent(
        name=f"Site {number}",
        external_id=None,
        geofence=Geofence.circle(*centre(number, places), RADIUS_M),
        tolerance_m=0.0,
        assurance="standard",
        max_accuracy_m=100.0,
        timezone="UTC",
        purposes=[],
        groups=[],
        active=True,
    )
    return StoredSite(site_id=uuid4(), version=1, valid_from=now, content=content)


def body(lon: float, lat: float, site_id: Any) -> bytes:
    """A check-in in the middle of a site, with a place for its id and its time."""
    site = "" if site_id is None else f'"site_id":"{site_id}",'
    fix = f'{{"lat":{lat},"lon":{lon},"accuracy_m":8.0,"source":"gps","captured_at":"%b"}}'
    return f'{{"id":"%b","purpose":"visit",{site}"fix":{fix}}}'.encode()
