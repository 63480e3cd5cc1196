"""Backups of a PostgreSQL database with PostgreSQL's own programs."""

import os
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from doorstep_server.store.database import CannotCopy


def dump(url: str, file: Path) -> None:
    """Write one state of the database to a file. Raises `CannotCopy`."""
    if file.exists():
        raise CannotCopy("There is such a file already: name another.")
    partial = file.with_name(file.name + ".part")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    try:
        _run("pg_dump", url, "--format=custom", f"--file={partial}")
    except CannotCopy:
        partial.unlink()
        raise
    partial.rename(file)


def restore(url: str, file: Path) -> None:
    """Make everything in a dump anew, or nothing. Raises `CannotCopy`."""
    _run("pg_restore", url, "--no-owner", "--single-transaction", "--exit-on-error", str(file))


def _run(program: str, url: str, *arguments: str) -> None:
    parts = urlsplit(url)
    # a password in the arguments could be seen by everybody on the machine
    host = parts.netloc.rpartition("@")[2]
    user = f"{parts.username}@" if parts.username else ""
    named = urlunsplit(parts._replace(netloc=user + host))
    environment = dict(os.environ)
    if parts.password is not None:
        environment["PGPASSWORD"] = unquote(parts.password)
    try:
        done = subprocess.run(  # noqa: S603
            [program, f"--dbname={named}", *arguments],
            env=environment,
            check=False,
            stdin=subprocess.DEVNULL,
            # what it says may quote what it copies
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise CannotCopy(
            f"{program} is not on this machine: on Debian it is in the package postgresql-client."
        ) from None
    if done.returncode:
        raise CannotCopy(
            f"{program} did not succeed. DOORSTEP_ADMIN_DATABASE_URL has to name a superuser (row "
            "level security binds everybody else), and the program must not be older than the "
            "server. Run it by hand to see what it says."
        )
