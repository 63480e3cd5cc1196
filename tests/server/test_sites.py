"""Authorized locations: made, changed, kept as history, tried."""

import random
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner
from shapely import box

from doorstep_geofences import Bounds
from doorstep_server.cli import main
from doorstep_server.store import sites
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
    return {k: v for k, v in site.items() if k not in {"id", "valid_from", "warnings"}} | members


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
        ({"hours": "9-17"}, 400, "invalid-body"),
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


@pytest.mark.parametrize("level", ["none", "site", "cell", "exact"])
def test_a_purpose_is_of_one_of_these_levels(tenant: Tenancy, level: str) -> None:
    assert tenant.purpose("p", level=level)["level"] == level
    assert tenant.admin.get("/v1/purposes/p").json()["level"] == level


@pytest.mark.parametrize("level", ["", "CELL", "precise", None, 3])
def test_a_level_that_is_none_of_these_is_refused_and_not_cut(
    tenant: Tenancy, level: object
) -> None:
    body = {"name": "p", "title": "x", "legal_basis": "contract", "level": level}
    answer = tenant.admin.post("/v1/purposes", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-body")


def test_subjects_are_got_or_made(tenant: Tenancy) -> None:
    first = tenant.admin.post("/v1/subjects", json={"external_id": "ana"})
    again = tenant.admin.post("/v1/subjects", json={"external_id": "ana", "groups": ["x"]})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    listed = tenant.admin.get("/v1/subjects", headers={"Doorstep-Purpose": "support"}).json()
    assert listed["items"] == [first.json()]


# -- what seems odd is told ---------------------------------------------------------------------


def warned(answer: dict[str, Any]) -> list[str]:
    return [warning["code"] for warning in answer["warnings"]]


def test_what_seems_odd_is_told_whenever_a_site_is_written(tenant: Tenancy) -> None:
    home = {"type": "Circle", "center": [-46.65, -23.56], "radius_m": 5}
    site = tenant.site(geofence=home, purposes=["visit", "unheard-of"])
    assert warned(site) == ["home_sized", "smaller_than_accuracy", "purpose_unknown"]
    assert "warnings" not in tenant.admin.get(f"/v1/sites/{site['id']}").json()
    body = revision(site, geofence=SQUARE, purposes=["visit"])
    assert warned(tenant.admin.put(f"/v1/sites/{site['id']}", json=body).json()) == []


def test_swapped_numbers_are_told_by_the_time_zone(tenant: Tenancy) -> None:
    swapped = circle(-23.56, -46.65, 80)
    assert warned(tenant.site(geofence=swapped)) == ["looks_swapped"]
    assert warned(tenant.site(geofence=swapped, timezone="UTC")) == ["duplicate"]


def test_a_site_over_another_is_told_with_the_others_id(tenant: Tenancy) -> None:
    first = tenant.site()
    assert first["warnings"] == []
    [warning] = tenant.site(geofence=circle(-46.654, -23.561, 80))["warnings"]
    assert (warning["code"], warning["site_id"]) == ("overlaps", first["id"])
    inner = tenant.site(geofence=circle(-46.6558, -23.5602, 15), tolerance_m=20)
    assert "duplicate" not in warned(inner), "it only lies in the other"
    # a site is not compared with what it was
    tenant.admin.put(f"/v1/sites/{first['id']}", json=revision(first, geofence=circle(5, 5, 80)))
    again = {k: v for k, v in first.items() if k not in {"id", "valid_from", "warnings"}}
    answer = tenant.admin.put(f"/v1/sites/{first['id']}", json=again | {"version": 2})
    assert first["id"] not in {w.get("site_id") for w in answer.json()["warnings"]}


def test_a_ring_across_the_180th_meridian_is_cut_there_and_never_turned_inside_out(
    tenant: Tenancy,
) -> None:
    """An uncut ring, read as it stands, would go around the other side of the Earth."""
    ring = [[179.99, -17], [-179.99, -17], [-179.99, -16.99], [179.99, -16.99], [179.99, -17]]
    geofence = {"type": "Polygon", "coordinates": [ring]}
    site = tenant.site(geofence=geofence, timezone="Pacific/Fiji")
    [warning] = site["warnings"]
    assert warning["code"] == "cut_at_antimeridian"
    assert warning["at"].startswith("geofence.coordinates")
    assert site["geofence"]["type"] == "MultiPolygon"
    for lon, reason in ((179.995, "inside"), (180, "inside"), (-179.995, "inside"), (0, "outside")):
        assert tried(tenant, site, lat=-16.995, lon=lon)["reason"] == reason


# -- an old verdict is explained ---------------------------------------------------------------


def tried(tenant: Tenancy, site: dict[str, Any], **said: Any) -> dict[str, Any]:
    fix = {
        "accuracy_m": 5,
        "captured_at": NOON.isoformat(),
        **{
            name: said.pop(name) for name in ("lat", "lon", "captured_at", "mocked") if name in said
        },
    }
    answer = tenant.admin.post("/v1/sites/judge", {"site_id": site["id"], "fix": fix, **said})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_an_old_verdict_is_explained_by_the_site_as_it_was(tenant: Tenancy) -> None:
    site = tenant.site()
    path = f"/v1/sites/{site['id']}"
    closed = {"weekly": {"mon": [["09:00", "10:00"]]}}
    tenant.admin.put(path, json=revision(site, hours=closed))
    tenant.admin.put(path, json=revision(site, geofence=circle(10, 10, 80)) | {"version": 2})
    tenant.admin.delete(path)
    explained = {v: tried(tenant, site, site_version=v, **INSIDE) for v in (1, 2, 3, 4)}
    assert {v: (said["reason"], said["site_version"]) for v, said in explained.items()} == {
        1: ("inside", 1),
        2: ("outside_hours", 2),
        3: ("outside", 3),
        4: ("outside", 4),
    }
    assert (
        tenant.admin.post("/v1/sites/judge", {"site_id": site["id"], "fix": FIX}).json()["code"]
        == "site-unknown"
    )


FIX = {**INSIDE, "accuracy_m": 5, "captured_at": NOON.isoformat()}


def test_every_reason_is_told_in_its_turn(tenant: Tenancy) -> None:
    site = tenant.site(hours={"weekly": {"mon": [["09:00", "10:00"]]}})
    said = tried(tenant, site, captured_at="2026-03-10T11:00:00Z", mocked=True, **INSIDE)
    assert said["reasons"] == ["mocked", "stale_fix", "outside_hours", "inside"]
    assert (said["reason"], said["outcome"]) == ("mocked", "rejected")
    assert tried(tenant, site, **FAR_OUTSIDE)["reasons"][-1] == "outside"


def test_a_version_can_be_read_alone(tenant: Tenancy) -> None:
    site = tenant.site()
    path = f"/v1/sites/{site['id']}"
    tenant.admin.put(path, json=revision(site, name="Renamed"))
    assert tenant.admin.get(f"{path}/versions/1").json()["name"] == "Office"
    assert tenant.admin.get(f"{path}/versions/2").json()["name"] == "Renamed"
    elsewhere = f"/v1/sites/{uuid4()}/versions/1"
    for none in (*(f"{path}/versions/{n}" for n in (3, 0, -1, 2**40, "01", "١")), elsewhere):
        answer = tenant.admin.get(none)
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ({"site_version": 1}, 400, "invalid-body"),
        ({"site_id": str(uuid4()), "site_version": 1}, 404, "not-found"),
        ({"site_id": str(uuid4()), "site_version": 0}, 400, "invalid-body"),
        ({"site_id": str(uuid4()), "site_version": 2**40}, 400, "invalid-body"),
    ],
)
def test_a_version_that_there_is_not_explains_nothing(
    tenant: Tenancy, said: dict[str, Any], status: int, code: str
) -> None:
    answer = tenant.admin.post("/v1/sites/judge", {"fix": FIX, **said})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


