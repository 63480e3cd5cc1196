"""Every route of the app, taken rightly and in every wrong way, with canaries in all of it."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from doorstep_server.auth import GuardCaller
from features import collection, feature
from privacy.asking import Request
from privacy.canaries import Kind
from privacy.canary_values import JUDGED_PURPOSE, REACH, Town, now, whole
from privacy.canary_wire import Ask
from privacy.route_table import EACH, Operation, Place, table

JSON = {"Content-Type": "application/json"}
NOWHERE = "no route"
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "PROPFIND", "QUERY")

#: nothing is taken of who called them
LAST_OF_A_DEVICE = {"POST /v1/device/erasure"}
#: any text is right there, and kept
TEXTS = {
    *("external_id", "groups", "installation_id", "model", "name", "platform", "purposes"),
    "title",
}
#: how a whole body is spoilt; `%` is where a canary may stand
MALFORMED = (
    '{"fix": {"lat": %',
    '{"lat": %, "lat": %}',
    "[%]",
    '"%"',
    "%",
    '{"%": NaN}',
    '\ufeff{"lat": %}',
    "[" * 3_000 + "%",
    '{"id": "%", "purpose": "visit", "fix": {"lat": "%", "lon": %, "captured_at": "%"}}',
)


def everything(town: Town, thin: int) -> Iterator[Ask]:
    """All routes, with every `thin`th of the wrong requests to each."""
    for number, operation in enumerate(table()):
        town.route = str(operation)
        yield from _right(town, operation)
        # others of each route: no way to be wrong is left out everywhere
        yield from islice(_wrong(town, operation), number % thin, None, thin)
    yield from check_ins(town, 20 // thin + 4)
    yield from imports(town)
    yield from _nowhere(town)


def check_ins(town: Town, number: int) -> Iterator[Ask]:
    """By one phone: taken, refused, repeated, and together."""
    route = "POST /v1/check-ins"
    for n in range(number):
        claim = town.claim(route, site_id=(town.site_id, town.foreign_site_id, None)[n % 3])
        if n % 4 == 3:
            claim["fix"]["accuracy_m"] = town.canaries.number(Kind.ACCURACY, route, 200, 900)
        yield from [_post(route, claim, town.token)] * 2
        yield _post(route, claim, town.foreign_token)
        yield _post(route, town.exact_claim(route), town.token)
        yield _post(route, town.told_claim(f"{route} {n}"), town.token)
        misplaced = {**town.claim(route), "purpose": JUDGED_PURPOSE}
        yield _post(route, misplaced, town.token)
    far = town.canaries.place(route, (-81.0, 127.0), REACH)
    moved = town.claim(route)
    yield _post(route, {**moved, "fix": {**moved["fix"], **far}}, town.token)
    many = [town.claim("a batch") for _ in range(number)]
    many += [{**town.claim("a batch"), town.word(Kind.STRAY): town.word(Kind.STRAY)}, far]
    yield _post("POST /v1/check-ins/batch", {"check_ins": many}, town.token)


def changes(town: Town, number: int) -> Iterator[Ask]:
    """Names that are replaced, and persons that are erased after they checked in."""
    for _ in range(number):
        site = town.site(town.anywhere())
        made = town.made("POST /v1/sites", site | {"external_id": town.word(Kind.REPLACED)})
        revised = site | {"external_id": town.word(Kind.NAME), "version": 1}
        yield _put("PUT /v1/sites/{site_id}", f"/v1/sites/{made['id']}", revised, town.key)
        phone = town.phone()
        yield _post("POST /v1/check-ins", town.claim("the last of a person"), phone["token"])
        yield _post("POST /v1/check-ins", town.exact_claim("the last of a person"), phone["token"])
        yield _post("POST /v1/device/erasure", {}, phone["token"])


def guesses(town: Town, number: int) -> Iterator[Ask]:
    """At enrollment codes, until they are slowed down."""
    for _ in range(number):
        wrong = town.canaries.code("a guess", town.code()[:-6] + "ZZZZZZ")
        yield from [_enrolling(town.enrollment("a guess", wrong))] * 2


def few(town: Town, sent: str) -> Iterator[Ask]:
    """What writes or reads about persons: few requests, since each may have to wait."""
    town.route = sent
    yield _post("POST /v1/check-ins", town.claim(sent), town.token)
    batch = [town.claim(sent), town.exact_claim(sent)]
    yield _post("POST /v1/check-ins/batch", {"check_ins": batch}, town.token)
    yield _enrolling(town.enrollment(sent, town.code()))
    person = {"external_id": town.word(Kind.EXTERNAL_ID), "groups": [town.word(Kind.NAME)]}
    yield _post("POST /v1/subjects", person, town.key)
    yield _post("POST /v1/sites", town.site(town.anywhere()), town.key)
    yield from islice(imports(town), 1)


def quotable(town: Town, way: str) -> bytes:
    """What careless code is given: a check-in from anywhere on earth, or a credential."""
    sent = f"careless {way}"
    if way == "credential":
        return town.canaries.forged(sent, "dst").encode()
    claim = town.claim(sent)
    claim["fix"] |= town.canaries.anywhere(sent)
    return json.dumps(claim).encode()


def junk(town: Town) -> Iterator[bytes]:
    """What is no request, or does not end."""
    word, lat, lon = town.word(Kind.STRAY), town.lat(), town.lon()
    token = town.canaries.forged("no request", "dst")
    yield f"{word} / HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    yield f"GET /v1/device?lat={lat} HTTP/9.{word}\r\n\r\n".encode()
    yield f"GET / HTTP/1.1\r\n{word} {lat}\r\n\r\n".encode()
    yield f"GET /{word}/{lat},{lon} HTTP/1.1\r\nAuthorization: {token}\r\n".encode()
    body = json.dumps(town.claim("a body that is cut"))
    head = "POST /v1/check-ins HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    yield f"{head}Authorization: Bearer {town.token}\r\n".encode() + (
        f"Content-Length: {len(body) + 9}\r\n\r\n{body}".encode()
    )
    yield f"{head}Transfer-Encoding: chunked\r\n\r\n{word}\r\n{lat}\r\n".encode()
    yield f"{head}Content-Length: {lat}\r\n\r\n{body}".encode()
    upgrade = f"Upgrade: websocket\r\nConnection: upgrade\r\nX: {word}\r\n\r\n"
    yield f"GET /docs HTTP/1.1\r\nHost: x\r\n{upgrade}".encode()
    yield b"\x16\x03\x01" + f"{lat}{lon}".encode()


# -- one route -------------------------------------------------------------------------------


def _token(town: Town, operation: Operation) -> str | None:
    return _token_of(town, operation, operation.callers[0] if operation.callers else None)


def _token_of(town: Town, operation: Operation, caller: GuardCaller | None) -> str | None:
    if caller is None:
        return None
    if str(operation) in LAST_OF_A_DEVICE:
        return str(town.phone()["token"])
    return town.token if caller.scope is None else town.key


def _ask(operation: Operation, request: Request, token: str | None) -> Ask:
    path = operation.path.format(**{k: quote(str(v), safe="") for k, v in request.path.items()})
    target = f"{path}?{urlencode(request.query)}" if request.query else path
    headers, body = {k: str(v) for k, v in request.header.items()}, None
    if operation.takes_file:
        headers["Content-Type"] = "application/geo+json"
        body = collection(feature(geometry=request.body.get("fence", {}), **request.file)).encode()
    elif operation.body is not None:
        headers |= JSON
        body = json.dumps(request.body).encode()
    return Ask(str(operation), operation.method, target, token, headers, body)


def _whole(town: Town, operation: Operation, *, everything: bool = False) -> Request:
    request = whole(town, operation, everything=everything)
    if operation.takes_file:
        request.body["fence"] = town.fence()
    return request


def _right(town: Town, operation: Operation) -> Iterator[Ask]:
    for everything in (False, True):
        for caller in operation.callers or (None,):
            token = _token_of(town, operation, caller)
            yield _ask(operation, _whole(town, operation, everything=everything), token)


def _wrong(town: Town, operation: Operation) -> Iterator[Ask]:
    yield from _wrong_values(town, operation)
    yield from _wrong_callers(town, operation)
    yield from _wrong_addresses(town, operation)
    if operation.body is not None:
        yield from _wrong_bodies(town, operation)


def _wrong_values(town: Town, operation: Operation) -> Iterator[Ask]:
    """Each place with text, a position, or an object where another value belongs."""
    good = _whole(town, operation)
    for place in operation.places:
        for value in _spoilt(town, place):
            request = copy.deepcopy(good)
            request.put(place, value if place.where != "header" else str(value))
            yield _ask(operation, request, _token(town, operation))


def _spoilt(town: Town, place: Place) -> Iterator[Any]:
    if place.where in {"body", "file"}:
        yield {town.word(Kind.STRAY): town.word(Kind.STRAY)}
        if place.name in TEXTS:
            return
    yield from (town.word(Kind.STRAY), town.lat(), str(town.lat()))


def _wrong_callers(town: Town, operation: Operation) -> Iterator[Ask]:
    if not operation.callers:
        return
    good = _ask(operation, _whole(town, operation), None)
    mine = str(_token(town, operation))
    kind, kid, _ = mine.split("_")
    forged = town.canaries.forged(town.route, kind, kid)
    tokens = [None, "", mine[:-9], mine + "0", forged, town.canaries.forged(town.route, kind)]
    tokens += [town.key, town.foreign_key]
    if str(operation) not in LAST_OF_A_DEVICE:
        tokens += [town.token, town.foreign_token]
    for token in tokens:
        yield replace(good, token=token)
    for scheme in ("Basic", town.word(Kind.STRAY)):
        yield replace(good, headers={**good.headers, "Authorization": f"{scheme} {forged}"})


def _wrong_addresses(town: Town, operation: Operation) -> Iterator[Ask]:
    good = _ask(operation, _whole(town, operation), _token(town, operation))
    path = good.target.partition("?")[0]
    word, lat, lon = town.word(Kind.STRAY), town.lat(), town.lon()
    for query in (f"lat={lat}&lon={lon}", f"{word}={word}", f"token={town.token}", f"%{word}"):
        yield replace(good, target=f"{path}?{query}")
    for longer in (f"{lat},{lon}", word, town.token, f"%2e%2e/{word}", f"%00{word}"):
        yield replace(good, target=f"{path}/{longer}")
        parent = path.rpartition("/")[0]
        yield replace(good, target=f"{parent}/{longer}")
    for method in METHODS:
        if method != operation.method:
            yield replace(good, method=method, target=f"{path}?at={lat}", route=NOWHERE)


def _wrong_bodies(town: Town, operation: Operation) -> Iterator[Ask]:
    good = _ask(operation, _whole(town, operation), _token(town, operation))
    for text in MALFORMED:
        filled = text.replace("%", str(town.lat()))
        yield replace(good, body=filled.encode())
        yield replace(good, body=text.replace("%", town.word(Kind.STRAY)).encode())
    yield replace(good, body=f'{{"lat": {town.lat()}'.encode() + b"\xff\xfe}")
    yield replace(good, body=json.dumps({"fill": str(town.lat()) * 9_000}).encode())
    for headers in (
        {"Content-Type": f"text/{town.word(Kind.STRAY)}"},
        {"Content-Type": f"application/json; charset={town.word(Kind.STRAY)}"},
        {**JSON, "Content-Encoding": town.word(Kind.STRAY)},
    ):
        yield replace(good, headers=headers)
    yield from _strangers(town, operation)


def _strangers(town: Town, operation: Operation) -> Iterator[Ask]:
    """In each object of a body a member that is not known there."""
    good = _whole(town, operation)
    places = [place.steps for place in operation.places if place.where == "body"]
    for inside in {steps[: -2 if steps[-1] == EACH else -1] for steps in places}:
        for name, value in ((town.word(Kind.STRAY), town.lat()), ("lat", town.lat())):
            request = copy.deepcopy(good)
            request.put(Place("body", (*inside, name), required=False), value)
            yield _ask(operation, request, _token(town, operation))


# -- what has no place in the table ------------------------------------------------------------


def _post(route: str, body: Any, token: str | None) -> Ask:
    return Ask(route, "POST", route.partition(" ")[2], token, JSON, json.dumps(body).encode())


def _enrolling(body: Any) -> Ask:
    return _post("POST /v1/enrollments", body, None)


def _put(route: str, path: str, body: Any, token: str) -> Ask:
    return Ask(route, "PUT", path, token, JSON, json.dumps(body).encode())


def imports(town: Town) -> Iterator[Ask]:
    """Files of each format: with a good site, and with what cannot be read."""
    route = "POST /v1/sites/import"
    for form, (kind, make) in FILES.items():
        for content in make(town):
            for more in ("", "&dry_run=true", "&skip_invalid=true&repair=true"):
                target = f"/v1/sites/import?format={form}{more}"
                headers = {"Content-Type": kind}
                yield Ask(route, "POST", target, town.key, headers, content.encode())


def _geojson(town: Town) -> Iterator[str]:
    good = feature(town.word(Kind.NAME), town.fence(), external_id=town.word(Kind.NAME))
    stray = {town.word(Kind.STRAY): town.word(Kind.STRAY)}
    yield collection(good, feature(town.word(Kind.NAME), town.fence(), **stray))
    bad = {"type": town.word(Kind.STRAY), "coordinates": [town.lat(), town.word(Kind.STRAY)]}
    yield collection(good, feature(town.word(Kind.NAME), bad))
    yield collection(good, feature(None, town.fence(), hours=town.word(Kind.STRAY)))
    yield collection(good)[:-40] + town.word(Kind.STRAY)


def _csv(town: Town) -> Iterator[str]:
    name, word = town.word(Kind.NAME), town.word(Kind.STRAY)
    yield f"name,lat,lon,radius_m\n{name},{word},{town.lat()},{word}\n"
    yield f"name,{word},lon\n{name},{town.lat()},{town.lat()},{word}\n"
    yield f"name,wkt\n{name},POLYGON (({word} {town.lat()}\n"


def _kml(town: Town) -> Iterator[str]:
    word = town.word(Kind.STRAY)
    inside = f"<Placemark><name>{town.word(Kind.NAME)}</name><{word}>{town.lat()}</{word}>"
    yield f"<kml><Document>{inside}</Placemark></Document></kml>"
    yield f"<!DOCTYPE x [<!ENTITY e '{word}'>]><kml>{inside}&e;</kml>"


def _gpx(town: Town) -> Iterator[str]:
    word = town.word(Kind.STRAY)
    yield f'<gpx><wpt lat="{town.lat()}" lon="{word}"><name>{word}</name></wpt>'
    yield f'<gpx><wpt lat="{word}" lon="{town.lat()}"/></gpx>'


Content = Callable[[Town], Iterator[str]]
FILES: dict[str, tuple[str, Content]] = {
    "geojson": ("application/geo+json", _geojson),
    "geojsonseq": ("application/geo+json-seq", _geojson),
    "csv": ("text/csv", _csv),
    "kml": ("application/vnd.google-earth.kml+xml", _kml),
    "kmz": ("application/vnd.google-earth.kmz", _kml),
    "gpx": ("application/gpx+xml", _gpx),
}


def _nowhere(town: Town) -> Iterator[Ask]:
    """Addresses that no route has."""
    town.route = NOWHERE
    for target in (
        f"/v1/track?lat={town.lat()}&lon={town.lon()}",
        f"/v1/check-ins/{town.lat()},{town.lon()}",
        f"/{town.word(Kind.STRAY)}/../v1/{uuid4()}?at={now()}",
        f"/v1/devices/{town.word(Kind.STRAY)}?{town.word(Kind.STRAY)}",
        f"/%ff%fe{town.word(Kind.STRAY)}",
        f"/?token={town.token}&key={town.key}",
    ):
        for method in ("GET", "POST"):
            yield Ask(NOWHERE, method, target, town.token, JSON, b"{}")
