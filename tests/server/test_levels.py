"""How much of a place is kept: the least of what purpose, tenant and permission allow."""

import struct
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import h3
import pytest

from doorstep_server.check_ins import exact
from doorstep_server.privacy.cells import RESOLUTION
from doorstep_server.store import check_ins
from world import FAR_OUTSIDE, INSIDE, NOON, Api, Phone, Tenancy, World

REASON = {"Doorstep-Purpose": "review"}
#: digits that stand nowhere else
PRECISELY = {"lat": -23.561018273645, "lon": -46.655029384756}


def allow(tenant: Tenancy, level: str) -> None:
    settings = tenant.admin.get("/v1/settings").json() | {"max_level": level}
    assert tenant.admin.put("/v1/settings", json=settings).status_code == 200


def listed(tenant: Tenancy) -> list[dict[str, Any]]:
    return list(tenant.admin.get("/v1/check-ins", headers=REASON).json()["items"])


def said(answer: Any) -> tuple[str, str, str]:
    body = answer.json()
    assert answer.status_code == 201, answer.text
    return body["outcome"], body["reason"], body["stored"]["level"]


# -- cells -----------------------------------------------------------------------------------


@pytest.fixture
def rounds(tenant: Tenancy) -> Phone:
    """A phone of a tenant without any site, whose rounds are kept as cells."""
    tenant.purpose("round", level="cell")
    return tenant.phone()


def test_a_purpose_without_sites_stores_the_cell_and_the_hour(
    world: World, tenant: Tenancy, rounds: Phone
) -> None:
    world.clock.advance(minutes=44)
    answer = rounds.check_in(rounds.claim(purpose="round", action="out"))
    assert said(answer) == ("accepted", "in_cell", "cell")
    cell = h3.latlng_to_cell(INSIDE["lat"], INSIDE["lon"], 7)
    assert answer.json()["site_id"] is None
    assert answer.json()["stored"] == {
        "level": "cell",
        "subject_id": rounds.subject_id,
        "purpose": "round",
        "policy_version": 1,
        "legal_basis": "contract",
        "cell": cell,
        "action": "out",
        "time": "2026-03-10T12:00:00Z",
        "outcome": "accepted",
        "reason": "in_cell",
        "evidence": "gps",
        "expires_on": "2026-05-09",
    }
    [item] = listed(tenant)
    assert (item["cell"], item["level"]) == (cell, "cell")
    assert (item["site_id"], item["site_version"]) == (None, None)
    assert item["subject"]["id"] == rounds.subject_id
    [own] = rounds.get("/v1/check-ins").json()["items"]
    assert own == {k: v for k, v in item.items() if k != "subject"}


def test_a_site_that_is_there_is_not_named_either(tenant: Tenancy, rounds: Phone) -> None:
    site = tenant.site()
    assert rounds.check_in(rounds.claim(purpose="round")).json()["site_id"] is None
    answer = rounds.check_in(rounds.claim(purpose="round", site_id=site["id"]))
    assert (answer.status_code, answer.json()["code"]) == (422, "site-not-taken")
    answer = rounds.check_in(rounds.claim(purpose="round", site_id=str(uuid4())))
    assert (answer.status_code, answer.json()["code"]) == (422, "site-not-taken")
    assert [item["site_id"] for item in listed(tenant)] == [None]


def test_a_cell_is_larger_than_what_counts_as_approximate() -> None:
    """Hexagons are smallest around the twelve pentagons, which are smaller still, and at sea."""
    assert 3.1 < smallest_km2(RESOLUTION) < 3.2
    assert smallest_km2(RESOLUTION + 1) < 3


def smallest_km2(resolution: int) -> float:
    around = (c for p in h3.get_pentagons(resolution) for c in h3.grid_disk(p, 8))
    return min(h3.cell_area(c, unit="km^2") for c in around if not h3.is_pentagon(c))


def test_the_same_cell_is_kept_wherever_in_it_one_was(tenant: Tenancy, rounds: Phone) -> None:
    """Noise that is drawn anew for each check-in would average out."""
    cell = h3.latlng_to_cell(INSIDE["lat"], INSIDE["lon"], 7)
    center = dict(zip(("lat", "lon"), h3.cell_to_latlng(cell), strict=True))
    stored = [
        rounds.check_in(rounds.claim(place, purpose="round")).json()["stored"]
        for place in (INSIDE, center, INSIDE)
    ]
    assert stored[0] == stored[1] == stored[2]


