"""The record of processing: complete, true, and the same whenever it is asked for."""

import hashlib
import json
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from doorstep_server.api.purposes import LegalBasis
from doorstep_server.check_ins.exact import Position
from doorstep_server.cli import main
from doorstep_server.deployment import FIRST_PURPOSE
from doorstep_server.privacy.categories import OF_TABLE, Category
from doorstep_server.privacy.data_map import DATA_MAP
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.record import Configuration, ProcessingRecord, record_of
from doorstep_server.privacy.record_markdown import markdown
from doorstep_server.privacy.stored_at import INSIDE, STORED_AT
from world import FAR_OUTSIDE, Tenancy, World, behind_file

ROOT = Path(__file__).parents[2]
FRESH = Configuration(
    tenant_name="Our company",
    purposes=[FIRST_PURPOSE],
    max_level=Level.CELL,
    max_speed_kmh=1_000,
)
BY_CONTROLLER = "to be completed by the controller"
BY_OPERATOR = "to be completed by the operator"


def limit(tenant: Tenancy, **limits: Any) -> None:
    settings = tenant.admin.get("/v1/settings").json() | limits
    assert tenant.admin.put("/v1/settings", settings).status_code == 200


def asked(tenant: Tenancy) -> dict[str, Any]:
    answer = tenant.admin.get("/v1/privacy/record")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def run(world: World, *arguments: str) -> Result:
    settings = world.settings
    urls = {
        "DOORSTEP_DATABASE_URL": settings.database_url,
        "DOORSTEP_ADMIN_DATABASE_URL": settings.admin_database_url,
    }
    home = ["--home", str(settings.home)]
    return CliRunner().invoke(main, [*home, "privacy", "record", *arguments], env=urls)