# -- the tenant's limits -------------------------------------------------------------------------


def test_limits_are_shown_and_set(tenant: Tenancy) -> None:
    usual = {"max_speed_kmh": 1_000, "max_site_area_km2": 10_000_000, "max_level": "cell"}
    assert tenant.admin.get("/v1/settings").json() == usual
    wanted = {"max_speed_kmh": None, "max_site_area_km2": 10, "max_level": "exact"}
    assert tenant.admin.put("/v1/settings", wanted).json() == wanted
    assert tenant.admin.get("/v1/settings").json() == wanted
    body_of = body(geofence=circle(10, 10, 2_000))
    answer = tenant.admin.post("/v1/sites", json=body_of)
    assert (answer.status_code, answer.json()["reason"]) == (422, "too_large")
    for wrong in (
        {"max_speed_kmh": 1},
        wanted | {"max_site_area_km2": 0},
        wanted | {"max_level": "precise"},
        wanted | {"max_level": None},
        wanted | {"x": 1},
    ):
        assert tenant.admin.put("/v1/settings", wrong).json()["code"] == "invalid-body"


def test_the_command_shows_and_sets_limits(tmp_path: Path) -> None:
    runner = CliRunner()

    def run(*arguments: str) -> list[str]:
        result = runner.invoke(main, ["--home", str(tmp_path / "home"), *arguments])
        assert result.exit_code == 0, result.output
        return result.output.split()

    def shown(speed: str, area: str, level: str) -> list[str]:
        return ["max-speed-kmh", speed, "max-site-area-km2", area, "max-level", level]

    run("init")
    limits = ("tenants", "limits")
    assert run(*limits) == shown("1000", "10000000", "cell")
    assert run(*limits, "--max-speed-kmh", "none") == shown("none", "10000000", "cell")
    assert run(*limits, "--max-level", "exact") == shown("none", "10000000", "exact")
    run(*limits, "--max-speed-kmh", "900", "--max-site-area-km2", "5")
    assert run(*limits) == shown("900", "5", "exact")
    wrong = runner.invoke(
        main, ["--home", str(tmp_path / "home"), *limits, "--max-level", "precise"]
    )
    assert (wrong.exit_code, "precise" in wrong.output) == (2, True)


