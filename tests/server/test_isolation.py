"""Every statement names its tenant, or it does not run: on both databases alike."""

import ast
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import (
    Connection,
    Integer,
    column,
    delete,
    insert,
    literal,
    or_,
    select,
    table,
    text,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

import doorstep_server.store
from doorstep_server.store import tenants as tenant_functions
from doorstep_server.store.isolation import TenantNotNamed
from doorstep_server.store.lookups import looked_up
from doorstep_server.store.prepared import Prepared, PreparedRows, uuid_of
from doorstep_server.store.reach import DIRECTORY, NOTHING, Reach
from doorstep_server.store.schema import (
    changes,
    check_ins,
    receipts,
    site_versions,
    sites,
    tallies,
    tenants,
)
from world import Tenancy, World

MINE, THEIRS = UUID(int=1), UUID(int=2)
SITE = {"tenant_id": MINE, "site_id": uuid4(), "version": 1, "external_id": None}

OTHER_SITES = sites.alias()
MY_SITES = select(sites).where(sites.c.tenant_id == MINE).subquery()

NAMED: dict[str, Callable[[], Any]] = {
    "select": lambda: select(sites).where(sites.c.tenant_id == MINE),
    "of a list": lambda: select(sites).where(sites.c.tenant_id.in_([MINE])),
    "of an empty list": lambda: select(sites).where(sites.c.tenant_id.in_([])),
    "select and more": lambda: select(sites).where(
        sites.c.tenant_id == MINE, or_(sites.c.version == 1, sites.c.version == 2)
    ),
    "join": lambda: (
        select(sites)
        .join(site_versions, sites.c.site_id == site_versions.c.site_id)
        .where(sites.c.tenant_id == MINE, site_versions.c.tenant_id == MINE)
    ),
    "nested": lambda: select(sites).where(
        sites.c.tenant_id == MINE,
        sites.c.site_id.in_(
            select(site_versions.c.site_id).where(site_versions.c.tenant_id == MINE)
        ),
    ),
    "in what is read from": lambda: select(
        select(sites).where(sites.c.tenant_id == MINE).subquery().c.version
    ),
    "update": lambda: update(sites).where(sites.c.tenant_id == MINE).values(version=2),
    "delete": lambda: delete(receipts).where(receipts.c.tenant_id == MINE),
    "of no tenant's table": lambda: select(literal(1)),
}

UNNAMED: dict[str, Callable[[], Any]] = {
    "nothing": lambda: select(sites),
    "nothing, counted": lambda: select(sites.c.version).limit(1),
    "another": lambda: select(sites).where(sites.c.tenant_id == THEIRS),
    "another beside mine": lambda: select(sites).where(sites.c.tenant_id.in_([MINE, THEIRS])),
    "all but one": lambda: select(sites).where(sites.c.tenant_id != THEIRS),
    "above one": lambda: select(sites).where(sites.c.tenant_id >= MINE),
    "one or else": lambda: select(sites).where(
        or_(sites.c.tenant_id == MINE, sites.c.version == 1)
    ),
    "not it": lambda: select(sites).where(~(sites.c.tenant_id == MINE)),
    "itself": lambda: select(sites).where(sites.c.tenant_id == sites.c.tenant_id),
    "one of two tables": lambda: (
        select(sites)
        .join(site_versions, sites.c.site_id == site_versions.c.site_id)
        .where(sites.c.tenant_id == MINE)
    ),
    "the other by an outer join": lambda: (
        select(sites)
        .outerjoin(site_versions, sites.c.tenant_id == site_versions.c.tenant_id)
        .where(sites.c.tenant_id == MINE)
    ),
    "not in the nested one": lambda: select(sites).where(
        sites.c.tenant_id == MINE, sites.c.site_id.in_(select(site_versions.c.site_id))
    ),
    "not in the column": lambda: select(
        sites.c.version, select(site_versions.c.name).limit(1).scalar_subquery()
    ).where(sites.c.tenant_id == MINE),
    "not in what is read from": lambda: select(select(sites).subquery()),
    "not in what is looked up for each": lambda: select(
        select(site_versions).where(site_versions.c.site_id == MY_SITES.c.site_id).lateral()
    ).select_from(MY_SITES),
    "text that is read from": lambda: select(
        text("SELECT version FROM sites").columns(version=Integer).subquery()
    ),
    "not in a common table": lambda: select(select(sites).cte()),
    "one of a union": lambda: union_all(
        select(sites.c.version).where(sites.c.tenant_id == MINE), select(sites.c.version)
    ),
    "an alias": lambda: select(sites.alias()),
    "an alias beside": lambda: (
        select(OTHER_SITES.c.version)
        .select_from(sites.join(OTHER_SITES, true()))
        .where(sites.c.tenant_id == MINE)
    ),
    "a made-up table": lambda: select(table("sites", column("version"))),
    "text with columns": lambda: text("SELECT version FROM sites").columns(version=Integer),
    "update from another table": lambda: (
        update(sites)
        .where(sites.c.tenant_id == MINE, sites.c.site_id == site_versions.c.site_id)
        .values(external_id=site_versions.c.name)
    ),
    "update to another tenant": lambda: (
        update(sites).where(sites.c.tenant_id == MINE).values(tenant_id=THEIRS)
    ),
    "update": lambda: update(sites).values(version=2),
    "update another's": lambda: update(sites).where(sites.c.tenant_id == THEIRS).values(version=2),
    "delete": lambda: delete(tallies),
    "insert another's": lambda: insert(sites).values(**{**SITE, "tenant_id": THEIRS}),
    "insert nobody's": lambda: insert(sites).values(
        **{k: v for k, v in SITE.items() if k != "tenant_id"}
    ),
    "insert what is selected": lambda: insert(sites).from_select(
        list(SITE), select(sites).where(sites.c.tenant_id == MINE)
    ),
    "the list of tenants": lambda: select(tenants),
    "a handle": lambda: select(tenants).where(tenants.c.handle == "abcdef"),
    "versions of all": lambda: select(changes),
    "parts": lambda: select(check_ins).where(check_ins.c.expires_on.is_(None)),
}


@pytest.fixture(scope="module")
def world(shared_world: World) -> World:
    return shared_world


@pytest.mark.parametrize("name", NAMED)
def test_a_statement_that_names_its_tenant_runs(world: World, name: str) -> None:
    database = world.services.database
    database.write_now(Reach.of(MINE), lambda c: c.execute(NAMED[name]()))


@pytest.mark.filterwarnings("ignore:Column 'sites.tenant_id' is marked")
@pytest.mark.parametrize("name", UNNAMED)
def test_a_statement_that_does_not_is_never_run(world: World, name: str) -> None:
    database = world.services.database
    with pytest.raises(TenantNotNamed):
        database.write_now(Reach.of(MINE), lambda c: c.execute(UNNAMED[name]()))


@pytest.mark.parametrize(
    ("keys", "within"), [(["tenant_id"], True), (["handle"], False), ([tenants.c.handle], False)]
)
def test_what_is_written_over_is_of_the_same_tenant(
    world: World, keys: list[Any], within: bool
) -> None:
    dialect = sqlite if world.settings.admin_database_url is None else postgresql
    values = {"tenant_id": MINE, "handle": "abcdef", "name": "x", "is_demo": False}
    if within:
        statement = dialect.insert(changes).values(tenant_id=MINE, version=1)
        statement = statement.on_conflict_do_update(index_elements=keys, set_={"version": 2})
    else:
        statement = dialect.insert(tenants).values(**values)
        statement = statement.on_conflict_do_update(index_elements=keys, set_={"name": "y"})
    with nullcontext() if within else pytest.raises(TenantNotNamed):
        world.services.database.write_now(Reach.of(MINE), lambda c: c.execute(statement))


def test_what_was_allowed_for_one_is_not_for_the_next(world: World) -> None:
    """The same statement, whose shape is remembered by now, with another value."""

    def look(tenant_id: UUID) -> Callable[[Connection], Any]:
        return lambda c: c.execute(select(sites).where(sites.c.tenant_id == tenant_id)).all()

    database = world.services.database
    for _ in range(2):
        assert database.read_now(Reach.of(MINE), look(MINE)) == []
        with pytest.raises(TenantNotNamed):
            database.read_now(Reach.of(MINE), look(THEIRS))
    assert database.read_now(Reach.of(MINE, THEIRS), look(THEIRS)) == []


def test_of_many_rows_each_must_be_within_reach(world: World) -> None:
    rows = [{**SITE, "site_id": uuid4()}, {**SITE, "site_id": uuid4(), "tenant_id": THEIRS}]
    with pytest.raises(TenantNotNamed):
        world.services.database.write_now(Reach.of(MINE), lambda c: c.execute(insert(sites), rows))


def _sites_of(dialect: str) -> Any:
    return looked_up([sites.c.site_id], sites.c.external_id, "names", dialect)


def test_what_is_prepared_stays_within_reach_as_well(world: World) -> None:
    database, looking = world.services.database, Prepared(_sites_of)
    new = {**SITE, "site_id": uuid4(), "external_id": "first", "changed": 1}
    adding = PreparedRows(lambda _: insert(sites), list(new))

    def add(*rows: dict[str, Any]) -> Callable[[Connection], None]:
        return lambda c: adding.write(c, [tuple(row.values()) for row in rows])

    def look(tenant_id: UUID) -> Callable[[Connection], Any]:
        values = {"tenant_id": tenant_id, "names": ["first", "second"]}
        return lambda c: [uuid_of(i) for (i,) in looking.rows(c, values, "names")]

    database.write_now(Reach.of(MINE), add(new))
    assert database.read_now(Reach.of(MINE), look(MINE)) == [new["site_id"]]
    assert database.read_now(Reach.of(MINE, THEIRS), look(THEIRS)) == []
    with pytest.raises(TenantNotNamed):
        database.read_now(Reach.of(MINE), look(THEIRS))
    of_both = [{**new, "site_id": uuid4()}, {**new, "site_id": uuid4(), "tenant_id": THEIRS}]
    with pytest.raises(TenantNotNamed):
        database.write_now(Reach.of(MINE), add(*of_both))
    naming_nobody = Prepared(lambda _: select(sites.c.site_id))
    with pytest.raises(TenantNotNamed):
        database.read_now(Reach.of(MINE), lambda c: naming_nobody.rows(c, {"tenant_id": MINE}))


def test_without_a_reach_nothing_is_within(world: World) -> None:
    with pytest.raises(TenantNotNamed):
        world.services.database.read_now(NOTHING, lambda c: c.execute(NAMED["select"]()))


def test_the_list_of_tenants_is_for_the_operator_and_a_handle_for_who_shows_it(
    world: World, tenant: Tenancy
) -> None:
    database, mine = world.services.database, tenant.new.tenant
    other = world.tenant("Other").new.tenant
    found = database.read_now(DIRECTORY, tenant_functions.all_tenants)
    assert {t.tenant_id for t in found} == {mine.tenant_id, other.tenant_id}
    by_handle = Reach.by_handle(mine.handle)
    looked_up = database.read_now(by_handle, lambda c: tenant_functions.by_handle(c, mine.handle))
    assert looked_up == mine
    for forbidden in (
        lambda c: tenant_functions.by_handle(c, other.handle),
        lambda c: tenant_functions.by_id(c, mine.tenant_id),
        lambda c: tenant_functions.version(c, mine.tenant_id),
        tenant_functions.all_tenants,
    ):
        with pytest.raises(TenantNotNamed):
            database.read_now(by_handle, forbidden)
    with pytest.raises(TenantNotNamed):
        database.read_now(DIRECTORY, lambda c: tenant_functions.version(c, mine.tenant_id))


#: what speaks SQL as text: nothing of it touches rows of tenants but to lock, to make and to drop;
#: and `site_rows`, which puts the tenant that it is given into every row. `scrubbing` writes whole
#: tables into new files: it reads no row of any; `prepared` runs what it compiled itself, and looks
#: at it as `isolation` does; `driver` is how it and `locks` say it
AS_TEXT = {
    "driver",
    "grants",
    "locks",
    "migrate",
    "mixing",
    "postgres",
    "prepared",
    "reach",
    "retention",
    "scrubbing",
    "site_rows",
    "sqlite",
}


def test_what_reads_and_writes_rows_speaks_no_sql_as_text() -> None:
    """Text is not looked into, so only what must may use it."""
    folder = Path(doorstep_server.store.__file__).parent
    speakers = {
        file.stem
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if (isinstance(node, ast.alias) and node.name in {"text", "literal_column"})
        or (isinstance(node, ast.alias) and node.name == "driver")
        or (
            isinstance(node, ast.Attribute)
            and node.attr in {"exec_driver_sql", "driver_connection"}
        )
    }
    assert {"check_ins", "sites", "devices"} <= {file.stem for file in folder.glob("*.py")}
    assert speakers <= AS_TEXT
