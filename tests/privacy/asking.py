"""Asking as one tenant for things of another: how each kind of value is made, sent and compared.

Whoever adds a route that takes a value of a new name adds its makers to `NAMES` here.
"""

import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import uuid4

import httpx

from doorstep_server.auth import GuardCaller
from doorstep_server.credentials import ALPHABET, HANDLE_LENGTH
from features import collection, feature
from privacy import two_tenants
from privacy.route_table import EACH, Operation, Place
from privacy.two_tenants import INSTALLATION, SHADOW, Side, beside
from world import INSIDE, World, assert_documented

#: after these a device may less than before, or nothing
OF_ITS_CALLER = {"/v1/device/erasure", "/v1/device/restrictions"}
#: and after these a person
OF_A_PERSON = ("/erasure", "/restrictions")

#: None: anybody
Caller = GuardCaller | None

# -- values ----------------------------------------------------------------------------------


@dataclass
class Asking:
    """Who asks for what, and of whose things; what is made on the way is made once."""

    operation: Operation
    caller: Caller
    me: Side
    other: Side
    #: tokens for a route that ends what its caller may, made before anything is compared
    _spare: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.operation.path in OF_ITS_CALLER and self.caller is not None:
            self._spare = [self.me.tenancy.phone().token for _ in range(2)]

    @cached_property
    def word(self) -> str:
        """By which the other tenant names everything, and nobody else anything."""
        return self.other.new_word()

    def token(self, side: Side) -> str | None:
        if self.caller is None:
            return None
        if self.caller.scope is None:
            return self._spare.pop() if self._spare else side.phone.token
        return side.key(self.caller.scope).token


Made = Callable[[Asking], Any]


@dataclass(frozen=True)
class Name:
    """Values that name a thing: one's own, those of another tenant, and none's."""

    own: Made
    theirs: Callable[[Asking], list[Any]]
    #: like one of theirs, of the same length, and never made
    never: Callable[[Asking, Any], Any]


def never_a_uuid(_: Asking, __: str) -> str:
    return str(uuid4())


def never_a_word(_: Asking, __: str) -> str:
    return f"none-{secrets.token_hex(6)}"


def never_a_kid(_: Asking, theirs: str) -> str:
    return theirs[:HANDLE_LENGTH] + letters(len(theirs) - HANDLE_LENGTH)


def never_a_code(asking: Asking, theirs: str) -> str:
    return asking.me.handle + letters(len(theirs) - HANDLE_LENGTH)


def never_an_erasure(asking: Asking, _: str) -> str:
    return f"{asking.me.handle}-{secrets.token_hex(16)}"


def never_a_cursor(_: Asking, theirs: str) -> str:
    sealed = urlsafe_b64encode(secrets.token_bytes(len(theirs)))
    return sealed.decode()[: len(theirs)]


def letters(count: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(count))


def their_kids(asking: Asking) -> list[str]:
    kid = asking.other.new_kid()
    return [kid, asking.me.handle + kid[HANDLE_LENGTH:]]


def their_codes(asking: Asking) -> list[str]:
    """Whoever holds a code enrolls with it; under another handle none of theirs is one."""
    codes = [code.replace("-", "").lower() for code in asking.other.codes.values()]
    handles = (asking.me.handle, letters(HANDLE_LENGTH))
    ended = [asking.other.codes[fate].replace("-", "").lower() for fate in ("expired", "used")]
    return [h + code[HANDLE_LENGTH:] for code in codes for h in handles] + ended


def their_erasures(asking: Asking) -> list[str]:
    """Whoever has a code may ask; under another handle none of theirs is one."""
    number = asking.other.erasure.partition("-")[2]
    return [f"{handle}-{number}" for handle in (asking.me.handle, letters(HANDLE_LENGTH))]


def their_cursors(asking: Asking) -> list[str]:
    """Of the other tenant's list of the same kind."""
    other = asking.other
    request = Request.whole(asking, {"path site_id": other.site_id, "path hold_id": other.hold_id})
    request.query["limit"] = "1"
    answer = send(asking.operation, asking.other.tenancy.world, request, asking.token(asking.other))
    cursor = answer.json()["next_cursor"]
    assert cursor is not None, f"{asking.operation}: too few items to make a cursor"
    return [cursor]


def own_subject(asking: Asking) -> str:
    """Somebody else, where the phone of the others would check in no more."""
    if asking.operation.path.endswith(OF_A_PERSON):
        return str(asking.me.tenancy.subject(str(uuid4()))["id"])
    return asking.me.phone.subject_id


def own_hold(asking: Asking) -> str:
    return asking.me.new_hold() if asking.operation.method == "DELETE" else asking.me.hold_id


def own_word(_: Asking) -> str:
    return two_tenants.new_name()


def their_word(asking: Asking) -> list[str]:
    return [asking.word]


