"""Starts `doorstep` with careless code planted in it, or with guards taken away from it.

    python tests/privacy/unguarded.py --careless --without log-allow-list -- --home X serve ...

A guard is whatever keeps canaries out of some place. Each of them can be taken away here, so that
the canary scan can show what it is good for: nothing of this is in the server itself.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import partial
from importlib import import_module
from typing import Any

#: those of the tests; this program is started with nothing of them on its path
DATABASES = ("sqlite", "postgresql")


@dataclass(frozen=True)
class Guard:
    """Something that keeps canaries out."""

    name: str
    what: str
    remove: Callable[[], None]
    #: a second line: it matters where these are gone
    behind: tuple[str, ...] = ()
    databases: tuple[str, ...] = DATABASES

    @property
    def scene(self) -> str:
        """Which of the canary scan's scenes shows what it is good for."""
        return next((k for k, names in SHOWN_IN.items() if self.name in names), "careless_code")


# -- taking guards away ----------------------------------------------------------------------------


def _replace(owner: Any, name: str, value: Any) -> None:
    """What is not there any more cannot be taken away: then this list is to be mended."""
    assert hasattr(owner, name), f"{owner} has no {name}"
    setattr(owner, name, value)


def _log_text() -> None:
    from doorstep_server.logs import AllowListFormatter  # noqa: PLC0415

    plain = logging.Formatter("%(name)s %(message)s")
    _replace(AllowListFormatter, "format", lambda _, record: plain.format(record))


def _log_more_fields() -> None:
    from doorstep_server import logs  # noqa: PLC0415

    _replace(logs, "FIELDS", (*logs.FIELDS, "body"))


def _log_any_event() -> None:
    from doorstep_server import logs  # noqa: PLC0415

    _replace(logs, "_EVENT", re.compile(".*", re.DOTALL))


def _log_paths() -> None:
    from doorstep_server import asgi  # noqa: PLC0415

    log = asgi._log

    def logged(scope: Any, status: int, seconds: float) -> None:
        log({**scope, "path_template": scope["path"]}, status, seconds)

    _replace(asgi, "_log", logged)


def _log_methods() -> None:
    from doorstep_server import asgi  # noqa: PLC0415

    class Everything(frozenset[str]):
        def __contains__(self, _: object) -> bool:
            return True

    _replace(asgi, "_METHODS", Everything())


def _after_configuring(undo: Callable[[], None]) -> None:
    from doorstep_server import logs  # noqa: PLC0415

    configure = logs.configure

    def configured(level: str) -> None:
        configure(level)
        undo()

    _replace(logs, "configure", configured)


def _hook(name: str, original: Any) -> None:
    from doorstep_server import logs  # noqa: PLC0415

    _replace(logs, name, original)


def _with_uvicorn(**options: Any) -> None:
    import uvicorn  # noqa: PLC0415

    run = uvicorn.run
    _replace(uvicorn, "run", lambda app, **given: run(app, **{**given, **options}))


def _uvicorns_logs() -> None:
    import uvicorn.config  # noqa: PLC0415

    _with_uvicorn(log_config=uvicorn.config.LOGGING_CONFIG)


def _problems_of_litestar() -> None:
    from litestar.exceptions import HTTPException  # noqa: PLC0415
    from litestar.exceptions.responses import create_exception_response  # noqa: PLC0415

    from doorstep_server import answers  # noqa: PLC0415

    handlers = {**answers.EXCEPTION_HANDLERS, HTTPException: create_exception_response}
    _replace(answers, "EXCEPTION_HANDLERS", handlers)


def _debug() -> None:
    from doorstep_server import answers, app  # noqa: PLC0415

    handlers = {k: v for k, v in answers.EXCEPTION_HANDLERS.items() if k is not Exception}
    _replace(answers, "EXCEPTION_HANDLERS", handlers)
    make = vars(app)["Litestar"]
    _replace(app, "Litestar", lambda **given: make(**{**given, "debug": True}))


def _places_of_msgspec() -> None:
    from doorstep_server import wire  # noqa: PLC0415

    _replace(wire, "_place", str)


