"""The wheel: small, pure Python, and in need of nothing; so it installs on phones."""

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import doorstep

SDK = Path(doorstep.__file__).parents[1]
MOST_BYTES = 150_000
#: as CPython names them: PEP 738, PEP 730
PHONES = ["android_24_arm64_v8a", "android_21_x86_64", "ios_13_0_arm64_iphoneos"]


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(SDK))
    [made] = folder.iterdir()
    return made


def test_it_is_small_and_pure_python(wheel: Path) -> None:
    assert wheel.name == f"doorstep-{doorstep.__version__}-py3-none-any.whl"
    assert wheel.stat().st_size <= MOST_BYTES
    names = zipfile.ZipFile(wheel).namelist()
    assert "doorstep/py.typed" in names
    assert {name.split("/")[0] for name in names} == {
        "doorstep",
        f"doorstep-{doorstep.__version__}.dist-info",
    }


def test_it_needs_nothing(wheel: Path) -> None:
    [metadata] = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/METADATA")]
    told = Parser().parsestr(zipfile.ZipFile(wheel).read(metadata).decode())
    needs = told.get_all("Requires-Dist") or []
    assert needs
    assert all("extra ==" in need for need in needs)


@pytest.mark.parametrize("platform", PHONES)
def test_a_phone_can_have_it_with_nothing_else(wheel: Path, platform: str, tmp_path: Path) -> None:
    pip(
        "download", "--no-index", "--only-binary", ":all:", "--platform", platform,
        "--python-version", "3.13", "-d", str(tmp_path), str(wheel),
    )  # fmt: skip
    assert [file.name for file in tmp_path.iterdir()] == [wheel.name]