WORD = Name(own_word, their_word, never_a_word)

#: by the name of a place; `path name` comes before `name`
NAMES: dict[str, Name] = {
    "id": Name(lambda _: str(uuid4()), lambda asking: [asking.other.new_check_in()], never_a_uuid),
    "path site_id": Name(
        lambda asking: asking.me.new_site(), lambda asking: [asking.other.site_id], never_a_uuid
    ),
    "site_id": Name(
        lambda asking: asking.me.site_id, lambda asking: [asking.other.site_id], never_a_uuid
    ),
    "subject_id": Name(
        own_subject,
        lambda asking: [asking.other.phone.subject_id],
        never_a_uuid,
    ),
    "device_id": Name(
        lambda asking: asking.me.tenancy.phone().device_id,
        lambda asking: [asking.other.phone.device_id],
        never_a_uuid,
    ),
    "check_in_id": Name(
        lambda asking: asking.me.exact_id, lambda asking: [asking.other.exact_id], never_a_uuid
    ),
    "path code": Name(lambda asking: asking.me.erasure, their_erasures, never_an_erasure),
    "hold_id": Name(own_hold, lambda asking: [asking.other.hold_id], never_a_uuid),
    "kid": Name(lambda asking: asking.me.new_kid(), their_kids, never_a_kid),
    "code": Name(lambda asking: asking.me.new_code(), their_codes, never_a_code),
    "cursor": Name(lambda _: None, their_cursors, never_a_cursor),
    "path name": Name(lambda asking: asking.me.new_purpose(), their_word, never_a_word),
    "purpose": Name(lambda _: "visit", their_word, never_a_word),
    "purposes": Name(lambda _: "visit", their_word, never_a_word),
    "Doorstep-Purpose": Name(lambda _: "audit", their_word, never_a_word),
    "installation_id": Name(lambda _: INSTALLATION, their_word, never_a_word),
    "external_id": WORD,
    "groups": WORD,
    "name": WORD,
    "title": WORD,
}


def next_sequence(asking: Asking) -> int:
    asking.me.phone.sequence += 1
    return asking.me.phone.sequence


def now(asking: Asking) -> str:
    return asking.me.tenancy.world.clock.now.isoformat()


#: what names nothing of a tenant, however it is called: some good value
PLAIN: dict[str, Made] = {
    "accuracy_m": lambda _: 10,
    # what is asked for must not lie over what was asked for before
    "active": lambda _: False,
    "age_s": lambda _: 1,
    # a list of a length of its own
    "bbox": lambda _: [-180, -90, 180, 90],
    "captured_at": now,
    "expires_on": lambda _: "2026-12-31",
    "format": lambda _: "geojson",
    "geofence": lambda _: beside(),
    "If-None-Match": lambda _: '"none"',
    "lat": lambda _: INSIDE["lat"],
    "legal_basis": lambda _: "contract",
    "hours": lambda _: {"weekly": {"mon": [["09:00", "18:00"]]}},
    "id_from": lambda _: "external_id",
    "limit": lambda _: 2,
    "lon": lambda _: INSIDE["lon"],
    "max_age_s": lambda _: 3_600,
    "max_level": lambda _: "exact",
    "max_site_area_km2": lambda _: 35_000,
    "max_speed_kmh": lambda _: 1_000,
    "model": lambda _: "Pixel 9",
    "name_from": lambda _: "name",
    "observed_at": now,
    "os_version": lambda _: "15.1",
    "permission_epoch": lambda _: 0,
    "platform": lambda _: "android",
    "reason": lambda _: "legal-claim",
    "retention_days": lambda _: 30,
    # a key passes on what it has: of the route that makes keys, this
    "scopes": lambda _: "keys:read",
    "sequence": next_sequence,
    "site_version": lambda _: 1,
    "source": lambda _: "gps",
    "state": lambda _: "precise",
    "time_precision_s": lambda _: 900,
    "timezone": lambda _: "America/Sao_Paulo",
    "version": lambda _: 1,
}
#: not required, but a request without them is another kind of request
WANTED = {"accuracy_m", "active", "bbox", "Doorstep-Purpose"}


def name_of(place: Place) -> Name | None:
    return NAMES.get(f"{place.where} {place.name}") or NAMES.get(place.name)


def own(asking: Asking, place: Place) -> Any:
    name = name_of(place)
    return name.own(asking) if name else PLAIN[place.name](asking)


def named(operation: Operation) -> list[tuple[Place, Name]]:
    """The places that can name a thing."""
    return [(place, name) for place in operation.places if (name := name_of(place))]


# -- requests --------------------------------------------------------------------------------