def hash_by_hand(record: dict[str, Any]) -> str:
    """As the API describes it, without anything of ours."""
    content = {name: value for name, value in record.items() if name != "content_hash"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def as_json(record: ProcessingRecord) -> dict[str, Any]:
    return dict(json.loads(msgspec.json.encode(record)))


# -- what stands in it -----------------------------------------------------------------------


def test_a_record_has_what_the_laws_ask_for(tenant: Tenancy) -> None:
    """GDPR art. 30 (1) (a) to (g) and (2) (a) to (d), in their order; LGPD art. 37."""
    record = asked(tenant)
    assert record["controller"]["name"] == "First"
    assert [purpose["name"] for purpose in record["purposes"]] == ["visit"]
    assert [subjects["category"] for subjects in record["data_subjects"]] == ["people who check in"]
    assert [category["category"] for category in record["data"]] == list(Category)
    assert record["recipients"]["by_doorstep"] == record["transfers"]["by_doorstep"] == []
    assert all(category["retention"] for category in record["data"])
    assert record["measures"]
    assert record["processor"]
    assert record["operations"]


def test_what_nobody_has_told_is_to_be_completed(tenant: Tenancy) -> None:
    record = asked(tenant)
    missing = {"contact", "representative", "data_protection_officer"}
    assert record["controller"] == {"name": "First", **dict.fromkeys(missing, BY_CONTROLLER)}
    assert record["processor"] == dict.fromkeys({"name", *missing}, BY_OPERATOR)
    assert {subjects["kinds"] for subjects in record["data_subjects"]} == {BY_CONTROLLER}
    assert record["recipients"]["by_others"].endswith(f"{BY_CONTROLLER}.")
    assert record["transfers"]["by_others"].endswith(f"{BY_OPERATOR}.")
    assert {point["by"] for point in record["to_be_completed"]} == {"controller", "operator"}


def test_every_column_of_the_data_map_is_in_it_once(tenant: Tenancy) -> None:
    columns = [
        (category["category"], *column.values())
        for category in asked(tenant)["data"]
        for column in category["columns"]
    ]
    mapped = [
        (OF_TABLE[table], f"{table}.{name}", e.purpose, e.concerns, e.basis, e.kept)
        for table, entries in DATA_MAP.items()
        for name, e in entries.items()
    ]
    assert sorted(columns) == sorted(mapped)


def test_every_purpose_is_in_it_as_the_tenant_has_set_it(tenant: Tenancy) -> None:
    members = {
        "title": "Hours", "legal_basis": "consent", "level": "none", "time_precision_s": 3_600,
        "retention_days": 7, "max_age_s": 600, "requires_consent": True, "active": False,
        "judged_by": "device",
    }  # fmt: skip
    tenant.purpose("hours", **members)
    shown = {purpose["name"]: purpose for purpose in asked(tenant)["purposes"]}
    assert shown["hours"] == {
        "name": "hours",
        "version": 1,
        "articles": "GDPR art. 6 (1) (a); LGPD art. 7, I",
        "may_store": ["none"],
        **members,
    }
    assert (shown["visit"]["active"], shown["visit"]["may_store"]) == (True, ["none", "site"])
    registered = {p["name"]: p for p in tenant.admin.get("/v1/purposes").json()["items"]}
    for name, purpose in registered.items():
        assert purpose.items() <= shown[name].items()


def test_every_legal_basis_has_its_articles() -> None:
    bases = get_args(LegalBasis)
    purposes = [replace(FIRST_PURPOSE, name=basis, legal_basis=basis) for basis in bases]
    told = {purpose.articles for purpose in record_of(replace(FRESH, purposes=purposes)).purposes}
    assert len(told) == len(bases) == 6
    assert all(re.fullmatch(r"GDPR art\. 6 \(1\) \([a-f]\); LGPD art\. 7, [IVX]+", t) for t in told)


def test_how_long_check_ins_are_kept_is_told_in_days() -> None:
    purposes = [FIRST_PURPOSE, replace(FIRST_PURPOSE, name="short", retention_days=3)]
    record = record_of(replace(FRESH, purposes=purposes))
    [check_ins] = [c for c in record.data if c.category == Category.CHECK_INS]
    [retention] = check_ins.retention
    assert retention.endswith("(short 3 days, visit 60 days)")


def test_legitimate_interests_are_to_be_assessed_by_the_controller() -> None:
    purposes = [FIRST_PURPOSE, replace(FIRST_PURPOSE, name="other", legal_basis="contract")]
    record = record_of(replace(FRESH, purposes=purposes))
    assessments = [p for p in record.to_be_completed if "legitimate" in p.what]
    assert [(p.by, "visit" in p.what) for p in assessments] == [("controller", True)]


def test_travel_is_in_it_where_it_is_looked_at(tenant: Tenancy) -> None:
    def told() -> list[str]:
        return [o["what"] for o in asked(tenant)["operations"] if "km/h" in o["what"]]

    [what] = told()
    assert "1000 km/h" in what
    limit(tenant, max_speed_kmh=None)
    assert told() == []


def test_it_tells_about_no_person_and_no_place(world: World, tenant: Tenancy) -> None:
    before = asked(tenant)
    site = tenant.site(name="canary-site", external_id="canary-hq", groups=["canary-group"])
    ana = tenant.subject("canary-ana", groups=["canary-group"])
    phone = tenant.phone(subject_id=ana["id"])
    assert phone.check_in(phone.claim(site_id=site["id"])).json()["outcome"] == "accepted"
    assert asked(tenant) == before
    assert "canary" not in run(world).stdout


# -- that it is true -------------------------------------------------------------------------


def test_every_level_that_a_purpose_may_have_says_what_it_stores(tenant: Tenancy) -> None:
    assert list(STORED_AT) == list(Level)
    assert [level["level"] for level in asked(tenant)["levels"]] == list(Level)


@pytest.mark.parametrize(
    ("level", "max_level", "may_store"),
    [
        ("none", "exact", ["none"]),
        ("site", "exact", ["none", "site"]),
        ("site", "none", ["none"]),
        ("cell", "exact", ["none", "cell"]),
        ("cell", "site", ["none"]),
        ("exact", "exact", ["none", "site", "exact"]),
        ("exact", "cell", ["none", "site"]),
    ],
)
def test_what_may_be_stored_is_the_least_of_purpose_and_tenant(
    level: str, max_level: str, may_store: list[str]
) -> None:
    purpose = replace(FIRST_PURPOSE, level=Level(level))
    record = record_of(replace(FRESH, purposes=[purpose], max_level=Level(max_level)))
    assert record.purposes[0].may_store == may_store
    assert record.max_level == max_level


def test_the_time_of_a_cell_is_no_finer_than_the_hour() -> None:
    def precision_s(level: Level, time_precision_s: int) -> int:
        purpose = replace(FIRST_PURPOSE, level=level, time_precision_s=time_precision_s)
        return record_of(replace(FRESH, purposes=[purpose])).purposes[0].time_precision_s

    assert precision_s(Level.CELL, 60) == 3_600
    assert precision_s(Level.CELL, 7_200) == 7_200
    assert precision_s(Level.SITE, 60) == 60


def test_what_is_said_to_be_inside_of_an_exact_position_is_inside() -> None:
    assert INSIDE["exact_positions.sealed"] == Position.__struct_fields__


Rows = dict[str, set[tuple[Any, ...]]]


def all_rows(world: World) -> Rows:
    """Of database and keyring; without its setting there is no access vault."""
    tables = [table for table in DATA_MAP if OF_TABLE[table] is not Category.ACCESSES]
    return {table: {tuple(map(str, row)) for row in rows_of(world, table)} for table in tables}


def rows_of(world: World, table: str) -> list[tuple[Any, ...]]:
    columns = ", ".join(f'"{column}"' for column in DATA_MAP[table])
    statement = f"SELECT {columns} FROM {table}"
    if OF_TABLE[table] is Category.KEYRING:
        return behind_file(world.settings.home / "keyring.db", statement)
    return world.rows(statement)


def written(before: Rows, after: Rows) -> set[str]:
    """The columns that have a value in rows that were not there before."""
    return {
        f"{table}.{column}"
        for table, rows in after.items()
        for row in rows - before[table]
        for column, value in zip(DATA_MAP[table], row, strict=True)
        if value != "None"
    }


@pytest.mark.parametrize("level", STORED_AT)
def test_a_check_in_writes_what_the_record_says_and_nothing_else(
    world: World, tenant: Tenancy, level: Level
) -> None:
    tenant.purpose("tried", level=level)
    tenant.site()
    limit(tenant, max_level="exact")
    phone = tenant.phone()
    before = all_rows(world)
    answer = phone.check_in(phone.claim(purpose="tried", action="in")).json()
    assert answer["stored"]["level"] == level
    [said] = [told for told in asked(tenant)["levels"] if told["level"] == level]
    assert written(before, all_rows(world)) == {column["column"] for column in said["stored"]}


def test_the_most_that_is_stored_is_the_most_that_the_record_says(tenant: Tenancy) -> None:
    tenant.site()
    phone = tenant.phone()
    for level in Level:
        tenant.purpose(level, level=level)
    for max_level in Level:
        limit(tenant, max_level=max_level)
        for purpose in asked(tenant)["purposes"]:
            stored = phone.check_in(phone.claim(purpose=purpose["name"])).json()["stored"]
            assert stored["level"] == purpose["may_store"][-1], (purpose["name"], max_level)


def test_what_is_rejected_leaves_what_the_record_says_of_nothing(
    world: World, tenant: Tenancy
) -> None:
    tenant.site()
    phone = tenant.phone()
    before = all_rows(world)
    assert phone.check_in(phone.claim(FAR_OUTSIDE)).json()["outcome"] == "rejected"
    said = {column["column"] for column in asked(tenant)["levels"][0]["stored"]}
    assert written(before, all_rows(world)) == said


def test_everything_that_is_claimed_is_shown_where_it_says() -> None:
    record = as_json(record_of(FRESH))
    practices = [*record["operations"], *record["measures"], record["recipients"]["because"]]
    for practice in practices:
        assert practice["shown_by"], practice["what"]
        for place in practice["shown_by"]:
            file, _, test = place.partition("::")
            assert (ROOT / file).is_file(), place
            assert not test or f"def {test}(" in (ROOT / file).read_text(), place


_CONNECTING = {
    "socket.connect",
    "socket.sendto",
    "socket.sendmsg",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
}


@contextmanager
def connections() -> Iterator[set[str]]:
    """Whom this process speaks to, or has others speak to, within the block."""
    seen: set[str] = set()
    listening = True

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if listening and event in _CONNECTING:
            # of a connection, without its socket
            seen.add(f"{event} {arguments[1:2] if event == 'socket.connect' else arguments[:2]}")

    sys.addaudithook(hear)  # there is no way to take one away again
    try:
        yield seen
    finally:
        listening = False


def test_a_server_connects_to_nobody(world: World, tenant: Tenancy) -> None:
    """But to its database: to none of which is anything said on SQLite, a file."""
    with connections() as to_database:
        world.rows("SELECT 1")
    with connections() as spoken_to:
        tenant.site()
        phone = tenant.phone()
        assert phone.check_in(phone.claim()).status_code == 201
        assert phone.check_in(phone.claim(FAR_OUTSIDE)).status_code == 201
        assert phone.report("denied").status_code == 200
        assert tenant.admin.get("/v1/sites/export?format=kml").status_code == 200
        asked(tenant)
        run(world)
    assert spoken_to <= to_database
    assert bool(to_database) is (world.settings.admin_database_url is not None)


def test_whoever_it_spoke_to_would_be_seen() -> None:
    import socket  # noqa: PLC0415

    with connections() as spoken_to, socket.socket() as other:
        other.connect_ex(("127.0.0.1", 9))
    assert spoken_to == {"socket.connect (('127.0.0.1', 9),)"}


# -- that two can be compared ----------------------------------------------------------------


def test_the_same_configuration_gives_the_same_record_at_any_time(
    world: World, tenant: Tenancy
) -> None:
    first = tenant.admin.get("/v1/privacy/record").content
    world.clock.advance(days=400)
    assert tenant.admin.get("/v1/privacy/record").content == first
    assert run(world, "--json").stdout_bytes.strip() == first
    pure = record_of(replace(FRESH, tenant_name="First"))
    assert msgspec.json.encode(pure) == first


def test_every_change_changes_the_hash(world: World, tenant: Tenancy) -> None:
    hashes = [asked(tenant)["content_hash"]]
    visit = tenant.admin.get("/v1/purposes/visit").json()
    revision = {name: value for name, value in visit.items() if name != "name"}
    for change in ({"retention_days": 30}, {"active": False}, {"title": "Calls"}):
        revision = {**revision, **change}
        answer = tenant.admin.put("/v1/purposes/visit", revision)
        assert answer.status_code == 200
        revision["version"] = answer.json()["version"]
        hashes.append(asked(tenant)["content_hash"])
    tenant.purpose("another")
    hashes.append(asked(tenant)["content_hash"])
    assert len(set(hashes)) == len(hashes)


def test_the_hash_is_as_the_api_says_it_is(tenant: Tenancy) -> None:
    record = asked(tenant)
    assert record["content_hash"] == hash_by_hand(record)


#: lone surrogates are no text: neither API nor database takes them
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(deadline=None)
@given(name=TEXT, title=TEXT)
def test_the_hash_can_be_worked_out_by_anybody_for_any_text(name: str, title: str) -> None:
    purpose = replace(FIRST_PURPOSE, title=title)
    record = as_json(record_of(replace(FRESH, tenant_name=name, purposes=[purpose])))
    assert record["content_hash"] == hash_by_hand(record)


@settings(deadline=None)
@given(order=st.permutations(["a", "b", "c", "d"]))
def test_the_order_of_purposes_is_always_the_same(order: list[str]) -> None:
    def of(names: list[str]) -> ProcessingRecord:
        purposes = [replace(FIRST_PURPOSE, name=name) for name in names]
        return record_of(replace(FRESH, purposes=purposes))

    assert of(order) == of(sorted(order))


# -- to be read ------------------------------------------------------------------------------


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from texts(member)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def test_the_markdown_says_all_that_the_record_says() -> None:
    record = record_of(FRESH)
    written = unescaped(markdown(record)).lower()
    missing = [text for text in texts(as_json(record)) if text.lower() not in written]
    assert missing == []


def test_the_command_prints_markdown_unless_told_otherwise(world: World) -> None:
    assert run(world).stdout == run(world, "--markdown").stdout
    assert run(world).stdout.startswith("# Record of processing\n")
    assert json.loads(run(world, "--json").stdout)["content_hash"] in run(world).stdout


def test_the_command_asks_which_of_several_tenants(world: World) -> None:
    other = world.tenant("Other company")
    refused = run(world)
    assert refused.exit_code == 1
    assert "--tenant" in refused.stderr
    shown = run(world, "--tenant", str(other.new.tenant.tenant_id)).stdout
    assert "Other company" in shown
    assert "First" not in shown


@settings(deadline=None)
@given(name=TEXT, title=TEXT)
def test_no_text_of_others_changes_what_is_around_it(name: str, title: str) -> None:
    """Not the lines, nor the cells of a table, nor what a terminal does."""
    purpose = replace(FIRST_PURPOSE, title=title)
    told = markdown(record_of(replace(FRESH, tenant_name=name, purposes=[purpose])))
    shape = [len(cells(line)) for line in markdown(record_of(FRESH)).splitlines()]
    assert [len(cells(line)) for line in told.splitlines()] == shape
    kinds = {unicodedata.category(character) for character in told.replace("\n", "")}
    assert kinds.isdisjoint({"Cc", "Zl", "Zp"})


def cells(line: str) -> list[str]:
    return re.split(r"(?<!\\)(?:\\\\)*\|", line)


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "a\n## Recipients\n\n- Everybody",
        "<script>alert(1)</script>",
        "[press](http://example.org)",
        "`code` *strong* _soft_ ~gone~ &amp; \\",
        "\x1b[31mred\x1b[0m",
        "\u202etfel\u2028line",
    ],
)
def test_marks_in_a_title_are_shown_and_not_obeyed(text: str) -> None:
    purpose = replace(FIRST_PURPOSE, title=text)
    lines = markdown(record_of(replace(FRESH, purposes=[purpose]))).splitlines()
    [row] = [line for line in lines if line.startswith("| visit: ")]
    assert not re.search(r"(?<!\\)[<>*\[\]`~&]|[\x00-\x1f\u2028\u202e]", row)
    assert len(cells(row)) == len(cells(lines[lines.index(row) - 1]))
    assert lines.count("## Recipients") == 1


def test_it_is_made_without_a_word_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tenant: Tenancy
) -> None:
    """What changes in the map changes in the record."""
    entry = DATA_MAP["check_ins"]["time"]
    changed = {**DATA_MAP["check_ins"], "time": replace(entry, purpose="changed on purpose")}
    monkeypatch.setitem(DATA_MAP, "check_ins", changed)
    record = asked(tenant)
    assert record["content_hash"] != as_json(record_of(FRESH))["content_hash"]
    # once of the column, and once of each level that writes it
    assert str(record).count("changed on purpose") == 1 + 3
