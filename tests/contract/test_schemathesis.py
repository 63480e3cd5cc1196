"""What the API says of itself, tried out: schemathesis with all its checks over our OpenAPI.

In this process, by schemathesis' engine: that is what its command line runs, with every phase
(examples, coverage, fuzzing, stateful) and every check. The requests go through the application as
it is served, as those of a second process of one deployment, and on the world's clock: to a
process with the true time, the times that are made up would hardly ever be recent.

By hand for longer, with other draws each time:

    DOORSTEP_FUZZ_EXAMPLES=1000 DOORSTEP_FUZZ_SEED=7 pytest -s tests/contract/test_schemathesis.py
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from uuid import uuid4

import pytest
import schemathesis
from litestar.types import ASGIApp
from schemathesis import AuthContext, Case, HookContext, Response
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.engine import events, from_schema
from schemathesis.hooks import GLOBAL_HOOK_DISPATCHER
from schemathesis.schemas import BaseSchema

from doorstep_server.app import build_app, follow_changes, make_services
from doorstep_server.asgi import logged, patient
from postgres import why_no_server
from world import DATABASES, INSIDE, Phone, Tenancy, World

#: for each route; the coverage phase makes as many cases as the description has corners
EXAMPLES = int(os.environ.get("DOORSTEP_FUZZ_EXAMPLES", "6"))
#: a scenario whose repetition went otherwise ends the stateful phase: the world remembers. So many
#: examples are drawn in rounds, each with its own seed
ROUND = 25
SEED = int(os.environ.get("DOORSTEP_FUZZ_SEED", "1"))

#: of what a description allows, the corners; with those of what it forbids, or without
Corners = Literal["all", "positive"]

#: what gives pages
LISTS = {
    "GET /v1/api-keys",
    "GET /v1/check-ins",
    "GET /v1/devices",
    "GET /v1/privacy/holds",
    "GET /v1/privacy/holds/{hold_id}/check-ins",
    "GET /v1/purposes",
    "GET /v1/sites",
    "GET /v1/sites/{site_id}/versions",
    "GET /v1/subjects",
    "POST /v1/sites/search",
}

#: (check, code of the problem that was answered) by which routes, and why it cannot hold there
_EXCLUDED: dict[tuple[str, str | None], tuple[str, set[str]]] = {
    ("positive_data_acceptance", "invalid-cursor"): (
        "only the page before knows a cursor",
        LISTS,
    ),
    ("positive_data_acceptance", "purpose-required"): (
        "which purposes are registered is the tenant's to say",
        {
            "GET /v1/check-ins",
            "GET /v1/check-ins/{check_in_id}/position",
            "GET /v1/devices",
            "GET /v1/privacy/holds",
            "GET /v1/privacy/holds/{hold_id}/check-ins",
            "GET /v1/subjects",
            "GET /v1/subjects/{subject_id}",
        },
    ),
    ("positive_data_acceptance", "invalid-parameter"): (
        "a device may name no subject but its own; and the text `null` is no cursor",
        LISTS,
    ),
    ("positive_data_acceptance", "geofence-invalid"): (
        "JSON Schema cannot say that a ring is closed and crosses nothing",
        {"POST /v1/sites", "PUT /v1/sites/{site_id}"},
    ),
    ("positive_data_acceptance", "search-invalid"): (
        "JSON Schema cannot say that south is not above north",
        {"POST /v1/sites/search"},
    ),
    ("positive_data_acceptance", "invalid-body"): (
        "one of two members, or one only with another: of a struct that cannot be described",
        {"POST /v1/sites/search", "POST /v1/sites/judge"},
    ),
    ("positive_data_acceptance", "hours-invalid"): (
        "JSON Schema cannot say that spans are in order, nor which dates there are",
        {"POST /v1/sites", "PUT /v1/sites/{site_id}"},
    ),
    ("positive_data_acceptance", "timezone-unknown"): (
        "the time zones are the system's, some 600",
        {"POST /v1/sites", "PUT /v1/sites/{site_id}", "POST /v1/sites/import"},
    ),
    ("positive_data_acceptance", "file-unreadable"): (
        "a file is described as bytes, or as some object",
        {"POST /v1/sites/import"},
    ),
    ("positive_data_acceptance", "import-rejected"): (
        "a file is described as bytes, or as some object",
        {"POST /v1/sites/import"},
    ),
    ("positive_data_acceptance", "unsupported-media-type"): (
        "each format takes its own types",
        {"POST /v1/sites/import"},
    ),
    ("positive_data_acceptance", "too-old"): (
        "how old a time is depends on the clock",
        {"POST /v1/check-ins"},
    ),
    ("positive_data_acceptance", "verdict-not-taken"): (
        "for which purposes devices judge is the tenant's to say",
        {"POST /v1/check-ins"},
    ),
    ("positive_data_acceptance", "position-not-taken"): (
        "for which purposes devices judge is the tenant's to say",
        {"POST /v1/check-ins"},
    ),
    ("positive_data_acceptance", "judged-by-impossible"): (
        "of which levels devices can judge is said in words",
        {"POST /v1/purposes", "PUT /v1/purposes/{name}"},
    ),
    ("positive_data_acceptance", "id-reused"): (
        "an id that was used is one as any other",
        {"POST /v1/check-ins"},
    ),
    ("positive_data_acceptance", "hold-period-invalid"): (
        "which days are to come depends on the clock",
        {"POST /v1/privacy/holds"},
    ),
    ("positive_data_acceptance", "enrollment-code-invalid"): (
        "only an admin knows a code",
        {"POST /v1/enrollments"},
    ),
    ("positive_data_acceptance", "sequence-too-far-ahead"): (
        "how far is too far depends on the reports before",
        {"PUT /v1/device/permission"},
    ),
    ("use_after_free", None): (
        "it deactivates: what verdicts were judged by stays to be read",
        {"DELETE /v1/sites/{site_id}"},
    ),
}


def filter_failure(context: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    """A hook of schemathesis: whether a failure counts."""
    nowhere: tuple[str, set[str]] = ("", set())
    return not any(
        failure.operation in _EXCLUDED.get((check, problem(response)), nowhere)[1]
        for check in failure.checks
    )


def problem(answer: Response) -> str | None:
    """The code of the problem that an answer is."""
    [media_type] = answer.headers.get("content-type", [""])
    return json.loads(answer.content)["code"] if "problem" in media_type else None


@dataclass
class Seen:
    """What a run saw."""

    cases: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    #: by route, of requests by its own method
    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    #: the first of each kind
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, event: events.ScenarioFinished) -> None:
        recorder = event.recorder
        self.cases[event.phase.value] += len(recorder.interactions)
        for case_id, checks in recorder.checks.items():
            self.checks.update(check.name for check in checks)
            answer = recorder.interactions[case_id].response
            case = recorder.cases[case_id].value
            if answer is not None and answer.request.method == case.operation.method.upper():
                statuses = self.statuses.setdefault(case.operation.label, Counter())
                statuses[answer.status_code] += 1
            for failed in (check.failure_info for check in checks if check.failure_info):
                kind = (failed.failure.operation, type(failed.failure).__name__)
                code = problem(answer) if answer is not None else None
                sample = f"{failed.failure.message}\n{failed.code_sample[:2000]}"
                self.failures.setdefault(f"{kind} {code}", sample)

    def reached(self) -> set[str]:
        """The routes that did what they are for."""
        return {
            route
            for route, statuses in self.statuses.items()
            if any(200 <= status < 300 for status in statuses)
        }

    def report(self) -> str:
        return "\n".join(
            [
                f"cases: {dict(self.cases)}",
                *(f"{check}: {count}" for check, count in sorted(self.checks.items())),
                *(f"{route}: {dict(seen)}" for route, seen in sorted(self.statuses.items())),
                *(f"\n## {kind}\n{sample}" for kind, sample in sorted(self.failures.items())),
            ]
        )


def run(schema: BaseSchema, seen: Seen) -> None:
    """Run every phase that is not turned off, with every check."""
    schema.hook(filter_failure)
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            seen.add(event)
        elif isinstance(event, events.NonFatalError):
            seen.failures[event.label] = repr(event.value)
        elif isinstance(event, events.FatalError):
            raise event.exception


@pytest.fixture(params=DATABASES)
def world(
    request: pytest.FixtureRequest, worlds: Callable[[str], AbstractContextManager[World]]
) -> Iterator[World]:
    with worlds(request.param) as world:
        world.first.site()
        yield world


@pytest.fixture
def served(world: World) -> ASGIApp:
    """The application as a second process of the deployment serves it."""
    # one device sends what many would
    services = make_services(replace(world.settings, device_at_once=0), world.clock)
    # guesses at codes come without end here; the throttle has its own tests
    services.enrollment_throttle.failures = 1_000_000
    # the rest draws when it comes next, which Hypothesis would take for draws of its own
    return logged(patient(build_app(services, background=[follow_changes])), services.meters)


def corners_for(world: World) -> Corners:
    """What a schema forbids is refused before any database is asked: it is tried on one of them.

    That is PostgreSQL, where there is one: it takes less than SQLite does.
    """
    is_stricter = world.settings.admin_database_url is not None
    return "all" if is_stricter or why_no_server() is not None else "positive"


def rounds(app: ASGIApp, world: World, *, corners: Corners | None) -> Iterator[BaseSchema]:
    """Our OpenAPI to run with each seed; the corners are the same for every seed."""
    for number in range(max(1, EXAMPLES // ROUND)):
        yield loaded(app, world, SEED + number, corners=corners if number == 0 else None)


def loaded(app: ASGIApp, world: World, seed: int, *, corners: Corners | None) -> BaseSchema:
    """Our OpenAPI, with what no description tells: requests shall get behind the first refusal."""
    admin, person = world.first.admin, world.first.subject()["id"]
    spare = admin.post("/v1/api-keys", {"name": "spare", "scopes": ["sites:read"]}).json()["id"]
    position, erasure, holds = rights(world, person)
    world.first.purpose(f"judged-{uuid4().hex[:8]}", judged_by="device")
    values = {
        "header.Doorstep-Purpose": ["operations", "audit"],
        "path.check_in_id": [position],
        "path.code": [erasure],
        "path.hold_id": holds,
        "path.device_id": [world.first.phone().device_id],
        "path.kid": [spare],
        "path.name": ["visit"],
        "path.subject_id": [person],
        "path.version": [1],
        "body.purpose": ["visit"],
        "body.version": [1],
        "body.timezone": ["America/Sao_Paulo", "Asia/Tokyo"],
        "body.subject_id": [person],
        "body.expires_on": ["2026-12-31"],
        "body.code": [world.first.code(person) for _ in range(20)],
        "body.geofence.center[*]": [INSIDE["lon"], INSIDE["lat"], 0],
        "body.geofence.radius_m": [120],
        "body.fix.captured_at": [world.clock.now.isoformat()],
        "body.fix.lat": [INSIDE["lat"]],
        "body.fix.lon": [INSIDE["lon"]],
    }
    examples = min(EXAMPLES, ROUND)
    config = {
        "seed": seed,
        "continue-on-failure": True,
        "generation": {"deterministic": True, "database": "none", "max-examples": examples},
        "phases": {
            "coverage": {
                "enabled": corners is not None,
                "generation": {"mode": corners or "all"},
            },
            "stateful": {"generation": {"max-examples": 3 * examples}},
        },
        "dictionaries": {place: {"values": known} for place, known in values.items()},
        "parameters": {place: {"dictionary": place, "probability": 0.7} for place in values},
    }
    return schemathesis.openapi.from_asgi(
        "/openapi.json", app, config=SchemathesisConfig.from_dict(config)
    )


def rights(world: World, person: str) -> tuple[str, str, list[str]]:
    """A check-in whose exact position is kept, an erasure that is done, and legal holds."""
    admin, name = world.first.admin, f"dispute-{uuid4().hex[:8]}"
    world.first.purpose(name, level="exact")
    limits = admin.get("/v1/settings").json()
    assert admin.put("/v1/settings", limits | {"max_level": "exact"}).status_code == 200
    phone, gone = world.first.phone(), world.first.phone()
    stored = phone.check_in(phone.claim(purpose=name)).json()
    assert stored["stored"]["level"] == "exact"
    erasure = gone.post("/v1/device/erasure").json()["erasure"]
    world.services.erasures.eraser.finish_all(world.clock.now.date())
    hold = {"subject_id": person, "reason": "legal-claim", "expires_on": "2026-12-31"}
    holds = [admin.post("/v1/privacy/holds", hold).json()["id"] for _ in range(20)]
    return stored["id"], erasure, holds


@dataclass
class Callers:
    """Who calls: an admin, and phones."""

    key: str
    phone: Phone
    #: what it says of its permission and its owner's wishes must not stop the other's check-ins
    reporting: Phone
    tenancy: Tenancy

    def credential(self, case: Case) -> str | None:
        """In the way that the route takes; where it takes both, a reason is given by an admin."""
        security = case.operation.definition.raw.get("security", [])
        schemes = {scheme for each in security for scheme in each}
        if case.operation.label in {"PUT /v1/device/permission", "PUT /v1/device/restrictions"}:
            return self.reporting.token
        if case.operation.label == "POST /v1/device/erasure":
            # whose token it is, has none after that
            return self.tenancy.phone().token
        if "deviceToken" in schemes and "Doorstep-Purpose" not in case.headers:
            return self.phone.token
        return self.key if "apiKey" in schemes else None

    def own_ids(self) -> set[str]:
        return {self.key.split("_")[1], self.phone.device_id, self.reporting.device_id}


@contextmanager
def calling(schema: BaseSchema, callers: Callers) -> Iterator[None]:
    """Present credentials, and let nobody revoke their own: the rest would only be refused."""

    @schema.auth(refresh_interval=None)
    class Presented:
        def get(self, case: Case, context: AuthContext) -> str | None:
            return callers.credential(case)

        def set(self, case: Case, data: str, context: AuthContext) -> None:
            case.headers["Authorization"] = f"Bearer {data}"

    def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
        if case.operation.label == "POST /v1/subjects/{subject_id}/erasure":
            # those that others know stay
            case.path_parameters = {"subject_id": callers.tenancy.subject()["id"]}
        if case.method == "DELETE" and callers.own_ids() & set(case.path_parameters.values()):
            case.path_parameters = {name: str(uuid4()) for name in case.path_parameters}
        case.body = as_written(case.body)

    schemathesis.hook(before_call)  # no schema takes this one for itself
    try:
        yield
    finally:
        GLOBAL_HOOK_DISPATCHER.unregister(before_call)


def as_written(value: Any) -> Any:
    """Whole numbers without a point: JSON Schema takes 1.0 for an integer, our reader does not."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [as_written(item) for item in value]
        case dict():
            return {name: as_written(item) for name, item in value.items()}
        case _:
            return value