@dataclass
class Request:
    """What is sent."""

    path: dict[str, str]
    query: dict[str, str]
    header: dict[str, str]
    body: dict[str, Any]
    #: what the one feature of a file says
    file: dict[str, Any]

    @classmethod
    def whole(
        cls, asking: Asking, values: dict[str, Any] | None = None, *, all_names: bool = False
    ) -> "Request":
        """A request that succeeds, but for the values that are given, by their places' texts."""
        request, values = cls({}, {}, {}, {}, {}), values or {}
        for place in asking.operation.places:
            if str(place) in values:
                request.put(place, values[str(place)])
            elif place.required or place.name in WANTED or (all_names and name_of(place)):
                request.put(place, own(asking, place))
        return request

    def put(self, place: Place, value: Any) -> None:
        if value is not None:
            _put(getattr(self, place.where), place.steps, value)

    def texts(self) -> set[str]:
        """Every text in it: an answer may say it again."""
        return set(_texts([self.path, self.query, self.header, self.body, self.file]))


def _put(target: dict[str, Any], steps: tuple[str, ...], value: Any) -> None:
    step, *rest = steps
    if not rest:
        target[step] = value
    elif rest == [EACH]:
        target[step] = value if isinstance(value, list) else [value]
    elif rest[0] == EACH:
        _put(target.setdefault(step, [{}])[0], tuple(rest[1:]), value)
    else:
        _put(target.setdefault(step, {}), tuple(rest), value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def send(operation: Operation, world: World, request: Request, token: str | None) -> httpx.Response:
    """Send a request; what comes back is described for its route, as in every test."""
    path = operation.path.format(**request.path)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    if operation.takes_file:
        headers["Content-Type"] = "application/geo+json"
    answer = world.client.request(
        operation.method,
        path,
        params=request.query,
        headers=headers | request.header,
        json=request.body if operation.body else None,
        content=collection(feature(geometry=beside(), **request.file))
        if operation.takes_file
        else None,
        follow_redirects=False,
    )
    assert_documented(world.client.app, operation.method, path, answer)
    return answer


# -- answers ---------------------------------------------------------------------------------

#: what is made anew for each request, and where
NEW_TEXTS = {
    "<uuid>": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "<credential>": r"ds[kt]_[0-9a-z]{16}_[0-9a-f]{64}",
    "<code>": r"[0-9A-Z]{6}(-[0-9A-Z]{6}){2}",
    "<erasure>": rf"[{ALPHABET}]{{{HANDLE_LENGTH}}}-[0-9a-f]{{32}}",
    "<kid>": rf"[{ALPHABET}]{{16}}",
}
SEALED = {"decision", "next_cursor"}
NEW_HEADERS = {"x-request-id", "date"}

Seen = tuple[int, dict[str, str], Any]


def seen(answer: httpx.Response, request: Request) -> Seen:
    """All of an answer by which two could be told apart. Lengths are in it: `content-length`."""
    headers = {k: v for k, v in answer.headers.items() if k not in NEW_HEADERS}
    is_json = "json" in headers.get("content-type", "")
    said = _comparable(answer.json(), request.texts()) if is_json else answer.text
    return answer.status_code, headers, said


def _comparable(value: Any, sent: set[str], name: str = "") -> Any:
    if isinstance(value, dict):
        return {k: _comparable(v, sent, k) for k, v in value.items() if k != "request_id"}
    if isinstance(value, list):
        return [_comparable(item, sent) for item in value]
    if not isinstance(value, str):
        return value
    if name in SEALED:
        return f"<{len(value)} sealed>"
    made = (made for made, pattern in NEW_TEXTS.items() if re.fullmatch(pattern, value))
    return "<sent>" if value in sent and len(value) > 12 else next(made, value)


def assert_says_nothing(asking: Asking, request: Request, answer: httpx.Response) -> None:
    """No answer says another's ids or marks, nor anything of a shadow's."""
    text, other = answer.text, asking.other
    for sent in request.texts():
        text = text.replace(sent, "")
    said = {match.group() for match in AN_ID.finditer(text)}
    if said:
        assert not said & _foreign_ids(asking)
    assert not [word for word in (other.mark, other.name, SHADOW) if word in text]


AN_ID = re.compile(rf"{NEW_TEXTS['<uuid>']}|(?<![0-9a-z]){NEW_TEXTS['<kid>']}(?![0-9a-z])")


def _foreign_ids(asking: Asking) -> set[str]:
    """Another's, without those that both use: an id made by an app can be anybody's."""
    world = asking.me.tenancy.world
    mine, theirs = (two_tenants.ids(world, s.tenant_id) for s in (asking.me, asking.other))
    return theirs - mine


def ask(asking: Asking, request: Request) -> Seen:
    """Send it as oneself, and see that the answer says nothing of others."""
    world = asking.me.tenancy.world
    answer = send(asking.operation, world, request, asking.token(asking.me))
    assert_says_nothing(asking, request, answer)
    return seen(answer, request)
