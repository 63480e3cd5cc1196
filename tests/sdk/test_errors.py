"""Errors: one class for each thing to do next, and nothing in them that should not be."""

import pickle
import traceback
from pathlib import Path

import pytest

import doorstep
from doorstep import (
    ApiError,
    ConnectionLost,
    DeviceRevoked,
    DoorstepError,
    Fix,
    IdReused,
    Invalid,
    NewCheckIn,
    NotAllowed,
    NotFound,
    PermissionUnknown,
    PermissionWithdrawn,
    RateLimited,
    Redirected,
    Response,
    Retry,
    ServerError,
    TooOld,
    TransportError,
    Unauthorized,
    UnexpectedAnswer,
    _errors,
)
from sdk.scripted import (
    ACCEPTED,
    ENROLLMENT,
    LAT,
    LON,
    NOON,
    TOKEN,
    Either,
    a_fix,
    answer,
    page,
    problem,
)

ONCE = Retry(attempts=1)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid", Invalid),
        (401, "unauthorized", Unauthorized),
        (401, "device-revoked", DeviceRevoked),
        (403, "permission-withdrawn", PermissionWithdrawn),
        (403, "permission-unknown", PermissionUnknown),
        (403, "purpose-restricted", NotAllowed),
        (403, "consent-required", NotAllowed),
        (403, "not-assigned", NotAllowed),
        (403, "never-heard-of", NotAllowed),
        (404, "not-found", NotFound),
        (409, "version-conflict", ApiError),
        (413, "body-too-large", Invalid),
        (415, "unsupported-media-type", Invalid),
        (422, "id-reused", IdReused),
        (422, "too-old", TooOld),
        (422, "invalid", Invalid),
        (429, "rate-limited", RateLimited),
        (500, "internal", ServerError),
        (503, "unavailable", ServerError),
    ],
)
def test_each_refusal_has_its_class(either, status, code, kind):
    with pytest.raises(ApiError) as raised:
        either.client(problem(status, code), retry=ONCE).check_in()
    assert type(raised.value) is kind
    assert (raised.value.status, raised.value.code) == (status, code)
    assert raised.value.request_id == "req-9"
    assert str(raised.value) == f"{status} {code}: {kind.advice} (request req-9)"


@pytest.mark.parametrize("status", [200, 201, 204, 400, 401, 403, 404, 511 - 100])
def test_a_captive_portal_is_not_taken_for_the_server(either, status):
    with pytest.raises(UnexpectedAnswer, match="captive portal") as raised:
        either.client(page(status)).check_in()
    assert "Welcome" not in str(raised.value)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b'{"id": 5}', b"{", b"\xff\xfe", b"[" * 100_000, b'{"stored": []}'],
)
def test_json_that_is_no_answer_is_unexpected(either, body):
    response = Response(status=201, headers={"content-type": "application/json"}, body=body)
    with pytest.raises(UnexpectedAnswer):
        either.client(response).check_in()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(either, status):
    caller = either.client(Response(status=status, headers={"location": "/"}, body=b""))
    with pytest.raises(Redirected, match="redirect"):
        caller.check_in()
    assert len(caller.transport.requests) == 1


def test_a_code_that_is_no_word_is_kept_out(either):
    with pytest.raises(UnexpectedAnswer) as raised:
        either.client(problem(422, f"lat {LAT} is wrong")).check_in()
    assert raised.value.code == ""
    assert str(LAT) not in str(raised.value)


def test_the_servers_detail_is_for_developers_not_for_the_message(either):
    response = Response(
        status=422,
        headers={"content-type": "application/problem+json"},
        body=b'{"code": "invalid", "detail": "fix.lat is missing", "at": "fix.lat"}',
    )
    with pytest.raises(Invalid) as raised:
        either.client(response).check_in()
    assert (raised.value.detail, raised.value.at) == ("fix.lat is missing", "fix.lat")
    assert "fix.lat" not in str(raised.value)


def every_error():
    kinds = [DoorstepError]
    for kind in kinds:
        kinds.extend(children(kind))
    return kinds


def children(kind):
    return [child for child in kind.__subclasses__() if child.__module__ == _errors.__name__]


