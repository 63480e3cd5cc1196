"""Check-ins that the phone judges: it says what the server would, and no position is sent."""

import asyncio
import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from doorstep import (
    AsyncClient,
    Bundle,
    BundleOutdated,
    Client,
    Fix,
    Invalid,
    JudgedCheckIn,
    NewCheckIn,
    NotFound,
    Response,
    UnexpectedAnswer,
)
from doorstep_geofences import Geofence, OpeningHours, Site
from doorstep_server.bundles import bundle_of
from privacy.coordinates import Submitted
from sdk.agreement import compare
from sdk.relay import Captured, relayed
from sdk.scripted import ACCEPTED, ENROLLMENT, ID, NOON, PURPOSE, STATUS, answer, problem
from served import Served, serving
from world import INSIDE, SQUARE

ROUND = {**PURPOSE, "name": "round", "judged_by": "device"}
OFFICE = UUID("6a8f6c1e-0000-4000-8000-000000000001")
BUNDLE_PATH = "v1/sites/bundle"


def office(**members: Any) -> Site:
    return Site(
        **{"site_id": OFFICE, "version": 1, "geofence": Geofence.parse(SQUARE), "since": 41}
        | members
    )


def bundle(*sites: Site) -> Bundle:
    return Bundle(bundle_of(sites or [office()], ["round"]).content)


def here(**members: Any) -> Fix:
    return Fix(**{**INSIDE, "accuracy_m": 8.0, "captured_at": NOON} | members)


def elsewhere() -> Fix:
    return here(lat=-23.7)


def judged(by: Bundle, **members: Any) -> JudgedCheckIn:
    return by.judge(**{"purpose": "round", "fix": here(), "id": ID} | members)


# -- the same verdict --------------------------------------------------------------------------


def test_phone_and_server_say_the_same() -> None:
    """In short; `tests/sdk/agreement.py` is the whole."""
    tally = compare(random.Random("short"), 3_000)
    assert not tally.differing, tally
    assert tally.near_edges > 50
    assert min(tally.reasons.values()) > 3
    assert {"inside", "outside", "near_boundary", "outside_hours", "no_site_near"} < set(
        tally.reasons
    )


@pytest.mark.parametrize("metres", [-0.9, -0.1, 0.0, 0.1, 0.9])
def test_within_a_metre_of_an_edge_the_phone_does_not_decide(metres: float) -> None:
    """Not even where it seems to know exactly where it is."""
    at_edge = here(lat=-23.56 + metres / 111_000, accuracy_m=0.01)
    assert judged(bundle(), fix=at_edge, site_id=OFFICE).reason == "near_boundary"


def test_a_verdict_says_why_and_where() -> None:
    found = judged(bundle())
    assert (found.outcome, found.reason, found.site_id) == ("accepted", "inside", str(OFFICE))
    assert (found.bundle_version, found.captured_at) == (41, NOON)
    away = judged(bundle(), fix=elsewhere())
    assert (away.outcome, away.reason, away.site_id) == ("rejected", "no_site_near", None)
    assert judged(bundle(), fix=elsewhere(), site_id=OFFICE).reason == "outside"


def test_a_verdict_has_no_slot_for_a_position() -> None:
    found = judged(bundle())
    digits = {f"{abs(value):.3f}"[:5] for value in INSIDE.values()}
    said = repr(found) + repr(vars(found)) + repr(bundle()) + repr(bundle()._sites)
    assert not [d for d in digits if d in said]
    assert not vars(found).keys() & {"fix", "lat", "lon", "accuracy_m"}


def test_unknown_accuracy_is_not_perfect_accuracy() -> None:
    assert judged(bundle(), fix=here(accuracy_m=0)).reason == "accuracy_unknown"
    assert judged(bundle(), fix=here(accuracy_m=None)).outcome == "uncertain"
    assert judged(bundle(), fix=here(accuracy_m=500)).reason == "accuracy_too_low"
    assert judged(bundle(), fix=here(mocked=True)).outcome == "rejected"
    assert judged(bundle(), fix=here(lat=0, lon=0)).reason == "null_island"


