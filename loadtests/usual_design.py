"""The usual design: Litestar, an ORM session, asyncpg, PostGIS, a commit per request.

    python loadtests/usual_design.py PORT URL

What a good team writes when nobody has asked for more. To be fair to it:

- The same web server, event loop, HTTP parser, body, connections, database server and core as
  Doorstep has; PostgreSQL is as durable (`synchronous_commit = on`, `fsync = on`).
- asyncpg under SQLAlchemy's asyncio: statements are compiled once, prepared once on each
  connection, and connections are pooled.
- As few round trips as the design has: the token (its unique index), the site, the insert, the
  commit; `expire_on_commit` is off, and nothing is read back.
- Where a site is claimed, that site is asked; else `ST_Covers` over a GiST index. Fences are
  polygons with as many corners as a circle has in PostGIS.
- The table has the indexes that lists by site and by person need, and no more. Keys are the
  client's ids, which lead with the day, as they do in Doorstep's tables.

It does less than Doorstep: it stores the position, judges without accuracy, seals nothing, has no
receipts, withdrawals, budgets, travel, opening hours or versions of sites, and its answer to a
retry is an error.
"""

import hashlib
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from geoalchemy2 import Geometry
from litestar import Litestar, Request, get, post
from litestar.datastructures import State
from litestar.exceptions import NotAuthorizedException
from sqlalchemy import DateTime, ForeignKey, Index, Select, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateIndex, CreateTable

import statements
from deployed import PLACES, RADIUS_M, body, centre
from doorstep_server.check_ins.claim import Claim, FixClaim
from filling import DAYS
from plain_servers import Answer, serve

#: connections to PostgreSQL, on one core
POOL = 16
_KEY = postgresql.UUID(as_uuid=True)


class Base(DeclarativeBase):
    """Tables of this design."""


class Site(Base):
    """An authorized location."""

    __tablename__ = "sites"
    tenant_id: Mapped[UUID] = mapped_column(_KEY)
    id: Mapped[UUID] = mapped_column(_KEY, primary_key=True)
    name: Mapped[str]
    geofence: Mapped[Any] = mapped_column(Geometry("POLYGON", 4326, spatial_index=False))
    __table_args__ = (Index("sites_geofence", "geofence", postgresql_using="gist"),)


