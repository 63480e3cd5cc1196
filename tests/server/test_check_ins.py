"""What a check-in does: judged, minimized, stored once, answered the same way ever after."""

import json
from datetime import datetime, timedelta, timezone
from uuid import UUID, uuid1, uuid4

import pytest

from doorstep_server.store.schema import check_ins
from world import FAR_OUTSIDE, INSIDE, NOON, Phone, Tenancy, World


def rows(world: World) -> int:
    return int(world.rows("SELECT count(*) FROM check_ins")[0][0])


def code(answer: object) -> str:
    return str(answer.json()["code"])  # type: ignore[attr-defined]


def test_inside_a_site_is_accepted_and_says_what_was_stored(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    answer = phone.check_in(phone.claim(site_id=site["id"], action="in"))
    assert answer.status_code == 201
    body = answer.json()
    assert (body["outcome"], body["reason"], body["site_id"]) == ("accepted", "inside", site["id"])
    assert body["stored"] == {
        "level": "site",
        "subject_id": phone.subject_id,
        "purpose": "visit",
        "policy_version": 1,
        "legal_basis": "legitimate_interests",
        "site_id": site["id"],
        "site_version": 1,
        "action": "in",
        "time": "2026-03-10T12:00:00Z",
        "outcome": "accepted",
        "reason": "inside",
        "evidence": "gps",
        "expires_on": "2026-05-09",
    }
    assert body["expires_on"] == "2026-05-09"


def test_the_answer_names_every_stored_column_and_no_other(tenant: Tenancy, phone: Phone) -> None:
    stored = phone.check_in(phone.claim()).json()["stored"]
    # who it is about stands in two columns, neither of which says so
    named = (set(stored) - {"subject_id"}) | {"token", "sealed"}
    assert named == set(check_ins.c.keys()) - {"tenant_id", "id", "cell"}
    tenant.purpose("round", level="cell")
    stored = phone.check_in(phone.claim(purpose="round")).json()["stored"]
    named = (set(stored) - {"subject_id"}) | {"token", "sealed"}
    assert named == set(check_ins.c.keys()) - {"tenant_id", "id", "site_id", "site_version"}


def test_without_a_claimed_site_the_accepting_one_is_found(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    body = phone.check_in(phone.claim()).json()
    assert (body["outcome"], body["site_id"]) == ("accepted", site["id"])


def test_far_outside_is_rejected_and_stores_nobody(world: World, phone: Phone) -> None:
    body = phone.check_in(phone.claim(FAR_OUTSIDE)).json()
    assert (body["outcome"], body["reason"], body["site_id"]) == ("rejected", "no_site_near", None)
    assert body["stored"] == {
        "level": "none",
        "purpose": "visit",
        "day": "2026-03-10",
        "reason": "no_site_near",
    }
    assert body["expires_on"] is None
    assert body["decision"]
    assert rows(world) == 0
    assert world.rows("SELECT CAST(day AS TEXT), purpose, reason, count FROM tallies") == [
        ("2026-03-10", "visit", "no_site_near", 1)
    ]


def test_a_claimed_site_far_away_is_rejected(world: World, tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    body = phone.check_in(phone.claim(FAR_OUTSIDE, site_id=site["id"])).json()
    assert (body["outcome"], body["reason"], body["site_id"]) == ("rejected", "outside", site["id"])
    assert rows(world) == 0


def test_an_uncertain_check_in_keeps_the_claimed_site_and_never_an_inferred_one(
    world: World, tenant: Tenancy
) -> None:
    site, phone = tenant.site(), tenant.phone()
    edge = {"lat": -23.561, "lon": -46.65385}  # some 15 m beyond the eastern edge
    searched = phone.check_in(phone.claim(edge, fix={"accuracy_m": 30})).json()
    assert (searched["outcome"], searched["site_id"]) == ("uncertain", None)
    assert searched["stored"]["level"] == "none"
    claimed = phone.check_in(phone.claim(edge, fix={"accuracy_m": 30}, site_id=site["id"])).json()
    assert (claimed["outcome"], claimed["reason"]) == ("uncertain", "near_boundary")
    assert claimed["stored"]["site_id"] == site["id"]
    assert rows(world) == 1


@pytest.mark.parametrize(
    ("fix", "reason"),
    [
        ({"accuracy_m": 400}, "accuracy_too_low"),
        ({"accuracy_m": None}, "accuracy_unknown"),
        ({"accuracy_m": 0}, "accuracy_unknown"),
    ],
)
def test_a_bad_accuracy_is_uncertain_and_keeps_no_place(
    world: World, tenant: Tenancy, fix: dict[str, float | None], reason: str
) -> None:
    site, phone = tenant.site(), tenant.phone()
    body = phone.check_in(phone.claim(site_id=site["id"], fix=fix)).json()
    assert (body["outcome"], body["reason"]) == ("uncertain", reason)
    assert body["stored"]["level"] == "none"
    assert rows(world) == 0


def test_a_bad_accuracy_keeps_no_place_although_the_clock_is_wrong_too(
    world: World, tenant: Tenancy
) -> None:
    site, phone = tenant.site(), tenant.phone()
    ahead = (NOON + timedelta(minutes=3)).isoformat()
    for accuracy_m in (5_000, None):
        fix = {"accuracy_m": accuracy_m, "captured_at": ahead}
        body = phone.check_in(phone.claim(FAR_OUTSIDE, site_id=site["id"], fix=fix)).json()
        assert body["outcome"] == "uncertain"
        assert body["stored"]["level"] == "none"
    assert rows(world) == 0


def test_null_island_is_rejected(phone: Phone) -> None:
    body = phone.check_in(phone.claim({"lat": 0, "lon": 0})).json()
    assert (body["outcome"], body["reason"]) == ("rejected", "null_island")


def test_a_mocked_position_is_rejected(phone: Phone) -> None:
    body = phone.check_in(phone.claim(fix={"mocked": True})).json()
    assert (body["outcome"], body["reason"]) == ("rejected", "mocked")


def test_a_purpose_of_level_none_stores_nobody(world: World, tenant: Tenancy) -> None:
    tenant.site()
    tenant.purpose("access", level="none")
    phone = tenant.phone()
    body = phone.check_in(phone.claim(purpose="access")).json()
    assert body["outcome"] == "accepted"
    assert body["stored"]["level"] == "none"
    assert rows(world) == 0


def test_times_are_cut_and_expiry_set_as_the_purpose_says(tenant: Tenancy) -> None:
    tenant.site()
    tenant.purpose("shift", time_precision_s=3600, retention_days=7)
    phone = tenant.phone()
    captured = NOON - timedelta(minutes=1)
    body = phone.check_in(
        phone.claim(purpose="shift", fix={"captured_at": captured.isoformat()})
    ).json()
    assert body["stored"]["time"] == "2026-03-10T11:00:00Z"
    assert body["expires_on"] == "2026-03-17"


# -- retries ---------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [INSIDE, FAR_OUTSIDE])
def test_the_same_id_and_content_gives_the_same_bytes_and_one_row(
    world: World, phone: Phone, place: dict[str, float]
) -> None:
    body = phone.claim(place)
    first, again = phone.check_in(body), phone.check_in(body)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert "Doorstep-Replayed" not in first.headers
    assert again.headers["Doorstep-Replayed"] == "true"
    assert len(world.rows("SELECT * FROM receipts")) == 1
    assert sum(row[0] for row in world.rows("SELECT count FROM tallies")) == (place != INSIDE)


def test_what_changes_on_a_retry_is_not_content(phone: Phone) -> None:
    body = phone.claim()
    first = phone.check_in(body)
    later = {"sent_at": "2026-03-10T12:00:05Z", "age_s": 5, "permission_epoch": 0}
    again = phone.check_in(body | later)
    assert (again.status_code, again.content) == (201, first.content)


def test_the_same_id_with_other_content_is_refused(world: World, phone: Phone) -> None:
    body = phone.claim()
    phone.check_in(body)
    before = world.rows("SELECT * FROM check_ins")
    for other in ({"action": "in"}, {"fix": body["fix"] | {"lat": -23.5611}}):
        answer = phone.check_in(body | other)
        assert (answer.status_code, code(answer)) == (422, "id-reused")
    assert world.rows("SELECT * FROM check_ins") == before


def test_an_invalid_first_attempt_does_not_burn_the_id(phone: Phone) -> None:
    body = phone.claim()
    assert phone.check_in(body | {"fix": {"lat": 91}}).status_code == 400
    assert phone.check_in(body | {"purpose": "nothing"}).status_code == 404
    assert phone.check_in(body).status_code == 201


def test_an_id_is_the_tenants_own(world: World, phone: Phone) -> None:
    other = world.tenant()
    other.site()
    other_phone = other.phone()
    body = phone.claim()
    assert phone.check_in(body).status_code == 201
    answer = other_phone.check_in(body)
    assert answer.status_code == 201
    assert "Doorstep-Replayed" not in answer.headers
    assert rows(world) == 2


def test_another_device_of_the_tenant_cannot_use_the_id(tenant: Tenancy, phone: Phone) -> None:
    body = phone.claim()
    phone.check_in(body)
    answer = tenant.phone().check_in(body)
    assert (answer.status_code, code(answer)) == (422, "id-reused")


@pytest.mark.parametrize(
    "bad", [uuid1(), UUID("01890000-0000-7000-8000-000000000000"), UUID(int=0)]
)
def test_an_id_that_tells_time_or_hardware_is_refused(phone: Phone, bad: UUID) -> None:
    answer = phone.check_in(phone.claim() | {"id": str(bad)})
    assert (answer.status_code, code(answer)) == (422, "id-not-random")


def test_an_id_led_by_the_day_is_taken_and_leads_its_receipt(world: World, phone: Phone) -> None:
    day = 20522
    led = UUID(
        bytes=day.to_bytes(2, "big")
        + uuid4().bytes[2:6]
        + b"\x8f"
        + uuid4().bytes[7:8]
        + b"\x9c"
        + uuid4().bytes[9:]
    )
    assert phone.check_in(phone.claim() | {"id": str(led)}).status_code == 201
    [(key,)] = world.rows("SELECT key FROM receipts")
    assert key[:2] == led.bytes[:2]


def test_after_the_receipts_time_the_content_is_too_old(world: World, phone: Phone) -> None:
    body = phone.claim(permission_epoch=0)
    phone.check_in(body)
    world.clock.advance(days=9)
    phone.report("precise")
    world.rows("DELETE FROM receipts")
    answer = phone.check_in(body)
    assert (answer.status_code, code(answer)) == (422, "too-old")
    assert rows(world) == 1


def test_an_id_whose_receipt_is_gone_is_still_no_id_for_another(world: World, phone: Phone) -> None:
    body = phone.claim()
    phone.check_in(body)
    world.rows("DELETE FROM receipts")
    other = phone.claim()
    results = phone.post(
        "/v1/check-ins/batch", json={"check_ins": [{**body, "action": "out"}, other]}
    ).json()["results"]
    assert [result["status"] for result in results] == [422, 201]
    assert results[0]["code"] == "id-reused"
    assert rows(world) == 2


@pytest.mark.parametrize("place", [INSIDE, FAR_OUTSIDE])
def test_an_expired_receipt_answers_nothing_even_before_it_is_deleted(
    world: World, phone: Phone, place: dict[str, float]
) -> None:
    body = phone.claim(place, permission_epoch=0)
    phone.check_in(body)
    world.clock.advance(days=8)
    answer = phone.check_in(body)
    assert (answer.status_code, code(answer)) == (422, "too-old")


def test_a_replay_is_answered_even_after_a_withdrawal(phone: Phone) -> None:
    body = phone.claim()
    first = phone.check_in(body)
    phone.report("denied")
    again = phone.check_in(body)
    assert (again.status_code, again.content) == (201, first.content)


# -- clocks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("captured", "status", "expected"),
    [
        (NOON + timedelta(minutes=10), 201, "clock_skew"),
        (NOON - timedelta(hours=71), 201, "inside"),
        (NOON - timedelta(hours=73), 422, "too-old"),
        (NOON.replace(year=1970), 422, "too-old"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), 422, "too-old"),
        (datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=12))), 201, "clock_skew"),
    ],
)
def test_capture_times(phone: Phone, captured: object, status: int, expected: str) -> None:
    answer = phone.check_in(
        phone.claim(fix={"captured_at": captured.isoformat()}, permission_epoch=0)  # type: ignore[attr-defined]
    )
    body = answer.json()
    assert (answer.status_code, body.get("reason", body.get("code"))) == (status, expected)