def test_hours_are_told_by_the_sites_clock() -> None:
    hours = OpeningHours.parse({"weekly": {"mon": [["08:00", "10:00"]]}})
    at_nine = office(hours=hours, zone=ZoneInfo("America/Sao_Paulo"))  # noon is nine there
    assert judged(bundle(at_nine)).reason == "inside"
    later = here(captured_at=NOON + timedelta(hours=2))
    assert judged(bundle(at_nine), fix=later).reason == "outside_hours"


def test_without_time_zones_the_server_tells_the_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on phones where Python has none."""
    closed = OpeningHours.parse({"weekly": {"sun": [["08:00", "10:00"]]}})
    monkeypatch.setattr("doorstep._opening._zone", lambda _: None)
    assert judged(bundle(office(hours=closed, zone=ZoneInfo("Asia/Tokyo")))).reason == "inside"


def test_sites_are_for_their_purposes() -> None:
    others = Bundle(
        bundle_of([office(purposes=frozenset({"patrol"}))], ["patrol", "round"]).content
    )
    assert others.site_ids("patrol") == (str(OFFICE),)
    assert others.site_ids("round") == ()
    assert judged(others).reason == "no_site_near"
    with pytest.raises(ValueError, match="site_id"):
        judged(others, site_id=OFFICE)
    with pytest.raises(ValueError, match="purpose"):
        judged(others, purpose="visit")


# -- reading a bundle --------------------------------------------------------------------------


def a_whole_bundle() -> bytes:
    """With everything that a bundle can have."""
    circle = Geofence.circle(4.9, 52.37, 80.5)
    hours = OpeningHours.parse({"weekly": {"mon": [["08:00", "10:00"]]}})
    zone = ZoneInfo("Asia/Tokyo")
    sites = [
        office(tolerance_m=12.5, max_accuracy_m=50.0, assurance=0.9),
        office(site_id=UUID(int=7, version=4), geofence=circle, hours=hours, zone=zone),
        office(site_id=UUID(int=8, version=4), purposes=frozenset({"round"})),
    ]
    return bundle_of(sites, ["patrol", "round"]).content


def test_what_is_cut_or_goes_on_is_no_bundle() -> None:
    content = a_whole_bundle()
    assert len(Bundle(content)) == 3
    for end in range(len(content)):
        with pytest.raises(ValueError, match="fetch it again"):
            Bundle(content[:end])
    with pytest.raises(ValueError, match="fetch it again"):
        Bundle(content + b"\0")


def test_another_version_of_the_format_is_refused() -> None:
    content = a_whole_bundle()
    with pytest.raises(ValueError, match="fetch it again"):
        Bundle(content[:3] + b"\2" + content[4:])


@pytest.mark.parametrize("seed", range(50))
def test_spoiled_bytes_never_fail_otherwise(seed: int) -> None:
    draw, content = random.Random(seed), bytearray(a_whole_bundle())
    for _ in range(3):
        content[draw.randrange(4, len(content))] = draw.randrange(256)
    try:
        spoiled = Bundle(bytes(content))
    except ValueError:
        return
    assert repr(spoiled)


# -- the client --------------------------------------------------------------------------------


def the_file(content: bytes | None = None, status: int = 200) -> Response:
    body = bundle_of([office()], ["round"]).content if content is None else content
    headers = {"Content-Type": "application/vnd.doorstep.sites"}
    return Response(status=status, headers=headers, body=body)


UNCHANGED = the_file(b"", status=304)


def check_in(caller: Any, **members: Any) -> Any:
    claim = {"purpose": "round", "fix": here(), "id": ID, **members}
    return caller.do(lambda client: client.check_ins.create_judged(**claim))


def test_a_judged_check_in_sends_its_verdict_alone(either: Any) -> None:
    caller = either.client(the_file(), answer(ACCEPTED))
    assert check_in(caller, fix=here(elapsed_s=998.5), action="in").outcome == "accepted"
    assert caller.transport.paths == [BUNDLE_PATH, "v1/check-ins"]
    assert caller.transport.bodies[1] == {
        "id": ID,
        "purpose": "round",
        "site_id": str(OFFICE),
        "action": "in",
        "verdict": {
            "reason": "inside",
            "captured_at": "2026-03-09T12:00:00+00:00",
            "bundle_version": 41,
        },
        "age_s": 1.5,
        "sent_at": "2026-03-09T12:00:00+00:00",
    }


def test_the_bundle_is_asked_for_again_only_where_it_may_say_more(either: Any) -> None:
    caller = either.client(
        the_file(), answer(ACCEPTED), answer(ACCEPTED), UNCHANGED, answer(ACCEPTED)
    )
    check_in(caller)
    check_in(caller)
    check_in(caller, fix=elsewhere())
    assert caller.transport.paths == [
        BUNDLE_PATH, "v1/check-ins", "v1/check-ins", BUNDLE_PATH, "v1/check-ins",
    ]  # fmt: skip
    known = caller.transport.requests[3].headers["If-None-Match"]
    assert known == f'"{bundle().sha256}"'


def test_a_site_that_changed_is_judged_again_under_the_same_id(either: Any) -> None:
    changed = bundle_of([office(since=52)], ["round"]).content
    caller = either.client(
        the_file(), problem(422, "bundle-outdated"), the_file(changed), answer(ACCEPTED)
    )
    assert check_in(caller).outcome == "accepted"
    first, second = (caller.transport.bodies[n] for n in (1, 3))
    assert first["id"] == second["id"]
    assert (first["verdict"]["bundle_version"], second["verdict"]["bundle_version"]) == (41, 52)


def test_it_is_judged_again_once_only(either: Any) -> None:
    outdated = problem(422, "bundle-outdated")
    caller = either.client(the_file(), outdated, UNCHANGED, outdated)
    with pytest.raises(BundleOutdated):
        check_in(caller)


def test_a_kept_bundle_serves_from_the_first_moment(either: Any) -> None:
    caller = either.client(answer(ACCEPTED))
    used = caller.client.sites.use(bundle())
    if used is not None:
        asyncio.run(used)
    check_in(caller)
    assert caller.transport.paths == ["v1/check-ins"]


@pytest.mark.parametrize("known", [ENROLLMENT, STATUS])
def test_a_position_is_not_sent_for_a_purpose_that_is_known(either: Any, known: Any) -> None:
    caller = either.client(answer({**known, "purposes": [PURPOSE, ROUND]}))
    ask = "enroll" if "token" in known else "status"
    caller.do(lambda c: c.device.enroll("code") if ask == "enroll" else c.device.status())
    with pytest.raises(ValueError, match="create_judged"):
        caller.check_in(purpose="round")
    new = NewCheckIn(purpose="round", fix=here())
    with pytest.raises(ValueError, match="create_judged"):
        caller.do(lambda client: client.check_ins.create_batch([new]))
    assert len(caller.transport.requests) == 1


@pytest.mark.parametrize(
    "spoiled",
    [the_file(b"DSB\x01"), the_file(b"<html>"), answer({}), UNCHANGED, Response(
        status=200, headers={}, body=b""
    )],
)  # fmt: skip
def test_what_is_no_bundle_is_told(either: Any, spoiled: Response) -> None:
    caller = either.client(spoiled)
    with pytest.raises(UnexpectedAnswer):
        caller.do(lambda client: client.sites.bundle())


def test_another_enrollment_forgets_the_bundle(either: Any) -> None:
    caller = either.client(the_file(), answer(ENROLLMENT), the_file())
    caller.do(lambda client: client.sites.bundle())
    caller.do(lambda client: client.device.enroll("code"))
    caller.do(lambda client: client.sites.bundle())
    assert "If-None-Match" not in caller.transport.requests[2].headers


# -- against the server, on the wire -----------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("judged") / "home") as server:
        body = {"name": "Office", "geofence": SQUARE, "timezone": "America/Sao_Paulo"}
        assert server.call("POST", "/v1/sites", body)[0] == 201
        yield server


@pytest.fixture(scope="module")
def purpose(server: Served) -> str:
    with Client(server.url) as client:
        client.device.enroll(server.code())
        with pytest.raises(NotFound):
            client.sites.bundle()
    body = {"name": "round", "title": "Rounds", "legal_basis": "contract", "judged_by": "device"}
    assert server.call("POST", "/v1/purposes", body)[0] == 201
    return "round"


@pytest.fixture
def wire(server: Served) -> Iterator[Captured]:
    address = urlsplit(server.url)
    assert address.hostname is not None
    assert address.port is not None
    with relayed(address.hostname, address.port) as captured:
        yield captured


def test_no_coordinate_is_on_the_wire(server: Served, purpose: str, wire: Captured) -> None:
    draw, places = random.Random("wire"), Submitted()
    fixes = [_somewhere(draw) for _ in range(60)]
    for fix in fixes:
        places.add(fix.lat)
        places.add(fix.lon)
    with Client(wire.url) as client:
        client.device.enroll(server.code())
        client.permission.report("precise")
        bundle = client.sites.bundle()
        outcomes = {
            client.check_ins.create_judged(purpose=purpose, fix=fix).outcome for fix in fixes[:30]
        }
        batch = [bundle.judge(purpose=purpose, fix=fix) for fix in fixes[30:]]
        results = client.check_ins.create_batch(batch)
        assert {result.status for result in results} == {201}
        assert {result.check_in and result.check_in.outcome for result in results} == outcomes
        assert outcomes == {"accepted", "uncertain", "rejected"}
        assert places.hits(wire.everything) == []
        # else the search would find nothing because it looks at nothing
        assert wire.sent.count(b'"verdict"') == 60
        client.check_ins.create(purpose="visit", fix=fixes[0])
        assert "text" in places.hits(wire.everything)


def _somewhere(draw: random.Random) -> Fix:
    """Inside, about the edge and far away; with an accuracy that is one's own."""
    return Fix.now(
        lat=INSIDE["lat"] + draw.gauss(0, 0.002),
        lon=INSIDE["lon"] + draw.gauss(0, 0.002),
        accuracy_m=draw.uniform(4, 60),
    )


