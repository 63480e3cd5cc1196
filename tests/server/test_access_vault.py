"""The access vault: what goes in, who reads it, and that it goes when its time is over."""

import asyncio
import json
import logging
import os
import pwd
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any, get_type_hints
from uuid import UUID

import pytest
from click.testing import CliRunner, Result
from litestar.testing import TestClient

from conftest import Made
from doorstep_server.access_vault import (
    Access,
    AccessVault,
    Entry,
    Reading,
    Recorder,
    VaultUnusable,
    open_vault,
)
from doorstep_server.access_vault.entries import access
from doorstep_server.asgi import asgi, recorded
from doorstep_server.cli import main
from doorstep_server.privacy.data_map import DATA_MAP
from doorstep_server.settings import InvalidSetting, Settings, read
from served import serving
from world import NOON, Clock

ADDRESS, PORT = "203.0.113.7", 51_234
DAYS = 184
ALWAYS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


def used_at(at: datetime, address: str = ADDRESS) -> Access:
    found = access(at, (address, PORT))
    assert found is not None
    return found


@pytest.fixture
def named(tmp_path: Path) -> Settings:
    """Settings that name a vault where none was made yet."""
    return Settings(home=tmp_path / "home", access_vault=tmp_path / "vault" / "accesses.db")


@pytest.fixture
def vault(named: Settings) -> AccessVault:
    assert named.access_vault is not None
    named.access_vault.parent.mkdir()
    opened = open_vault(named)
    assert opened is not None
    return opened


def kept(vault: AccessVault, today: date | None = None) -> list[Entry]:
    return list(vault.read(*ALWAYS, today or NOON.date()))


def every_byte(folder: Path) -> bytes:
    return b"\0".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


# -- what is kept ------------------------------------------------------------------------------


def test_an_access_is_a_time_and_an_address_and_nothing_else() -> None:
    assert set(get_type_hints(Access)) == {"time", "address", "port"}


def test_what_was_written_is_read_in_its_order(vault: AccessVault) -> None:
    times = [NOON + timedelta(hours=h) for h in (30, 1, -30, 0)]
    vault.append([used_at(at) for at in times[:2]])
    vault.append([used_at(at) for at in times[2:]])
    assert [entry.time for entry in kept(vault)] == sorted(times)


def test_only_what_lies_between_is_read(vault: AccessVault) -> None:
    vault.append([used_at(NOON + timedelta(hours=h)) for h in range(-30, 31)])
    local = timezone(-timedelta(hours=3))
    between = list(vault.read(NOON.astimezone(local), NOON + timedelta(hours=2), today=NOON.date()))
    assert [entry.time for entry in between] == [NOON, NOON + timedelta(hours=1)]


def test_times_are_cut_to_the_second_and_written_in_utc() -> None:
    at = NOON.replace(microsecond=999_999).astimezone(timezone(timedelta(hours=5)))
    assert used_at(at).time == NOON
    assert used_at(at).time.tzinfo is UTC


@pytest.mark.parametrize(
    ("client", "kept_as"),
    [
        (("203.0.113.7", 51_234), ("203.0.113.7", 51_234)),
        (("203.0.113.7", 0), ("203.0.113.7", None)),
        (("2001:DB8::1", 9), ("2001:db8::1", 9)),
        (("::ffff:203.0.113.7", 9), ("203.0.113.7", 9)),
        (("testclient", 9), None),
        (("203.0.113.7, 10.0.0.1", 9), None),
        (None, None),
    ],
)
def test_an_address_is_kept_in_its_one_form_and_nothing_that_is_none(
    client: Any, kept_as: Any
) -> None:
    found = access(NOON, client)
    assert (found and (found.address, found.port)) == kept_as


def test_an_access_does_not_print() -> None:
    assert ADDRESS not in repr([used_at(NOON)])


# -- sealed ------------------------------------------------------------------------------------


