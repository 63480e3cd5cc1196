"""A value for every place of a request: a canary wherever one fits.

Whoever adds a route that takes a value of a new name adds it to `VALUES` here.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from privacy.asking import Request
from privacy.canaries import Canaries, Kind, of_number, of_uuid
from privacy.canary_wire import Ask, Told, Wire
from privacy.route_table import Operation, Place

#: half a side of the large fence, in degrees: many positions in it differ in their first decimals
REACH = 0.1
INSIDE = 0.09
EXACT_PURPOSE = "dispute"
JUDGED_PURPOSE = "patrol"
#: in metres; not to be taken for seconds of a time either
ACCURACIES = (61, 95)


@dataclass
class Town:
    """A tenant that everything is asked of, and what a request may need of it."""

    canaries: Canaries
    wire: Wire
    key: str
    center: tuple[float, float]
    #: another tenant's: whatever it names is none of this one's
    foreign_key: str = ""
    site_id: str = ""
    token: str = ""
    subject_id: str = ""
    device_id: str = ""
    #: a check-in whose position is kept
    exact_id: str = ""
    #: a purpose that nobody checks in for
    aside: str = ""
    foreign_token: str = ""
    foreign_site_id: str = ""
    sequence: int = 1
    #: where the present request is sent to, to name its canaries
    route: str = "setting up"
    #: what each was answered when it enrolled
    phones: list[Any] = field(default_factory=list)
    _lon: float = 0.0

    def settle(self, foreign_key: str) -> None:
        """A site, a person with a phone that may be located, and the other tenant's."""
        self.foreign_key = foreign_key
        self.site_id = self.made("POST /v1/sites", self.site(self.center))["id"]
        foreign = self.made("POST /v1/sites", self.site(self.center), self.foreign_key)
        self.foreign_site_id = foreign["id"]
        phone = self.phone()
        self.token, self.device_id = phone["token"], phone["device_id"]
        self.subject_id = phone["subject_id"]
        self.foreign_token = self.phone(self.foreign_key)["token"]
        self.aside = _new_purpose(self)
        self._keep_positions()

    def _keep_positions(self) -> None:
        """For a purpose that is there for disputes."""
        limits = {"max_speed_kmh": 1_000, "max_site_area_km2": 9_000_000, "max_level": "exact"}
        self.made("PUT /v1/settings", limits)
        body = {"name": EXACT_PURPOSE, "title": "-", "legal_basis": "contract", "level": "exact"}
        self.made("POST /v1/purposes", body)
        judged = {"name": JUDGED_PURPOSE, "level": "site", "judged_by": "device"}
        self.made("POST /v1/purposes", body | judged)
        claim = self.exact_claim("settling")
        assert self.made("POST /v1/check-ins", claim, self.token)["stored"]["level"] == "exact"
        self.exact_id = claim["id"]

    def ask(self, route: str, body: Any = None, token: str | None = None, **ids: str) -> Told:
        """For what is only needed: quietly, as the admin unless said otherwise."""
        method, _, path = route.partition(" ")
        encoded = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        ask = Ask(route, method, path.format(**ids), token or self.key, headers, encoded)
        return self.wire.send(ask, quiet=True)

    def made(self, route: str, body: Any = None, token: str | None = None, **ids: str) -> Any:
        told = self.ask(route, body, token, **ids)
        assert told.status in {200, 201}, (route, told)
        return told.body

    def site(self, center: tuple[float, float]) -> dict[str, Any]:
        name = self.canaries.text(Kind.NAME, "site")
        return {"name": name, "geofence": self.fence(center), "timezone": "America/Sao_Paulo"}

    def fence(self, center: tuple[float, float] | None = None) -> dict[str, Any]:
        """A square whose corners are canaries; anywhere, if not around a place."""
        draw = self.canaries.random
        lat, lon = center or self.anywhere()
        south, north = (draw.uniform(0.999, 1.001) * REACH * side + lat for side in (-1, 1))
        west, east = (draw.uniform(0.999, 1.001) * REACH * side + lon for side in (-1, 1))
        for value in (south, north, west, east):
            self.canaries.add(Kind.FENCE, "fence", of_number(value))
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        return {"type": "Polygon", "coordinates": [ring]}

    def anywhere(self) -> tuple[float, float]:
        """Where fences lie beside those of the center; their digits begin as those of no fix."""
        draw = self.canaries.random
        lat, lon = (draw.choice((-1, 1)) * draw.uniform(20, 59) for _ in "xy")
        return lat, lon

    def person(self, token: str | None = None) -> str:
        external_id = self.canaries.text(Kind.EXTERNAL_ID, "subject")
        return str(self.made("POST /v1/subjects", {"external_id": external_id}, token)["id"])

    def code(self, token: str | None = None) -> str:
        route = "POST /v1/subjects/{subject_id}/enrollments"
        return str(self.made(route, None, token, subject_id=self.person(token))["code"])

    def enrollment(self, sent: str, code: str) -> dict[str, Any]:
        model = self.canaries.text(Kind.MODEL, sent, "P")
        return {
            "code": code,
            "installation_id": self.canaries.text(Kind.INSTALLATION, sent),
            "device": {"platform": "android", "os_version": "15.1", "model": model},
        }

    def phone(self, token: str | None = None) -> Any:
        """An enrolled device that may be located."""
        body = self.enrollment("enrollment", self.code(token))
        enrolled = self.made("POST /v1/enrollments", body, "none")
        report = {"state": "precise", "sequence": 1, "observed_at": now()}
        self.made("PUT /v1/device/permission", report, enrolled["token"])
        self.phones.append(enrolled)
        return enrolled

    def claim(self, sent: str, **members: Any) -> dict[str, Any]:
        """A check-in at a place that was never sent before."""
        fix = {
            **self.canaries.place(sent, self.center, INSIDE),
            "accuracy_m": self.canaries.number(Kind.ACCURACY, sent, *ACCURACIES),
            "captured_at": now(),
        }
        return {"id": str(uuid4()), "purpose": "visit", "fix": fix, **members}

    def exact_claim(self, sent: str) -> dict[str, Any]:
        """A check-in of which the position is kept."""
        fix = {
            **self.canaries.place(sent, self.center, INSIDE, Kind.EXACT),
            "accuracy_m": self.canaries.number(Kind.EXACT, f"accuracy of {sent}", *ACCURACIES),
            "captured_at": now(),
        }
        return {"id": str(uuid4()), "purpose": EXACT_PURPOSE, "fix": fix}

    def told_claim(self, sent: str) -> dict[str, Any]:
        """A check-in that the device judged; and a position that it must not send, nevertheless."""
        told = {"reason": "inside", "captured_at": now(), "bundle_version": self.bundle_version()}
        claim = {"id": str(uuid4()), "purpose": JUDGED_PURPOSE, "site_id": self.site_id}
        place = self.canaries.place(sent, self.center, INSIDE)
        return {**claim, "verdict": {**told, **place} if len(sent) % 2 else told}

    def bundle_version(self) -> int:
        """The number that a bundle begins with: seven bits a byte, until one below 128."""
        content = self.ask("GET /v1/sites/bundle", None, self.token).content
        end = next(i for i in range(4, 14) if content[i] < 0x80)
        return sum((content[i] & 0x7F) << 7 * (i - 4) for i in range(4, end + 1))

    def add_erased(self) -> None:
        """The ids of whom an erasure was begun for: they have to be nowhere then."""
        for phone in self.phones:
            whose = (phone["token"], f"/v1/subjects/{phone['subject_id']}/erasure")
            if any({ask.token, ask.target} & set(whose) for ask in self.wire.accepted):
                for name in ("subject_id", "device_id"):
                    self.canaries.add(Kind.ERASED, name, of_uuid(UUID(phone[name])))

    def lat(self) -> float:
        place = self.canaries.place(self.route, self.center, INSIDE)
        self._lon = place["lon"]
        return place["lat"]

    def lon(self) -> float:
        """Of the position whose latitude was asked for just before."""
        return self._lon

    def next_sequence(self) -> int:
        self.sequence += 1
        return self.sequence

    def word(self, kind: Kind) -> str:
        return self.canaries.text(kind, self.route)

    def around(self) -> list[float]:
        """A part of the map that somebody looks at."""
        south, west = self.lat(), self.lon()
        north, east = self.lat() + 0.2, self.lon() + 0.2
        self.canaries.position(self.route, north, east)
        return [west, south, east, north]


