"""One tenant never sees, changes or learns of another: proved for every route there is.

The cases are made from the app's route table. For every place where a request carries a value,
another tenant's value and one that never existed get the very same answer. And every answer is the
same whether or not there are tenants with the very same keys. A route that takes something new
fails `test_every_value_has_its_makers`, which says what to add.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorstep_server.auth import GuardCaller
from doorstep_server.credentials import HANDLE_LENGTH
from doorstep_server.problems import Refusal, problem
from doorstep_server.scopes import ALL_SCOPES
from privacy import two_tenants
from privacy.asking import (
    NAMES,
    PLAIN,
    Asking,
    Caller,
    Request,
    Seen,
    ask,
    assert_says_nothing,
    name_of,
    named,
    seen,
    send,
)
from privacy.route_table import EACH, Operation, Place, operations, table
from privacy.two_tenants import HIGH, LOW, Side, cast_shadows, everything, lift_shadows
from world import DATABASES, Api, World

TABLE = table()
#: what each kind of caller can call
CALLS = [(operation, caller) for operation in TABLE for caller in operation.callers or (None,)]


def cases(calls: Iterable[tuple[Operation, Caller]]) -> pytest.MarkDecorator:
    """A test for each, by the route's name."""
    named_cases = [
        pytest.param(*call, id=f"{call[0]} as {call[1].scheme if call[1] else 'anybody'}")
        for call in calls
    ]
    return pytest.mark.parametrize(("operation", "caller"), named_cases)


OF_THE_API = [call for call in CALLS if call[0].path.startswith(("/v1/", "/health/"))]
GUARDED = [call for call in CALLS if call[1] is not None]
FOR_KEYS = [call for call in GUARDED if call[1].scope is not None]
FOR_DEVICES = [call for call in GUARDED if call[1].scope is None]
WITH_BODIES = [call for call in CALLS if call[0].body is not None]
WITH_NAMES = [call for call in CALLS if named(call[0])]
LISTS = [call for call in CALLS if call[0].takes("cursor")]
BOTH_WAYS = pytest.mark.parametrize("caller_is", ["first", "second"])


@dataclass
class Two:
    """The two tenants in their world."""

    world: World
    first: Side
    second: Side

    def sides(self, caller: str) -> tuple[Side, Side]:
        """Who calls, and whose things are asked for."""
        return (self.first, self.second) if caller == "first" else (self.second, self.first)

    def all_others(self) -> list[str]:
        """All that is stored of others than the first."""
        return everything(self.world, self.second.tenant_id, LOW, HIGH)


@pytest.fixture(scope="module", params=DATABASES)
def two(
    request: pytest.FixtureRequest, worlds: Callable[[str], AbstractContextManager[World]]
) -> Iterator[Two]:
    """The parameter names the database; nothing else here knows of one."""
    with worlds(request.param) as world:
        # that guessing is slowed down is tested elsewhere: here it is done on purpose
        world.services.enrollment_throttle.failures = 1_000_000
        first = two_tenants.settle(world.first, "first")
        second = two_tenants.settle(world.tenant("Tenancy of the second"), "second")
        two_tenants.add_shadows(world)
        world.clock.advance(minutes=30)  # the codes so far have ended
        for side in (first, second):
            side.codes["unused"] = side.new_code()
        yield Two(world, first, second)


# -- the table -------------------------------------------------------------------------------


def test_the_cases_are_the_routes_of_the_app(two: Two) -> None:
    served = [str(operation) for operation in operations(two.world.client.app)]
    assert served == [str(operation) for operation in TABLE]
    assert len(OF_THE_API) > 25


def test_every_value_has_its_makers() -> None:
    """A value that could name a thing must be tried with another tenant's."""
    places = [(operation, place) for operation in TABLE for place in operation.places]
    missing = [
        f"{operation}: {place}"
        for operation, place in places
        if (place.names or place.required) and not name_of(place) and place.name not in PLAIN
    ]
    assert not missing, (
        "Add to NAMES in asking.py, by the name of the place, how to make one's own value, "
        "another tenant's, and one that never existed. If the value can name nothing that belongs "
        f"to a tenant, add a good one to PLAIN. Missing: {missing}"
    )
    known = {place.name for _, place in places}
    known |= {f"{place.where} {place.name}" for _, place in places}
    assert not (NAMES.keys() | PLAIN.keys()) - known, "makers of what no route takes any more"