def test_nothing_can_be_read_in_the_file_but_the_day(vault: AccessVault, named: Settings) -> None:
    assert named.access_vault is not None
    vault.append([used_at(NOON), Reading(NOON, "somebody", "a reason", *ALWAYS)])
    content = every_byte(named.access_vault.parent)
    for secret in (ADDRESS, "somebody", "a reason", "12:00"):
        assert secret.encode() not in content
    with closing(sqlite3.connect(named.access_vault)) as file:
        assert list(file.execute("SELECT day FROM accesses")) == [("2026-03-10",)]


def test_a_group_cannot_be_moved_to_another_day(vault: AccessVault, named: Settings) -> None:
    vault.append([used_at(NOON)])
    with closing(sqlite3.connect(str(named.access_vault))) as file, file:
        file.execute("UPDATE accesses SET day = '2026-03-11'")
    with pytest.raises(VaultUnusable, match="DOORSTEP_ACCESS_VAULT_KEY"):
        kept(vault)


def test_the_key_is_a_file_of_its_own_for_its_owner_alone(
    vault: AccessVault, named: Settings
) -> None:
    assert named.access_vault is not None
    key = Path(f"{named.access_vault}.key")
    for file in (key, named.access_vault):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key.read_bytes() not in named.access_vault.read_bytes()


def test_a_vault_is_not_opened_with_another_key(vault: AccessVault, named: Settings) -> None:
    vault.append([used_at(NOON)])
    other = Path(f"{named.access_vault}.key")
    other.write_bytes(os.urandom(32))
    with pytest.raises(VaultUnusable, match="opened with this key"):
        open_vault(named)


def test_no_key_is_made_for_a_vault_that_has_one(vault: AccessVault, named: Settings) -> None:
    Path(f"{named.access_vault}.key").unlink()
    with pytest.raises(VaultUnusable, match="missing"):
        open_vault(named)


def test_a_key_that_others_can_read_is_refused(vault: AccessVault, named: Settings) -> None:
    Path(f"{named.access_vault}.key").chmod(0o640)
    with pytest.raises(VaultUnusable, match="chmod 600"):
        open_vault(named)


def test_the_key_is_never_in_the_vaults_own_file(named: Settings) -> None:
    with pytest.raises(InvalidSetting, match="file of its own"):
        open_vault(replace(named, access_vault_key=named.access_vault))


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.db"
    with closing(sqlite3.connect(theirs)) as file, file:
        file.execute("CREATE TABLE theirs (x)")
    before = theirs.read_bytes()
    (tmp_path / "theirs.db.key").touch(0o600)
    (tmp_path / "theirs.db.key").write_bytes(bytes(32))
    with pytest.raises(VaultUnusable, match="something else"):
        open_vault(Settings(access_vault=theirs))
    assert theirs.read_bytes() == before


# -- the end -----------------------------------------------------------------------------------


def test_the_usual_time_is_no_less_than_any_six_months() -> None:
    march, september = date(2026, 3, 1), date(2026, 9, 1)
    assert Settings().access_vault_days == DAYS >= (september - march).days


def test_what_is_too_old_is_not_read_though_it_is_there(vault: AccessVault) -> None:
    vault.append([used_at(NOON)])
    last_day = NOON.date() + timedelta(days=DAYS)
    assert kept(vault, last_day)
    assert not kept(vault, last_day + timedelta(days=1))


def test_what_is_too_old_is_in_no_byte_any_more(vault: AccessVault, named: Settings) -> None:
    assert named.access_vault is not None
    vault.append([used_at(NOON)])
    vault.append([used_at(NOON + timedelta(days=1))])
    # a connection keeps the write-ahead log from being folded in and removed
    with closing(sqlite3.connect(named.access_vault)) as watching:
        [old, young] = [
            sealed for (sealed,) in watching.execute("SELECT sealed FROM accesses ORDER BY day")
        ]
        assert old in every_byte(named.access_vault.parent)
        assert vault.expire(NOON.date() + timedelta(days=DAYS + 1))
        content = every_byte(named.access_vault.parent)
    assert old not in content
    assert young in content