def _show(module: str, name: str) -> None:
    """Print a record with all its fields."""
    kind = getattr(import_module(module), name)

    def shown(self: Any) -> str:
        names = getattr(kind, "__struct_fields__", ()) or [f.name for f in fields(kind)]
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{kind.__name__}({inside})"

    _replace(kind, "__repr__", shown)
    _replace(kind, "__format__", lambda self, _: shown(self))


def _show_parameters() -> None:
    from doorstep_server.store import postgres, sqlite  # noqa: PLC0415

    for module, name in ((sqlite, "create_engine"), (postgres, "create_async_engine")):
        _replace(module, name, partial(_with_parameters, vars(module)[name]))


def _with_parameters(make: Callable[..., Any], *given: Any, **options: Any) -> Any:
    return make(*given, **{**options, "hide_parameters": False})


def _plain_secrets() -> None:
    from doorstep_server import credentials  # noqa: PLC0415

    _replace(credentials, "secret_hash", lambda _, credential: credential.secret)


def _plain_label(name: str) -> None:
    """Of 32 bytes, as a label is."""
    from doorstep_server.privacy import labels  # noqa: PLC0415

    _replace(labels, name, lambda _, text: text.encode().ljust(32)[:32])


def _leave_deleted() -> None:
    from doorstep_server.store import sqlite  # noqa: PLC0415

    prepare = sqlite._prepare

    def prepared(connection: Any, record: Any) -> None:
        prepare(connection, record)
        connection.execute("PRAGMA secure_delete = OFF")

    _replace(sqlite, "_prepare", prepared)


def _named_files() -> None:
    from doorstep_server.api import site_import  # noqa: PLC0415
    from doorstep_server.site_imports import spool  # noqa: PLC0415

    for module in (site_import, spool):
        _replace(module, "TemporaryFile", partial(tempfile.NamedTemporaryFile, delete=False))


def _without(module: str, name: str) -> None:
    """Let a step be left out."""
    _replace(import_module(module), name, lambda *_: None)


_TEXTLESS = "log-allow-list"

