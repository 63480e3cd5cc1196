"""Purposes that devices judge for: a bundle goes out, a verdict comes in, and never a position."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from doorstep_geofences import Geofence, Site
from doorstep_server import bundles
from doorstep_server.policies import Policies
from world import FAR_OUTSIDE, Phone, Tenancy, World

BUNDLE = "/v1/sites/bundle"
#: whole numbers of minutes, so that stored times are as they were sent
ALWAYS_CLOSED = {"weekly": {"mon": [["03:00", "03:01"]]}}


@pytest.fixture
def tenant(shared_world: World) -> Tenancy:
    tenancy = shared_world.tenant()
    tenancy.purpose("round", judged_by="device")
    return tenancy


def told(phone: Phone, site: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    """A claim that is a verdict: by the bundle of the moment."""
    found = {
        "reason": "inside",
        "captured_at": phone.clock.now.isoformat(),
        "bundle_version": bundle_version(phone),
        **changes.pop("verdict", {}),
    }
    claim = phone.claim(purpose="round", **changes)
    del claim["fix"]
    return claim | {"verdict": found} | ({} if site is None else {"site_id": site["id"]})


def bundle_version(phone: Phone) -> int:
    content = fetched(phone).content
    value, shift = 0, 0
    for byte in content[4:]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value
    raise AssertionError("a number ends")


def fetched(phone: Phone, **headers: str) -> httpx.Response:
    return phone.get(BUNDLE, headers=headers)


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def revised(tenant: Tenancy, site: dict[str, Any], **changes: Any) -> dict[str, Any]:
    members = ("name", "geofence", "timezone", "external_id", "version")
    body = {name: site[name] for name in members} | changes
    answer = tenant.admin.put(f"/v1/sites/{site['id']}", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


# -- the check-in ----------------------------------------------------------------------------


def test_a_verdict_is_stored_as_the_devices_word(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    answer = phone.check_in(told(phone, site))
    assert answer.status_code == 201, answer.text
    said = answer.json()
    assert (said["outcome"], said["reason"], said["site_id"]) == ("accepted", "inside", site["id"])
    assert said["stored"]["evidence"] == "device"
    assert said["stored"]["site_version"] == 1
    [listed] = tenant.admin.get("/v1/check-ins", headers={"Doorstep-Purpose": "round"}).json()[
        "items"
    ]
    assert listed["evidence"] == "device"


def test_a_judged_position_is_still_evidence_of_another_kind(tenant: Tenancy) -> None:
    tenant.site()
    phone = tenant.phone()
    assert phone.check_in(phone.claim()).json()["stored"]["evidence"] == "gps"


@pytest.mark.parametrize(
    ("reason", "outcome", "level"),
    [
        ("near_boundary", "uncertain", "site"),
        ("accuracy_too_low", "uncertain", "none"),
        ("accuracy_unknown", "uncertain", "none"),
        ("outside", "rejected", "none"),
        ("no_site_near", "rejected", "none"),
        ("mocked", "rejected", "none"),
        ("null_island", "rejected", "none"),
        ("outside_hours", "rejected", "none"),
    ],
)
def test_the_reason_says_the_outcome(
    tenant: Tenancy, reason: str, outcome: str, level: str
) -> None:
    site, phone = tenant.site(), tenant.phone()
    said = phone.check_in(told(phone, site, verdict={"reason": reason})).json()
    assert (said["outcome"], said["reason"]) == (outcome, reason)
    assert said["stored"]["level"] == level
    assert ("decision" in said) is (level == "none")


@pytest.mark.parametrize(
    "reason", ["in_cell", "implausible_travel", "clock_skew", "stale_fix", "x"]
)
def test_what_a_device_cannot_find_it_cannot_tell(tenant: Tenancy, reason: str) -> None:
    site, phone = tenant.site(), tenant.phone()
    answer = phone.check_in(told(phone, site, verdict={"reason": reason}))
    assert refused(answer) == (400, "invalid-body")


@pytest.mark.parametrize("member", ["lat", "lon", "accuracy_m", "distance_m", "outcome"])
def test_a_verdict_has_no_place_for_a_position(tenant: Tenancy, member: str) -> None:
    site, phone = tenant.site(), tenant.phone()
    answer = phone.check_in(told(phone, site, verdict={member: 1.5}))
    assert refused(answer) == (400, "invalid-body")


def test_a_claim_has_a_fix_or_a_verdict_and_not_both(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    claim = told(phone, site)
    neither = {name: value for name, value in claim.items() if name != "verdict"}
    assert refused(phone.check_in(neither)) == (400, "invalid-body")
    both = claim | {"fix": phone.claim()["fix"]}
    assert refused(phone.check_in(both)) == (400, "invalid-body")


def test_each_purpose_takes_one_kind(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    answer = phone.check_in(told(phone, site) | {"purpose": "visit"})
    assert refused(answer) == (422, "verdict-not-taken")
    answer = phone.check_in(phone.claim(purpose="round"))
    assert refused(answer) == (422, "position-not-taken")


def test_inside_needs_a_site(tenant: Tenancy) -> None:
    tenant.site()
    phone = tenant.phone()
    assert refused(phone.check_in(told(phone, None))) == (422, "site-required")
    elsewhere = told(phone, None, verdict={"reason": "no_site_near"})
    assert phone.check_in(elsewhere).json()["outcome"] == "rejected"


def test_the_hours_are_those_of_the_site(tenant: Tenancy) -> None:
    site, phone = tenant.site(hours=ALWAYS_CLOSED), tenant.phone()
    said = phone.check_in(told(phone, site)).json()
    assert (said["outcome"], said["reason"]) == ("rejected", "outside_hours")
    mocked = phone.check_in(told(phone, site, verdict={"reason": "mocked"})).json()
    assert mocked["reason"] == "mocked"


def test_a_clock_that_is_ahead_is_doubted(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    ahead = (phone.clock.now + timedelta(minutes=5)).isoformat()
    said = phone.check_in(told(phone, site, verdict={"captured_at": ahead})).json()
    assert (said["outcome"], said["reason"]) == ("uncertain", "clock_skew")


def test_too_old_is_too_old(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    long_ago = (phone.clock.now - timedelta(days=4)).isoformat()
    claim = told(phone, site, verdict={"captured_at": long_ago}) | {"permission_epoch": 0}
    assert refused(phone.check_in(claim)) == (422, "too-old")


def test_who_cannot_have_travelled_is_doubted(tenant: Tenancy) -> None:
    manaus = {"type": "Circle", "center": [-60.02, -3.12], "radius_m": 100}
    here, there, phone = tenant.site(), tenant.site(geofence=manaus), tenant.phone()
    assert phone.check_in(told(phone, here)).json()["outcome"] == "accepted"
    said = phone.check_in(told(phone, there)).json()
    assert (said["outcome"], said["reason"]) == ("uncertain", "implausible_travel")


def test_groups_hold(tenant: Tenancy) -> None:
    site = tenant.site(groups=["crew"])
    outsider = tenant.phone()
    insider = tenant.phone(subject_id=tenant.subject(groups=["crew"])["id"])
    answer = outsider.check_in(told(insider, site))
    assert refused(answer) == (403, "not-assigned")
    assert insider.check_in(told(insider, site)).json()["outcome"] == "accepted"


def test_withdrawn_is_withdrawn_whoever_judges(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    claim = told(phone, site) | {"permission_epoch": 0}
    assert phone.report("denied").status_code == 200
    assert refused(phone.check_in(claim)) == (403, "permission-withdrawn")
    assert phone.report("precise").status_code == 200
    assert refused(phone.check_in(claim)) == (403, "permission-withdrawn")


def test_without_a_report_the_permission_is_unknown(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone(state=None)
    assert refused(phone.check_in(told(phone, site))) == (403, "permission-unknown")


def test_what_a_person_restricted_is_not_taken(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    assert phone.put("/v1/device/restrictions", {"purposes": ["round"]}).status_code == 200
    assert refused(phone.check_in(told(phone, site))) == (403, "purpose-restricted")


def test_a_replay_is_the_same_bytes_and_other_content_another_check_in(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    claim = told(phone, site)
    first, second = phone.check_in(claim), phone.check_in(claim)
    assert first.content == second.content
    assert second.headers["doorstep-replayed"] == "true"
    for changed in ({"reason": "near_boundary"}, {"bundle_version": 10**6}):
        other = claim | {"verdict": claim["verdict"] | changed}
        assert refused(phone.check_in(other)) == (422, "id-reused")


def test_both_kinds_go_in_one_batch(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    items = [told(phone, site), phone.claim(), told(phone, None), phone.claim(FAR_OUTSIDE)]
    results = phone.post("/v1/check-ins/batch", {"check_ins": items}).json()["results"]
    assert [one["status"] for one in results] == [201, 201, 422, 201]
    assert [one.get("outcome") for one in results] == ["accepted", "accepted", None, "rejected"]


def test_verdicts_have_no_probe_budget(tenant: Tenancy) -> None:
    """Whoever has the bundle knows the fences."""
    site, phone = tenant.site(), tenant.phone()
    for _ in range(30):
        claim = told(phone, site, verdict={"reason": "outside"})
        assert phone.check_in(claim).status_code == 201


# -- which bundle it was judged by -------------------------------------------------------------


def test_a_site_that_changed_since_is_judged_again(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    claim = told(phone, site)
    revised(tenant, site, name="Another name")
    assert refused(phone.check_in(claim)) == (422, "bundle-outdated")
    again = claim | {"verdict": claim["verdict"] | {"bundle_version": bundle_version(phone)}}
    said = phone.check_in(again).json()
    assert (said["outcome"], said["stored"]["site_version"]) == ("accepted", 2)


def test_another_site_that_changed_is_nothing_to_it(tenant: Tenancy) -> None:
    site, other, phone = tenant.site(), tenant.site(name="Other"), tenant.phone()
    claim = told(phone, site)
    revised(tenant, other, name="Another name")
    assert phone.check_in(claim).json()["outcome"] == "accepted"


def test_a_bundle_that_was_never_given_is_none(tenant: Tenancy) -> None:
    """As after a backup was restored."""
    site, phone = tenant.site(), tenant.phone()
    claim = told(phone, site, verdict={"bundle_version": 10**9})
    assert refused(phone.check_in(claim)) == (422, "bundle-outdated")


def test_a_bundle_that_another_process_gave_is_known(tenant: Tenancy) -> None:
    site, phone = tenant.site(), tenant.phone()
    policies: Policies = tenant.world.services.policies
    known = policies.at_hand(tenant.tenant_id)
    assert known is not None
    # another process changed the site and gave its bundle, and this one has not looked since
    newer = revised(tenant, site, name="Another name")
    claim = told(phone, site)
    policies._loaded[tenant.tenant_id] = known
    said = phone.check_in(claim).json()
    assert (said["outcome"], said["stored"]["site_version"]) == ("accepted", newer["version"])


# -- the bundle --------------------------------------------------------------------------------


def test_the_bundle_is_named_by_its_content(tenant: Tenancy) -> None:
    tenant.site()
    phone = tenant.phone()
    first = fetched(phone)
    assert first.content.startswith(b"DSB\x01")
    assert first.headers["cache-control"] == "private, no-cache"
    same = fetched(phone, **{"If-None-Match": f'"x", W/{first.headers["etag"]}'})
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == first.headers["etag"]
    tenant.site(name="Second")
    other = fetched(phone, **{"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200
    assert other.headers["etag"] != first.headers["etag"]


def test_it_is_the_same_until_a_site_of_it_changes(tenant: Tenancy) -> None:
    """People, devices and keys come and go: nobody has to fetch it again for that."""
    tenant.site()
    phone = tenant.phone()
    before = fetched(phone).content
    tenant.phone()
    tenant.purpose("other")
    tenant.site(name="For others", groups=["crew"])
    assert fetched(phone).content == before


def test_it_has_the_sites_that_its_person_may_see(tenant: Tenancy) -> None:
    everyone = tenant.site(name="For everyone")
    crew = tenant.site(name="For the crew", groups=["crew"])
    tenant.site(name="For visits", purposes=["visit"])
    rounds = tenant.site(name="For rounds", purposes=["visit", "round"])
    closed = tenant.site(name="Closed")
    assert tenant.admin.delete(f"/v1/sites/{closed['id']}").status_code in {200, 204}
    outsider = tenant.phone()
    insider = tenant.phone(subject_id=tenant.subject(groups=["crew"])["id"])
    assert ids_in(fetched(outsider).content, tenant) == {everyone["id"], rounds["id"]}
    assert ids_in(fetched(insider).content, tenant) == {everyone["id"], rounds["id"], crew["id"]}


def ids_in(content: bytes, tenant: Tenancy) -> set[str]:
    listed = tenant.admin.get("/v1/sites").json()["items"]
    return {site["id"] for site in listed if bytes.fromhex(site["id"].replace("-", "")) in content}


def test_names_of_sites_and_groups_are_not_in_it(tenant: Tenancy) -> None:
    tenant.site(name="A secret name", external_id="a-secret-id", groups=["a-secret-group"])
    phone = tenant.phone(subject_id=tenant.subject(groups=["a-secret-group"])["id"])
    assert ids_in(fetched(phone).content, tenant)
    assert b"secret" not in fetched(phone).content


def test_without_such_a_purpose_there_is_no_bundle(shared_world: World) -> None:
    tenant = shared_world.tenant()
    tenant.site()
    tenant.purpose("off", judged_by="device", active=False)
    assert refused(fetched(tenant.phone())) == (404, "bundle-not-given")


def test_a_bundle_has_an_end(tenant: Tenancy, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant.site()
    monkeypatch.setattr("doorstep_server.api.site_bundle.MAX_BYTES", 20)
    assert refused(fetched(tenant.phone())) == (422, "bundle-too-large")


@pytest.mark.parametrize("level", ["cell", "exact"])
def test_devices_judge_for_no_level_that_needs_the_position(tenant: Tenancy, level: str) -> None:
    body = {"title": "-", "legal_basis": "contract", "level": level, "judged_by": "device"}
    answer = tenant.admin.post("/v1/purposes", {"name": "other", **body})
    assert refused(answer) == (422, "judged-by-impossible")
    answer = tenant.admin.put("/v1/purposes/round", {"version": 1, **body})
    assert refused(answer) == (422, "judged-by-impossible")


def test_a_phone_is_told_who_judges(tenant: Tenancy) -> None:
    shown = tenant.phone().get("/v1/device").json()["purposes"]
    assert {p["name"]: p["judged_by"] for p in shown} == {"visit": "server", "round": "device"}


def test_a_thousand_fences_take_some_thirty_kilobytes() -> None:
    """Circles as admins draw them; four corners take half as much again."""

    def sites(fence: Any) -> list[Site]:
        return [
            Site(site_id=uuid4(), version=1, geofence=fence(n), since=1_000 + n)
            for n in range(1_000)
        ]

    def circle(n: int) -> Geofence:
        return Geofence.circle(round(-46.9 + n * 0.00057, 6), round(-23.7 + n * 0.00041, 6), 80.0)

    def square(n: int) -> Geofence:
        west, south = round(-46.9 + n * 0.00057, 6), round(-23.7 + n * 0.00041, 6)
        east, north = round(west + 0.0011, 6), round(south + 0.0009, 6)
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        return Geofence.parse({"type": "Polygon", "coordinates": [ring]})

    assert len(bundles.bundle_of(sites(circle), ["round"]).content) < 31_000
    assert len(bundles.bundle_of(sites(square), ["round"]).content) < 43_000