# -- searching the map -------------------------------------------------------------------------


def found(tenant: Tenancy, **part: Any) -> list[str]:
    answer = tenant.admin.post("/v1/sites/search", json=part)
    assert answer.status_code == 200, answer.text
    return sorted(site["name"] for site in answer.json()["items"])


def circle(lon: float, lat: float, radius_m: float) -> dict[str, Any]:
    return {"type": "Circle", "center": [lon, lat], "radius_m": radius_m}


def test_a_box_finds_the_sites_whose_extent_it_meets(tenant: Tenancy) -> None:
    tenant.site(name="square")
    tenant.site(name="far", geofence=circle(10, 10, 100))
    tenant.site(name="grown", geofence=circle(10.002, 10, 10), tolerance_m=150)
    left = tenant.site(name="left", geofence=circle(10, 10.0001, 50))
    tenant.admin.delete(f"/v1/sites/{left['id']}")
    assert found(tenant, bbox=[-46.7, -23.6, -46.6, -23.5]) == ["square"]
    # a corner is enough; what was deactivated is still on the map
    assert found(tenant, bbox=[10.0008, 9.99, 10.0009, 10.01]) == ["far", "grown"]
    assert found(tenant, bbox=[9.9, 9.9, 10.0001, 10.1]) == ["far", "left"]
    assert found(tenant, bbox=[-180, -90, 180, 90]) == ["far", "grown", "left", "square"]
    assert found(tenant, bbox=[-46.655, -23.561, -46.655, -23.561]) == ["square"]


def test_a_box_may_cross_the_180th_meridian(tenant: Tenancy) -> None:
    tenant.site(name="west of it", geofence=circle(179.9999, -17, 50))
    tenant.site(name="east of it", geofence=circle(-179.99, -17, 50))
    tenant.site(name="greenwich", geofence=circle(0, -17, 50))
    assert found(tenant, bbox=[179.5, -18, -179.995, -16]) == ["west of it"]
    assert found(tenant, bbox=[179.5, -18, -179.5, -16]) == ["east of it", "west of it"]
    # the circle reaches across
    assert found(tenant, bbox=[-180, -18, -179.9999, -16]) == ["west of it"]
    assert found(tenant, near={"center": [-179.9999, -17], "radius_m": 100}) == ["west of it"]


def test_near_is_measured_to_the_nearest_part(tenant: Tenancy) -> None:
    tenant.site(name="square")
    tenant.site(name="hole", geofence=circle(-46.655, -23.55, 100), tolerance_m=50)
    edge_lat = -23.5600
    assert found(tenant, near={"center": [-46.655, edge_lat + 0.0009], "radius_m": 90}) == []
    assert found(tenant, near={"center": [-46.655, edge_lat + 0.0009], "radius_m": 110}) == [
        "square"
    ]
    assert found(tenant, near={"center": [-46.655, -23.561], "radius_m": 0}) == ["square"]
    assert found(tenant, near={"center": [-46.655, -23.55], "radius_m": 0}) == ["hole"]
    assert found(tenant, near={"center": [0, 90], "radius_m": 100_000}) == []