# -- one's own among others' of the same keys ------------------------------------------------------


@cases(OF_THE_API)
def test_an_answer_is_the_same_beside_tenants_with_the_same_keys(
    two: Two, operation: Operation, caller: Caller
) -> None:
    """What one's own request does, it does to one's own only; and the route's scope is enough."""
    asking = Asking(operation, caller, two.first, two.second)
    alone, beside = (Request.whole(asking, all_names=True) for _ in range(2))
    lift_shadows(two.world)
    answered_alone = ask(asking, alone)
    assert answered_alone[0] < 300, answered_alone
    assert all(item["status"] == 201 for item in _items(answered_alone) if "status" in item)
    cast_shadows(two.world, two.first)
    before = two.all_others()
    assert ask(asking, beside) == answered_alone
    assert two.all_others() == before


def _items(answered: Seen) -> list[dict[str, Any]]:
    said = answered[2] if isinstance(answered[2], dict) else {}
    return list(said.get("results", []))


@BOTH_WAYS
@cases(LISTS)
def test_a_list_shows_all_of_ones_own_and_nothing_else(
    two: Two, operation: Operation, caller: Caller, caller_is: str
) -> None:
    me, other = two.sides(caller_is)
    asking = Asking(operation, caller, me, other)
    cast_shadows(two.world, me)
    request = Request.whole(asking, {"path site_id": me.site_id, "path hold_id": me.hold_id})
    shown: list[str] = []
    for answer in pages(asking, request):
        assert_says_nothing(asking, request, answer)
        shown += [_identity(item) for item in answer.json()["items"]]
    assert len(shown) == len(set(shown)) > 2
    # purposes have no ids, and those of check-ins that are held are sealed
    if not operation.path.endswith(("/purposes", "/holds/{hold_id}/check-ins")):
        assert {item.split()[0] for item in shown} <= two_tenants.ids(two.world, me.tenant_id)


def pages(asking: Asking, request: Request) -> Iterator[httpx.Response]:
    """From the first to the last."""
    world, cursor = asking.me.tenancy.world, ""
    request.query["limit"] = "2"
    while cursor is not None:
        answer = send(asking.operation, world, request, asking.token(asking.me))
        assert answer.status_code == 200, answer.text
        yield answer
        cursor = request.query["cursor"] = answer.json()["next_cursor"]


def _identity(item: dict[str, Any]) -> str:
    return f"{item.get('id', item.get('name'))} {item.get('version')}"


@pytest.mark.parametrize("path", ["/v1/check-ins", "/v1/check-ins/batch"])
def test_a_repeated_check_in_is_answered_as_the_first_time_beside_the_same_ids(
    two: Two, path: str
) -> None:
    """The other tenant used the same ids, and the shadows have the same receipts."""
    cast_shadows(two.world, two.first)
    before = two.all_others()
    for claim, answered in two.first.checked_in:
        if path.endswith("batch"):
            [again] = two.first.phone.post(path, {"check_ins": [claim]}).json()["results"]
            assert again.pop("replayed")
            again = {k: v for k, v in again.items() if k not in {"kind", "index", "status"}}
        else:
            again = two.first.phone.post(path, claim).json()
        assert again == answered
    assert two.all_others() == before
    outcomes = {answered["outcome"] for _, answered in two.first.checked_in}
    assert outcomes == {"accepted", "rejected", "uncertain"}


def test_a_new_token_ends_ones_own_old_one_only(two: Two) -> None:
    phone = two.first.tenancy.phone()
    new = Api(phone.client, phone.post("/v1/device/token").json()["token"])
    cast_shadows(two.world, two.first)
    before = two.all_others()
    assert new.get("/v1/device").status_code == 200
    assert phone.get("/v1/device").status_code == 401
    assert two.all_others() == before


def test_a_repeated_enrollment_is_answered_as_the_first_time_beside_the_same_codes(
    two: Two,
) -> None:
    code, tenancy = two.first.new_code(), two.first.tenancy
    first = tenancy.enroll(code, "once").json()
    cast_shadows(two.world, two.first)
    before = two.all_others()
    assert tenancy.enroll(code, "once").json() == first
    assert two.all_others() == before