def test_the_async_client_does_the_same(server: Served, purpose: str) -> None:
    async def life() -> None:
        async with AsyncClient(server.url) as client:
            await client.device.enroll(server.code())
            await client.permission.report("precise")
            fix = Fix.now(**INSIDE, accuracy_m=8.0)
            one = await client.check_ins.create_judged(purpose=purpose, fix=fix, action="in")
            assert (one.outcome, one.stored.fields["evidence"]) == ("accepted", "device")

    asyncio.run(life())


def test_the_server_refuses_what_was_not_to_be_sent(server: Served, purpose: str) -> None:
    """By a client that does not know the purpose."""
    with Client(server.url) as client:
        token = client.device.enroll(server.code()).token
    with Client(server.url, token=token) as ignorant:
        ignorant.permission.report("precise", sequence=1)
        with pytest.raises(Invalid, match="position-not-taken"):
            ignorant.check_ins.create(purpose=purpose, fix=Fix.now(**INSIDE, accuracy_m=8.0))


def test_a_fence_that_moved_is_judged_anew(server: Served, purpose: str) -> None:
    body = {"name": "Mobile", "geofence": SQUARE, "timezone": "America/Sao_Paulo"}
    _, site = server.call("POST", "/v1/sites", body)
    with Client(server.url) as client:
        client.device.enroll(server.code())
        client.permission.report("precise")
        fix = Fix.now(**INSIDE, accuracy_m=8.0)
        claim = {"purpose": purpose, "fix": fix, "site_id": site["id"]}
        assert client.check_ins.create_judged(**claim).outcome == "accepted"
        [ring] = SQUARE["coordinates"]
        moved = {"type": "Polygon", "coordinates": [[[lon, lat + 1] for lon, lat in ring]]}
        server.call("PUT", f"/v1/sites/{site['id']}", {**body, "geofence": moved, "version": 1})
        assert client.check_ins.create_judged(**claim).reason == "outside"
