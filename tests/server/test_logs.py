"""Logs say what is named, and nothing of a request."""

import io
import json
import logging
import threading
from types import SimpleNamespace

import pytest

from doorstep_server import logs
from doorstep_server.logs import AllowListFormatter

CANARY = "-23.5613907"


@pytest.fixture
def lines() -> "io.StringIO":
    return io.StringIO()


def printed(record: logging.LogRecord) -> dict[str, object]:
    return dict(json.loads(AllowListFormatter().format(record)))


def record(name: str, message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.ERROR, "x.py", 7, message, args, None)
    made.__dict__.update(extra)
    return made


def test_our_events_print_named_fields_only() -> None:
    line = printed(record("doorstep", "request", status=201, route="/v1/check-ins", body=CANARY))
    assert (line["event"], line["status"], line["route"]) == ("request", 201, "/v1/check-ins")
    assert CANARY not in json.dumps(line)


def test_an_event_with_something_in_it_loses_its_name() -> None:
    assert printed(record("doorstep", f"took {CANARY}"))["event"] == "unnamed"
    assert printed(record("doorstep", "check-ins-not-taken"))["event"] == "check-ins-not-taken"


def test_text_of_libraries_is_never_printed() -> None:
    for made in (record("uvicorn.error", f"bad {CANARY}"), record("x", "bad %s", CANARY)):
        assert CANARY not in json.dumps(printed(made))


def test_an_exception_is_told_by_type_and_place_without_its_message() -> None:
    try:
        float(f"{CANARY}!")
    except ValueError as error:
        made = record("doorstep", "failure")
        made.exc_info = (ValueError, error, error.__traceback__)
    line = printed(made)
    assert line["exception"] == "builtins.ValueError"
    assert "test_logs.py" in str(line["frames"])
    assert CANARY not in json.dumps(line)


def test_a_crash_is_told_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        float(f"{CANARY}!")
    except ValueError as error:
        logs._crash(ValueError, error, error.__traceback__)
    told = capsys.readouterr().err
    assert "builtins.ValueError" in told
    assert CANARY not in told


def test_so_is_what_ends_a_thread_or_a_finalizer(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        float(f"{CANARY}!")
    except ValueError as error:
        ended = (ValueError, error, error.__traceback__)
        logs._thread_crash(threading.ExceptHookArgs((*ended, None)))
        logs._unraisable(SimpleNamespace(exc_type=ValueError, exc_traceback=ended[2]))
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in told] == ["thread-crash", "unraisable"]
    assert {line["exception"] for line in told} == {"builtins.ValueError"}
    assert CANARY not in json.dumps(told)
