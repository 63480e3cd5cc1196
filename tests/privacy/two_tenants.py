"""Two tenants with all that tenants can have, alike wherever they can be, and their shadows.

A shadow is a tenant whose rows have the very keys of another's rows, and other contents. Ids made
by the server never collide, so a look-up that forgot its tenant would find the right row by
chance; beside shadows it finds a wrong one.
"""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Column,
    CompoundSelect,
    Connection,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    bindparam,
    delete,
    insert,
    select,
    type_coerce,
    union,
)
from sqlalchemy.types import NullType

from doorstep_server import credentials, deployment
from doorstep_server.scopes import ALL_SCOPES
from doorstep_server.store import retention
from doorstep_server.store.columns import Id
from doorstep_server.store.schema import metadata
from doorstep_server.store.tenants import Tenant
from world import FAR_OUTSIDE, SQUARE, Api, Phone, Tenancy, World

#: what every text of a shadow's is
SHADOW = "shadow"
#: tenant ids below and above every other: whichever row a query takes first or last
LOW, HIGH = UUID(int=1), UUID(int=2**128 - 1)

#: the same in both tenants
INSTALLATION = "the-same-installation"
CHECK_IN_IDS = [UUID(f"00000000-0000-4000-8000-{n:012}") for n in range(6)]
PAGES = 3


def elsewhere() -> dict[str, Any]:
    """A square where nobody checks in, so that sites made on the way change no verdict."""
    return _moved(1)


def beside() -> dict[str, Any]:
    """Another, where each tenant has one active site: what is laid over it, is told so."""
    return _moved(2)


def _moved(degrees: int) -> dict[str, Any]:
    [ring] = SQUARE["coordinates"]
    moved = [[lon + degrees, lat + degrees] for lon, lat in ring]
    return {"type": "Polygon", "coordinates": [moved]}


@dataclass
class Side:
    """A tenant, and what it knows of its own."""

    tenancy: Tenancy
    word: str
    phone: Phone = field(init=False)
    site_id: str = field(init=False)
    #: a check-in whose exact position is kept
    exact_id: str = field(init=False)
    #: the code of an erasure that is done
    erasure: str = field(init=False)
    #: a legal hold, with what is held of somebody who was erased
    hold_id: str = field(init=False)
    #: enrollment codes by what became of them
    codes: dict[str, str] = field(default_factory=dict)
    #: keys and tokens that no longer work
    ended: dict[str, str] = field(default_factory=dict)
    #: claims and what they were answered
    checked_in: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    _keys: dict[str, str] = field(default_factory=dict)

    @property
    def tenant_id(self) -> UUID:
        return self.tenancy.new.tenant.tenant_id

    @property
    def handle(self) -> str:
        return self.tenancy.new.tenant.handle

    @property
    def name(self) -> str:
        return self.tenancy.new.tenant.name

    @property
    def mark(self) -> str:
        """Stands in whatever people read of this tenant."""
        return f"mark of the {self.word}"

    def key(self, *scopes: str) -> Api:
        """A key with these scopes and no other; the same for the same scopes."""
        name = " ".join(scopes)
        if name not in self._keys:
            body = {"name": self.mark, "scopes": list(scopes)}
            self._keys[name] = self.tenancy.admin.post("/v1/api-keys", json=body).json()["api_key"]
        return Api(self.tenancy.world.client, self._keys[name])

    def new_site(self) -> str:
        return str(self.tenancy.site(name=self.mark, geofence=elsewhere())["id"])

    def new_purpose(self) -> str:
        return str(self.tenancy.purpose(new_name(), title=self.mark)["name"])

    def new_kid(self) -> str:
        body = {"name": self.mark, "scopes": [ALL_SCOPES[0]]}
        return str(self.tenancy.admin.post("/v1/api-keys", json=body).json()["id"])

    def new_code(self) -> str:
        return self.tenancy.code(self.phone.subject_id)

    def new_check_in(self) -> str:
        claim = self.phone.claim()
        assert self.phone.check_in(claim).json()["outcome"] == "accepted"
        return str(claim["id"])

    def new_hold(self, subject_id: str | None = None) -> str:
        body = {
            "subject_id": subject_id or self.phone.subject_id,
            "reason": "legal-claim",
            "expires_on": "2026-12-31",
        }
        return str(self.tenancy.admin.post("/v1/privacy/holds", body).json()["id"])

    def new_word(self) -> str:
        """A word by which this tenant, and no other, names everything that can be named."""
        word, tenancy = new_name(), self.tenancy
        tenancy.purpose(word, title=word)
        tenancy.site(name=word, external_id=word, geofence=elsewhere(), groups=[word])
        tenancy.subject(word, groups=[word])
        assert tenancy.enroll(self.new_code(), word).status_code == 201
        return word


