"""Every snippet of the README runs, against a server that answers like Doorstep."""

import asyncio
import json
import re
from pathlib import Path

import pytest

import doorstep
from doorstep import ApiError, TransportError
from sdk.boxes import Provider
from sdk.scripted import ACCEPTED, ENROLLMENT, LISTED, REPORTED, STATUS, answer, reply, serve

README = (Path(doorstep.__file__).parents[1] / "README.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


RESTRICTED = {"purposes": ["visit"], "wholly": False}
ERASURE = "abcdef-0123456789abcdef0123456789abcdef"


def like_doorstep(request):
    path = request.path.partition("?")[0]
    documents = {
        ("POST", "/v1/enrollments"): (201, ENROLLMENT),
        ("POST", "/v1/device/token"): (201, {"token": "dst_next"}),
        ("GET", "/v1/device"): (200, {**STATUS, "restrictions": RESTRICTED}),
        ("PUT", "/v1/device/permission"): (200, REPORTED),
        ("POST", "/v1/check-ins"): (201, ACCEPTED),
        ("GET", "/v1/check-ins"): (200, {"items": [LISTED], "next_cursor": None}),
        ("POST", "/v1/check-ins/batch"): (200, None),
        ("PUT", "/v1/device/restrictions"): (200, RESTRICTED),
        ("POST", "/v1/device/erasure"): (202, {"erasure": ERASURE, "status": "in_progress"}),
        ("GET", f"/v1/erasures/{ERASURE}"): (200, {"status": "done", "receipt": "e30.e30.c2ln"}),
        ("GET", "/v1/privacy/signing-keys"): (200, {"keys": []}),
    }
    status, document = documents[request.command, path]
    reply(answer(document or batch(request.sent), status))(request)


def batch(sent):
    items = json.loads(sent)["check_ins"]
    judged = [
        {**ACCEPTED, "index": n, "id": one["id"], "status": 201} for n, one in enumerate(items)
    ]
    judged[-1] = {"index": len(items) - 1, "id": None, "status": 422, "code": "too-old"}
    return {"results": judged}


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda code: code.splitlines()[0][:40])
def test_a_snippet_runs(snippet, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with serve(*[like_doorstep] * 20) as server:
        code = snippet.replace("https://doorstep.example", server.url)
        given = at_hand(server.url)
        names = {"__name__": "__main__", **given}
        exec(compile(code, "README.md", "exec"), names)
        for client in (
            one for one in (*given.values(), *names.values()) if hasattr(one, "check_ins")
        ):
            client.close()
    assert "Traceback" not in capsys.readouterr().err


def at_hand(url):
    """What the reader has at hand after the first snippet."""
    fix = doorstep.Fix.now(lat=52.37, lon=4.89, accuracy_m=8.5)
    client = doorstep.Client(url, token="dst_x")
    return {
        "client": client,
        "fix": fix,
        "asyncio": asyncio,
        "save": print,
        "newest_fix": lambda: fix,
        "provider": Provider(fix),
    }


def test_there_are_snippets():
    assert len(SNIPPETS) >= 6


def errors():
    return [
        name
        for name in doorstep.__all__
        if isinstance(kind := getattr(doorstep, name), type)
        and issubclass(kind, ApiError | TransportError)
        and kind not in {ApiError, TransportError}
    ]


@pytest.mark.parametrize("name", errors())
def test_every_error_is_in_the_table(name):
    assert re.search(rf"^\| `{name}` \|", README, re.MULTILINE)
