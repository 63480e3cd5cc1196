"""Logs by allow-list: one JSON object a line, made of named fields that hold no input.

Text that other libraries log is never printed: it may quote a request. Of their records the
logger's name, the level, the place in the code and the exception's type remain. Whatever else
Python would print by itself (crashes, of threads and of finalizers too; warnings; what logging
itself could not do) goes the same way, or nowhere.
"""

import logging
import re
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import TracebackType

import msgspec

LOGGER = logging.getLogger("doorstep")
FIELDS = (
    "request_id",
    "method",
    "route",
    "status",
    "duration_ms",
    "code",
    "cause",
    "port",
    "tenants",
    "partitions_made",
    "partitions_dropped",
    "check_ins_mixed",
    "check_ins_deleted",
    "receipts_deleted",
    "subjects_erased",
    "check_ins_held",
    "exact_positions_deleted",
    "holds_ended",
    "keys_destroyed",
    "accesses_dropped",
)

#: an event is named by a few words, never by a sentence with something in it
_EVENT = re.compile(r"[a-z][a-z-]{0,39}")


class AllowListFormatter(logging.Formatter):
    """Prints what is named here, and nothing else that a record may carry."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line: dict[str, object] = {"time": _time(record.created), "level": _level(record.levelname)}
        if record.name == LOGGER.name:
            line["event"] = _event(str(record.msg))
            line.update({f: record.__dict__[f] for f in FIELDS if f in record.__dict__})
        else:
            line |= {"event": "library", "logger": record.name, "line": record.lineno}
        if record.exc_info and record.exc_info[0] is not None:
            line |= _failure(record.exc_info[0], record.exc_info[2])
        return _encoder.encode(line).decode()


_encoder = msgspec.json.Encoder()


def _time(at_s: float) -> str:
    return f"{_second(int(at_s))}.{int(at_s % 1 * 1000):03}+00:00"


@lru_cache(2)
def _second(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(64)
def _level(name: str) -> str:
    return name.lower()


@lru_cache(64)
def _event(name: str) -> str:
    return name if _EVENT.fullmatch(name) else "unnamed"


def event(name: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Log an event of ours; fields that are not in `FIELDS` are dropped."""
    if LOGGER.isEnabledFor(level):
        # without a look at who calls: every request has its line
        LOGGER.handle(LOGGER.makeRecord(LOGGER.name, level, "", 0, name, (), None, extra=fields))


def failure(error: BaseException, **fields: object) -> None:
    """Log that something failed: type and places, without message and without values."""
    LOGGER.error("failure", extra=fields, exc_info=error)


def configure(level: str) -> None:
    """Send everything that is logged in this process through the allow-list, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(AllowListFormatter())
    libraries = "DEBUG" if level == "debug" else "WARNING"
    logging.basicConfig(handlers=[handler], level=libraries, force=True)
    LOGGER.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    # found out for each record, and never printed
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    if sys.version_info >= (3, 12):
        logging.logAsyncioTasks = False
    # of a record that it cannot print, logging would print all that it was given
    logging.raiseExceptions = False
    tell_crashes()
    threading.excepthook = _thread_crash
    sys.unraisablehook = _unraisable


def tell_crashes() -> None:
    """Tell what ends this process by its type and its places alone."""
    sys.excepthook = _crash


def _failure(kind: type[BaseException], trace: TracebackType | None) -> Mapping[str, object]:
    frames = traceback.extract_tb(trace)
    return {
        "exception": f"{kind.__module__}.{kind.__qualname__}",
        "frames": [f"{f.name} ({f.filename.rpartition('/')[2]}:{f.lineno})" for f in frames[-12:]],
    }


def _crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    del error  # its message may quote what it failed on
    if issubclass(kind, KeyboardInterrupt):
        return
    _tell("crash", kind, trace)


def _thread_crash(ended: threading.ExceptHookArgs) -> None:
    if issubclass(ended.exc_type, SystemExit):
        return
    _tell("thread-crash", ended.exc_type, ended.exc_traceback)


def _unraisable(ignored: "sys.UnraisableHookArgs") -> None:
    _tell("unraisable", ignored.exc_type, ignored.exc_traceback)


def _tell(event: str, kind: type[BaseException], trace: TracebackType | None) -> None:
    """Past logging, which may be what failed."""
    if sys.stderr is not None:
        print(_encoder.encode({"event": event, **_failure(kind, trace)}).decode(), file=sys.stderr)  # noqa: T201