def new_name() -> str:
    """A name that fits wherever a name is asked for."""
    return f"only-{secrets.token_hex(6)}"


def settle(tenancy: Tenancy, word: str) -> Side:
    """Give a tenant everything there is."""
    side = Side(tenancy, word)
    tenancy.purpose("delivery", title=side.mark)
    tenancy.purpose("inspection", title=side.mark, level="none")
    tenancy.purpose("patrol", title=side.mark, judged_by="device")
    _sites(side)
    _people(side)
    _check_ins(side)
    _rights(side)
    _ended_credentials(side)
    return side


def _sites(side: Side) -> None:
    site = side.tenancy.site(name=side.mark, external_id="site-1")
    side.site_id = site["id"]
    side.tenancy.site(name=side.mark, external_id="beside", geofence=beside())
    for version in range(1, PAGES):
        body = {k: site[k] for k in ("name", "geofence", "timezone", "external_id")}
        answer = side.tenancy.admin.put(f"/v1/sites/{site['id']}", json=body | {"version": version})
        assert answer.status_code == 200
    for n in range(2, 2 + PAGES):
        side.tenancy.site(
            name=side.mark, external_id=f"site-{n}", geofence=elsewhere(), groups=["crew"]
        )


def _people(side: Side) -> None:
    tenancy = side.tenancy
    for n in range(PAGES):
        subject = tenancy.subject(f"person-{n}", groups=["crew", side.mark])
        phone = tenancy.phone(subject_id=subject["id"])
        # a new token that is not used yet
        assert phone.post("/v1/device/token").status_code == 201
    tenancy.enroll(tenancy.code(subject["id"]), INSTALLATION)
    side.phone = tenancy.phone()
    side.codes = {fate: side.new_code() for fate in ("expired", "used", "unused")}
    tenancy.enroll(side.codes["used"])


def _check_ins(side: Side) -> None:
    fixes = [{}, {}, {}, FAR_OUTSIDE, {"accuracy_m": 90}, {"accuracy_m": 1_000}]
    for check_in_id, fix in zip(CHECK_IN_IDS, fixes, strict=True):
        claim = side.phone.claim(fix=fix, site_id=side.site_id) | {"id": str(check_in_id)}
        answer = side.phone.check_in(claim)
        assert answer.status_code == 201
        side.checked_in.append((claim, answer.json()))


def _rights(side: Side) -> None:
    """What is kept exactly, what was erased, what is held, and what is left of what expired."""
    tenancy, world = side.tenancy, side.tenancy.world
    limits = tenancy.admin.get("/v1/settings").json() | {"max_level": "exact"}
    assert tenancy.admin.put("/v1/settings", limits).status_code == 200
    tenancy.purpose("dispute", title=side.mark, level="exact")
    exact = side.phone.check_in(side.phone.claim(purpose="dispute")).json()
    assert exact["stored"]["level"] == "exact"
    side.exact_id = exact["id"]
    held = tenancy.phone()
    for _ in range(PAGES):
        assert held.check_in(held.claim()).json()["outcome"] == "accepted"
    side.hold_id = side.new_hold(held.subject_id)
    for _ in range(PAGES):
        side.new_hold()
    side.erasure = held.post("/v1/device/erasure").json()["erasure"]
    today = world.clock.now.date()
    world.services.erasures.eraser.finish_all(today)
    later = today + timedelta(days=100)
    world.write(side.tenant_id, lambda c: retention.count_expired(c, side.tenant_id, later))


def _ended_credentials(side: Side) -> None:
    tenancy = side.tenancy
    made = tenancy.admin.post("/v1/api-keys", json={"name": side.mark, "scopes": ["keys:write"]})
    tenancy.admin.delete(f"/v1/api-keys/{made.json()['id']}")
    rotated = tenancy.phone()
    new = Api(rotated.client, rotated.post("/v1/device/token").json()["token"])
    assert new.get("/v1/device").status_code == 200
    side.ended = {"apiKey": made.json()["api_key"], "deviceToken": rotated.token}


# -- rows ------------------------------------------------------------------------------------


def tenant_tables() -> list[Table]:
    return [table for table in metadata.sorted_tables if "tenant_id" in table.c]


def rows(world: World, *tenant_ids: UUID) -> dict[str, list[dict[str, Any]]]:
    """The rows of tenants, by table: the one place that reads the database."""

    def read(connection: Connection) -> dict[str, list[dict[str, Any]]]:
        return {
            table.name: [
                dict(row)
                for row in connection.execute(
                    select(table).where(table.c.tenant_id.in_(tenant_ids))
                ).mappings()
            ]
            for table in tenant_tables()
        }

    # as the owner, whom nothing keeps from seeing all tenants
    return world.owner(read)