# -- credentials -----------------------------------------------------------------------------


def wrong_tokens(scheme: str, me: Side, other: Side) -> dict[str, str | None]:
    """Of a caller of this kind: everything that is no credential, or none any more."""
    mine, theirs = (
        side.key(*ALL_SCOPES).token if scheme == "apiKey" else side.phone.token
        for side in (me, other)
    )
    kind, kid, secret = mine.split("_")
    _, their_kid, their_secret = theirs.split("_")
    tail, their_tail = kid[HANDLE_LENGTH:], their_kid[HANDLE_LENGTH:]
    other_kind = "dst" if kind == "dsk" else "dsk"
    return {
        "none at all": None,
        "empty": "",
        "cut by one": mine[:-1],
        "cut in the secret": mine[:-32],
        "without a secret": f"{kind}_{kid}_",
        "one too long": mine + "0",
        "with a wrong secret": f"{kind}_{kid}_{'0' * 64}",
        "with another's secret": f"{kind}_{kid}_{their_secret}",
        "of another, with my secret": f"{kind}_{their_kid}_{secret}",
        "of another, under my handle": f"{kind}_{me.handle}{their_tail}_{their_secret}",
        "mine, under another's handle": f"{kind}_{other.handle}{tail}_{secret}",
        "mine, under nobody's handle": f"{kind}_{'0' * HANDLE_LENGTH}{tail}_{secret}",
        "never made": f"{kind}_{me.handle}{'0' * len(tail)}_{'0' * 64}",
        "of another kind": f"{other_kind}_{kid}_{secret}",
        "ended": me.ended[scheme],
        "another's ended": other.ended[scheme],
    }


@cases(GUARDED)
def test_a_token_that_is_none_is_refused_in_the_same_words_everywhere(
    two: Two, operation: Operation, caller: GuardCaller
) -> None:
    asking = Asking(operation, caller, two.first, two.second)
    request = Request.whole(asking)
    words = problem_words("unauthorized")
    answers = {
        why: seen(send(operation, two.world, request, token), request)
        for why, token in wrong_tokens(caller.scheme, two.first, two.second).items()
    }
    assert {why: (status, said) for why, (status, _, said) in answers.items()} == dict.fromkeys(
        answers, (401, words)
    )
    headers = {tuple(sorted(headers.items())) for _, headers, _ in answers.values()}
    assert len(headers) == 1
    assert answers["empty"][1]["www-authenticate"] == "Bearer"


def problem_words(code: str) -> dict[str, Any]:
    words = dict(msgspec.to_builtins(problem(Refusal(code), "")))
    del words["request_id"]
    return words


@cases(FOR_DEVICES)
def test_only_its_own_token_tells_that_a_device_was_revoked(
    two: Two, operation: Operation, caller: GuardCaller
) -> None:
    phone = two.first.tenancy.phone()
    two.first.tenancy.admin.delete(f"/v1/devices/{phone.device_id}")
    kind, kid, _ = phone.token.split("_")
    request = Request.whole(Asking(operation, caller, two.first, two.second))
    told = {
        code: seen(send(operation, two.world, request, token), request)
        for code, token in (
            ("device-revoked", phone.token),
            ("unauthorized", f"{kind}_{kid}_{'0' * 64}"),
        )
    }
    assert {code: (status, said) for code, (status, _, said) in told.items()} == {
        code: (401, problem_words(code)) for code in told
    }


@cases(FOR_KEYS)
def test_every_scope_but_the_routes_own_is_too_little(
    two: Two, operation: Operation, caller: GuardCaller
) -> None:
    area = str(caller.scope).partition(":")[0]
    enough = {caller.scope, f"{area}:write"}
    key = two.first.key(*(scope for scope in ALL_SCOPES if scope not in enough))
    request = Request.whole(Asking(operation, caller, two.first, two.second))
    before = everything(two.world, two.first.tenant_id)
    status, _, said = seen(send(operation, two.world, request, key.token), request)
    assert (status, said) == (403, problem_words("scope-missing"))
    assert everything(two.world, two.first.tenant_id) == before


