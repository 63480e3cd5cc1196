"""The outbox's rules that its file keeps. Those of sending and of sessions have files of their own.

The numbers are those of the rules in docs/outbox.md.
"""

import itertools
import os
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import traceback
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from doorstep import DoorstepError, OutboxFull, OutboxUnusable
from doorstep._keeper import EpochPassed, Keeper, Learn, Nothing
from doorstep._location import Stale, Unavailable
from doorstep._outbox_file import OutboxFile
from doorstep._queue import End
from doorstep._reports import Report
from sdk import kills
from sdk.boxes import (
    ANN,
    HOUR_S,
    PLACE,
    Keystore,
    Phone,
    a_person,
    bytes_of,
    fast_folder,
    holds_place,
    permit,
    put,
    waiting_ids,
)
from sdk.scripted import LAT, LON, NOON, TOKEN


@pytest.fixture
def phone():
    return Phone()


@pytest.fixture
def outbox(phone, path):
    with phone.opened(path) as outbox:
        permit(outbox)
        yield outbox


def settled(outbox, *ids, state="accepted"):
    outbox.settle([End(id=id_, state=state) for id_ in ids])


def row_of(path, id_):
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        return database.execute("SELECT * FROM check_ins WHERE id = ?", (id_,)).fetchone()


# -- 1: durable when it returns --------------------------------------------------------------------


def test_1_it_is_committed_in_full_before_it_returns(outbox, phone, path):
    id_ = put(outbox, phone.new())
    assert row_of(path, id_)["id"] == id_
    database = outbox._file._database
    settings = {
        name: database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "secure_delete")
    }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}