def everything(world: World, *tenant_ids: UUID) -> list[str]:
    """All that is stored of tenants, comparable: as the driver gives it, column by column."""

    def read(connection: Connection) -> list[str]:
        return sorted(
            f"{table} {row}"
            for table, statement in _as_stored().items()
            for row in connection.execute(statement, {"of": tenant_ids})
        )

    return world.owner(read)


def ids(world: World, tenant_id: UUID) -> set[str]:
    """The ids in a tenant's rows, and the names of its credentials."""

    def read(connection: Connection) -> set[str]:
        found = (
            value
            for statement in _all_ids()
            for value in connection.execute(statement, {"of": [tenant_id]}).scalars()
        )
        return {str(value) for value in found if value is not None}

    return world.owner(read)


# statements that are asked for after nearly every answer: made once

_OF = bindparam("of", expanding=True)


@cache
def _as_stored() -> dict[str, Select[Any]]:
    return {
        table.name: select(*(type_coerce(column, NullType()) for column in table.c)).where(
            table.c.tenant_id.in_(_OF)
        )
        for table in tenant_tables()
    }


@cache
def _all_ids() -> list[CompoundSelect[Any]]:
    """One for the ids in all tables, and one for the names of credentials."""
    columns = [column for table in tenant_tables() for column in table.c]
    kinds = (
        [column for column in columns if isinstance(column.type, Id)],
        [column for column in columns if column.name == "kid"],
    )
    return [
        union(*(select(column).where(column.table.c.tenant_id.in_(_OF)) for column in kind))
        for kind in kinds
    ]


# -- shadows ---------------------------------------------------------------------------------


def add_shadows(world: World) -> None:
    """Make the tenants that cast none yet."""
    for tenant_id, handle in ((LOW, credentials.new_handle()), (HIGH, "zzzzzz")):
        tenant = Tenant(tenant_id=tenant_id, handle=handle, name=SHADOW, is_demo=False)
        add = partial(
            deployment.add_tenant,
            keyring=world.services.keyring,
            tenant=tenant,
            now=world.clock.now,
        )
        world.write(tenant_id, add)


def cast_shadows(world: World, side: Side) -> None:
    """Give both shadows a tenant's rows, with the same keys and other contents.

    The tenant's own are written anew between them: whichever row a look-up that forgot its tenant
    meets first, or last, is a shadow's.
    """
    mine = rows(world, side.tenant_id)

    def cast(connection: Connection) -> None:
        _empty(connection, LOW, HIGH, side.tenant_id)
        for table in _cast_on():
            own = mine[table.name]
            assert own, f"{table.name} has nothing to cast: settle() must fill it"
            low, high = ([_shadow(table, row, t) for row in own] for t in (LOW, HIGH))
            connection.execute(insert(table), [*low, *own, *high])

    world.owner(cast)
    # whatever is remembered was read before
    world.services.policies.forget(side.tenant_id)


def lift_shadows(world: World) -> None:
    """Leave nothing of them but the tenants themselves."""
    world.owner(lambda c: _empty(c, LOW, HIGH))


def _empty(connection: Connection, *tenant_ids: UUID) -> None:
    for table in reversed(_cast_on()):
        connection.execute(delete(table).where(table.c.tenant_id.in_(tenant_ids)))


def _cast_on() -> list[Table]:
    return [table for table in tenant_tables() if table.name not in {"tenants", "changes"}]


def _shadow(table: Table, row: dict[str, Any], tenant_id: UUID) -> dict[str, Any]:
    looked_up = [*table.constraints, *table.indexes]
    keys = {c.name for key in looked_up for c in getattr(key, "columns", [])}
    made = {
        name: value if name in keys else _other(table.c[name], value, tenant_id)
        for name, value in row.items()
    }
    if tenant_id == LOW and "version" in made:
        made["version"] = row["version"] + 1_000  # of a site in both of its tables
    return made | {"tenant_id": tenant_id}


def _other(column: Column[Any], value: Any, tenant_id: UUID) -> Any:
    """Another content. The low shadow is wrong in everything, the high one fits together."""
    kind = column.type
    if isinstance(kind, String):
        return SHADOW[: kind.length] if value is not None else None
    if isinstance(value, list):
        return [SHADOW]
    if isinstance(kind, LargeBinary) or isinstance(value, bytes):
        return bytes(byte ^ 0xFF for byte in value) if value is not None else None
    if tenant_id == HIGH or value is None:
        return value
    return _wrong(kind, value)


def _wrong(kind: Any, value: Any) -> Any:
    if isinstance(kind, Boolean):
        return not value
    if isinstance(kind, Integer):
        return value + 1_000
    if isinstance(value, datetime):
        return value - timedelta(days=365)
    return value