@pytest.mark.parametrize(
    "text", ["2026-03-10T12:00:00", "2026-03-10T11:59:60Z", 1773144000, "noon"]
)
def test_a_time_without_zone_or_a_leap_second_is_refused(phone: Phone, text: object) -> None:
    answer = phone.check_in(phone.claim(fix={"captured_at": text}))
    assert (answer.status_code, answer.json()["at"]) == (400, "fix.captured_at")


def test_the_devices_own_measure_of_age_comes_before_its_wall_clock(phone: Phone) -> None:
    wrong = NOON.replace(year=2001)
    answer = phone.check_in(phone.claim(fix={"captured_at": wrong.isoformat()}, age_s=30)).json()
    assert (answer["outcome"], answer["stored"]["time"]) == ("accepted", "2026-03-10T11:45:00Z")


# -- who may where ---------------------------------------------------------------------------


def test_a_site_with_groups_takes_only_their_members(tenant: Tenancy) -> None:
    site = tenant.site(groups=["north"])
    outsider = tenant.phone()
    member = tenant.phone(subject_id=tenant.subject(groups=["north"])["id"])
    refused = outsider.check_in(outsider.claim(site_id=site["id"]))
    assert (refused.status_code, code(refused)) == (403, "not-assigned")
    assert outsider.check_in(outsider.claim()).json()["reason"] == "no_site_near"
    assert member.check_in(member.claim(site_id=site["id"])).json()["outcome"] == "accepted"