def test_what_somebody_still_reads_is_tried_again(
    vault: AccessVault, named: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.append([used_at(NOON)])
    too_late = NOON.date() + timedelta(days=DAYS + 1)
    with closing(sqlite3.connect(str(named.access_vault))) as reading:
        reading.execute("BEGIN")
        reading.execute("SELECT * FROM accesses").fetchone()
        monkeypatch.setattr("doorstep_server.access_vault.vault._WAIT_S", 0.01)
        assert not vault.expire(too_late)
    assert vault.expire(too_late)


# -- recording ---------------------------------------------------------------------------------


@pytest.fixture
def recorder(vault: AccessVault) -> Iterator[Recorder]:
    recorder = Recorder(vault, lambda: NOON)
    yield recorder
    recorder.close()


def dropped(caplog: pytest.LogCaptureFixture) -> int:
    records = [r for r in caplog.records if r.msg == "accesses-not-kept"]
    return sum(record.__dict__["accesses_dropped"] for record in records)


def test_all_that_waits_is_written_before_the_end(vault: AccessVault, recorder: Recorder) -> None:
    accesses = [used_at(NOON + timedelta(seconds=n)) for n in range(2_500)]
    recorder.start()
    for each in accesses:
        recorder.record(each)
    recorder.close()
    assert kept(vault) == accesses


def test_what_finds_no_room_is_counted_and_nobody_waits(
    vault: AccessVault, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(vault, lambda: NOON, capacity=3)
    for _ in range(10):
        recorder.record(used_at(NOON))
    recorder.start()
    recorder.close()
    assert (len(kept(vault)), dropped(caplog)) == (3, 7)
    assert ADDRESS not in caplog.text


def test_a_vault_that_cannot_be_written_is_told_by_a_number_and_tried_again(
    vault: AccessVault, named: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert named.access_vault is not None
    caplog.set_level(logging.WARNING)
    away = named.access_vault.with_suffix(".away")
    named.access_vault.rename(away)
    named.access_vault.mkdir()
    recorder = Recorder(vault, lambda: NOON)
    recorder.record(used_at(NOON))
    recorder.start()
    recorder.close()
    assert dropped(caplog) == 1
    assert ADDRESS not in caplog.text
    named.access_vault.rmdir()
    away.rename(named.access_vault)
    again = Recorder(vault, lambda: NOON)
    again.record(used_at(NOON))
    again.start()
    again.close()
    assert len(kept(vault)) == 1


def test_while_it_runs_what_is_too_old_goes_although_nothing_happens(
    vault: AccessVault, named: Settings
) -> None:
    vault.append([used_at(NOON)])
    clock, early, late = Clock(), threading.Event(), threading.Event()

    def now() -> datetime:
        at = clock.now
        (late if at > NOON else early).set()
        return at

    recorder = Recorder(vault, now, every_s=0.001)
    recorder.start()
    assert early.wait(timeout=30)
    assert kept(vault)
    clock.advance(days=DAYS + 1)
    assert late.wait(timeout=30)
    recorder.close()
    with closing(sqlite3.connect(str(named.access_vault))) as file:
        assert list(file.execute("SELECT * FROM accesses")) == []


# -- uses of the API ---------------------------------------------------------------------------


def from_address(app: Any) -> Any:
    """The app, as somebody at ADDRESS sees it."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope["client"] = (ADDRESS, PORT)
        await app(scope, receive, send)

    return wrapped


@dataclass
class Used:
    """The API of a deployment that has a vault."""

    client: TestClient[Any]
    api_key: str

    def call(self, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {token or self.api_key}"}
        return self.client.request(method, path, json=body, headers=headers)

    def code(self) -> str:
        person = self.call("POST", "/v1/subjects", {"external_id": "ana"}).json()
        return str(self.call("POST", f"/v1/subjects/{person['id']}/enrollments").json()["code"])

    def enroll(self, code: str) -> Any:
        device = {"platform": "android", "os_version": "15", "model": "Pixel"}
        body = {"code": code, "installation_id": "an-installation", "device": device}
        return self.client.post("/v1/enrollments", json=body)


@pytest.fixture
def deployed(made_on_sqlite: Made, tmp_path: Path) -> Settings:
    home = tmp_path / "home"
    shutil.copytree(made_on_sqlite.settings.home, home)
    (tmp_path / "vault").mkdir()
    return Settings(home=home, access_vault=tmp_path / "vault" / "accesses.db")


@contextmanager
def using(settings: Settings, api_key: str) -> Iterator[Used]:
    with TestClient(from_address(asgi(settings))) as client:
        yield Used(client, api_key)


def accesses(settings: Settings) -> list[Access]:
    vault = open_vault(settings)
    assert vault is not None
    found = [e for e in vault.read(*ALWAYS, datetime.now(UTC).date()) if isinstance(e, Access)]
    assert {(e.address, e.port) for e in found} <= {(ADDRESS, PORT)}
    return found


def test_uses_are_recorded_by_who_is_known_or_becomes_known(
    deployed: Settings, made_on_sqlite: Made
) -> None:
    with using(deployed, made_on_sqlite.new.api_key) as api:
        code = api.code()
        token = api.enroll(code).json()["token"]
        # known, and refused
        assert api.call("POST", "/v1/subjects", {"external_id": 1}).status_code == 400
        assert api.call("DELETE", "/v1/devices/" + str(UUID(int=7))).status_code == 404
        assert api.call("POST", "/v1/device/token", token=token).status_code == 201
    assert len(accesses(deployed)) == 6


def test_who_looks_and_who_is_nobody_is_not_recorded(
    deployed: Settings, made_on_sqlite: Made
) -> None:
    with using(deployed, made_on_sqlite.new.api_key) as api:
        for method in ("GET", "HEAD", "OPTIONS"):
            assert api.call(method, "/v1/sites").status_code < 300
        assert api.call("GET", "/health/live").status_code == 200
        assert api.call("POST", "/v1/subjects", {}, token="nobody").status_code == 401
        assert api.call("POST", "/nowhere").status_code == 404
        assert api.enroll("AAAAAA-AAAAAA-AAAAAA").status_code == 422
    assert accesses(deployed) == []


def test_a_server_has_not_stopped_before_all_is_written(vault: AccessVault) -> None:
    recorder = Recorder(vault, lambda: NOON)
    written: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.complete"})
        for _ in range(9_000):
            recorder.record(used_at(NOON))
        await send({"type": "lifespan.shutdown.complete"})

    async def send(message: Any) -> None:
        if message["type"] == "lifespan.shutdown.complete":
            written.append(len(kept(vault)))

    asyncio.run(recorded(app, recorder)({"type": "lifespan"}, None, send))  # type: ignore[arg-type]
    assert written == [9_000]


def test_the_address_is_nowhere_else(
    deployed: Settings, made_on_sqlite: Made, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with using(deployed, made_on_sqlite.new.api_key) as api:
        api.enroll(api.code())
        api.enroll("AAAAAA-AAAAAA-AAAAAA")
        content = every_byte(deployed.home.parent)
    assert accesses(deployed)
    content += every_byte(deployed.home.parent) + caplog.text.encode()
    for form in (ADDRESS.encode(), ip_address(ADDRESS).packed, str(PORT).encode()):
        assert form not in content


def test_without_a_vault_nothing_is_written(deployed: Settings, made_on_sqlite: Made) -> None:
    without = replace(deployed, access_vault=None)
    before = set(deployed.home.parent.rglob("*"))
    with using(without, made_on_sqlite.new.api_key) as api:
        api.enroll(api.code())
    made = set(deployed.home.parent.rglob("*")) - before
    assert {file.name.partition("-")[0] for file in made} <= {"doorstep.db", "keyring.db"}
    assert open_vault(without) is None


# -- the command -------------------------------------------------------------------------------


def doorstep(settings: Settings, *arguments: str) -> Result:
    environment = {
        "DOORSTEP_ACCESS_VAULT": str(settings.access_vault or ""),
        "LOGNAME": "somebody-else",
    }
    command = ["--home", str(settings.home), "access-vault", "read", *arguments]
    return CliRunner().invoke(main, command, env=environment)


def test_reading_prints_what_was_asked_for_and_leaves_a_trace(
    vault: AccessVault, named: Settings
) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    vault.append([used_at(today - timedelta(days=2)), used_at(today - timedelta(days=1))])
    since, until = (today - timedelta(days=1)).date(), today.date()
    done = doorstep(named, "--since", f"{since}", "--until", f"{until}", "--reason", "order 7")
    assert done.exit_code == 0, done.output
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"kind": "access", "time": f"{since}T00:00:00Z", "address": ADDRESS, "port": PORT}
    ]
    [trace] = [entry for entry in kept(vault, until) if isinstance(entry, Reading)]
    assert (trace.user, trace.reason) == (pwd.getpwuid(os.getuid()).pw_name, "order 7")
    assert (trace.since.date(), trace.until.date()) == (since, until)


def test_a_reading_that_finds_nothing_or_fails_leaves_its_trace(
    vault: AccessVault, named: Settings
) -> None:
    asked = ("--since", "2020-01-01", "--until", "2020-01-02T00:00:00-03:00", "--reason", "x")
    assert doorstep(named, *asked).stdout == ""
    assert len(kept(vault, datetime.now(UTC).date())) == 1


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_nobody_reads_without_a_reason(vault: AccessVault, named: Settings, reason: str) -> None:
    vault.append([used_at(datetime.now(UTC))])
    asked = ("--since", "2020-01-01", "--until", "9998-01-01", "--reason", reason)
    done = doorstep(named, *asked)
    assert done.exit_code == 1
    assert ADDRESS not in done.output
    assert doorstep(named, *asked[:4]).exit_code == 2


def test_where_there_is_no_vault_that_is_told(named: Settings) -> None:
    asked = ("--since", "2020-01-01", "--until", "2020-01-02", "--reason", "x")
    done = doorstep(replace(named, access_vault=None), *asked)
    assert (done.exit_code, "DOORSTEP_ACCESS_VAULT" in done.output) == (1, True)


@pytest.mark.parametrize("days", ["0", "-1", "six months", "1.5"])
def test_days_are_a_whole_number(days: str) -> None:
    with pytest.raises(InvalidSetting, match="DOORSTEP_ACCESS_VAULT_DAYS"):
        read({"DOORSTEP_ACCESS_VAULT_DAYS": days})


def test_a_server_records_and_ends_in_good_order(tmp_path: Path) -> None:
    """A process of its own; two of its workers write to one vault."""
    file = tmp_path / "accesses.db"
    environment = {"DOORSTEP_ACCESS_VAULT": str(file)}
    with serving(tmp_path / "home", environment=environment, workers=2) as server:
        for n in range(20):
            assert server.call("POST", "/v1/subjects", {"external_id": f"p{n}"})[0] == 201
    vault = open_vault(Settings(access_vault=file))
    assert vault is not None
    found = list(vault.read(*ALWAYS, datetime.now(UTC).date()))
    assert [(e.address, e.port is None) for e in found if isinstance(e, Access)] == [
        ("127.0.0.1", False)
    ] * 20
    assert "127.0.0.1" not in server.log.read_text()


# -- the data map ------------------------------------------------------------------------------


def test_every_column_of_the_vault_is_mapped(vault: AccessVault, named: Settings) -> None:
    with closing(sqlite3.connect(str(named.access_vault))) as file:
        tables = [name for (name,) in file.execute("SELECT name FROM sqlite_master")]
        stored = {t: {row[1] for row in file.execute(f"PRAGMA table_info({t})")} for t in tables}
    assert {t: set(DATA_MAP[t]) for t in stored} == stored