@pytest.mark.parametrize(
    ("accuracy_m", "expected"),
    [
        (2_000, ("accepted", "in_cell", "cell")),
        (2_000.1, ("uncertain", "accuracy_too_low", "none")),
        (None, ("uncertain", "accuracy_unknown", "none")),
        (0, ("uncertain", "accuracy_unknown", "none")),
    ],
)
def test_a_fix_that_does_not_name_its_cell_keeps_none(
    world: World, rounds: Phone, accuracy_m: float | None, expected: tuple[str, str, str]
) -> None:
    claim = rounds.claim(purpose="round", fix={"accuracy_m": accuracy_m})
    assert said(rounds.check_in(claim)) == expected
    assert world.rows("SELECT count(*) FROM check_ins") == [(int(expected[2] == "cell"),)]


@pytest.mark.parametrize(
    ("fix", "expected"),
    [
        ({"mocked": True}, ("rejected", "mocked", "none")),
        ({"lat": 0, "lon": 0}, ("rejected", "null_island", "none")),
        (
            {"captured_at": (NOON + timedelta(minutes=10)).isoformat()},
            ("uncertain", "clock_skew", "none"),
        ),
    ],
)
def test_what_is_wrong_with_a_fix_keeps_no_cell(
    world: World, rounds: Phone, fix: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    assert said(rounds.check_in(rounds.claim(purpose="round", fix=fix))) == expected
    assert world.rows("SELECT count(*) FROM check_ins") == [(0,)]


@pytest.mark.parametrize("most", ["none", "site"])
def test_where_the_tenant_allows_no_cell_nothing_is_kept(
    world: World, tenant: Tenancy, rounds: Phone, most: str
) -> None:
    """Less than a cell would be a site, and there is none."""
    allow(tenant, most)
    assert said(rounds.check_in(rounds.claim(purpose="round"))) == ("accepted", "in_cell", "none")
    assert world.rows("SELECT count(*) FROM check_ins") == [(0,)]
    assert world.rows("SELECT purpose, reason, count FROM tallies") == [("round", "in_cell", 1)]


@pytest.mark.parametrize(
    ("precision_s", "time"),
    [(60, "2026-03-10T12:00:00Z"), (86_400, "2026-03-10T00:00:00Z")],
)
def test_a_cell_is_kept_with_an_hour_at_the_finest(
    world: World, tenant: Tenancy, precision_s: int, time: str
) -> None:
    tenant.purpose("fine", level="cell", time_precision_s=precision_s)
    phone = tenant.phone()
    world.clock.advance(minutes=59)
    assert phone.check_in(phone.claim(purpose="fine")).json()["stored"]["time"] == time


def test_an_approximate_permission_is_enough_for_a_cell(rounds: Phone) -> None:
    rounds.report("approximate")
    claim = rounds.claim(purpose="round", fix={"accuracy_m": 1_900})
    assert said(rounds.check_in(claim)) == ("accepted", "in_cell", "cell")


def test_cells_and_sites_are_settled_in_one_batch(tenant: Tenancy, rounds: Phone) -> None:
    site = tenant.site()
    purposes = ["round", "visit", "round", "visit"]
    claims = [rounds.claim(purpose=purpose) for purpose in purposes]
    results = rounds.post("/v1/check-ins/batch", json={"check_ins": claims}).json()["results"]
    assert [r["stored"]["level"] for r in results] == ["cell", "site", "cell", "site"]
    assert [r["site_id"] for r in results] == [None, site["id"], None, site["id"]]


def test_a_cell_is_no_presence_to_doubt_travel_by(tenant: Tenancy, rounds: Phone) -> None:
    far = {"lat": -3.12, "lon": -60.02}
    tenant.site()
    for place in (INSIDE, far, INSIDE):
        outcome = rounds.check_in(rounds.claim(place, purpose="round")).json()["outcome"]
        assert outcome == "accepted"
    assert rounds.check_in(rounds.claim()).json()["outcome"] == "accepted"


# -- what a tenant allows ----------------------------------------------------------------------


def test_a_tenant_may_keep_no_site_at_all(world: World, tenant: Tenancy, phone: Phone) -> None:
    allow(tenant, "none")
    assert said(phone.check_in(phone.claim())) == ("accepted", "inside", "none")
    assert world.rows("SELECT count(*) FROM check_ins") == [(0,)]
    allow(tenant, "site")
    assert said(phone.check_in(phone.claim())) == ("accepted", "inside", "site")


# -- exact positions -----------------------------------------------------------------------------


@pytest.fixture
def disputes(tenant: Tenancy) -> Phone:
    """A phone of a tenant that keeps exact positions for disputes."""
    tenant.site()
    tenant.purpose("dispute", level="exact")
    allow(tenant, "exact")
    return tenant.phone()


def position(api: Api, check_in_id: str, **headers: str) -> Any:
    return api.get(f"/v1/check-ins/{check_in_id}/position", headers=REASON | headers)


def checked_in(phone: Phone) -> str:
    answer = phone.check_in(phone.claim(PRECISELY, purpose="dispute"))
    assert said(answer) == ("accepted", "inside", "exact")
    return str(answer.json()["id"])


def test_exact_positions_are_off_unless_the_tenant_switches_them_on(
    world: World, tenant: Tenancy
) -> None:
    tenant.site()
    tenant.purpose("dispute", level="exact")
    phone = tenant.phone()
    answer = phone.check_in(phone.claim(purpose="dispute"))
    assert said(answer) == ("accepted", "inside", "site")
    assert position(tenant.admin, answer.json()["id"]).status_code == 404
    assert world.rows("SELECT count(*) FROM exact_positions") == [(0,)]


def test_an_exact_position_is_kept_for_who_has_to_look(tenant: Tenancy, disputes: Phone) -> None:
    answer = disputes.check_in(disputes.claim(PRECISELY, purpose="dispute"))
    stored = answer.json()["stored"]
    assert (stored["level"], stored["exact_until"]) == ("exact", "2026-03-12")
    assert not {"lat", "lon", "accuracy_m", "position"} & set(stored)
    shown = position(tenant.admin, answer.json()["id"])
    assert (shown.status_code, shown.json()) == (
        200,
        {**PRECISELY, "accuracy_m": 10, "captured_at": "2026-03-10T12:00:00Z"},
    )
    [item] = listed(tenant)
    assert item["level"] == "exact"
    assert not {"lat", "lon"} & set(item)


def test_who_reads_a_position_says_why_and_may(tenant: Tenancy, disputes: Phone) -> None:
    check_in_id = checked_in(disputes)
    path = f"/v1/check-ins/{check_in_id}/position"
    without = tenant.admin.get(path)
    assert (without.status_code, without.json()["code"]) == (400, "purpose-required")
    made = tenant.admin.post("/v1/api-keys", json={"name": "k", "scopes": ["check-ins:read"]})
    refused = position(Api(tenant.admin.client, made.json()["api_key"]), check_in_id)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope-missing")
    made = tenant.admin.post("/v1/api-keys", json={"name": "k", "scopes": ["privacy:read"]})
    assert position(Api(tenant.admin.client, made.json()["api_key"]), check_in_id).json() == {
        **PRECISELY,
        "accuracy_m": 10,
        "captured_at": "2026-03-10T12:00:00Z",
    }
    assert disputes.get(path, headers=REASON).status_code == 401
    other = tenant.world.tenant()
    assert position(other.admin, check_in_id).status_code == 404
    assert position(tenant.admin, str(uuid4())).status_code == 404


def test_a_purpose_that_needs_less_keeps_less(tenant: Tenancy, disputes: Phone) -> None:
    answer = disputes.check_in(disputes.claim())
    assert said(answer) == ("accepted", "inside", "site")
    assert position(tenant.admin, answer.json()["id"]).status_code == 404


def test_of_an_approximate_permission_no_exact_position_is_kept(
    world: World, tenant: Tenancy, disputes: Phone
) -> None:
    disputes.report("approximate")
    answer = disputes.check_in(disputes.claim(purpose="dispute"))
    assert said(answer) == ("accepted", "inside", "site")
    assert position(tenant.admin, answer.json()["id"]).status_code == 404
    assert world.rows("SELECT count(*) FROM exact_positions") == [(0,)]
    disputes.report("precise_once")
    assert said(disputes.check_in(disputes.claim(purpose="dispute")))[2] == "exact"


def test_only_of_the_accepted_an_exact_position_is_kept(
    world: World, tenant: Tenancy, disputes: Phone
) -> None:
    [site] = tenant.admin.get("/v1/sites").json()["items"]
    edge = {"lat": -23.561, "lon": -46.65385}
    uncertain = disputes.claim(edge, purpose="dispute", site_id=site["id"], fix={"accuracy_m": 30})
    assert said(disputes.check_in(uncertain)) == ("uncertain", "near_boundary", "site")
    rejected = disputes.claim(FAR_OUTSIDE, purpose="dispute")
    assert said(disputes.check_in(rejected)) == ("rejected", "no_site_near", "none")
    assert world.rows("SELECT count(*) FROM exact_positions") == [(0,)]


def test_a_withdrawal_destroys_exact_positions_at_once(
    world: World, tenant: Tenancy, disputes: Phone
) -> None:
    check_in_id = checked_in(disputes)
    day, subject_id = NOON.date(), UUID(disputes.subject_id)
    keyring, tenant_id = world.services.keyring, tenant.tenant_id
    key = keyring.find_exact_key(tenant_id, subject_id, day)
    assert key is not None
    sealed = world.read(
        tenant_id, lambda c: check_ins.find_exact(c, tenant_id, UUID(check_in_id), day)
    )
    assert sealed is not None
    assert exact.opened(key, sealed) is not None

    disputes.report("denied")
    assert position(tenant.admin, check_in_id).status_code == 404
    assert keyring.find_exact_key(tenant_id, subject_id, day) is None
    # granted again, it is another key: what was sealed is closed for good
    disputes.report("precise")
    later = disputes.check_in(disputes.claim(purpose="dispute", permission_epoch=3)).json()["id"]
    new_key = keyring.find_exact_key(tenant_id, subject_id, day)
    assert new_key not in {None, key}
    assert exact.opened(new_key, sealed) is None  # type: ignore[arg-type]
    assert position(tenant.admin, check_in_id).status_code == 404
    assert position(tenant.admin, later).status_code == 200
    # the row stays by its basis, and says where, not exactly
    assert {item["id"] for item in listed(tenant)} == {check_in_id, later}


@pytest.mark.parametrize("state", ["restricted", "services_off"])
def test_every_withdrawal_does(tenant: Tenancy, disputes: Phone, state: str) -> None:
    check_in_id = checked_in(disputes)
    disputes.report(state)
    assert position(tenant.admin, check_in_id).status_code == 404


def test_nobody_elses_exact_positions_go_with_a_withdrawal(
    tenant: Tenancy, disputes: Phone
) -> None:
    other = tenant.phone()
    check_in_id = checked_in(other)
    disputes.report("denied")
    assert position(tenant.admin, check_in_id).status_code == 200


def test_an_exact_position_is_not_read_when_the_next_day_has_ended(
    world: World, tenant: Tenancy, disputes: Phone
) -> None:
    check_in_id = checked_in(disputes)
    world.clock.now = NOON.replace(day=11, hour=23, minute=59)
    assert position(tenant.admin, check_in_id).status_code == 200
    world.clock.now = NOON.replace(day=12, hour=0)
    assert position(tenant.admin, check_in_id).status_code == 404
    world.clock.now = NOON + timedelta(days=2, minutes=1)
    assert [item["level"] for item in listed(tenant)] == ["site"]


def test_a_replay_says_the_same_though_the_position_is_gone(disputes: Phone) -> None:
    body = disputes.claim(purpose="dispute")
    first = disputes.check_in(body)
    disputes.report("denied")
    again = disputes.check_in(body)
    assert (again.status_code, again.content) == (201, first.content)


def test_no_digit_of_an_exact_position_is_readable_at_rest(
    world: World, tenant: Tenancy, disputes: Phone
) -> None:
    checked_in(disputes)
    at_rest = b"".join(f.read_bytes() for f in world.settings.home.iterdir() if f.is_file())
    for table in ("check_ins", "receipts", "exact_positions", "tallies"):
        rows = world.rows(f"SELECT * FROM {table}")
        assert rows or table == "tallies"
        values = [value for row in rows for value in row]
        at_rest += b"\n".join(v if isinstance(v, bytes) else str(v).encode() for v in values)
    for degrees in PRECISELY.values():
        assert str(abs(degrees))[:8].encode() not in at_rest
        for form in ("<d", ">d", "<f", ">f"):
            assert struct.pack(form, degrees) not in at_rest
    assert b"dispute" in at_rest


def test_a_position_does_not_print() -> None:
    printed = exact.Position(1.25, 2.5, None, NOON)
    assert "1.25" not in f"{printed} {printed!r}"