def test_1_a_process_that_is_killed_after_it_returned_loses_nothing(phone, path):
    program = (
        "import os, signal, sys\n"
        "from sdk.boxes import *\n"
        "from pathlib import Path\n"
        "phone = Phone()\n"
        "outbox = phone.outbox(Path(sys.argv[1]))\n"
        "outbox.open()\n"
        "permit(outbox)\n"
        "print(put(outbox, phone.new()), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    with phone.opened(path) as outbox:
        assert outbox.ticket(done.stdout.strip()).state == "queued"


def test_1_nothing_is_stored_where_the_disk_is_full(outbox, phone):
    [pages] = outbox._file._database.execute("PRAGMA page_count").fetchone()
    outbox._file._database.execute(f"PRAGMA max_page_count={pages}")
    stored = []
    with pytest.raises(OutboxUnusable, match="nothing was stored") as refused:
        stored.extend(put(outbox, phone.new()) for _ in range(1000))
    assert (refused.value.__cause__, refused.value.__context__) == (None, None)
    assert waiting_ids(outbox) == stored[:50]


# -- 2: what a row holds ---------------------------------------------------------------------------


def test_2_a_row_tells_whose_it_is_and_when_but_never_the_token(outbox, phone, path):
    new = phone.new(fix=phone.fix(elapsed_s=4990.0))
    row = dict(row_of(path, put(outbox, new)))
    label = outbox.identity(ANN).label
    assert row.pop("claim")
    assert row == {
        "sequence": 1,
        "id": new.id,
        "base_url": ANN.base_url,
        "identity": label,
        "epoch": 0,
        "schema": 1,
        "captured_at": NOON.timestamp(),
        "boot": "boot-1",
        "clock": 4990.0,
        "precise": 1,
        "sealed": 0,
    }
    assert TOKEN.encode() not in bytes_of(path)


def test_2_a_row_never_changes(outbox, phone, path):
    """Not by being picked, nor by another permission's epoch, a reboot, or opening again."""
    id_ = put(outbox, phone.new())
    before = tuple(row_of(path, id_))
    waiting_ids(outbox)
    outbox.learn(a_person(epoch=9, sequence=40))
    phone.reboot()
    outbox.close()
    outbox.open()
    waiting_ids(outbox)
    assert tuple(row_of(path, id_)) == before


def test_2_what_is_sent_is_what_was_stored(outbox, phone):
    fix = phone.fix(accuracy_m=None, mocked=False, source="gps", elapsed_s=4990.25)
    new = phone.new(fix=fix, site_id="site-9", action="in")
    put(outbox, new)
    [sent] = outbox.next_up(ANN, "precise").check_ins
    assert (sent.id, sent.purpose, sent.site_id, sent.action) == (new.id, "visit", "site-9", "in")
    for name in fix.__slots__:
        assert getattr(sent.fix, name) == getattr(fix, name)


def test_2_the_same_check_in_put_twice_is_one(outbox, phone):
    new = phone.new()
    put(outbox, new)
    put(outbox, new)
    assert len(outbox) == 1
    settled(outbox, new.id)
    put(outbox, new)
    assert len(outbox) == 0


# -- 4, 8: how long it waits -----------------------------------------------------------------------


def test_4_nothing_may_wait_so_long_that_the_server_has_forgotten_its_id(path):
    with pytest.raises(ValueError, match="seven days"):
        Keeper(path, ttl_s=7 * 24 * HOUR_S + 1)
    Keeper(path, ttl_s=7 * 24 * HOUR_S)


@pytest.mark.parametrize("when", ["enqueue", "start", "send"])
def test_8_what_is_too_old_ends_without_its_place(outbox, phone, path, when):
    lost = []
    outbox._on_loss = lambda reason, count: lost.append((reason, count))
    id_ = put(outbox, phone.new())
    phone.wait(72 * HOUR_S + 1)
    if when == "enqueue":
        put(outbox, phone.new(fix=phone.fix(lat=1.5, lon=2.5)))
    elif when == "start":
        outbox.close()
        outbox.open()
    else:
        assert outbox.next_up(ANN, "precise") == Nothing(why="empty")
    status = outbox.ticket(id_)
    assert (status.state, status.reason) == ("expired", "expired")
    assert lost == [("expired", 1)]
    assert outbox.losses() == {"expired": 1}
    outbox.close()
    assert not holds_place(path)


def test_8_until_then_it_waits(outbox, phone):
    id_ = put(outbox, phone.new())
    phone.wait(72 * HOUR_S - 1)
    assert waiting_ids(outbox) == [id_]


def test_8_the_wall_clock_cannot_make_it_older_or_younger(outbox, phone):
    id_ = put(outbox, phone.new())
    phone.set_wall(NOON + timedelta(days=400))
    assert waiting_ids(outbox) == [id_]
    phone.set_wall(NOON - timedelta(days=400))
    phone.elapsed_s += 72 * HOUR_S + 1
    assert waiting_ids(outbox) == []


@pytest.mark.parametrize("days", [4, -4])
def test_8_after_a_reboot_the_wall_clock_decides_and_the_far_future_is_too_old(outbox, phone, days):
    id_ = put(outbox, phone.new())
    phone.reboot()
    assert waiting_ids(outbox) == [id_]
    phone.set_wall(NOON + timedelta(days=days))
    assert waiting_ids(outbox) == []
    assert outbox.ticket(id_).state == "expired"


def test_8_a_position_that_is_too_old_already_is_not_taken(outbox, phone):
    with pytest.raises(Stale):
        put(outbox, phone.new(fix=phone.fix(captured_at=NOON - timedelta(days=4), elapsed_s=None)))
    assert len(outbox) == 0


def test_8_what_became_of_it_is_forgotten_as_well(outbox, phone):
    id_ = put(outbox, phone.new())
    settled(outbox, id_)
    phone.wait(72 * HOUR_S + 1)
    waiting_ids(outbox)
    assert outbox.ticket(id_) is None


# -- 5: order --------------------------------------------------------------------------------------


def test_5_they_go_in_the_order_in_which_they_came(outbox, phone):
    ids = [put(outbox, phone.new()) for _ in range(5)]
    assert waiting_ids(outbox) == ids
    settled(outbox, ids[0], ids[2])
    assert waiting_ids(outbox) == [ids[1], ids[3], ids[4]]


def test_5_a_batch_holds_at_most_50(outbox, phone):
    ids = [put(outbox, phone.new()) for _ in range(51)]
    assert waiting_ids(outbox) == ids[:50]


def test_5_a_batch_is_at_most_64_kb(outbox, phone):
    for _ in range(50):
        put(outbox, phone.new(site_id="s" * 3000))
    rows = outbox.next_up(ANN, "precise").rows
    assert 10 < len(rows) < 50
    assert sum(row.size_bytes for row in rows) <= 64_000


def test_5_one_that_is_a_mistake_by_its_size_is_not_stored(outbox, phone):
    with pytest.raises(ValueError, match="too long"):
        put(outbox, phone.new(site_id="s" * 5000))


# -- 7: full ---------------------------------------------------------------------------------------


def test_7_a_full_outbox_takes_no_more_and_loses_none(phone, path):
    with phone.opened(path, capacity=2) as outbox:
        permit(outbox)
        ids = [put(outbox, phone.new()) for _ in range(2)]
        with pytest.raises(OutboxFull):
            put(outbox, phone.new())
        assert waiting_ids(outbox) == ids
        assert outbox.losses() == {}


def test_7_dropping_the_oldest_is_asked_for_and_counted(phone, path):
    with phone.opened(path, capacity=2, when_full="drop_oldest") as outbox:
        permit(outbox)
        ids = [put(outbox, phone.new()) for _ in range(4)]
        assert waiting_ids(outbox) == ids[2:]
        assert outbox.losses() == {"outbox-full": 2}
        status = outbox.ticket(ids[0])
        assert (status.state, status.reason) == ("failed", "outbox-full")


def test_7_what_is_kept_of_the_ended_is_bounded_too(phone, path):
    with phone.opened(path, capacity=2) as outbox:
        permit(outbox)
        ids = []
        for _ in range(9):
            ids.append(put(outbox, phone.new()))
            settled(outbox, ids[-1])
        waiting_ids(outbox)
        assert [outbox.ticket(id_) is not None for id_ in ids] == [False] * 5 + [True] * 4


@pytest.mark.parametrize(
    "options", [{"capacity": 0}, {"ttl_s": 0}, {"ttl_s": -1}, {"when_full": "drop"}]
)
def test_7_settings_without_sense_are_refused(path, options):
    with pytest.raises(ValueError, match="must be"):
        Keeper(path, **options)


# -- 9: one sends ----------------------------------------------------------------------------------


def test_9_one_sends_at_a_time_and_a_dead_one_holds_nobody_up(phone, path):
    with phone.opened(path) as first, phone.opened(path) as second:
        permit(first)
        id_ = put(first, phone.new())
        assert waiting_ids(first) == [id_]
        assert second.next_up(ANN, "precise").why == "somebody-else-sends"
        phone.wait(30)
        assert waiting_ids(first) == [id_], "it is renewed by each look"
        phone.wait(59)
        assert second.next_up(ANN, "precise").why == "somebody-else-sends"
        phone.wait(2)
        assert waiting_ids(second) == [id_], "the first was killed, or sleeps"
        assert first.next_up(ANN, "precise").why == "somebody-else-sends"


def test_9_who_closes_gives_the_lease_back(phone, path):
    with phone.opened(path) as first, phone.opened(path) as second:
        permit(first)
        id_ = put(first, phone.new())
        waiting_ids(first)
        first.close()
        assert waiting_ids(second) == [id_]


@pytest.mark.parametrize("trouble", ["reboot", "clock"])
def test_9_a_lease_of_another_boot_or_without_end_is_nobodys(phone, path, trouble):
    with phone.opened(path) as first, phone.opened(path) as second:
        permit(first)
        id_ = put(first, phone.new())
        waiting_ids(first)
        if trouble == "reboot":
            phone.reboot()
        else:
            phone.elapsed_s -= 4000
        assert waiting_ids(second) == [id_]


def test_9_a_killed_process_does_not_wedge_another(path):
    """Two real processes: the first is killed while it sends, the next goes on at once."""
    phone = Phone()
    child = os.fork()
    if child == 0:
        outbox = phone.outbox(path)
        outbox.open()
        permit(outbox)
        put(outbox, phone.new())
        waiting_ids(outbox)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with phone.opened(path) as outbox:
        assert len(waiting_ids(outbox)) == 1


def test_9_many_threads_and_two_outboxes_store_at_the_same_time(phone, path):
    with phone.opened(path) as first, phone.opened(path) as second:
        permit(first)
        stored = []

        def store(outbox):
            stored.extend(put(outbox, phone.new()) for _ in range(10))

        threads = [threading.Thread(target=store, args=(one,)) for one in (first, second) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(waiting_ids(first)) == sorted(stored)
        assert len(set(stored)) == 40


# -- 10: age ---------------------------------------------------------------------------------------


def age_s(outbox, phone):
    [check_in] = outbox.next_up(ANN, "precise").check_ins
    return check_in.fix.age_s(phone.system().moment())


def test_10_the_age_is_by_the_clock_that_nobody_sets(outbox, phone):
    put(outbox, phone.new(fix=phone.fix(elapsed_s=4990.0)))
    phone.wait(3600)
    phone.set_wall(NOON - timedelta(days=2))
    assert age_s(outbox, phone) == 3610


def test_10_a_position_without_a_reading_ages_from_when_it_was_stored(outbox, phone):
    put(outbox, phone.new(fix=phone.fix(captured_at=NOON - timedelta(seconds=4), elapsed_s=None)))
    phone.wait(3600)
    phone.set_wall(NOON - timedelta(days=2))
    assert age_s(outbox, phone) == 3604


def test_10_after_a_reboot_no_age_is_told_and_the_ticket_says_so(outbox, phone):
    id_ = put(outbox, phone.new())
    assert outbox.ticket(id_).time_confidence == "high"
    phone.reboot()
    phone.elapsed_s = 9000.0  # longer up than before: a reading of then would pass for one of now
    assert age_s(outbox, phone) is None
    assert outbox.ticket(id_).time_confidence == "low"


def test_10_a_position_of_before_the_boot_tells_no_age(outbox, phone):
    phone.elapsed_s = 5.0
    id_ = put(
        outbox, phone.new(fix=phone.fix(captured_at=NOON - timedelta(hours=1), elapsed_s=None))
    )
    assert age_s(outbox, phone) is None
    assert id_


# -- 11, 13: withdrawal ----------------------------------------------------------------------------


def test_11_a_withdrawal_is_one_transaction_known_without_a_network(outbox, phone, path):
    ids = [put(outbox, phone.new()) for _ in range(3)]
    assert holds_place(path)
    assert outbox.note_permission(ANN, "denied")
    assert not holds_place(path)
    identity = outbox.identity(ANN)
    assert (identity.epoch, identity.report_sequence, identity.permission) == (2, 2, "denied")
    assert {outbox.ticket(id_).state for id_ in ids} == {"withdrawn"}
    assert outbox.losses() == {"withdrawn": 3}
    report = outbox.next_up(ANN, "denied")
    assert (report.state, report.sequence) == ("denied", 2)


@pytest.mark.parametrize("state", ["denied", "restricted", "services_off"])
def test_11_every_way_of_taking_it_back_is_a_withdrawal(outbox, phone, state):
    put(outbox, phone.new())
    outbox.note_permission(ANN, state)
    assert len(outbox) == 0
    with pytest.raises(Unavailable):
        put(outbox, phone.new())


def test_11_what_was_captured_before_is_not_stored_after_it(outbox, phone):
    epoch = outbox.identity(ANN).epoch
    outbox.note_permission(ANN, "denied")
    outbox.note_permission(ANN, "precise")
    with pytest.raises(EpochPassed):
        outbox.put(ANN, phone.new(), permission="precise", epoch=epoch)
    assert len(outbox) == 0


def test_11_check_ins_after_a_new_grant_carry_the_withdrawals_epoch(outbox, phone):
    outbox.note_permission(ANN, "denied")
    outbox.note_permission(ANN, "precise")
    put(outbox, phone.new())
    reports = []
    while isinstance(up := outbox.next_up(ANN, "precise"), Report):
        reports.append((up.state, up.sequence))
        outbox.reported(ANN, up.number)
    assert reports == [("denied", 2), ("precise", 3)]
    assert [row.epoch for row in up.rows] == [2]


def test_11_reports_that_nobody_needs_are_not_piled_up(outbox):
    for state in ["denied", "precise", "denied", "approximate", "restricted", "precise", "unknown"]:
        outbox.note_permission(ANN, state)
    reports = []
    while isinstance(up := outbox.next_up(ANN, "unknown"), Report):
        reports.append(up.state)
        outbox.reported(ANN, up.number)
    assert reports == ["restricted", "unknown"]


def test_11_without_the_servers_sequence_the_report_waits_for_it(phone, path):
    nobody_knows = a_person(epoch=None, sequence=None, device_id=None)
    with phone.opened(path) as outbox:
        outbox.note_permission(nobody_knows, "precise")
        put(outbox, phone.new(), nobody_knows)
        outbox.note_permission(nobody_knows, "denied")
        assert not holds_place(path)
        assert isinstance(outbox.next_up(nobody_knows, "denied"), Learn)
        knows = a_person(epoch=30, sequence=41)
        outbox.learn(knows)
        report = outbox.next_up(knows, "denied")
        assert (report.state, report.sequence) == ("denied", 42)
        assert outbox.identity(knows).epoch == 42


def test_11_what_the_server_calls_withdrawn_goes_with_all_of_its_epoch(outbox, phone, path):
    put(outbox, phone.new())
    outbox.refuse_epoch(ANN, 0)
    assert len(outbox) == 0
    assert not holds_place(path)
    assert outbox.losses() == {"permission-withdrawn": 1}


def test_13_precise_positions_go_when_the_permission_becomes_approximate(outbox, phone, path):
    gone = put(outbox, phone.new())
    outbox.note_permission(ANN, "approximate")
    assert not holds_place(path)
    coarse = phone.new(fix=phone.fix(lat=52.4, lon=4.9))
    put(outbox, coarse, permission="approximate")
    outbox.note_permission(ANN, "precise")
    outbox.note_permission(ANN, "approximate")
    outbox.reported(ANN, outbox.next_up(ANN, "approximate").number)
    assert waiting_ids(outbox, state="approximate") == [coarse.id]
    assert (outbox.ticket(gone).state, outbox.ticket(gone).reason) == ("withdrawn", "approximate")


def test_13_a_precise_position_is_not_stored_once_only_approximate_is_allowed(outbox, phone):
    outbox.note_permission(ANN, "approximate")
    with pytest.raises(Unavailable):
        put(outbox, phone.new(), permission="precise")


# -- 14: no byte is left ---------------------------------------------------------------------------


def test_14_without_overwriting_the_scan_would_find_the_place(outbox, phone, path):
    """That the scan can fail at all."""
    outbox._file._database.execute("PRAGMA secure_delete=OFF")
    put(outbox, phone.new())
    outbox.note_permission(ANN, "denied")
    assert holds_place(path)


def commit_a_withdrawal(outbox, phone):
    """The transaction of a withdrawal, and then the end of the process."""
    now = phone.system().moment()
    outbox._file.run(lambda database: outbox._note(database, ANN, "denied", now))


def test_14_a_reader_delays_the_purge_and_nothing_is_sent_before_it(outbox, phone, path):
    put(outbox, phone.new())
    outbox._file.forget(1)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM check_ins").fetchone()
    commit_a_withdrawal(outbox, phone)
    assert holds_place(path)
    assert outbox.next_up(ANN, "denied").why == "purging"
    reader.close()
    assert isinstance(outbox.next_up(ANN, "denied"), Report)
    assert not holds_place(path)


def test_14_who_was_killed_half_way_finishes_before_any_send(outbox, phone, path):
    put(outbox, phone.new())
    commit_a_withdrawal(outbox, phone)
    assert holds_place(path), "committed, but still in the log"
    phone.wait(61)  # its lease ends
    with phone.opened(path) as after:
        assert isinstance(after.next_up(ANN, "denied"), Report)
        assert not holds_place(path)


def test_14_what_was_sent_is_gone_from_the_bytes_when_nothing_waits(outbox, phone, path):
    ids = [put(outbox, phone.new()) for _ in range(60)]
    settled(outbox, *ids)
    assert not holds_place(path)


@pytest.mark.parametrize("seed", range(3))
def test_14_no_pattern_of_storing_and_ending_leaves_a_byte(phone, path, seed):
    chance = random.Random(seed)
    with phone.opened(path) as outbox:
        permit(outbox)
        places, live = [], []
        for number in range(80):
            lat = 10 + number / 100 + chance.random() / 1000
            places.append(repr(lat).encode())
            live.append(put(outbox, phone.new(fix=phone.fix(lat=lat), site_id="s" * number)))
            if chance.random() < 0.3:
                some = chance.sample(live, chance.randint(1, len(live)))
                settled(outbox, *some)
                live = [id_ for id_ in live if id_ not in some]
        outbox.note_permission(ANN, "denied")
        everything = bytes_of(path)
        assert [place for place in places if place in everything] == []


def test_14_the_short_version_of_the_kills():
    """The long one: `make outbox-kills`."""
    seen = kills.rounds(30, seed=7, folder=fast_folder())
    assert seen["kills"] == 30
    assert seen["acknowledged"] > 0


# -- 15: corrupt -----------------------------------------------------------------------------------


def garbage(path):
    path.write_bytes(b"garbage" + path.read_bytes()[7:])


def torn(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 // 4096 * 4096])


def scribbled(path):
    content = bytearray(path.read_bytes())
    for page in range(1, len(content) // 4096):
        content[page * 4096 : page * 4096 + 16] = os.urandom(16)
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [garbage, torn, scribbled])
def test_15_a_corrupt_file_goes_without_its_places_and_a_new_one_begins(phone, path, spoil):
    with phone.opened(path) as outbox:
        permit(outbox)
        put(outbox, phone.new())
    assert holds_place(path)
    spoil(path)
    lost = []
    with phone.opened(path, on_loss=lambda *loss: lost.append(loss)) as outbox:
        assert lost == [("corrupt", 1)]
        assert outbox.losses() == {"corrupt": 1}
        assert len(outbox) == 0
        assert not holds_place(path)
        permit(outbox)
        put(outbox, phone.new())
    assert sorted(one.name for one in path.parent.iterdir()) == ["outbox.db"]


def test_15_it_may_become_corrupt_while_it_is_open(phone, path):
    with phone.opened(path) as outbox:
        permit(outbox)
        for _ in range(60):
            put(outbox, phone.new())
        outbox._file.forget(1)
        scribbled(path)
        outbox._file._database.execute("PRAGMA shrink_memory")
        outbox.note_permission(ANN, "denied")
        outbox.note_permission(ANN, "precise")
        assert not holds_place(path)
        id_ = put(outbox, phone.new())
        assert outbox.losses() == {"corrupt": 1}
        assert outbox.ticket(id_).state == "queued"


def test_15_who_was_killed_over_setting_it_aside_finishes_it(phone, path):
    with phone.opened(path) as outbox:
        permit(outbox)
        put(outbox, phone.new())
        outbox._file.forget(1)
        path.rename(f"{path}.corrupt-1234")
    with phone.opened(path) as outbox:
        assert outbox.losses() == {"corrupt": 1}
        assert not holds_place(path)


def test_15_a_new_file_never_finds_the_old_ones_log(path):
    """It goes first: SQLite would take it for the new file's."""
    for side in ("", "-wal", "-shm"):
        Path(f"{path}{side}").write_bytes(b"garbage")
    OutboxFile(str(path))._set_aside()
    left = [one.name for one in path.parent.iterdir()]
    assert len(left) == 3
    assert all(".corrupt-" in name for name in left)


def test_15_somebody_elses_database_is_left_alone(path):
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE theirs (value)")
    before = path.read_bytes()
    with pytest.raises(OutboxUnusable, match="another program"):
        Keeper(path).open()
    assert path.read_bytes() == before


def test_15_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(OutboxUnusable, match="may write") as refused:
        Keeper(tmp_path / "nowhere" / "outbox.db").open()
    assert refused.value.__context__ is None


# -- 16: whose it is -------------------------------------------------------------------------------


BOB = a_person("bob")


@pytest.mark.parametrize(
    "other",
    [
        BOB,
        a_person("ann", base_url="https://other.test", device_id="device-elsewhere"),
        a_person("ann", mark="m" * 32, device_id="her-new-phone"),
    ],
    ids=["another person", "another server", "another device"],
)
def test_16_nothing_is_sent_as_somebody_else(outbox, phone, path, other):
    id_ = put(outbox, phone.new())
    permit(outbox, other)
    assert waiting_ids(outbox, other) == []
    assert not holds_place(path)
    assert outbox.losses() == {"other-identity": 1}
    assert outbox.ticket(id_) is None, "what became of it is nobody else's business"
    permit(outbox)
    assert waiting_ids(outbox) == []


def test_16_a_token_that_is_not_known_yet_sends_nothing_of_others(outbox, phone, path):
    put(outbox, phone.new())
    stranger = a_person("x", device_id=None)
    outbox.note_permission(stranger, "precise")
    assert isinstance(outbox.next_up(stranger, "precise"), Learn)
    turned_out = a_person("x", device_id="another")
    outbox.learn(turned_out)
    assert not holds_place(path)


@pytest.mark.parametrize("how", ["rotated", "learned"])
def test_16_a_new_token_of_the_same_device_goes_on_with_what_waits(outbox, phone, how):
    id_ = put(outbox, phone.new())
    if how == "rotated":
        known = renewed = a_person("new", former_mark=ANN.mark, device_id=None)
    else:
        renewed = a_person("new", device_id=None)
        known = a_person("new", device_id=ANN.device_id)
        outbox.note_permission(renewed, "precise")
    mine = put(outbox, phone.new(), renewed)
    outbox.learn(known)
    while isinstance(up := outbox.next_up(known, "precise"), Report):
        outbox.reported(known, up.number)
    assert [row.id for row in up.rows] == [id_, mine]


def test_16_signing_out_forgets_everything(outbox, phone, path):
    id_ = put(outbox, phone.new())
    outbox.switch(off=True)
    assert outbox.sign_out()
    assert not holds_place(path)
    assert outbox.ticket(id_) is None
    assert not outbox.switched_off
    assert ANN.device_id.encode() not in bytes_of(path)
    assert outbox.losses() == {"signed-out": 1}


# -- 17: closed ------------------------------------------------------------------------------------


def test_17_a_closed_outbox_holds_no_lock_and_says_so(phone, path):
    outbox = phone.outbox(path)
    outbox.open()
    permit(outbox)
    outbox.close()
    outbox.close()
    assert [one.name for one in path.parent.iterdir()] == ["outbox.db"]
    with pytest.raises(OutboxUnusable, match="closed"):
        len(outbox)
    outbox.open()
    assert len(outbox) == 0


# -- 18: sealed ------------------------------------------------------------------------------------


@pytest.fixture
def keystore():
    return Keystore()


def test_18_a_sealed_row_holds_no_place(phone, path, keystore):
    with phone.opened(path, sealer=keystore) as outbox:
        permit(outbox)
        put(outbox, phone.new(site_id="site-secret", purpose="visit-secret"))
        assert not holds_place(path, (*PLACE, b"secret"))
        [sent] = outbox.next_up(ANN, "precise").check_ins
        assert (sent.fix.lat, sent.fix.lon, sent.site_id) == (LAT, LON, "site-secret")


def test_18_what_cannot_be_sealed_is_not_stored(phone, path, keystore):
    with phone.opened(path, sealer=keystore) as outbox:
        permit(outbox)
        keystore.fails = KeyError("no key")
        with pytest.raises(OutboxUnusable, match="sealer") as refused:
            put(outbox, phone.new())
        assert refused.value.__context__ is None
        assert len(outbox) == 0


def test_18_a_locked_keystore_delays_and_a_lost_key_ends_them_alone(phone, path, keystore):
    with phone.opened(path, sealer=keystore) as outbox:
        permit(outbox)
        first, second = put(outbox, phone.new()), put(outbox, phone.new())
        keystore.fails = PermissionError("locked")
        assert outbox.next_up(ANN, "precise").why == "sealer"
        assert len(outbox) == 2
        keystore.fails = None
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("UPDATE check_ins SET claim = x'00' WHERE id = ?", (first,))
        assert waiting_ids(outbox) == [second]
        assert (outbox.ticket(first).state, outbox.ticket(first).reason) == ("failed", "unreadable")
        assert outbox.losses() == {"unreadable": 1}


def test_18_a_sealed_row_opens_in_its_own_place_only(phone, path, keystore):
    with phone.opened(path, sealer=keystore) as outbox:
        permit(outbox)
        first, second = put(outbox, phone.new()), put(outbox, phone.new())
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute(
                "UPDATE check_ins SET claim = (SELECT claim FROM check_ins WHERE id = ?)", (first,)
            )
        assert waiting_ids(outbox) == [first]
        assert outbox.ticket(second).reason == "unreadable"


def test_18_without_its_sealer_it_waits(phone, path, keystore):
    with phone.opened(path, sealer=keystore) as outbox:
        permit(outbox)
        put(outbox, phone.new())
    with phone.opened(path) as outbox:
        assert outbox.next_up(ANN, "precise").why == "sealer"
        assert len(outbox) == 1


# -- versions of the file --------------------------------------------------------------------------


def test_a_file_of_the_first_version_is_brought_up_to_date(path):
    story = kills.Story()
    kills.make_first_version(path, story, 3)
    with Keeper(path) as outbox:
        assert len(outbox) == 3
        assert {outbox.ticket(id_).state for id_ in story.stored} == {"queued"}
        outbox.note_permission(ANN, "approximate")
        assert len(outbox) == 0, "what was there before counts as precise"


def test_a_file_is_of_one_version_or_the_next_wherever_its_migration_is_killed(path):
    """At each statement of opening it, until one run is through."""
    folder = path.parent
    for number in itertools.count(1):
        path = folder / f"{number}" / "outbox.db"
        path.parent.mkdir()
        story = kills.Story()
        kills.make_first_version(path, story, 2)
        if opens_before_dying(path, number):
            break
        with closing(sqlite3.connect(path)) as database:
            [version] = database.execute("PRAGMA user_version").fetchone()
            columns = {row[1] for row in database.execute("PRAGMA table_info(check_ins)")}
            assert ("precise" in columns) == (version >= 2)
        with Keeper(path) as outbox:
            assert len(outbox) == 2
    assert number > 10


def opens_before_dying(path, statement):
    child = os.fork()
    if child == 0:
        kills.die_at_statement(statement)
        Keeper(path).open()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return not os.WIFSIGNALED(status)


def test_a_file_of_a_newer_version_is_left_as_it_is(path):
    Keeper(path).open()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(OutboxUnusable, match="newer version"):
        Keeper(path).open()
    assert path.exists()


# -- what must not be said -------------------------------------------------------------------------


def test_only_the_apps_own_user_may_read_the_files(outbox, phone, path):
    put(outbox, phone.new())
    modes = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_nothing_prints_or_pickles_a_place(outbox, phone):
    put(outbox, phone.new(site_id="site-secret"))
    batch = outbox.next_up(ANN, "precise")
    for thing in (outbox, batch, batch.rows[0], batch.check_ins[0]):
        assert not {str(LAT), str(LON), "secret"} & set(repr(thing).split())
        assert "secret" not in repr(thing)
        assert str(LAT) not in repr(thing)
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(thing)


def full(phone, path):
    with phone.opened(path, capacity=1) as outbox:
        permit(outbox)
        put(outbox, phone.new())
        put(outbox, phone.new())


def too_long(phone, path):
    with phone.opened(path) as outbox:
        permit(outbox)
        put(outbox, phone.new(site_id="s" * 5000))


def on_a_full_disk(phone, path):
    with phone.opened(path) as outbox:
        permit(outbox)
        outbox._file._database.execute("PRAGMA max_page_count=1")
        for _ in range(100):
            put(outbox, phone.new())


def too_old(phone, path):
    with phone.opened(path) as outbox:
        permit(outbox)
        put(outbox, phone.new(fix=phone.fix(captured_at=NOON - timedelta(days=4), elapsed_s=None)))


def unsealable(phone, path):
    keystore = Keystore()
    with phone.opened(path, sealer=keystore) as outbox:
        permit(outbox)
        keystore.fails = KeyError("gone")
        put(outbox, phone.new())


@pytest.mark.parametrize("refuse", [full, too_long, on_a_full_disk, too_old, unsealable])
def test_no_error_of_a_check_in_holds_it_nor_do_its_frames(phone, path, refuse):
    with pytest.raises((DoorstepError, ValueError)) as refused:
        refuse(phone, path)
    assert str(LAT) not in repr(refused.value)
    assert refused.value.__context__ is None
    frames = [frame for frame, _ in traceback.walk_tb(refused.value.__traceback__)]
    ours = [repr(frame.f_locals) for frame in frames if "/doorstep/" in frame.f_code.co_filename]
    assert ours
    assert not [said for said in ours if str(LAT) in said]
