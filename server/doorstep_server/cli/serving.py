"""`doorstep serve`."""

import ctypes
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from types import FrameType

import click
import uvicorn

from doorstep_server import lasting, logs, settings
from doorstep_server.access_vault import open_vault
from doorstep_server.asgi import asgi
from doorstep_server.cli.connections import WatchedProtocol
from doorstep_server.deployment import open_deployment
from doorstep_server.meters import shared_folder
from doorstep_server.settings import Settings

#: of Linux's prctl
_PR_SET_DUMPABLE = 4
STOPPING = (signal.SIGINT, signal.SIGTERM)
#: a worker that does not even say that it lives is taken for dead; a busy one may take some time
ALIVE_WITHIN_S = 30
#: beyond what requests that are under way are given: then a process that stops is ended
END_WITHIN_S = 10
#: how long a thread that runs lets others wait that could: who writes into SQLite lets the event
#: loop run with each row, and when that is never idle waits so long for each (decision 27)
SWITCH_S = 0.000_02


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(1, 65_535),
    help="Port to listen on.",
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64))
@click.pass_obj
def serve(chosen: Settings, host: str, port: int, workers: int) -> None:
    """Serve the API. It listens on this machine only, unless told otherwise."""
    logs.configure(chosen.log_level)
    _leave_no_memory()
    _require_free(host, port)
    # what cannot be opened is told here, once, not by every worker
    open_deployment(chosen)[0].close_now()
    open_vault(chosen)
    _hand_down(chosen)
    _end_well()
    logs.event("serving", port=port)
    with shared_folder() as folder:
        os.environ[settings.PREFIX + "METERS"] = str(folder or "")
        _run(chosen, host, port, workers)


def _run(chosen: Settings, host: str, port: int, workers: int) -> None:
    uvicorn.run(
        "doorstep_server.cli.serving:worker",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_config=None,
        access_log=False,
        server_header=False,
        # addresses only slow guesses down; a header that anybody can send must not undo that
        proxy_headers=chosen.trusted_proxies is not None,
        forwarded_allow_ips=chosen.trusted_proxies,
        date_header=True,
        http=WatchedProtocol,
        timeout_worker_healthcheck=ALIVE_WITHIN_S,
        timeout_graceful_shutdown=chosen.stop_within_s,
    )


def _require_free(host: str, port: int) -> None:
    """Tell in a sentence what uvicorn would only log."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError:
        raise click.ClickException(
            "Cannot listen there: another program uses the port, or the address is not this "
            "machine's. Choose others with --host and --port."
        ) from None


def _end_well() -> None:
    """Being told to stop is no failure: the process exits with 0, at once while it starts.

    Uvicorn takes these signals while it serves, drains, and raises them again at its end.
    """
    for number in STOPPING:
        signal.signal(number, lambda *_: sys.exit(0))


def _end_in_time(within_s: float) -> None:
    """Whoever is told to stop is ended, if anything of it is still stuck after so long.

    Uvicorn gives up requests that take too long, but a thread that hangs it would wait for.
    """

    def end() -> None:
        logs.event("stopped-unfinished", level=logging.WARNING)
        os._exit(1)

    def stop(number: int, frame: FrameType | None) -> None:
        ending = threading.Timer(within_s, end)
        ending.daemon = True
        ending.start()
        if callable(usual := usuals[number]):
            usual(number, frame)

    usuals = {int(number): signal.getsignal(number) for number in STOPPING}
    for number in STOPPING:
        signal.signal(number, stop)


def _leave_no_memory() -> None:
    """When the process dies, its memory is not written down: there are positions and keys in it."""
    _limit_cores()
    _refuse_to_be_dumped()


def _limit_cores() -> None:
    try:
        import resource  # noqa: PLC0415 (not on Windows)
    except ModuleNotFoundError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _refuse_to_be_dumped() -> None:
    """The limit holds for files only; collectors such as systemd's are handed a core all the same.

    Other processes of the same user may not read this one's memory then, either.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def worker() -> object:
    """One server process."""
    chosen = settings.read(os.environ)
    logs.configure(chosen.log_level)
    # a new program is dumpable again, whoever started it
    _leave_no_memory()
    WatchedProtocol.head_within_s = chosen.patience_s
    # uvicorn has set its own by now
    _end_in_time(chosen.stop_within_s + END_WITHIN_S)
    try:
        app = asgi(chosen)
    except Exception as error:
        if multiprocessing.parent_process() is None:
            raise
        # of a child's end, multiprocessing prints the message too
        logs.failure(error)
        sys.exit(1)
    lasting.set_apart()
    sys.setswitchinterval(SWITCH_S)
    return app


def _hand_down(chosen: Settings) -> None:
    """Workers read the environment: what flags chose must stand there."""
    os.environ[settings.PREFIX + "HOME"] = str(Path(chosen.home).absolute())
