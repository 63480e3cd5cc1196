"""Deployments for tests that break their database under a running server.

Whatever a server says here, in an answer or in its log, is looked at: see `Troubled`.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import postgres
from postgres import ScratchDatabase, Server, aimed, wait_until
from served import Answer, Served, doorstep, init, serving
from world import SQUARE, behind_file

#: a place in the square whose numbers stand in a log for no other reason
HERE = {"lat": -23.5612347, "lon": -46.6551239}
#: what neither an answer nor a log may quote, wherever the database is
QUOTED = (
    *(str(abs(degrees)) for degrees in HERE.values()),
    *("SELECT ", "INSERT ", "BEGIN", "Traceback", "postgresql:", "sqlite:"),
)


def claim(**members: Any) -> dict[str, Any]:
    fix = {**HERE, "accuracy_m": 8, "captured_at": datetime.now(UTC).isoformat()}
    return {"id": str(uuid4()), "purpose": "visit", "fix": fix, **members}


@dataclass(frozen=True)
class Deployed:
    """A deployment with a site and a phone; `where` are the variables that name its database."""

    home: Path
    where: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    token: str = ""
    database: ScratchDatabase | None = None

    @property
    def unspeakable(self) -> tuple[str, ...]:
        """What no output may hold: coordinates, statements, and where the database is."""
        return (*QUOTED, str(self.home), *_places(self.where))

    def stored(self) -> list[str]:
        """The ids of the check-ins in the database, as its owner sees them."""
        if self.database is None:
            rows = behind_file(self.home / "doorstep.db", "SELECT hex(id) FROM check_ins")
        else:
            rows = self.database.sql("SELECT id::text FROM check_ins")
        return sorted(str(row[0]).replace("-", "").lower() for row in rows)

    @contextmanager
    def serving(self, until: str = "/health/ready") -> Iterator[Troubled]:
        with serving(self.home, api_key=self.key, environment=self.where, until=until) as served:
            yield Troubled(self, served)
        self._require_silent(served.log.read_text())

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One of the commands."""
        return subprocess.run(
            doorstep(self.home, *arguments),
            env={**os.environ, **self.where},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def refusal(self, *arguments: str) -> str:
        """The sentence with which a command refuses: one line, and nothing of where things are."""
        done = self.run(*arguments)
        return self.told(done.returncode, done.stdout + done.stderr)

    def told(self, status: int, output: str) -> str:
        """The same of a command that was run already."""
        assert status == 1, (status, output)
        self._require_silent(output)
        said = output.splitlines()[-1]
        assert said.startswith("Error: "), output
        return said

    def _require_silent(self, output: str) -> None:
        for line in output.splitlines():
            for text in self.unspeakable:
                assert text not in line, line
            if line.startswith("{"):
                assert json.loads(line).get("status") != 500, line


@dataclass(frozen=True)
class Troubled:
    """A server whose database gets into trouble."""

    deployed: Deployed
    served: Served

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None) -> Answer:
        """Any answer is one of the API's own, and quotes nothing."""
        answer = self.served.ask(method, path, body, token)
        assert answer.status != 500, answer.content
        text = answer.content.decode()
        for unspeakable in self.deployed.unspeakable:
            assert unspeakable not in text, answer.content
        if answer.status >= 400:
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.body["status"] == answer.status
        if answer.status == 503:
            assert answer.body["code"] == "unavailable"
            assert int(answer.headers["Retry-After"]) >= 1
        return answer

    def check_in(self, body: dict[str, Any] | None = None) -> Answer:
        return self.ask("POST", "/v1/check-ins", body or claim(), self.deployed.token)

    def get(self, path: str) -> int:
        """As the admin."""
        return self.ask("GET", path).status

    def own_check_ins(self) -> int:
        """The status of the list of them, as the phone."""
        return self.ask("GET", "/v1/check-ins", token=self.deployed.token).status

    @property
    def live(self) -> int:
        return self.get("/health/live")

    @property
    def ready(self) -> int:
        return self.get("/health/ready")

    def log(self) -> list[dict[str, Any]]:
        lines = self.served.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def failures(self) -> list[dict[str, Any]]:
        return [line for line in self.log() if line.get("event") == "failure"]


def make(home: Path, where: Mapping[str, str], database: ScratchDatabase | None) -> Deployed:
    """Initialized, with a site, and a phone that has checked in once; nobody serves it."""
    bare = Deployed(home, where, init(home, where), database=database)
    with bare.serving() as server:
        site = {"name": "Office", "geofence": SQUARE, "timezone": "America/Sao_Paulo"}
        assert server.served.call("POST", "/v1/sites", site)[0] == 201
        deployed = replace(bare, token=server.served.token())
        assert Troubled(deployed, server.served).check_in().status == 201
    return deployed


def copied(made: Deployed, folder: Path, server: Server | None = None) -> Deployed:
    """The same deployment once more, to be broken: its home, and its database if it has one."""
    home = folder / "home"
    shutil.copytree(made.home, home, dirs_exist_ok=True)
    if made.database is None:
        return replace(made, home=home)
    assert server is not None
    database = server.new_database(like=made.database)
    return replace(made, home=home, database=database, where=variables(database))


def variables(database: ScratchDatabase, url: str | None = None) -> dict[str, str]:
    """The settings that name a database, by way of another URL if one is given."""
    given = secret(url or database.url)
    return {"DOORSTEP_DATABASE_URL": given, "DOORSTEP_ADMIN_DATABASE_URL": database.admin_url}


def secret(url: str) -> str:
    """The same URL with a password in it, that must not be seen again; nobody checks it here."""
    parts = postgres.urlsplit(url)
    assert parts.username is not None
    return aimed(
        url, database=parts.path[1:], user=parts.username, password=f"pw{secrets.token_hex(8)}"
    )


def _places(where: Mapping[str, str]) -> Iterator[str]:
    """Passwords, users, databases, hosts and sockets of URLs."""
    for url in where.values():
        parts = postgres.urlsplit(url)
        found = [parts.password, parts.path[1:], dict(postgres.parse_qsl(parts.query)).get("host")]
        # a short name like `postgres` may stand in a log for many reasons
        yield from (text for text in found if text and len(text) > 8)
        if parts.port:
            yield f":{parts.port}"


def until_taken(server: Troubled) -> None:
    """Wait until check-ins are taken again."""
    wait_until(lambda: server.check_in().status == 201, "check-ins are taken again")