GUARDS = (
    Guard(_TEXTLESS, "logs print named fields, never text or messages", _log_text),
    Guard("log-fields", "fields of our own events are named in a list", _log_more_fields),
    Guard("log-events", "an event is a few words in lower case", _log_any_event),
    Guard("log-routes", "the log names the route, not the path", _log_paths),
    Guard("log-methods", "unknown methods are logged as such", _log_methods, ("http-parser",)),
    Guard(
        "http-parser",
        "the parser takes no method that it does not know",
        partial(_with_uvicorn, http="h11"),
        ("log-methods",),
    ),
    Guard("uvicorn-log", "uvicorn brings no logging of its own", _uvicorns_logs),
    Guard(
        "access-log",
        "there is no access log",
        partial(_with_uvicorn, access_log=True),
        (_TEXTLESS,),
    ),
    Guard(
        "crash-hook",
        "a crash is told by type and places",
        partial(_hook, "_crash", sys.__excepthook__),
    ),
    Guard(
        "thread-hook",
        "the same of a crash in a thread",
        partial(_hook, "_thread_crash", threading.__excepthook__),
    ),
    Guard(
        "unraisable-hook",
        "the same of what nobody can catch",
        partial(_hook, "_unraisable", sys.__unraisablehook__),
    ),
    Guard(
        "warnings",
        "warnings go through the log",
        partial(_after_configuring, partial(logging.captureWarnings, capture=False)),
    ),
    Guard(
        "log-errors",
        "what cannot be logged is not printed instead",
        partial(_after_configuring, partial(setattr, logging, "raiseExceptions", True)),
    ),
    Guard("problem-words", "problems have words of our own", _problems_of_litestar),
    Guard("problem-places", "a place in a body is of our own names", _places_of_msgspec),
    Guard("failure-words", "a failure's answer says nothing of it", _debug),
    Guard(
        "claim-repr",
        "a claimed fix prints as redacted",
        partial(_show, "doorstep_server.check_ins.claim", "FixClaim"),
        (_TEXTLESS,),
    ),
    Guard(
        "fix-repr",
        "a fix prints as redacted",
        partial(_show, "doorstep_geofences", "Fix"),
        (_TEXTLESS,),
    ),
    Guard(
        "credential-repr",
        "a credential prints without its secret",
        partial(_show, "doorstep_server.credentials", "Credential"),
        (_TEXTLESS,),
    ),
    Guard(
        "settings-repr",
        "settings print without URLs",
        partial(_show, "doorstep_server.settings", "Settings"),
        (_TEXTLESS,),
        # on SQLite there is no password
        databases=("postgresql",),
    ),
    Guard(
        "services-repr",
        "services print without the pepper",
        partial(_show, "doorstep_server.services", "Services"),
        (_TEXTLESS,),
    ),
    Guard(
        "hide-parameters",
        "errors of the database print without the statement's values",
        _show_parameters,
        (_TEXTLESS,),
    ),
    Guard("hashed-secrets", "of keys and tokens a keyed hash is stored", _plain_secrets),
    Guard(
        "hashed-codes",
        "of enrollment codes a keyed hash is stored",
        partial(_plain_label, "enrollment_code_label"),
    ),
    Guard(
        "hashed-installations",
        "the same of installation ids",
        partial(_plain_label, "installation_label"),
    ),
    Guard("secure-delete", "what is deleted is overwritten", _leave_deleted, (), ("sqlite",)),
    Guard("unnamed-files", "temporary files have no name and end with us", _named_files),
    Guard(
        "core-limit",
        "no core is written when the server dies",
        partial(_without, "doorstep_server.cli.serving", "_limit_cores"),
        ("dumpable",),
    ),
    Guard(
        "dumpable",
        "nor handed to the system's collector",
        partial(_without, "doorstep_server.cli.serving", "_refuse_to_be_dumped"),
        ("core-limit",),
    ),
    Guard(
        "statement-values",
        "the database's log leaves out the values of statements",
        partial(_without, "doorstep_server.store.grants", "_keep_values_out_of_logs"),
        (),
        ("postgresql",),
    ),
)
SHOWN_IN = {
    "life": {
        *("access-log", "log-routes", "log-methods", "http-parser"),
        *("problem-words", "problem-places", "hide-parameters"),
        *("hashed-secrets", "hashed-codes", "hashed-installations"),
        *("secure-delete", "unnamed-files", "statement-values"),
    },
    "without_keyring": {"core-limit", "dumpable"},
}
BY_NAME = {guard.name: guard for guard in GUARDS}


# -- careless code ---------------------------------------------------------------------------------


class Careless(Exception):
    """Quotes what it was given, as most exceptions do."""


def _fail(said: str) -> None:
    raise Careless(f"cannot take {said}")


class _FailsAtItsEnd:
    def __init__(self, said: str) -> None:
        self._said = said

    def __del__(self) -> None:
        _fail(self._said)


def plant() -> None:
    """Add a route to the app that does with its body whatever careless code would."""
    from litestar import Request, post  # noqa: PLC0415
    from litestar.response import Stream  # noqa: PLC0415

    from doorstep_server import app  # noqa: PLC0415

    @post("/careless/{way:str}", include_in_schema=False)
    async def careless(request: Request[Any, Any, Any], way: str) -> Any:
        said = (await request.body()).decode()
        done = WAYS[way](said, request)
        return Stream(done) if way == "in-the-middle" else "done"

    app.ROUTES.append(careless)
    _fail_at_the_end()
    # with annotations as text Litestar could not see these
    careless.fn.__annotations__ |= {"request": Request[Any, Any, Any], "way": str, "return": Any}


Way = Callable[[str, Any], Any]


def _task(said: str, _: Any) -> None:
    import asyncio  # noqa: PLC0415

    async def fail() -> None:
        _fail(said)

    task = asyncio.get_running_loop().create_task(fail())
    task.add_done_callback(lambda _: None)


def _callback(said: str, _: Any) -> None:
    import asyncio  # noqa: PLC0415

    asyncio.get_running_loop().call_soon(_fail, said)