def now() -> str:
    return datetime.now(UTC).isoformat()


def _new_site(town: Town) -> str:
    return str(town.made("POST /v1/sites", town.site(town.anywhere()))["id"])


def _new_kid(town: Town) -> str:
    body = {"name": town.word(Kind.NAME), "scopes": ["keys:read"]}
    return str(town.made("POST /v1/api-keys", body)["id"])


def _new_purpose(town: Town) -> str:
    name, title = town.word(Kind.NAME), town.word(Kind.NAME)
    body = {"name": name, "title": title, "legal_basis": "contract"}
    return str(town.made("POST /v1/purposes", body)["name"])


def _new_hold(town: Town) -> str:
    until = (datetime.now(UTC).date() + timedelta(days=30)).isoformat()
    body = {"subject_id": town.subject_id, "reason": "legal-claim", "expires_on": until}
    return str(town.made("POST /v1/privacy/holds", body)["id"])


def _begun_erasure(town: Town) -> str:
    route = "POST /v1/subjects/{subject_id}/erasure"
    told = town.ask(route, subject_id=town.phone()["subject_id"])
    return str(told.body["erasure"])


Value = Callable[[Town], Any]

#: by the name of a place; one that begins with a route or with `path` comes first
VALUES: dict[str, Value] = {
    "accuracy_m": lambda town: town.canaries.number(Kind.ACCURACY, town.route, *ACCURACIES),
    "action": lambda _: "in",
    "active": lambda _: True,
    "age_s": lambda _: 1,
    "assurance": lambda _: "standard",
    "bbox": Town.around,
    "captured_at": lambda _: now(),
    "check_in_id": lambda town: town.exact_id,
    "code": Town.code,
    "GET /problems/{code} code": lambda _: "not-found",
    "GET /v1/erasures/{code} code": _begun_erasure,
    "device_id": lambda town: town.phone()["device_id"],
    "dry_run": lambda _: "true",
    "expires_on": lambda _: (datetime.now(UTC).date() + timedelta(days=30)).isoformat(),
    "external_id": lambda town: town.word(Kind.NAME),
    "POST /v1/subjects external_id": lambda town: town.word(Kind.EXTERNAL_ID),
    "format": lambda _: "geojson",
    "geofence": Town.fence,
    "groups": lambda town: town.word(Kind.NAME),
    "hours": lambda _: {"weekly": {"mon": [["09:00", "18:00"]]}},
    "hold_id": _new_hold,
    "id": lambda _: str(uuid4()),
    "If-None-Match": lambda _: '"none"',
    "installation_id": lambda town: town.word(Kind.INSTALLATION),
    "judged_by": lambda _: "server",
    "kid": _new_kid,
    "lat": Town.lat,
    "legal_basis": lambda _: "contract",
    "level": lambda _: "site",
    "limit": lambda _: 2,
    "lon": Town.lon,
    "max_accuracy_m": lambda _: 100,
    "max_age_s": lambda _: 3_600,
    "max_level": lambda _: "exact",
    "max_site_area_km2": lambda _: 9_000_000,
    "max_speed_kmh": lambda _: 1_000,
    "mocked": lambda _: False,
    "model": lambda town: town.canaries.text(Kind.MODEL, town.route, "P"),
    "name": lambda town: town.word(Kind.NAME),
    "path name": _new_purpose,
    "GET /assets/{name} path name": lambda _: "page.css",
    "observed_at": lambda _: now(),
    "os_version": lambda _: "15.1",
    "platform": lambda _: "android",
    "purpose": lambda _: "visit",
    "purposes": lambda _: "visit",
    "PUT /v1/device/restrictions purposes": lambda town: town.aside,
    "PUT /v1/subjects/{subject_id}/restrictions purposes": lambda town: town.aside,
    "Doorstep-Purpose": lambda _: "audit",
    "reason": lambda _: "legal-claim",
    "repair": lambda _: "true",
    "requires_consent": lambda _: False,
    "retention_days": lambda _: 30,
    "scopes": lambda _: "keys:read",
    "sent_at": lambda _: now(),
    "sequence": Town.next_sequence,
    "since": lambda _: now(),
    "site_id": lambda town: town.site_id,
    "path site_id": _new_site,
    "site_version": lambda _: 1,
    "skip_invalid": lambda _: "true",
    "source": lambda _: "gps",
    "state": lambda _: "precise",
    "subject_id": lambda town: town.subject_id,
    "POST /v1/subjects/{subject_id}/erasure subject_id": lambda town: town.phone()["subject_id"],
    "time_precision_s": lambda _: 900,
    "timezone": lambda _: "America/Sao_Paulo",
    "title": lambda town: town.word(Kind.NAME),
    "tolerance_m": lambda _: 10,
    "until": lambda _: now(),
    "version": lambda _: 1,
    "wholly": lambda _: False,
}
#: not required, but without them a request is another one
WANTED = {"accuracy_m", "bbox", "Doorstep-Purpose"}
#: what would make a good request a bad one, and is wrong in most of the variants anyway
LEFT_OUT = {"cursor", "center", "radius_m", "permission_epoch", "name_from", "id_from", "dry_run"}


def value_of(operation: Operation, place: Place) -> Value | None:
    """How the value of a place is made."""
    names = (f"{operation} {place}", f"{operation} {place.name}", str(place), place.name)
    by_path = (f"{place.where} {place.name}",)
    return next((VALUES[name] for name in (*names, *by_path) if name in VALUES), None)


def whole(town: Town, operation: Operation, *, everything: bool = False) -> Request:
    """A good request, with all that it can carry or with what it must."""
    request = Request({}, {}, {}, {}, {})
    for place in operation.places:
        wanted = place.required or place.name in WANTED
        if not wanted and (not everything or place.name in LEFT_OUT):
            continue
        value = value_of(operation, place)
        assert value is not None, f"add {place.name} of {operation} to VALUES in canary_values.py"
        request.put(place, value(town))
    return request
