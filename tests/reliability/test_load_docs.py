"""What the pages about load tests tell to type is there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from shapes import SHAPES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text().partition("\n### Load-testing\n")[2].partition("\n## ")[0]
PAGES = {
    "README.md": README,
    **{
        f"loadtests/{name}": (ROOT / "loadtests" / name).read_text()
        for name in ("README.md", "CAPACITY.md", "MEASURED.md")
    },
}
COMMANDS = sorted(
    {
        line.partition("#")[0].strip()
        for page in PAGES.values()
        for block in re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    }
)


@cache
def help_of(program: str) -> str:
    command = (
        ["-m", "locust", "-f", "loadtests/locustfile.py"] if program == "locust" else [program]
    )
    done = subprocess.run(
        [sys.executable, *command, "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "tests:loadtests"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_told_to_type_is_there(command: str) -> None:
    words = [word for word in shlex.split(command) if "=" not in word]
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text()
        assert re.search(rf"^{words[1]}:.*## ", makefile, re.MULTILINE)
    elif words[0] in {"python", "locust"}:
        program = words[1] if words[0] == "python" else "locust"
        # of another checkout's folder and the like nothing is looked at
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", help_of(program)), option
        if "--shape" in words:
            assert words[words.index("--shape") + 1] in {*SHAPES, "all"}
    else:
        assert words[0] in {"pip", "export"} or not words, command


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    folder = (ROOT / name).parent
    for target in re.findall(r"\]\((?!http)([^)#]+)", PAGES[name]):
        assert (folder / target).exists(), target


def test_each_shape_and_gate_is_explained() -> None:
    page = PAGES["loadtests/README.md"]
    for name in SHAPES:
        assert f"| `{name}` |" in page
    gates = (ROOT / "loadtests/gates.py").read_text()
    for gate in re.findall(r'name="([^"]+)"', gates):
        assert f"| {gate} |" in page
