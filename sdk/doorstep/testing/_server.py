"""A Doorstep server in this process, for the tests of apps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast
from urllib.parse import parse_qs

from doorstep._clock import SYSTEM
from doorstep._ids import random_id
from doorstep._retry import Timeout
from doorstep._wire import Request, Response
from doorstep.testing._claims import Claim, Refused, Settling
from doorstep.testing._time import FakeClock
from doorstep.testing._world import (
    FARTHEST_AHEAD,
    GRANTED,
    FakeDevice,
    FakePerson,
    FakePurpose,
    bundle_of,
    circle,
)

#: of each problem
_STATUS = {
    "malformed-json": 400, "invalid-body": 400, "invalid-cursor": 400, "unauthorized": 401,
    "device-revoked": 401, "permission-withdrawn": 403, "permission-unknown": 403,
    "purpose-restricted": 403, "not-found": 404, "site-unknown": 404, "purpose-unknown": 404,
    "bundle-not-given": 404, "method-not-allowed": 405,
}  # fmt: skip
_UNPROCESSABLE = 422
_MOST_IN_A_BATCH = 500

Handler = Callable[[Request], Response]


class FakeServer:
    """Answers requests as a Doorstep server does, without a network.

    It begins with the purpose `visit` and no sites. `clock` is its time: leases lapse and positions
    grow old by it.
    """

    #: what clients are given
    url: ClassVar[str] = "https://doorstep.test"

    def __init__(self, *, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self._settling = Settling()
        self._codes: dict[str, FakePerson] = {}
        self._used: dict[str, tuple[str, datetime, dict[str, Any]]] = {}
        self._tokens: dict[str, FakeDevice] = {}
        self._devices: dict[str, FakeDevice] = {}
        self._people: dict[str, FakePerson] = {}
        self._erasures: dict[str, str] = {}
        self._routes: dict[tuple[str, str], Handler] = {
            ("POST", "/v1/enrollments"): self._enroll,
            ("POST", "/v1/device/token"): self._rotate,
            ("GET", "/v1/device"): self._status,
            ("PUT", "/v1/device/permission"): self._report,
            ("PUT", "/v1/device/restrictions"): self._restrict,
            ("POST", "/v1/device/erasure"): self._erase,
            ("GET", "/v1/privacy/signing-keys"): self._signing_keys,
            ("POST", "/v1/check-ins"): self._check_in,
            ("POST", "/v1/check-ins/batch"): self._batch,
            ("GET", "/v1/check-ins"): self._list,
            ("GET", "/v1/sites/bundle"): self._bundle,
        }
        self.add_purpose("visit")

    # -- what a test arranges --------------------------------------------------------------

    def transport(self) -> FakeTransport:
        """For `Client(server.url, transport=…)`."""
        return FakeTransport(self)

    def async_transport(self) -> AsyncFakeTransport:
        """For `AsyncClient(server.url, transport=…)`."""
        return AsyncFakeTransport(self)

    def add_site(self, *, lat: float, lon: float, radius_m: float = 100.0) -> str:
        """Add a site, a circle, and give its id. Radii are whole metres."""
        site_id = random_id(SYSTEM.entropy)
        self.move_site(site_id, lat=lat, lon=lon, radius_m=radius_m)
        return site_id

    def move_site(self, site_id: str, *, lat: float, lon: float, radius_m: float = 100.0) -> None:
        """Change a site: bundles from before are outdated."""
        settling = self._settling
        settling.version += 1
        settling.changed[site_id] = settling.version
        settling.sites[site_id] = circle(site_id, lat, lon, radius_m)

    def add_purpose(self, name: str, *, judged_by: str = "server") -> None:
        """Register a purpose."""
        self._settling.version += 1
        self._settling.purposes[name] = FakePurpose(name, judged_by)

    def code(self, person: str = "anna") -> str:
        """A new enrollment code for somebody; the same name is the same person."""
        code = random_id(SYSTEM.entropy)[:18].upper()
        if person not in self._people:
            self._people[person] = FakePerson(random_id(SYSTEM.entropy))
        self._codes[code] = self._people[person]
        return code

    def revoke(self, device_id: str) -> None:
        """Revoke a device, as a tenant does."""
        self._devices[device_id].revoked = True

    def stored(self, person: str = "anna") -> list[dict[str, Any]]:
        """What is stored of somebody's check-ins, oldest first."""
        return list(self._people[person].stored)

    # -- answering ---------------------------------------------------------------------------

    def answer(self, request: Request) -> Response:
        """The answer to a request."""
        path = "/" + request.url.partition("://")[2].partition("/")[2].partition("?")[0]
        handler = self._routes.get((request.method, path))
        try:
            if handler is not None:
                return handler(request)
            if request.method == "GET" and path.startswith("/v1/erasures/"):
                return self._erasure(path.rpartition("/")[2])
        except Refused as refused:
            return _problem(refused.code)
        is_known = any(path == known for _, known in self._routes)
        return _problem("method-not-allowed" if is_known else "not-found")

    def _device(self, request: Request) -> FakeDevice:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        device = self._tokens.get(token)
        if device is None:
            raise Refused("unauthorized")
        if device.revoked:
            raise Refused("device-revoked")
        self._end_older(device, token)
        return device

    def _end_older(self, device: FakeDevice, token: str) -> None:
        """The first use of a new token ends the ones before it."""
        own = [known for known, of in self._tokens.items() if of is device]
        for older in own[: own.index(token)]:
            del self._tokens[older]

    def _enroll(self, request: Request) -> Response:
        body = _body(request)
        code, installation = str(body["code"]), str(body["installation_id"])
        used = self._used.get(code)
        if used is not None and used[0] == installation and self.clock.now() < used[1]:
            return _json(201, used[2])
        person = self._codes.pop(code, None)
        if person is None:
            raise Refused("enrollment-code-invalid")
        device = FakeDevice(random_id(SYSTEM.entropy), person)
        self._devices[device.id] = device
        answer = {
            "device_id": device.id,
            "token": self._new_token(device),
            "tenant": {"id": "00000000-0000-4000-8000-000000000001", "name": "Fake"},
            "subject_id": person.id,
            "purposes": self._shown_purposes(),
            "permission_epoch": 0,
        }
        self._used[code] = (installation, self.clock.now() + timedelta(minutes=10), answer)
        return _json(201, answer)

    def _new_token(self, device: FakeDevice) -> str:
        token = f"dst_{random_id(SYSTEM.entropy)}"
        self._tokens[token] = device
        return token

    def _rotate(self, request: Request) -> Response:
        device = self._device(request)
        return _json(201, {"token": self._new_token(device)})

    def _shown_purposes(self) -> list[dict[str, Any]]:
        return [purpose.shown for _, purpose in sorted(self._settling.purposes.items())]

    def _status(self, request: Request) -> Response:
        device, now = self._device(request), self.clock.now()
        permission, person = device.permission, device.person
        answer = {
            "device_id": device.id,
            "permission": permission.at(now),
            "permission_sequence": permission.sequence,
            "permission_epoch": permission.epoch,
            "lease_until": permission.lease_until(now),
            "features": _features(device, now),
            "restrictions": {"purposes": person.restricted, "wholly": person.wholly},
            "legal_holds": [],
            "purposes": self._shown_purposes(),
        }
        return _json(200, answer)

    def _report(self, request: Request) -> Response:
        device, body, now = self._device(request), _body(request), self.clock.now()
        if body["sequence"] > device.permission.sequence + FARTHEST_AHEAD:
            raise Refused("sequence-too-far-ahead")
        device.permission.take(body["state"], body["sequence"], now)
        answer = {
            "state": device.permission.at(now),
            "permission_epoch": device.permission.epoch,
            "lease_until": device.permission.lease_until(now),
            "features": _features(device, now),
        }
        return _json(200, answer)

    def _restrict(self, request: Request) -> Response:
        device, body = self._device(request), _body(request)
        purposes = list(body.get("purposes", []))
        device.person.restricted = purposes
        device.person.wholly = bool(body.get("wholly"))
        return _json(200, {"purposes": purposes, "wholly": device.person.wholly})

    def _erase(self, request: Request) -> Response:
        gone = self._device(request).person
        self._tokens = {t: d for t, d in self._tokens.items() if d.person is not gone}
        self._people = {name: one for name, one in self._people.items() if one is not gone}
        code = f"abcdef-{random_id(SYSTEM.entropy).replace('-', '')}"
        self._erasures[code] = "in_progress"
        return _json(202, {"erasure": code, "status": "in_progress"})

    def _erasure(self, code: str) -> Response:
        """In progress at first, and then done."""
        if code not in self._erasures:
            raise Refused("not-found")
        status, self._erasures[code] = self._erasures[code], "done"
        receipt = "e30.e30.c2lnbmVk" if status == "done" else None
        return _json(200, {"status": status, "receipt": receipt})

    def _signing_keys(self, _: Request) -> Response:
        key = {"x": "A" * 43, "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig"}
        return _json(200, {"keys": [key]})

    def _check_in(self, request: Request) -> Response:
        device = self._device(request)
        answer, replayed = self._settled(device, _body(request))
        return _json(201, answer, {"doorstep-replayed": "true"} if replayed else {})

    def _settled(self, device: FakeDevice, body: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        now = self.clock.now()
        return self._settling.settle(device, Claim(body, now), now)

    def _batch(self, request: Request) -> Response:
        device, items = self._device(request), _body(request)["check_ins"]
        if len(items) > _MOST_IN_A_BATCH:
            raise Refused("batch-too-large")
        results = [self._item(device, index, item) for index, item in enumerate(items)]
        return _json(200, {"results": results})

    def _item(self, device: FakeDevice, index: int, item: object) -> dict[str, Any]:
        body = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
        named = body.get("id")
        try:
            answer, replayed = self._settled(device, body)
        except Refused as refused:
            problem = _document(refused.code)
            return {**problem, "kind": "problem", "index": index, "id": named}
        said = {"kind": "answer", "index": index, "status": 201, "replayed": replayed}
        return {**answer, **said}

    def _list(self, request: Request) -> Response:
        device = self._device(request)
        query = parse_qs(request.url.partition("?")[2])
        limit, after = int(query.get("limit", ["50"])[0]), query.get("cursor", ["0"])[0]
        newest_first = device.person.stored[::-1]
        end = int(after) + limit
        following = str(end) if end < len(newest_first) else None
        items = newest_first[int(after) : end]
        return _json(200, {"items": items, "next_cursor": following})

    def _bundle(self, request: Request) -> Response:
        self._device(request)
        settling = self._settling
        names = sorted(n for n, p in settling.purposes.items() if p.judged_by == "device")
        if not names:
            raise Refused("bundle-not-given")
        version = max(settling.changed.values(), default=0)
        content, digest = bundle_of(list(settling.sites.values()), names, version)
        headers = {"etag": f'"{digest}"', "content-type": "application/vnd.doorstep.sites"}
        if request.headers.get("If-None-Match") == headers["etag"]:
            return Response(status=304, headers={"etag": headers["etag"]}, body=b"")
        return Response(status=200, headers=headers, body=content)


class FakeTransport:
    """A transport to a fake server. It keeps what was sent, for a test to look at."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        #: in the order in which they came
        self.requests: list[Request] = []

    def send(self, request: Request, *, timeout: Timeout) -> Response:
        """Answered at once."""
        del timeout
        self.requests.append(request)
        return self._server.answer(request)


class AsyncFakeTransport:
    """The same, awaited."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        #: in the order in which they came
        self.requests: list[Request] = []

    async def send(
        self,
        request: Request,
        *,
        timeout: Timeout,  # noqa: ASYNC109 (what the call has left)
    ) -> Response:
        """Answered at once."""
        del timeout
        self.requests.append(request)
        return self._server.answer(request)


def _features(device: FakeDevice, now: datetime) -> list[dict[str, Any]]:
    state, restricted = device.permission.at(now), device.person.wholly
    because = "processing-restricted" if restricted else f"permission-{state.replace('_', '-')}"
    precise = state in {"precise", "precise_once"}
    available = {"location-check-in": state in GRANTED, "precise-location": precise}
    return [
        {
            "name": name,
            "available": yes and not restricted,
            "because": None if yes and not restricted else because,
        }
        for name, yes in available.items()
    ]


class _Body(dict[str, Any]):
    """A body; what it lacks is the sender's fault."""

    def __missing__(self, name: str) -> Any:
        raise Refused("invalid-body")


def _body(request: Request) -> _Body:
    try:
        found = json.loads(request.body or b"")
    except ValueError:
        raise Refused("malformed-json") from None
    if not isinstance(found, dict):
        raise Refused("invalid-body")
    return _Body(cast("dict[str, Any]", found))


def _json(
    status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    said = {"content-type": "application/json", **(headers or {})}
    return Response(status=status, headers=said, body=json.dumps(document).encode())


def _document(code: str) -> dict[str, Any]:
    status = _STATUS.get(code, _UNPROCESSABLE)
    return {
        "type": f"/problems/{code}",
        "title": code,
        "status": status,
        "code": code,
        "detail": code,
        "request_id": "fake",
    }


def _problem(code: str) -> Response:
    document = _document(code)
    headers = {"content-type": "application/problem+json"}
    return Response(status=document["status"], headers=headers, body=json.dumps(document).encode())