def test_the_smallest_circle_is_found(tenant: Tenancy) -> None:
    tenant.site(name="dot", geofence=circle(179.3, 0, 1e-12))
    assert found(tenant, bbox=[179, -1, 180, 1]) == ["dot"]
    assert found(tenant, near={"center": [179.3, 0], "radius_m": 1}) == ["dot"]


def test_a_search_looks_at_many_sites_at_once(
    world: World, tenant: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look sorts what is left: by pages of one it would be a look for every site."""
    for _ in range(30):
        tenant.site(geofence=circle(10.0060, 10.0060, 1))
    looks = []
    look = sites.page_within
    monkeypatch.setattr(sites, "page_within", lambda *a, **k: looks.append(1) or look(*a, **k))
    part = {"near": {"center": [10, 10], "radius_m": 700}}
    assert tenant.admin.post("/v1/sites/search?limit=1", json=part).json()["items"] == []
    assert len(looks) == 1


def test_a_search_is_paged_and_its_cursor_is_its_own(tenant: Tenancy) -> None:
    for number in range(12):
        near_it = number % 3 == 0
        tenant.site(name=f"{number:02}", geofence=circle(10 + 0.0001 * number, 10, 20))
        # in the box around what is near, and yet too far
        tenant.site(name="corner", geofence=circle(10.0060, 10.0060, 1)) if near_it else None
    part = {"near": {"center": [10, 10], "radius_m": 700}}
    names, cursor = [], None
    for _ in range(20):
        query = "?limit=5" + (f"&cursor={cursor}" if cursor else "")
        page = tenant.admin.post(f"/v1/sites/search{query}", json=part).json()
        names += [site["name"] for site in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert len(page["items"]) == 5
        elsewhere = {"near": {"center": [10, 10], "radius_m": 701}}
        other = tenant.admin.post(f"/v1/sites/search?cursor={cursor}", json=elsewhere)
        assert (other.status_code, other.json()["code"]) == (400, "invalid-cursor")
    assert sorted(names) == [f"{number:02}" for number in range(12)]


@pytest.mark.parametrize(
    "part",
    [
        {"bbox": [0, 1, 1, 0]},
        {"bbox": [0, -91, 1, 0]},
        {"near": {"center": [0, 91], "radius_m": 1}},
    ],
)
def test_what_is_no_part_of_the_map_is_refused(tenant: Tenancy, part: dict[str, Any]) -> None:
    answer = tenant.admin.post("/v1/sites/search", json=part)
    assert (answer.status_code, answer.json()["code"]) == (422, "search-invalid")


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"bbox": None},
        {"bbox": [0, 0, 1, 1], "near": {"center": [0, 0], "radius_m": 1}},
    ],
)
def test_one_part_of_the_map_is_asked_for(tenant: Tenancy, part: dict[str, Any]) -> None:
    answer = tenant.admin.post("/v1/sites/search", json=part)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-body")


def test_a_search_finds_what_looking_at_every_site_finds(tenant: Tenancy) -> None:
    """Both databases, their index and the meridian against Shapely alone."""
    draws = random.Random(7)
    boxes = {}
    for number in range(60):
        lon, lat = draws.uniform(-180, 180), draws.uniform(-80, 80)
        radius_m = draws.choice([50, 5_000, 90_000])
        tenant.site(name=str(number), geofence=circle(lon, lat, radius_m))
        boxes[str(number)] = Bounds.around(lon, lat, radius_m).on_the_map()
    for _ in range(40):
        west, east = draws.uniform(-180, 180), draws.uniform(-180, 180)
        south, north = sorted(draws.uniform(-85, 85) for _ in range(2))
        turns = [(west, east)] if west <= east else [(west, 180), (-180, east)]
        expected = sorted(
            name
            for name, extent in boxes.items()
            if any(extent.intersects(box(w, south, e, north)) for w, e in turns)
        )
        page = tenant.admin.post(
            "/v1/sites/search?limit=500", json={"bbox": [west, south, east, north]}
        ).json()
        assert sorted(site["name"] for site in page["items"]) == expected
