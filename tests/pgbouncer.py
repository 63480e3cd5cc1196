"""A pgbouncer in transaction mode before a PostgreSQL server, with few connections behind it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from postgres import PORT, SYSTEM_USER, Server, aimed, sql, wait_until, why_no_server
from served import free_port

#: fewer than there are clients: a transaction gets another one than the last
SERVER_CONNECTIONS = 3


def why_no_pgbouncer() -> str | None:
    """Why tests cannot start one here; nothing if they can."""
    if shutil.which("pgbouncer") is None:
        return "pgbouncer is not installed (Debian: apt install pgbouncer)"
    return why_no_server()


class Pgbouncer:
    """One that runs: it asks nobody for a password."""

    def __init__(self, port: int) -> None:
        self._port = port

    def through(self, url: str, *, says_so: bool = True) -> str:
        """The same user's URL of the same database, by way of it."""
        parts = urlsplit(url)
        assert parts.username is not None
        here = f"postgresql://127.0.0.1:{self._port}"
        way = aimed(here, database=parts.path[1:], user=parts.username)
        return f"{way}?pgbouncer=true" if says_so else way


@contextmanager
def pooled(server: Server) -> Iterator[Pgbouncer]:
    """Before a server."""
    folder = Path(tempfile.mkdtemp(prefix="bouncer-"))
    port = free_port()
    admin = urlsplit(server.admin_url)
    (folder / "users").write_text(
        f'"{server.login}" "{server.password or ""}"\n"{admin.username}" "{admin.password or ""}"\n'
    )
    (folder / "ini").write_text(_settings(server.admin_url, folder, port))
    command = ["pgbouncer", str(folder / "ini")]
    if os.geteuid() == 0:
        shutil.chown(folder, SYSTEM_USER)
        command = ["runuser", "-u", SYSTEM_USER, "--", *command]
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        url = Pgbouncer(port).through(server.admin_url, says_so=False)
        wait_until(lambda: _answers(url), "pgbouncer answers")
        yield Pgbouncer(port)
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(folder)


def _settings(server_url: str, folder: Path, port: int) -> str:
    parts = urlsplit(server_url)
    query = dict(parse_qsl(parts.query))
    host = query.get("host") or parts.hostname or "localhost"
    return (
        f"[databases]\n* = host={host} port={query.get('port') or parts.port or PORT}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"pool_mode = transaction\ndefault_pool_size = {SERVER_CONNECTIONS}\n"
        f"auth_type = trust\nauth_file = {folder}/users\n"
        f"logfile = {folder}/log\n"
    )


def _answers(url: str) -> bool:
    try:
        return sql(url, "SELECT 1") == [(1,)]
    except Exception:  # noqa: BLE001 - whatever it is, not yet
        return False
