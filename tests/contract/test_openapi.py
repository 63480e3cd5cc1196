"""The API's description of itself: complete, closed where it is closed, and true.

That every answer is one the description names is asserted wherever tests call the API (`world`).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest
from litestar.handlers import HTTPRouteHandler

import doorstep_server
from doorstep_server.check_ins.claim import is_random
from doorstep_server.problems import TYPES
from doorstep_server.settings import Settings
from world import World, opened

#: answered to addresses and methods that are no route's
NO_ROUTE = {"method-not-allowed", "metrics-closed"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened(Settings(home=tmp_path_factory.mktemp("openapi") / "home")) as world:
        yield world


@pytest.fixture(scope="module")
def document(world: World) -> dict[str, Any]:
    answer = world.client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    return dict(answer.json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_of_the_api_is_described(world: World, document: dict[str, Any]) -> None:
    routes = {
        f"{method} {handler_path(route.path)}"
        for route in world.client.app.routes
        for handler in getattr(route, "route_handlers", [])
        if isinstance(handler, HTTPRouteHandler)
        for method in handler.http_methods
        if method != "OPTIONS" and route.path.startswith(("/v1/", "/health/"))
    }
    assert {name for name, _ in operations(document)} == routes
    assert len(routes) > 25


def handler_path(path: str) -> str:
    return "/".join(
        part.partition(":")[0] + "}" if part.startswith("{") else part for part in path.split("/")
    )


def test_every_operation_has_words_an_answer_and_problems(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        for status, response in operation["responses"].items():
            if int(status) < 400:
                continue
            schema = response["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}, name


def test_every_body_is_described_and_takes_no_other_members(document: dict[str, Any]) -> None:
    bodies = {
        name: operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        for name, operation in operations(document)
        if "requestBody" in operation and name != "POST /v1/sites/import"
    }
    assert "POST /v1/check-ins" in bodies
    assert "PUT /v1/device/permission" in bodies
    for name, reference in bodies.items():
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
        assert schema["additionalProperties"] is False, name
        assert schema["properties"], name


def test_a_check_in_is_described_as_a_fix_or_a_verdict(document: dict[str, Any]) -> None:
    claim = document["components"]["schemas"]["Claim"]
    assert claim["oneOf"] == [{"required": ["fix"]}, {"required": ["verdict"]}]
    assert not {"fix", "verdict"} & set(claim["required"])


def test_files_are_described_by_their_types(document: dict[str, Any]) -> None:
    taken = document["paths"]["/v1/sites/import"]["post"]["requestBody"]
    given = document["paths"]["/v1/sites/export"]["get"]["responses"]["200"]
    assert taken["required"] is True
    for content in (taken["content"], given["content"]):
        assert {"application/geo+json", "text/csv"} < content.keys()
        assert content["text/csv"]["schema"] == {"type": "string", "format": "binary"}


#: a code is what lets in; and a public key is everybody's
OPEN = {
    "POST /v1/enrollments",
    "GET /v1/erasures/{code}",
    "GET /v1/privacy/signing-keys",
}


def test_every_operation_says_who_may_call_it(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        is_open = name in OPEN or "/health/" in name
        assert bool(operation.get("security")) != is_open, name


def test_every_problem_is_named_by_a_route_and_has_its_page(
    world: World, document: dict[str, Any]
) -> None:
    described = " ".join(
        response["description"]
        for _, operation in operations(document)
        for response in operation["responses"].values()
    )
    for code, kind in TYPES.items():
        assert f"`{code}`" in described or code in NO_ROUTE, code
        page = world.client.get(f"/problems/{code}")
        assert page.status_code == 200
        assert kind.advice[:20].split("`")[0] in page.text


def test_the_geofence_is_described_as_its_three_shapes(document: dict[str, Any]) -> None:
    geofence = document["components"]["schemas"]["NewSite"]["properties"]["geofence"]
    assert [shape["title"] for shape in geofence["oneOf"]] == ["Polygon", "MultiPolygon", "Circle"]
    for shape in geofence["oneOf"]:
        assert shape["additionalProperties"] is False
        # a keyword in Python's spelling says nothing to anybody
        assert not re.search(r"(min|max)_items|exclusive_minimum|additional_", str(shape))


@pytest.mark.parametrize(
    ("place", "keyword", "bound"),
    [
        ("Claim.age_s", "minimum", 0),
        ("Claim.permission_epoch", "minimum", 0),
        ("FixClaim.accuracy_m", "minimum", 0),
        ("Batch.check_ins", "maxItems", 500),
        ("NewSite.groups.items", "minLength", 1),
        ("NewSite.purposes.items", "pattern", "^[a-z][a-z0-9_-]{0,63}$"),
        ("NewPurpose.level", "enum", ["none", "site", "cell", "exact"]),
        ("TenantSettings.max_level", "enum", ["none", "site", "cell", "exact"]),
        ("Restrictions.purposes", "maxItems", 100),
    ],
)
def test_a_bound_is_described_wherever_it_stands(
    document: dict[str, Any], place: str, keyword: str, bound: object
) -> None:
    struct, member, *rest = place.split(".")
    schema = document["components"]["schemas"][struct]["properties"][member]
    for name in rest:
        schema = schema[name]
    if len(known_as := schema.get("allOf") or [schema]) == 1 and "$ref" in known_as[0]:
        schema = document["components"]["schemas"][known_as[0]["$ref"].rpartition("/")[2]]
    assert schema[keyword] == bound


def test_no_parameter_can_be_null_and_who_reads_with_a_key_says_why(
    document: dict[str, Any],
) -> None:
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert "null" not in str(parameter["schema"]), name
            if parameter["name"] == "Doorstep-Purpose":
                assert parameter["required"] is (name != "GET /v1/check-ins")


def test_an_empty_page_of_check_ins_is_as_described(document: dict[str, Any]) -> None:
    """It is a device's page and an admin's alike: `oneOf` would take it for neither."""
    [answer] = document["paths"]["/v1/check-ins"]["get"]["responses"]["200"]["content"].values()
    assert len(answer["schema"]["anyOf"]) == 2


@pytest.mark.parametrize(
    "text",
    [
        str(uuid4()),
        str(uuid4()).upper(),
        "a2000000-0000-8000-b000-000000000001",
        "c232ab00-9414-11ec-b3c8-9f6bdeced846",
        str(uuid5(UUID(int=0), "x")),
        "a2000000-0000-4000-0000-000000000001",
        "a2000000-0000-4000-c000-000000000001",
    ],
    ids=["random", "upper-case", "version-8", "version-1", "version-5", "variant-0", "variant-6"],
)
def test_the_ids_that_are_described_are_those_that_are_taken(
    document: dict[str, Any], text: str
) -> None:
    pattern = document["components"]["schemas"]["Claim"]["properties"]["id"]["pattern"]
    assert bool(re.search(pattern, text)) is is_random(UUID(text))


def test_no_address_takes_a_coordinate(document: dict[str, Any]) -> None:
    """Coordinates stand in bodies only: addresses end up in logs everywhere."""
    names = {
        parameter["name"]
        for _, operation in operations(document)
        for parameter in operation.get("parameters", [])
    }
    assert names.isdisjoint({"lat", "lon", "latitude", "longitude", "near", "bbox"})


def test_the_pages_ask_for_nothing_from_elsewhere(world: World) -> None:
    for path in ("/docs", "/problems", "/problems/id-reused"):
        page = world.client.get(path)
        assert "http://" not in page.text
        assert "https://" not in page.text
        assert "script-src 'self'" in page.headers["content-security-policy"]
    assert world.client.get("/", follow_redirects=False).headers["location"] == "/docs"


@pytest.mark.parametrize("name", ["..%2fapp.py", "README.md", "nothing.js"])
def test_assets_are_a_closed_set(world: World, name: str) -> None:
    assert world.client.get(f"/assets/{name}").status_code == 404


def test_the_packaged_assets_carry_their_licence(world: World) -> None:
    assets = Path(doorstep_server.__file__).parent / "assets"
    assert "MIT" in (assets / "rapidoc-LICENSE.txt").read_text()