class Device(Base):
    """A person's device, with its token's hash."""

    __tablename__ = "devices"
    id: Mapped[UUID] = mapped_column(_KEY, primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(_KEY)
    subject_id: Mapped[UUID] = mapped_column(_KEY)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    revoked: Mapped[bool]


class CheckIn(Base):
    """Who was where, when."""

    __tablename__ = "check_ins"
    id: Mapped[UUID] = mapped_column(_KEY, primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(_KEY)
    device_id: Mapped[UUID] = mapped_column(ForeignKey("devices.id"))
    subject_id: Mapped[UUID] = mapped_column(_KEY)
    site_id: Mapped[UUID | None] = mapped_column(ForeignKey("sites.id"))
    purpose: Mapped[str]
    location: Mapped[Any] = mapped_column(Geometry("POINT", 4326, spatial_index=False))
    accuracy_m: Mapped[float | None]
    captured_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    outcome: Mapped[str]
    __table_args__ = (
        Index("check_ins_site", "site_id", "captured_at"),
        Index("check_ins_subject", "subject_id", "captured_at"),
    )


# --- the server ----------------------------------------------------------------------------------


@post("/v1/check-ins")
async def create(data: Claim, request: Request[Any, Any, State], state: State) -> Answer:
    """Look up the token, look for the site, store."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    async with state.sessions() as session:
        device = await _device(session, token)
        site_id = await session.scalar(_covering(device.tenant_id, data))
        outcome = "rejected" if site_id is None else "accepted"
        session.add(
            CheckIn(
                id=data.id,
                tenant_id=device.tenant_id,
                device_id=device.id,
                subject_id=device.subject_id,
                site_id=site_id,
                purpose=data.purpose,
                location=_point(data.fix),
                accuracy_m=data.fix.accuracy_m,
                captured_at=data.fix.captured_at,
                outcome=outcome,
            )
        )
        await session.commit()
    return Answer(str(data.id), outcome)


async def _device(session: AsyncSession, token: str) -> Device:
    hashed = hashlib.sha256(token.encode()).digest()
    device = await session.scalar(select(Device).where(Device.token_hash == hashed))
    if device is None or device.revoked:
        raise NotAuthorizedException
    return device


def _point(fix: FixClaim) -> Any:
    return func.ST_SetSRID(func.ST_MakePoint(fix.lon, fix.lat), 4326)


def _covering(tenant_id: UUID, claim: Claim) -> Select[tuple[UUID]]:
    query = select(Site.id).where(
        Site.tenant_id == tenant_id, func.ST_Covers(Site.geofence, _point(claim.fix))
    )
    return query.limit(1) if claim.site_id is None else query.where(Site.id == claim.site_id)


@get("/health/ready")
async def ready() -> None:
    """Where Doorstep has it."""


def app(url: str) -> Litestar:
    """The API on a database."""

    @asynccontextmanager
    async def connected(of: Litestar) -> AsyncIterator[None]:
        address = url.replace("postgresql://", "postgresql+asyncpg://")
        engine = create_async_engine(address, pool_size=POOL, max_overflow=0)
        of.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
        try:
            yield
        finally:
            await engine.dispose()

    return Litestar([create, ready], lifespan=[connected], openapi_config=None, logging_config=None)


# --- what is in its database ---------------------------------------------------------------------

_DEVICES = """
    INSERT INTO devices (id, tenant_id, subject_id, token_hash, revoked)
    SELECT gen_random_uuid(), $1, gen_random_uuid(), hashed, false
    FROM unnest($2::bytea[]) AS hashed
"""
_SITES = """
    INSERT INTO sites (tenant_id, id, name, geofence)
    SELECT $1, id, 'Site', ST_Buffer(ST_MakePoint(lon, lat)::geography, $5)::geometry
    FROM unnest($2::uuid[], $3::float8[], $4::float8[]) AS made (id, lon, lat)
"""
#: as many on each day before today; ids lead with the day
_CHECK_INS = """
    WITH who AS (SELECT *, row_number() OVER () - 1 AS place FROM devices),
         site AS (SELECT *, row_number() OVER () - 1 AS place FROM sites),
         made AS (
             SELECT n, current_date - $2::int + (n * $2::int / $1)::int AS day
             FROM generate_series(0, $1::bigint - 1) AS n
         )
    INSERT INTO check_ins
        (id, tenant_id, device_id, subject_id, site_id, purpose, location, accuracy_m,
         captured_at, outcome)
    SELECT (lpad(to_hex(day - date '1970-01-01'), 4, '0')
               || substr(md5(n || random()::text), 1, 28))::uuid,
        who.tenant_id, who.id, who.subject_id, site.id, 'visit', ST_Centroid(site.geofence), 8.0,
        day + random() * interval '1 day', 'accepted'
    FROM made
    JOIN who ON who.place = n % (SELECT count(*) FROM who)
    JOIN site ON site.place = n * 7919 % (SELECT count(*) FROM site)
    ORDER BY n
"""


@dataclass(kw_only=True, slots=True)
class Usual:
    """This design on a database, and what a generator must know of it: as `deployed.Deployed`."""

    #: of a superuser, who is spared row level security's checks
    url: str = field(repr=False)
    database_pid: int | None = None
    tokens: list[str] = field(default_factory=list, repr=False)
    claims: list[bytes] = field(default_factory=list, repr=False)
    searches: list[bytes] = field(default_factory=list, repr=False)
    stored: int = 0
    _tenant_id: UUID = field(default_factory=uuid4)

    def furnish(self, people: int, places: int) -> None:
        """Make its tables, sites, people and devices."""
        dialect = postgresql.dialect()
        for table in Base.metadata.sorted_tables:
            for made in (CreateTable(table), *map(CreateIndex, table.indexes)):
                statements.run(self.url, str(made.compile(dialect=dialect)))
        self.tokens = [secrets.token_urlsafe(32) for _ in range(people)]
        hashes = [hashlib.sha256(token.encode()).digest() for token in self.tokens]
        statements.run(self.url, _DEVICES, self._tenant_id, hashes)
        ids, spots = [uuid4() for _ in range(places)], [centre(n, places) for n in range(places)]
        lons, lats = [lon for lon, _ in spots], [lat for _, lat in spots]
        statements.run(self.url, _SITES, self._tenant_id, ids, lons, lats, RADIUS_M)
        statements.rest(self.url)
        for site_id, (lon, lat) in list(zip(ids, spots, strict=True))[:: max(1, places // PLACES)]:
            self.claims.append(body(lon, lat, site_id))
            self.searches.append(body(lon, lat, None))

    def fill(self, stored: int) -> None:
        """Store check-ins until there are so many: of all days before today, as Doorstep's are."""
        statements.run(self.url, _CHECK_INS, stored - self.stored, DAYS)
        statements.rest(self.url)
        self.stored = stored

    def size_bytes(self) -> int:
        """How large its database is."""
        return statements.size_bytes(self.url)

    def rows(self) -> list[bytes]:
        """The ids of all that is stored."""
        return [row[0].bytes for row in statements.run(self.url, "SELECT id FROM check_ins")]


if __name__ == "__main__":
    serve(app(sys.argv[2]), int(sys.argv[1]))