def routes(schema: BaseSchema, *, closed: bool) -> set[str]:
    """All that are described, or those that ask who is calling."""
    found = (result.ok() for result in schema.get_all_operations())
    return {route.label for route in found if not closed or route.definition.raw.get("security")}


def test_the_api_is_as_it_says(world: World, served: ASGIApp) -> None:
    callers = Callers(
        world.first.new.api_key, world.first.phone(), world.first.phone(), world.first
    )
    seen = Seen()
    for schema in rounds(served, world, corners=corners_for(world)):
        with calling(schema, callers):
            run(schema, seen)
    print(seen.report())
    assert not seen.failures, seen.report()
    assert seen.cases.keys() == {"examples", "coverage", "fuzzing", "stateful"}
    assert seen.reached() == routes(schema, closed=False)


# who is nobody is refused before any database is asked, and open routes are called above
@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_without_authorization_nothing_is_given(world: World, served: ASGIApp) -> None:
    seen = Seen()
    # the corners of what is refused before it is read would tell nothing more
    for schema in rounds(served, world, corners=None):
        run(schema, seen)
    print(seen.report())
    assert not seen.failures, seen.report()
    assert seen.statuses.keys() >= routes(schema, closed=True)
    assert seen.reached().isdisjoint(routes(schema, closed=True))
