"""Authorized locations: made, changed, kept as history, tried."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner

from doorstep_server.cli import main
from world import FAR_OUTSIDE, INSIDE, NOON, SQUARE, Tenancy, World

CIRCLE = {"type": "Circle", "center": [-46.655, -23.561], "radius_m": 80}
HOLED = {
    "type": "Polygon",
    "coordinates": [
        *SQUARE["coordinates"],  # type: ignore[misc]
        [
            [-46.6552, -23.5612],
            [-46.6552, -23.5608],
            [-46.6548, -23.5608],
            [-46.6548, -23.5612],
            [-46.6552, -23.5612],
        ],
    ],
}
TWO = {"type": "MultiPolygon", "coordinates": [SQUARE["coordinates"]]}


def body(**members: Any) -> dict[str, Any]:
    return {"name": "Office", "geofence": SQUARE, "timezone": "America/Sao_Paulo", **members}


def revision(site: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {k: v for k, v in site.items() if k not in {"id", "valid_from"}} | members


def test_a_site_has_careful_defaults(tenant: Tenancy) -> None:
    site = tenant.site()
    defaults = {
        "version": 1,
        "external_id": None,
        "tolerance_m": 0.0,
        "assurance": "standard",
        "max_accuracy_m": 100.0,
        "hours": None,
        "purposes": [],
        "groups": [],
        "active": True,
    }
    assert {name: site[name] for name in defaults} == defaults


@pytest.mark.parametrize("geofence", [SQUARE, CIRCLE, HOLED, TWO])
def test_a_geofence_comes_back_as_it_went_in(tenant: Tenancy, geofence: dict[str, Any]) -> None:
    site = tenant.site(geofence=geofence)
    assert tenant.admin.get(f"/v1/sites/{site['id']}").json()["geofence"] == geofence


def test_a_change_makes_a_version_and_the_old_one_stays(tenant: Tenancy) -> None:
    site = tenant.site()
    changed = tenant.admin.put(
        f"/v1/sites/{site['id']}", json=revision(site, geofence=CIRCLE, name="New office")
    ).json()
    assert (changed["version"], changed["name"]) == (2, "New office")
    versions = tenant.admin.get(f"/v1/sites/{site['id']}/versions").json()["items"]
    assert [(v["version"], v["geofence"]) for v in versions] == [(2, CIRCLE), (1, SQUARE)]


def test_a_change_of_an_old_version_is_a_conflict(tenant: Tenancy) -> None:
    site = tenant.site()
    path = f"/v1/sites/{site['id']}"
    assert tenant.admin.put(path, json=revision(site)).status_code == 200
    answer = tenant.admin.put(path, json=revision(site))
    assert (answer.status_code, answer.json()["code"]) == (409, "version-conflict")


def test_an_external_id_names_one_site(tenant: Tenancy) -> None:
    tenant.site(external_id="a")
    second = tenant.site(external_id="b")
    answer = tenant.admin.post("/v1/sites", json=body(external_id="a"))
    assert (answer.status_code, answer.json()["code"]) == (409, "external-id-taken")
    answer = tenant.admin.put(f"/v1/sites/{second['id']}", json=revision(second, external_id="a"))
    assert (answer.status_code, answer.json()["code"]) == (409, "external-id-taken")


def test_deleting_deactivates_and_keeps_history(tenant: Tenancy) -> None:
    site = tenant.site()
    path = f"/v1/sites/{site['id']}"
    assert tenant.admin.delete(path).status_code == 204
    assert tenant.admin.delete(path).status_code == 204
    after = tenant.admin.get(path).json()
    assert (after["active"], after["version"]) == (False, 2)


def test_pages_of_sites(tenant: Tenancy) -> None:
    ids = {tenant.site()["id"] for _ in range(5)}
    first = tenant.admin.get("/v1/sites?limit=3").json()
    second = tenant.admin.get(f"/v1/sites?limit=3&cursor={first['next_cursor']}").json()
    assert {s["id"] for s in first["items"] + second["items"]} == ids
    assert second["next_cursor"] is None


BOW_TIE = [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]
OPEN_RING = [[[0, 0], [1, 0], [1, 1], [0, 1]]]
HOLE_OUTSIDE = [
    [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]],
    [[5, 5], [6, 5], [6, 6], [5, 6], [5, 5]],
]


@pytest.mark.parametrize(
    ("geofence", "reason"),
    [
        (SQUARE | {"crs": {"type": "name", "properties": {"name": "EPSG:31983"}}}, "crs_member"),
        (
            {"type": "Polygon", "coordinates": [[[331e3, 7394e3], [332e3, 7394e3],
                                                 [332e3, 7395e3], [331e3, 7394e3]]]},
            "projected_coordinates",
        ),
        ({"type": "Polygon", "coordinates": BOW_TIE}, "self_intersection"),
        ({"type": "Polygon", "coordinates": OPEN_RING}, "ring_not_closed"),
        ({"type": "Polygon", "coordinates": HOLE_OUTSIDE}, "hole_outside_shell"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [0, 0]]]}, "too_few_positions"),
        ({"type": "Circle", "center": [0, 0], "radius_m": 0}, "radius_out_of_range"),
        ({"type": "Point", "coordinates": [0, 0]}, "unsupported_type"),
        ({"type": "Polygon", "coordinates": [[["0", 0], [1, 0], [1, 1], ["0", 0]]]}, "malformed"),
        ({}, "malformed"),
    ],
)  # fmt: skip
def test_a_geofence_that_cannot_be_judged_is_refused_with_the_reason(
    tenant: Tenancy, geofence: dict[str, Any], reason: str
) -> None:
    answer = tenant.admin.post("/v1/sites", json=body(geofence=geofence))
    assert (answer.status_code, answer.json()["code"]) == (422, "geofence-invalid")
    assert answer.json()["reason"] == reason
    assert answer.json()["at"].startswith("geofence")


@pytest.mark.parametrize(
    ("members", "status", "code"),
    [
        ({"timezone": "Mars/Olympus"}, 422, "timezone-unknown"),
        ({"timezone": "../etc/passwd"}, 422, "timezone-unknown"),
        ({"hours": {"mon": "9-17"}}, 400, "invalid-body"),
        ({"tolerance_m": -1}, 400, "invalid-body"),
        ({"assurance": "perfect"}, 400, "invalid-body"),
        ({"name": ""}, 400, "invalid-body"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    tenant: Tenancy, members: dict[str, Any], status: int, code: str
) -> None:
    answer = tenant.admin.post("/v1/sites", json=body(**members))
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("fix", "expected"),
    [
        (INSIDE | {"accuracy_m": 5}, ("accepted", "inside")),
        (FAR_OUTSIDE | {"accuracy_m": 5}, ("rejected", "outside")),
        ({"lat": 0, "lon": 0, "accuracy_m": 5}, ("rejected", "null_island")),
        # the boundary counts as inside: a corner of the square is one quarter inside
        ({"lat": -23.561, "lon": -46.656, "accuracy_m": 1}, ("accepted", "inside")),
    ],
)
def test_a_position_can_be_tried_and_nothing_is_stored(
    world: World, tenant: Tenancy, fix: dict[str, float], expected: tuple[str, str]
) -> None:
    site = tenant.site()
    answer = tenant.admin.post(
        "/v1/sites/judge",
        json={"site_id": site["id"], "fix": fix | {"captured_at": NOON.isoformat()}},
    )
    verdict = answer.json()
    assert (answer.status_code, verdict["outcome"], verdict["reason"]) == (200, *expected)
    assert verdict["site_version"] == 1
    for table in ("check_ins", "receipts", "tallies"):
        assert world.rows(f"SELECT count(*) FROM {table}") == [(0,)]


def test_an_edge_is_straight_in_degrees(tenant: Tenancy) -> None:
    """Not a great circle: that would take the second point in (both read the shape as RFC 7946)."""
    big = {
        "type": "Polygon",
        "coordinates": [[[0, 50], [40, 50], [40, 60], [0, 60], [0, 50]]],
    }
    site = tenant.site(geofence=big)
    for lat, outcome in ((59.9, "accepted"), (61, "rejected")):
        fix = {"lat": lat, "lon": 20, "accuracy_m": 5, "captured_at": NOON.isoformat()}
        answer = tenant.admin.post("/v1/sites/judge", json={"site_id": site["id"], "fix": fix})
        assert answer.json()["outcome"] == outcome


def test_trying_an_old_position_is_uncertain(tenant: Tenancy) -> None:
    tenant.site()
    fix = INSIDE | {"accuracy_m": 5, "captured_at": "2026-03-10T11:50:00Z"}
    assert tenant.admin.post("/v1/sites/judge", json={"fix": fix}).json()["reason"] == "stale_fix"


def test_trying_at_no_site_is_refused(tenant: Tenancy) -> None:
    fix = INSIDE | {"accuracy_m": 5, "captured_at": NOON.isoformat()}
    answer = tenant.admin.post("/v1/sites/judge", json={"site_id": str(uuid4()), "fix": fix})
    assert (answer.status_code, answer.json()["code"]) == (404, "site-unknown")


def test_purposes_are_versioned(tenant: Tenancy) -> None:
    purpose = tenant.purpose("delivery", level="site")
    assert purpose["version"] == 1
    path = "/v1/purposes/delivery"
    changed = {k: v for k, v in purpose.items() if k != "name"} | {"retention_days": 30}
    assert tenant.admin.put(path, json=changed).json()["version"] == 2
    assert tenant.admin.put(path, json=changed).json()["code"] == "version-conflict"
    again = {"name": "delivery", "title": "x", "legal_basis": "contract"}
    assert tenant.admin.post("/v1/purposes", json=again).json()["code"] == "name-taken"
    assert tenant.admin.get(path).json()["retention_days"] == 30
    assert [p["name"] for p in tenant.admin.get("/v1/purposes").json()["items"]] == [
        "delivery",
        "visit",
    ]


@pytest.mark.parametrize("level", ["cell", "exact"])
def test_a_level_that_cannot_be_kept_is_refused_and_not_cut(tenant: Tenancy, level: str) -> None:
    body = {"name": "p", "title": "x", "legal_basis": "contract", "level": level}
    answer = tenant.admin.post("/v1/purposes", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "level-not-available")


def test_subjects_are_got_or_made(tenant: Tenancy) -> None:
    first = tenant.admin.post("/v1/subjects", json={"external_id": "ana"})
    again = tenant.admin.post("/v1/subjects", json={"external_id": "ana", "groups": ["x"]})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    listed = tenant.admin.get("/v1/subjects", headers={"Doorstep-Purpose": "support"}).json()
    assert listed["items"] == [first.json()]


# -- import ----------------------------------------------------------------------------------


def feature(name: str, geometry: dict[str, Any], **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": {"name": name, **properties},
    }


def collection(*features: dict[str, Any]) -> str:
    return json.dumps({"type": "FeatureCollection", "features": list(features)})


@pytest.fixture
def run(tmp_path: Path) -> Any:
    home = tmp_path / "cli"
    runner = CliRunner()

    def run(*arguments: str) -> Any:
        return runner.invoke(main, ["--home", str(home), *arguments])

    assert run("init").exit_code == 0
    return run


def test_importing_creates_then_leaves_then_updates(tmp_path: Path, run: Any) -> None:
    file = tmp_path / "sites.geojson"
    point = {"type": "Point", "coordinates": [-46.6, -23.5]}
    office = feature("Office", SQUARE, external_id="office")
    kiosk = feature("Kiosk", point, external_id="kiosk", radius_m=50)
    file.write_text(collection(office, kiosk))
    assert run("sites", "import", "--dry-run", str(file)).output.strip() == (
        "2 would be created, 0 rejected"
    )
    assert run("sites", "import", str(file)).output.strip() == "2 created, 0 rejected"
    assert run("sites", "import", str(file)).output.strip() == "2 unchanged, 0 rejected"
    file.write_text(collection(feature("Moved", TWO, external_id="office"), kiosk))
    assert run("sites", "import", str(file)).output.strip() == (
        "1 unchanged, 1 updated, 0 rejected"
    )


def test_a_bad_feature_is_named_and_nothing_is_imported_unless_asked(
    tmp_path: Path, run: Any
) -> None:
    file = tmp_path / "sites.geojson"
    bad = feature("Bow tie", {"type": "Polygon", "coordinates": BOW_TIE}, external_id="bad")
    nameless = {"type": "Feature", "geometry": SQUARE, "properties": {}}
    good = feature("Office", SQUARE, external_id="office")
    file.write_text(collection(good, bad, nameless))
    refused = run("sites", "import", str(file))
    assert refused.exit_code == 1
    assert "features[1].geometry.coordinates" in refused.output
    assert "features[2].properties: properties-invalid" in refused.output
    assert "Nothing was imported" in refused.output
    taken = run("sites", "import", "--skip-invalid", str(file))
    assert taken.exit_code == 0
    assert "1 created, 2 rejected" in taken.output


@pytest.mark.parametrize("text", ["{", "[]", '{"type": "Topology"}', "\ufeff{}"])
def test_a_file_that_is_no_geojson_is_told_in_a_sentence(
    tmp_path: Path, run: Any, text: str
) -> None:
    file = tmp_path / "sites.geojson"
    file.write_text(text)
    result = run("sites", "import", str(file))
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "Traceback" not in result.output
