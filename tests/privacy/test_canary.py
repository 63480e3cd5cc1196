"""Canaries are found nowhere but where they may be: the scan in short; `canary.py` is the whole."""

import struct
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import require
from postgres import why_no_cluster
from privacy.canaries import Canaries, Canary, Finder, Kind
from privacy.canary import EXPECTED, THIN, Findings, scan
from privacy.unguarded import GUARDS
from world import DATABASES


@pytest.fixture(scope="module", params=DATABASES)
def scanned(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Findings, Path]:
    """Every route, faults, deaths and careless code, on a server process of its own."""
    if request.param == "postgresql":
        require(why_no_cluster())
    folder = tmp_path_factory.mktemp("canary") / "scene"
    return scan(folder, request.param, 7, thin=THIN), folder


def test_no_canary_is_where_it_must_not_be(scanned: tuple[Findings, Path]) -> None:
    findings, _ = scanned
    assert findings.canaries > 1_000
    assert not findings.hits


def test_canaries_are_found_where_they_may_be(scanned: tuple[Findings, Path]) -> None:
    """Else the scan would find nothing because it looks at nothing."""
    findings, folder = scanned
    for kind, place in (
        (Kind.FENCE, "database"),
        (Kind.FENCE, "answer GET /v1/sites/export"),
        (Kind.DEVICE_TOKEN, "answer POST /v1/enrollments"),
        (Kind.EXACT, "answer GET /v1/check-ins/{check_in_id}/position"),
        (Kind.ROOT, "keyring"),
    ):
        assert findings.expected[kind.value, place], (kind, place)
    # what tells of a crash has spaces, a line of the log has none
    logs = [log.read_text().replace('": "', '":"') for log in (folder / "logs").iterdir()]
    assert sum(text.count('"event":"request"') for text in logs) > 300
    assert any('"event":"crash"' in text for text in logs)


def test_every_kind_has_its_places() -> None:
    assert EXPECTED.keys() == set(Kind)
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)


# -- the search itself -------------------------------------------------------------------------

LAT, LON = -23.561234567890123, -46.655123987654321


def position() -> list[Canary]:
    canaries = Canaries(1)
    canaries.position("here", LAT, LON)
    return canaries.all


@pytest.mark.parametrize(
    "written",
    [
        *(f"{LAT:.{n}f}" for n in range(5, 16)),
        *(f"{LAT:.{n}e}" for n in range(6, 16)),
        str(LAT).replace(".", ","),
        repr(LAT)[:9],
        f"[{int(LAT * 1e7)}]",
        struct.pack("<d", LAT),
        struct.pack(">d", LON),
        struct.pack(">d", LON).hex().upper(),
        struct.pack("<ff", LON, LAT),
        struct.pack(">ii", round(LAT * 1e7), round(LON * 1e7)),
    ],
)
def test_a_position_is_found_however_it_is_written(written: str | bytes) -> None:
    raw = written if isinstance(written, bytes) else written.encode()
    assert Finder(position()).hits(b"before" + raw + b"behind" * 100)


@pytest.mark.parametrize(
    "written",
    [
        "-23.5612",
        "123.56123",
        "8a235612345f",
        struct.pack("<f", LAT),
        struct.pack("<d", LAT + 1e-9),
    ],
)
def test_what_chance_can_make_is_no_hit(written: str | bytes) -> None:
    raw = written if isinstance(written, bytes) else written.encode()
    assert not Finder(position()).hits(b"before" + raw + b"behind")


def spelled(secret: str) -> Iterator[bytes]:
    hexadecimal = secret.rpartition("_")[2]
    yield from (secret.encode(), hexadecimal.upper().encode(), hexadecimal[:40].encode())
    yield bytes.fromhex(hexadecimal)
    for text in (secret.encode(), bytes.fromhex(hexadecimal)):
        yield from (b64encode(before + text + b"behind") for before in (b"", b"b", b"be"))


def test_a_token_is_found_however_it_is_written() -> None:
    canaries = Canaries(2)
    token = canaries.forged("here", "dst")
    finder = Finder(canaries.all)
    assert all(finder.hits(b"before " + raw) for raw in spelled(token))
    assert not finder.hits(canaries.random.randbytes(100_000))


def test_addresses_of_four_bytes_are_believed_together_only() -> None:
    canaries = Canaries(3)
    for text in ("127.8.9.10", "127.80.90.100"):
        canaries.address("here", text)
    finder = Finder(canaries.all)
    assert finder.hits(b"from 127.8.9.10:443")
    assert not finder.hits(bytes([1, 127, 8, 9, 10]))
    assert finder.hits(bytes([127, 8, 9, 10, 1, 127, 80, 90, 100]))
