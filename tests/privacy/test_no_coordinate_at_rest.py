"""After a thousand check-ins no submitted coordinate is in any byte that the server left."""

import io
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console

from doorstep import HTTPTransport, Request, Response, Timeout, Transport
from doorstep_server.demo.play import Played, Wanted, play
from doorstep_server.privacy.places import FILES
from doorstep_server.settings import Settings
from privacy.coordinates import Submitted, leaks

CHECK_INS = 1_000


class Recording(HTTPTransport):
    """Sends on, and remembers which coordinates went out."""

    def __init__(self, submitted: Submitted) -> None:
        super().__init__()
        self._submitted = submitted

    def send(self, request: Request, *, timeout: Timeout) -> Response:
        if "check-ins" in request.url and request.body:
            self._submitted.add_body(request.body)
        return super().send(request, timeout=timeout)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Submitted, Played]:
    """The demo's phones, through the SDK and HTTP, against a server process logging at DEBUG."""
    home = tmp_path_factory.mktemp("demo") / "home"
    submitted = Submitted()

    def transport(_: str) -> Transport:
        return Recording(submitted)

    wanted = Wanted(port=0, check_ins=CHECK_INS, rate=0, transport_factory=transport)
    screen = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOORSTEP_LOG_LEVEL", "debug")
        done = play(Settings(home=home), wanted, Console(file=screen))
    (home / "terminal.txt").write_text(screen.getvalue())
    return home, submitted, done


def test_no_submitted_coordinate_is_left(played: tuple[Path, Submitted, Played]) -> None:
    home, submitted, done = played
    assert done.totals.answers() >= CHECK_INS
    assert submitted.count >= 2 * CHECK_INS
    assert {"doorstep.db", "keyring.db", "demo-server.log"} <= {f.name for f in home.iterdir()}
    assert leaks(submitted, [home]) == {}


def test_every_file_that_the_demo_leaves_is_known(played: tuple[Path, Submitted, Played]) -> None:
    home, _, _ = played
    # the screen is kept by the test
    assert {file.name for file in home.iterdir()} - {"terminal.txt"} <= FILES.keys()


def test_a_coordinate_column_would_be_found(
    played: tuple[Path, Submitted, Played], tmp_path: Path
) -> None:
    home, submitted, _ = played
    copy = tmp_path / "doorstep.db"
    copy.write_bytes((home / "doorstep.db").read_bytes())
    value = submitted.latitudes[0]
    with closing(sqlite3.connect(copy)) as database, database:
        database.execute("ALTER TABLE check_ins ADD COLUMN lat REAL")
        database.execute("UPDATE check_ins SET lat = ?", (value,))
    assert set(leaks(submitted, [tmp_path])) == {"doorstep.db"}


@pytest.mark.parametrize("shape", ["lat={:.6f}", '{{"lat": {}}}', "({:.4f}, …)", "e6={:.0f}"])
def test_a_log_line_would_be_found(
    played: tuple[Path, Submitted, Played], tmp_path: Path, shape: str
) -> None:
    _, submitted, _ = played
    value = submitted.latitudes[0]
    careless = logging.FileHandler(tmp_path / "careless.log")
    said = shape.format(value * 1e6 if "e6" in shape else value)
    careless.emit(logging.LogRecord("x", logging.INFO, "x", 1, said, (), None))
    careless.close()
    assert set(leaks(submitted, [tmp_path])) == {"careless.log"}