def test_a_site_with_purposes_takes_no_other(tenant: Tenancy) -> None:
    site, phone = tenant.site(purposes=["delivery"]), tenant.phone()
    tenant.purpose("delivery", level="site")
    refused = phone.check_in(phone.claim(site_id=site["id"]))
    assert (refused.status_code, code(refused)) == (403, "not-assigned")
    assert phone.check_in(phone.claim()).json()["reason"] == "no_site_near"
    delivery = phone.check_in(phone.claim(site_id=site["id"], purpose="delivery"))
    assert delivery.json()["outcome"] == "accepted"


def test_joining_a_group_counts_from_then_on(tenant: Tenancy) -> None:
    site, phone = tenant.site(groups=["north"]), tenant.phone()
    tenant.admin.put(f"/v1/subjects/{phone.subject_id}/groups", json={"groups": ["north"]})
    assert phone.check_in(phone.claim(site_id=site["id"])).json()["outcome"] == "accepted"


@pytest.mark.parametrize(
    ("purpose", "status", "expected"),
    [
        ({"active": False}, 403, "purpose-restricted"),
        ({"requires_consent": True}, 403, "consent-required"),
    ],
)
def test_a_purpose_that_takes_no_check_ins(
    tenant: Tenancy, purpose: dict[str, bool], status: int, expected: str
) -> None:
    tenant.site()
    tenant.purpose("other", **purpose)
    phone = tenant.phone()
    answer = phone.check_in(phone.claim(purpose="other"))
    assert (answer.status_code, code(answer)) == (status, expected)