def test_the_drawing_is_the_tree():
    drawn = _errors.__doc__.split("\n\n")[1].splitlines()

    def draw(kind, depth):
        yield (depth, kind.__name__)
        for child in children(kind):
            yield from draw(child, depth + 1)

    read = [((len(line) - len(line.lstrip("│├└─ "))) // 4, line.strip("│├└─ ")) for line in drawn]
    assert sorted(read) == sorted(draw(DoorstepError, 0))


@pytest.mark.parametrize("kind", every_error()[1:], ids=lambda kind: kind.__name__)
def test_every_error_is_public_says_what_to_do_and_survives_pickling(kind):
    error = kind(418) if issubclass(kind, ApiError) else kind()
    assert kind.__name__ in doorstep.__all__
    assert kind.__doc__
    assert str(error).endswith(".")
    assert len(str(error)) > 40
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (kind, str(error))


class OwnError(TransportError):
    """Of a transport that is not ours."""


FAILURES = {
    "refused": problem(422, "invalid"),
    "revoked": problem(401, "device-revoked"),
    "portal": page(200),
    "lost": ConnectionLost(),
    "own": OwnError("gone"),
    "unreadable": answer({**ACCEPTED, "expires_on": f"{LAT}"}),
    "redirect": Response(status=307, headers={"location": f"https://x/?lat={LAT}"}, body=b""),
}
SECRETS = (str(LAT), str(LON), TOKEN, "52.37", "4.895", "CODE-8pQ")


def said(error: BaseException) -> str:
    """All that a crash reporter could print, the variables of our frames included."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in told.stack:
        if not Path(frame.filename).is_relative_to(Path(doorstep.__file__).parent):
            frame.locals = None
    return "".join(told.format()) + repr(error) + str(error) + repr(vars(error))


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("attempts", [1, 2])
def test_no_error_shows_a_position_or_a_token_in_any_frame(either, name, attempts):
    caller = either.client(*[FAILURES[name]] * 2, retry=Retry(attempts=attempts))
    fix = a_fix()
    with pytest.raises(DoorstepError) as raised:
        caller.do(lambda client: client.check_ins.create(purpose="visit", fix=fix))
    text = said(raised.value)
    assert raised.value.__context__ is None
    for secret in SECRETS:
        assert secret not in text


@pytest.mark.parametrize("broken", [problem(422, "invalid"), answer({**ENROLLMENT, "purposes": 1})])
def test_no_error_of_enrolling_shows_code_or_token(either, broken):
    caller = either.client(broken, token=None)
    with pytest.raises(ApiError) as raised:
        caller.do(lambda client: client.device.enroll(SECRETS[-1]))
    for secret in SECRETS:
        assert secret not in said(raised.value)


@pytest.mark.parametrize("make", [Fix, Fix.now])
def test_a_refused_fix_leaves_no_place_in_its_frames(make):
    at = {"captured_at": NOON} if make is Fix else {}
    with pytest.raises(ValueError, match="accuracy_m") as raised:
        make(lat=LAT, lon=LON, accuracy_m=-1.0, **at)
    for secret in SECRETS:
        assert secret not in said(raised.value)


@pytest.mark.parametrize("options", [{"base_url": "http://far.example"}, {"token": TOKEN + "\n"}])
def test_a_refused_client_does_not_show_its_token(either, options):
    with pytest.raises(ValueError, match=r"base_url|token") as raised:
        either.client(**options)
    assert TOKEN not in said(raised.value)


def test_nothing_that_holds_a_secret_shows_it():
    caller = Either("sync").client(answer(ENROLLMENT), answer(ACCEPTED))
    enrollment = caller.do(lambda client: client.device.enroll("CODE-8pQ"))
    check_in = caller.check_in()
    shown = repr(
        [
            caller.client,
            caller.client.check_ins,
            enrollment,
            check_in,
            check_in.stored,
            NewCheckIn(purpose="visit", fix=a_fix()),
            caller.transport.requests,
            answer({"lat": LAT}),
        ]
    )
    for secret in (*SECRETS, "site-1"):
        assert secret not in shown
    assert repr(caller.client) == "<Still https://doorstep.test>"
    assert repr(caller.transport.requests[1]) == "<Request POST /v1/check-ins>"


def test_a_client_cannot_be_pickled(either):
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(either.client().client)
