"""The documentation is true: its commands and snippets run, and what there is stands in it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from click import Group

from doorstep_server.cli import main
from doorstep_server.settings import PREFIX, Settings
from postgres import Cluster
from served import free_port

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCS = [ROOT / "README.md", ROOT / "geofences/README.md", *(ROOT / "server").glob("*/*.md")]
#: ends the server if anything goes wrong before the script does
LIMIT_S = 120


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def run(script: str, folder: Path) -> str:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment.pop("DOORSTEP_HOME", None)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(
    shutil.which("curl") is None and os.environ.get("CI") != "true",
    reason="curl is not installed; as root, `make test` installs it",
)
def test_a_newcomer_who_follows_the_readme_checks_in(tmp_path: Path) -> None:
    """All commands for admins in their order, then the check-in, against the server they start."""
    port = str(free_port())
    [snippet] = blocks(section("A check-in in ten lines"), "python")
    assert len(snippet.strip().splitlines()) <= 10
    (tmp_path / "check_in.py").write_text(snippet.replace(":8000", f":{port}"))
    commands = "".join(blocks(section("For admins"), "sh"))
    init = 'doorstep init --tenant "Our company"\n'
    enroll = "doorstep subjects enroll ana-0417\n"
    serve = "doorstep serve &\n"
    assert init in commands
    assert enroll in commands
    assert serve in commands
    script = (
        "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
        + commands.replace(init, init.strip() + " > key.txt\n" + "export DOORSTEP_KEY=$("
                           "awk '/^Key/ {print $2}' key.txt)\n")
        .replace(enroll, enroll.strip() + " > code.txt\n")
        .replace(serve, f"doorstep serve --port {port} &\n"
                 f"until curl -sf http://127.0.0.1:{port}/health/ready; do sleep 0.1; done\n")
        .replace(":8000", f":{port}")
        + 'sed -i "s/THE-ENROLLMENT-CODE/$(cat code.txt)/" check_in.py\n'
        + "echo\npython check_in.py\n"
    )  # fmt: skip
    said = run(script, tmp_path)
    assert "1 would be created, 0 rejected" in said
    assert "1 unchanged, 0 rejected" in said
    assert '"unchanged":1' in said
    assert '"name":"Head office"' in said
    assert said.splitlines()[-2:][0] == "accepted inside"
    assert said.splitlines()[-1].startswith("site 20")


def test_the_steps_for_postgresql_work(own_cluster: Cluster, tmp_path: Path) -> None:
    """On a server of its own, where the names that the README uses are free."""
    port = str(free_port())
    steps = section("For operators").partition("### On PostgreSQL")[2].partition("\n### ")[0]
    commands = "".join(blocks(steps, "sh"))
    assert "CREATE DATABASE doorstep" in commands
    assert "doorstep init" in commands
    urls = {
        "postgresql://postgres@db.example/postgres": own_cluster.url(),
        "postgresql://doorstep:choose-one@db.example/doorstep": own_cluster.url(
            "doorstep", "doorstep"
        ),
        "postgresql://postgres@db.example/doorstep": own_cluster.url("doorstep"),
    }
    for written, real in urls.items():
        assert written in commands
        commands = commands.replace(written, shlex.quote(real))
    script = (
        f"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\nPATH={own_cluster.binaries}:$PATH\n"
        + commands.replace("doorstep serve", f"doorstep serve --port {port}")
        + f"until curl -sf http://127.0.0.1:{port}/health/ready; do sleep 0.1; done\n"
    )
    assert '"ready"' in run(script, tmp_path)


@pytest.mark.parametrize("title", ["Two commands", "For developers"])
def test_the_make_targets_exist(title: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in "".join(blocks(section(title), "sh")).splitlines():
        program, target = command.split()
        assert program == "make"
        assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), target


def test_the_operators_commands_are_understood(tmp_path: Path) -> None:
    for command in "".join(blocks(section("For operators"), "sh")).splitlines():
        if command.startswith("doorstep"):
            assert "Usage: doorstep" in run(f"{command.strip('& ')} --help", tmp_path)


def test_every_setting_is_documented() -> None:
    for setting in fields(Settings):
        assert f"`{PREFIX}{setting.name.upper()}`" in README


def test_every_command_is_documented() -> None:
    for name, command in main.commands.items():
        names = (
            [f"{name} {sub}" for sub in command.commands] if isinstance(command, Group) else [name]
        )
        for one in names:
            assert f"doorstep {one}" in README or one in {"demo", "tenants list"}, one


@pytest.mark.parametrize("file", DOCS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_link_leads_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", file.read_text()):
        assert (file.parent / target).exists(), target


@pytest.mark.parametrize("file", DOCS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_file_that_is_named_exists(file: Path) -> None:
    roots = [ROOT, ROOT / "server/doorstep_server", ROOT / "geofences/doorstep_geofences"]
    named = re.findall(r"`((?:\w+/)+\w+\.(?:py|md))`", file.read_text())
    for name in named:
        assert any((root / name).exists() for root in roots), name


@pytest.mark.parametrize("file", DOCS[1:], ids=lambda file: str(file.relative_to(ROOT)))
def test_every_snippet_runs(file: Path) -> None:
    for snippet in blocks(file.read_text(), "python"):
        exec(compile(snippet, str(file), "exec"), {})


def test_every_test_that_is_named_as_a_proof_exists() -> None:
    text = (ROOT / "server/docs/privacy.md").read_text()
    tests = "\n".join(f.read_text() for f in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)…?`", text)
    assert len(named) > 8
    for name in named:
        assert f"def {name}" in tests, name