def test_a_deactivated_site_takes_no_check_in(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    assert tenant.admin.delete(f"/v1/sites/{site['id']}").status_code == 204
    answer = phone.check_in(phone.claim(site_id=site["id"]))
    assert (answer.status_code, code(answer)) == (404, "site-unknown")


def test_a_verdict_names_the_version_of_the_site_it_was_judged_by(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    read_only = {"id", "valid_from", "warnings"}
    changed = {k: v for k, v in site.items() if k not in read_only} | {"tolerance_m": 5}
    assert tenant.admin.put(f"/v1/sites/{site['id']}", json=changed).status_code == 200
    assert phone.check_in(phone.claim()).json()["stored"]["site_version"] == 2


# -- batches ---------------------------------------------------------------------------------


def test_a_batch_judges_each_item_alone_and_answers_in_order(phone: Phone) -> None:
    good, far, unknown = phone.claim(), phone.claim(FAR_OUTSIDE), phone.claim(purpose="nothing")
    bad_fix = phone.claim(fix={"lat": "12"})
    answer = phone.post(
        "/v1/check-ins/batch", json={"check_ins": [good, far, unknown, bad_fix, {"id": 5}, good]}
    )
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [r["index"] for r in results] == list(range(6))
    assert [r["status"] for r in results] == [201, 201, 404, 400, 400, 201]
    assert [r["id"] for r in results] == [
        good["id"], far["id"], unknown["id"], bad_fix["id"], None, good["id"],
    ]  # fmt: skip
    assert [r.get("outcome", r.get("code")) for r in results] == [
        "accepted", "rejected", "purpose-unknown", "invalid-body", "invalid-body", "accepted",
    ]  # fmt: skip
    assert [r.get("replayed") for r in results] == [False, False, None, None, None, True]


def test_an_item_of_a_batch_gets_the_single_answer(phone: Phone) -> None:
    body = phone.claim()
    single = phone.check_in(body).json()
    [item] = phone.post("/v1/check-ins/batch", json={"check_ins": [body]}).json()["results"]
    assert {name: item[name] for name in single} == single


def test_a_bad_item_fails_alone(phone: Phone) -> None:
    """Whatever is wrong inside of an item, the others are settled."""
    good = json.dumps(phone.claim())
    bad = [
        '{"id": "x", "id": "y"}',
        json.dumps(phone.claim(age_s=4e8)),
        '"\xff"',
        "null",
    ]
    body = '{"check_ins": [' + ", ".join([good, *bad, good]) + "]}"
    answer = phone.request(
        "POST",
        "/v1/check-ins/batch",
        content=body.encode("latin-1"),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 200
    statuses = [r["status"] for r in answer.json()["results"]]
    assert statuses == [201, 400, 400, 400, 400, 201]


def test_a_batch_of_501_is_refused_whole_and_an_empty_one_is_fine(
    world: World, phone: Phone
) -> None:
    answer = phone.post("/v1/check-ins/batch", json={"check_ins": [phone.claim()] * 501})
    assert (answer.status_code, code(answer)) == (422, "batch-too-large")
    assert rows(world) == 0
    assert phone.post("/v1/check-ins/batch", json={"check_ins": []}).json() == {"results": []}


def test_a_batch_of_500_is_settled(world: World, phone: Phone) -> None:
    answer = phone.post(
        "/v1/check-ins/batch", json={"check_ins": [phone.claim() for _ in range(500)]}
    )
    assert {r["outcome"] for r in answer.json()["results"]} == {"accepted"}
    assert rows(world) == 500


# -- lists -----------------------------------------------------------------------------------


def test_a_device_lists_its_own_of_the_last_days(world: World, tenant: Tenancy) -> None:
    tenant.site()
    mine, other = tenant.phone(), tenant.phone()
    old = mine.check_in(mine.claim()).json()["id"]
    world.clock.advance(days=7, minutes=1)
    for phone in (mine, other):
        phone.report("precise")
    new = [mine.check_in(mine.claim()).json()["id"] for _ in range(3)]
    other.check_in(other.claim())
    listed = mine.get("/v1/check-ins").json()
    assert {item["id"] for item in listed["items"]} == set(new)
    assert old not in new
    assert listed["next_cursor"] is None


def test_pages_hold_everything_once(tenant: Tenancy) -> None:
    tenant.site()
    phone = tenant.phone()
    ids = {phone.check_in(phone.claim()).json()["id"] for _ in range(7)}
    reason = {"Doorstep-Purpose": "visit"}
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        params = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = tenant.admin.get("/v1/check-ins", params=params, headers=reason).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert len(seen) == 7
    assert set(seen) == ids


def test_an_admin_reads_who_checked_in_and_says_why(tenant: Tenancy) -> None:
    site = tenant.site()
    ana = tenant.subject("ana")
    phone = tenant.phone(subject_id=ana["id"])
    phone.check_in(phone.claim(action="in"))
    without = tenant.admin.get("/v1/check-ins")
    assert (without.status_code, code(without)) == (400, "purpose-required")
    [item] = tenant.admin.get(
        f"/v1/check-ins?site_id={site['id']}&subject_id={ana['id']}",
        headers={"Doorstep-Purpose": "visit"},
    ).json()["items"]
    assert item["subject"] == {"id": ana["id"], "external_id": "ana"}
    assert (item["site_version"], item["action"], item["level"]) == (1, "in", "site")


def test_filters_that_match_nothing_give_nothing(tenant: Tenancy, phone: Phone) -> None:
    phone.check_in(phone.claim())
    reason = {"Doorstep-Purpose": "support"}
    for query in (
        f"site_id={uuid4()}",
        f"subject_id={uuid4()}",
        "since=2026-03-11T00:00:00Z",
        "until=2026-03-10T00:00:00Z",
    ):
        assert tenant.admin.get(f"/v1/check-ins?{query}", headers=reason).json()["items"] == []


def test_expired_check_ins_are_never_read(world: World, tenant: Tenancy, phone: Phone) -> None:
    phone.check_in(phone.claim())
    reason = {"Doorstep-Purpose": "visit"}
    world.clock.now = NOON + timedelta(days=59)
    assert len(tenant.admin.get("/v1/check-ins", headers=reason).json()["items"]) == 1
    world.clock.now = NOON + timedelta(days=60)
    assert tenant.admin.get("/v1/check-ins", headers=reason).json()["items"] == []
    assert rows(world) == 1


def test_a_cursor_is_good_for_its_list_its_filters_and_its_tenant_only(
    world: World, tenant: Tenancy, phone: Phone
) -> None:
    for _ in range(2):
        phone.check_in(phone.claim())
    reason = {"Doorstep-Purpose": "visit"}
    page = tenant.admin.get("/v1/check-ins?limit=1", headers=reason).json()
    cursor = page["next_cursor"]
    other = world.tenant().admin
    tries = [
        (tenant.admin, f"/v1/sites?cursor={cursor}"),
        (tenant.admin, f"/v1/check-ins?since=2026-01-01T00:00:00Z&cursor={cursor}"),
        (tenant.admin, "/v1/check-ins?cursor=AAAA"),
        (tenant.admin, f"/v1/check-ins?cursor={cursor[:-2]}"),
        (other, f"/v1/check-ins?cursor={cursor}"),
    ]
    for api, path in tries:
        answer = api.get(path, headers=reason)
        assert (answer.status_code, code(answer)) == (400, "invalid-cursor")