# -- what a body cannot say --------------------------------------------------------------------


@pytest.mark.parametrize("member", ["tenant_id", "outcome", "received_at"])
@cases(WITH_BODIES)
def test_a_body_cannot_say_whose_it_is_nor_what_became_of_it(
    two: Two, operation: Operation, caller: Caller, member: str
) -> None:
    asking = Asking(operation, caller, two.first, two.second)
    value = {
        "tenant_id": str(two.second.tenant_id),
        "outcome": "accepted",
        "received_at": two.world.clock.now.isoformat(),
    }[member]
    requests = {inside: Request.whole(asking) for inside in objects(operation)}
    # a key is made for who asks first
    token = asking.token(two.first)
    before = everything(two.world, two.first.tenant_id, two.second.tenant_id)
    for inside, request in requests.items():
        request.put(Place("body", (*inside, member), required=False), value)
        answer = send(operation, two.world, request, token)
        assert _refused(answer) == (400, "invalid-body"), inside
    assert everything(two.world, two.first.tenant_id, two.second.tenant_id) == before


def objects(operation: Operation) -> set[tuple[str, ...]]:
    """Where in its body there are objects of ours."""
    places = [place.steps for place in operation.places if place.where == "body"]
    return {steps[: -2 if steps[-1] == EACH else -1] for steps in places}


def _refused(answer: httpx.Response) -> tuple[int, str]:
    """An item of a batch has its own status."""
    said = answer.json()
    for item in said.get("results", []):
        said = item
    return said["status"], said["code"]


# -- another's is none's -----------------------------------------------------------------------
# last, as each of these leaves the other tenant with more that is looked through from then on


@BOTH_WAYS
@cases(WITH_NAMES)
def test_what_is_anothers_is_as_what_never_was(
    two: Two, operation: Operation, caller: Caller, caller_is: str
) -> None:
    lift_shadows(two.world)
    asking = Asking(operation, caller, *two.sides(caller_is))
    tried = [
        (place, theirs, name.never(asking, theirs))
        for place, name in named(operation)
        for theirs in name.theirs(asking)
    ]
    # what is remembered of a tenant is from before the other's newest things
    two.world.services.policies.forget(asking.me.tenant_id)
    before = everything(two.world, asking.other.tenant_id)
    for place, theirs, never in tried:
        of_theirs = ask(asking, Request.whole(asking, {str(place): theirs}))
        of_nobody = ask(asking, Request.whole(asking, {str(place): never}))
        assert of_theirs == of_nobody, f"{place} tells what is another's"
        if place.where == "path" and caller is not None:
            assert of_theirs[0] == 404
    assert everything(two.world, asking.other.tenant_id) == before


def _combined(call: tuple[Operation, Caller]) -> st.SearchStrategy[Any]:
    """A call, and at least one of its places."""
    some = st.sets(st.sampled_from(range(len(named(call[0])))), min_size=1)
    return st.tuples(st.just(call[0]), st.just(call[1]), some)


COMBINED = st.sampled_from(WITH_NAMES).flatmap(_combined)


@settings(max_examples=12, derandomize=True, deadline=None, database=None)
@given(
    calls=st.lists(COMBINED, min_size=1, max_size=3), caller_is=st.sampled_from(["first", "second"])
)
def test_nor_do_several_values_together_tell_anything(
    two: Two, calls: list[tuple[Operation, Caller, set[int]]], caller_is: str
) -> None:
    """Such as another's cursor for another's site; and one call after the other."""
    for operation, caller, chosen in calls:
        asking = Asking(operation, caller, *two.sides(caller_is))
        places = [pair for n, pair in enumerate(named(operation)) if n in chosen]
        theirs = {str(place): name.theirs(asking)[0] for place, name in places}
        never = {str(place): name.never(asking, theirs[str(place)]) for place, name in places}
        before = everything(two.world, asking.other.tenant_id)
        of_theirs = ask(asking, Request.whole(asking, theirs))
        of_nobody = ask(asking, Request.whole(asking, never))
        assert of_theirs == of_nobody, f"{operation}: {list(theirs)}"
        assert everything(two.world, asking.other.tenant_id) == before
