"""`doorstep demo`, run as people run it."""

import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from threading import Timer

import pytest

from doorstep_server.demo import city
from doorstep_server.demo.walking import Spot

#: nobody waits so long; a hanging demo fails instead
PATIENCE_S = 60


def command(home, *arguments):
    start = [sys.executable, "-m", "doorstep_server", "--home", str(home), "demo"]
    return [*start, "--port", "0", *arguments]


@contextmanager
def running(home, *arguments):
    process = subprocess.Popen(
        command(home, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    watchdog = Timer(PATIENCE_S, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def read_until(process, wanted):
    """The output up to the first line that contains a text."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if wanted in line:
            return lines
    pytest.fail(f"it ended without {wanted!r}: {process.stderr.read()}")


def coordinates_in(text):
    """Numbers that look like the city's degrees."""
    spots = [Spot(**city.standing_in(f.properties["external_id"])) for f in city.features()]
    degrees = {str(int(abs(value))) for spot in spots for value in (spot.lat, spot.lon)}
    return re.findall(rf"-?\b(?:{'|'.join(degrees)})\.\d{{2,}}", text)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    home = tmp_path_factory.mktemp("demo") / "home"
    arguments = ("--check-ins", "40", "--rate", "0")
    done = subprocess.run(
        command(home, *arguments), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    return home, done


def test_it_ends_by_itself_after_enough_check_ins(finished):
    _, done = finished
    assert (done.returncode, done.stderr) == (0, "")
    answered = re.search(r"^(\d+) check-ins answered: ", done.stdout, re.MULTILINE)
    assert int(answered[1]) >= 40


def test_it_says_where_the_docs_are_and_how_to_check_in(finished):
    _, done = finished
    assert re.search(r"http://127\.0\.0\.1:\d+/docs", done.stdout)
    assert "client.device.enroll(" in done.stdout


def test_it_tells_verdict_reason_and_what_was_stored(finished):
    _, done = finished
    assert "accepted: inside | stored level site: subject_id=" in done.stdout
    assert "stored level none: purpose=visit, day=" in done.stdout


def test_it_never_prints_or_logs_a_coordinate(finished):
    home, done = finished
    assert coordinates_in("x -23.5614 -46.655981") == ["-23.5614", "-46.655981"]
    assert coordinates_in(done.stdout) == []
    log = (home / "demo-server.log").read_text()
    # seconds are degrees, now and then
    without_times = re.sub(r'"time":"[-0-9T:.+]+"', "", log)
    assert without_times != log
    assert coordinates_in(without_times) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tmp_path, number):
    with running(tmp_path, "--rate", "20") as process:
        read_until(process, "accepted: inside")
        process.send_signal(number)
        rest, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, "")
    assert "check-ins answered" in rest


def test_the_check_in_that_it_offers_works(tmp_path):
    with running(tmp_path, "--rate", "5") as process:
        printed = "".join(read_until(process, "END\n"))
        snippet = printed[printed.index("import Client") - len("from doorstep ") :]
        snippet = snippet.removesuffix("END\n")
        done = subprocess.run(
            [sys.executable, "-"],
            input=snippet,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.stderr == ""
        assert done.stdout.startswith("accepted inside\nsite {")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)


def test_what_an_operator_can_mend_is_told_without_a_traceback(tmp_path, monkeypatch):
    monkeypatch.setenv("DOORSTEP_DATABASE_URL", "mysql://nobody@localhost/none")
    done = subprocess.run(
        command(tmp_path), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Doorstep runs on SQLite files and on PostgreSQL")
