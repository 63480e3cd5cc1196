"""The metrics: what is counted, for whom, and by how many processes."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.routes import HTTPRoute
from litestar.testing import TestClient

from doorstep_geofences import Reason
from doorstep_server.app import templates
from doorstep_server.meters import Meters, shared_folder
from doorstep_server.meters.meters import STATUSES, UNMATCHED
from doorstep_server.meters.sharing import SharedNumbers
from doorstep_server.problems import TYPES
from doorstep_server.settings import InvalidSetting, Settings, read
from postgres import wait_until
from world import FAR_OUTSIDE, World, opened

KEY = "a-key-for-the-metrics"


def value(text: str, series: str) -> float:
    """Of one line; 0 where there is none."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A deployment whose metrics have a key."""
    home = tmp_path_factory.mktemp("metrics") / "home"
    with opened(Settings(home=home, metrics_key=KEY, queue=6)) as world:
        world.first.site()
        yield world


def scraped(world: World) -> str:
    answer = world.client.get("/metrics", headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return answer.text


def test_verdicts_and_refusals_are_counted(keyed: World) -> None:
    phone = keyed.first.phone()
    before = scraped(keyed)
    body = phone.claim()
    sent = [body, body, phone.claim(FAR_OUTSIDE), {**phone.claim(), "purpose": "other"}, {"id": 1}]
    assert phone.post("/v1/check-ins/batch", json={"check_ins": sent}).status_code == 200
    after = scraped(keyed)

    def more(series: str) -> float:
        return value(after, "doorstep_" + series) - value(before, "doorstep_" + series)

    outside = next(reason for reason in Reason if reason.value == "no_site_near")
    assert more('check_ins_total{outcome="accepted",reason="inside"}') == 1
    assert more(f'check_ins_total{{outcome="{outside.outcome}",reason="{outside}"}}') == 1
    assert more("replays_total") == 1
    assert more('refusals_total{code="purpose-unknown"}') == 1
    assert more('refusals_total{code="invalid-body"}') == 1
    assert more('journal_commits_total{result="done"}') == 1
    assert more("journal_group_size_sum") == 4
    assert more('journal_group_size_bucket{le="4"}') == 1
    assert more('journal_group_size_bucket{le="2"}') == 0
    assert more("journal_commit_seconds_count") == 1
    assert value(after, "doorstep_journal_waiting") == 0


def test_what_is_not_taken_is_counted_by_why(keyed: World) -> None:
    phone = keyed.first.phone()
    before = scraped(keyed)
    full = phone.post("/v1/check-ins/batch", json={"check_ins": [phone.claim() for _ in range(7)]})
    assert full.status_code == 503
    series = 'doorstep_check_ins_not_taken_total{reason="journal-full"}'
    assert value(scraped(keyed), series) - value(before, series) == 7


def test_snapshots_and_looks_are_counted(keyed: World) -> None:
    looks = 'doorstep_polls_total{result="done"}'
    # the first comes a moment after somebody's sites were loaded
    wait_until(lambda: value(scraped(keyed), looks) >= 1, "a look for changes")
    text = scraped(keyed)
    assert value(text, 'doorstep_snapshot_loads_total{kind="whole"}') >= 1
    assert value(text, "doorstep_snapshots") == 1
    assert value(text, "doorstep_snapshot_bytes") > 0
    assert 0 <= value(text, "doorstep_poll_age_seconds") < 60
    assert value(text, "doorstep_keyring_generation") >= 1
    assert value(text, 'doorstep_info{version="0.1.0"}') == 1
    assert value(text, "doorstep_workers") == 1
    assert value(text, 'doorstep_worker_resident_bytes{worker="0"}') > 10_000_000


def test_with_a_key_they_are_told_to_who_sends_it(keyed: World) -> None:
    for sent in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Bearer {KEY}x"}):
        answer = keyed.client.get("/metrics", headers=sent)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("192.0.2.7", {}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}, 403),
        ("127.0.0.1", {"Via": "1.1 proxy"}, 403),
        ("nobody", {}, 403),
    ],
)
def test_without_a_key_they_are_told_to_this_machine(
    shared_world: World, client: str, headers: dict[str, str], status: int
) -> None:
    app = shared_world.client.app

    async def from_there(scope, receive, send):
        if scope["type"] == "http":
            scope["client"] = (client, 1)
        await app(scope, receive, send)

    asked = TestClient(from_there, backend_options=None)
    answer = asked.get("/metrics", headers=headers)
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["code"] == "metrics-closed"