def _die(said: str, _: Any) -> None:
    """What comes after serving fails, in the main thread."""
    import signal  # noqa: PLC0415

    import uvicorn  # noqa: PLC0415

    _last_words.append(said)
    assert uvicorn.run.__name__ == "_run_and_fail"
    os.kill(os.getpid(), signal.SIGTERM)


_last_words: list[str] = []


def _fail_at_the_end() -> None:
    import uvicorn  # noqa: PLC0415

    run = uvicorn.run

    def _run_and_fail(*given: Any, **options: Any) -> None:
        try:
            run(*given, **options)
        finally:
            for said in _last_words:
                _fail(said)

    uvicorn.run = _run_and_fail


def _thread(said: str, _: Any) -> None:
    thread = threading.Thread(target=_fail, args=(said,))
    thread.start()
    thread.join()


def _unraisable(said: str, _: Any) -> None:
    _FailsAtItsEnd(said)


def _warn(said: str, _: Any) -> None:
    import warnings  # noqa: PLC0415

    warnings.warn(f"cannot take {said}", stacklevel=1)


def _library(said: str, _: Any) -> None:
    logging.getLogger("careless.library").error("cannot take %s", said)


def _event_field(said: str, _: Any) -> None:
    from doorstep_server import logs  # noqa: PLC0415

    logs.event("careless", body=said)


def _event_text(said: str, _: Any) -> None:
    from doorstep_server import logs  # noqa: PLC0415

    logs.event(f"cannot take {said}")


def _unprintable(said: str, _: Any) -> None:
    """What cannot be printed as JSON; logging tells of it by printing all that it was given."""
    logging.getLogger("doorstep").error("cannot take %s", said, extra={"status": object()})


def _claim(said: str, _: Any) -> None:
    from doorstep_server.check_ins.claim import Claim  # noqa: PLC0415
    from doorstep_server.wire import decode  # noqa: PLC0415

    _fail(repr(decode(Claim, said.encode())))


def _fix(said: str, _: Any) -> None:
    from doorstep_server.check_ins.claim import Claim  # noqa: PLC0415
    from doorstep_server.wire import decode  # noqa: PLC0415

    _fail(f"{decode(Claim, said.encode()).fix.fix()}")


def _credential(said: str, _: Any) -> None:
    from doorstep_server import credentials  # noqa: PLC0415

    _fail(repr(credentials.parse(said)))


def _settings(_: str, __: Any) -> None:
    from doorstep_server import settings  # noqa: PLC0415

    _fail(repr(settings.read(os.environ)))


def _services(_: str, request: Any) -> None:
    provided = request.app.dependencies["services"]
    _fail(repr(provided.dependency()))


async def _middle(said: str) -> Any:
    yield b"so far, so good"
    _fail(said)


WAYS: dict[str, Way] = {
    "handler": lambda said, _: _fail(said),
    "in-the-middle": lambda said, _: _middle(said),
    "task": _task,
    "callback": _callback,
    "thread": _thread,
    "unraisable": _unraisable,
    "warning": _warn,
    "library": _library,
    "event-field": _event_field,
    "event-text": _event_text,
    "unprintable": _unprintable,
    "claim": _claim,
    "fix": _fix,
    "credential": _credential,
    "settings": _settings,
    "services": _services,
    "death": _die,
}


# -- starting --------------------------------------------------------------------------------------


def command(without: Iterable[str], *, careless: bool = False) -> list[str]:
    """How to start `doorstep` so; as it is, if there is nothing to change."""
    taken = [part for name in without for part in ("--without", name)]
    if not taken and not careless:
        return [sys.executable, "-m", "doorstep_server"]
    return [sys.executable, __file__, *taken, *(["--careless"] if careless else []), "--"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", action="append", default=[], choices=BY_NAME)
    parser.add_argument("--careless", action="store_true")
    parser.add_argument("arguments", nargs="*")
    chosen = parser.parse_args()
    for name in chosen.without:
        BY_NAME[name].remove()
    if chosen.careless:
        plant()
    from doorstep_server.cli import main as doorstep  # noqa: PLC0415

    doorstep(chosen.arguments, prog_name="doorstep")


if __name__ == "__main__":
    main()