def test_a_key_is_long_enough() -> None:
    assert read({"DOORSTEP_METRICS_KEY": KEY}).metrics_key == KEY
    for weak in ("short", "with spaces in it, and long"):
        with pytest.raises(InvalidSetting, match="DOORSTEP_METRICS_KEY") as refused:
            read({"DOORSTEP_METRICS_KEY": weak})
        assert weak not in str(refused.value)
    assert KEY not in repr(Settings(metrics_key=KEY))


def test_every_route_has_its_template(shared_world: World) -> None:
    routes = [route for route in shared_world.client.app.routes if isinstance(route, HTTPRoute)]
    assert templates() == {route.path_format for route in routes}


def test_what_is_not_known_is_counted_as_something_else() -> None:
    meters = Meters(routes=["/known"], codes=TYPES)
    for route, method in (("/known", "BREW"), ("/23.5613/-46.6565", "GET"), ("/x\n", "GET\n")):
        meters.request(route, method, 404, 0.1)
    told = [line for line in meters.text().splitlines() if "requests_total{" in line]
    assert sorted(told) == [
        f'doorstep_requests_total{{route="{UNMATCHED}",method="GET",status="4xx"}} 1',
        f'doorstep_requests_total{{route="{UNMATCHED}",method="other",status="4xx"}} 2',
    ]
    with pytest.raises(KeyError):
        meters.refusals.add("person-0417")
    assert STATUSES[0] == "gone"


# --- several processes ---------------------------------------------------------------------------


def test_processes_are_told_together_and_a_dead_one_counts_on() -> None:
    with shared_folder() as folder:
        assert folder is not None
        first, second = Meters(codes=["a"], folder=folder), Meters(codes=["a"], folder=folder)
        first.refusals.add("a")
        second.refusals.add("a", count=2)
        first.waiting.set(3)
        second.waiting.set(4)
        for meters in (first, second):
            assert value(meters.text(), 'doorstep_refusals_total{code="a"}') == 3
            assert value(meters.text(), "doorstep_journal_waiting") == 7
        # gone: its counts stay, and what it had waiting does not
        second._workers.set(0)
        second.close()
        assert value(first.text(), 'doorstep_refusals_total{code="a"}') == 3
        assert value(first.text(), "doorstep_journal_waiting") == 3
        assert value(first.text(), "doorstep_workers") == 1
        # whoever comes after it counts on
        third = Meters(codes=["a"], folder=folder)
        third.refusals.add("a")
        assert value(first.text(), 'doorstep_refusals_total{code="a"}') == 4
        assert value(first.text(), "doorstep_journal_waiting") == 3
        assert len(list(folder.glob("*.numbers"))) == 2
        first.close()
        third.close()
    assert not folder.exists()


def test_where_nothing_can_be_written_a_process_counts_for_itself(tmp_path: Path) -> None:
    """Rather than not at all: a full disk must not keep a server from serving."""
    meters = Meters(codes=["a"], folder=tmp_path / "gone")
    meters.refusals.add("a")
    assert not meters.is_shared
    assert value(meters.text(), 'doorstep_refusals_total{code="a"}') == 1


def test_without_a_place_for_temporary_files_there_is_nothing_to_share(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with shared_folder() as folder:
        assert folder is None


def test_after_it_was_closed_nothing_breaks() -> None:
    with shared_folder() as folder:
        meters = Meters(codes=["a"], folder=folder)
        meters.close()
        meters.refusals.add("a")


def test_files_hold_numbers_and_are_their_owners_alone() -> None:
    with shared_folder() as folder:
        assert folder is not None
        assert folder.stat().st_mode & 0o777 == 0o700
        numbers = SharedNumbers(folder, 100)
        assert [file.stat().st_size for file in folder.glob("*.numbers")] == [800]
        numbers.close()


def test_what_a_killed_server_left_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "import os, signal\n"
        "from doorstep_server.meters import shared_folder\n"
        "with shared_folder():\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False
    )
    assert killed.returncode == -9
    [left] = tmp_path.iterdir()
    with shared_folder() as running:
        assert not left.exists()
        # that of a server that runs stays
        with shared_folder() as other:
            assert set(tmp_path.iterdir()) == {running, other}


def test_the_table_of_metrics_is_that_of_the_program() -> None:
    page = (Path(__file__).parents[2] / "server/docs/running.md").read_text()
    told = re.findall(r"^\| `(doorstep_\w+)` \| (\w+) \| (.*?) \| (.+) \|$", page, re.MULTILINE)
    assert told == [
        (
            family.said.name,
            family.said.kind,
            ", ".join(f"`{label}`" for label in family.said.labels),
            family.said.help,
        )
        for family in Meters().families
    ]
