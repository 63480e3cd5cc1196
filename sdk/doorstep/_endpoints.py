"""Every endpoint, described once: what is sent and how the answer is read. No I/O, no state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Generic, Literal, NoReturn, TypeVar

from doorstep._answers import (
    BatchResult,
    CheckIn,
    DeviceInfo,
    DeviceStatus,
    Enrollment,
    Erasure,
    Feature,
    ListedCheckIn,
    PermissionStatus,
    Purpose,
    Restrictions,
    Stored,
    Tenant,
)
from doorstep._check_in import JudgedCheckIn, NewCheckIn
from doorstep._clock import Moment
from doorstep._errors import ApiError, UnexpectedAnswer
from doorstep._fix import Fix
from doorstep._known import is_token
from doorstep._refusals import is_success, problem_error, request_id_of
from doorstep._value import Unpicklable, Value
from doorstep._wire import Document, Mismatch, Response

T = TypeVar("T")
Body = Mapping[str, object]

_BUNDLE = "application/vnd.doorstep.sites"

PermissionState = Literal[
    "unknown",
    "denied",
    "restricted",
    "services_off",
    "approximate",
    "precise_once",
    "precise",
]


class Call(Unpicklable, Value, Generic[T]):
    """One endpoint with its arguments: `body` is asked again for every attempt."""

    method: str
    path: str
    read: Callable[[Document, Response], T]
    body: Callable[[Moment], Body] | None = None
    needs_token: bool = True
    #: of an answer that is no JSON: in place of `read`
    read_file: Callable[[Response], T] | None = None
    #: beside those that every request has
    headers: Mapping[str, str] | None = None

    def takes(self, status: int) -> bool:
        """Whether a status is an answer, and no refusal."""
        unchanged = self.read_file is not None and status == 304
        return unchanged or is_success(status)

    def __repr__(self) -> str:
        return f"<Call {self.method} {self.path.partition('?')[0]}>"


class Page(Value):
    """Some of a list, and where it goes on."""

    items: tuple[ListedCheckIn, ...]
    next_cursor: str | None


def enroll(code: str, installation_id: str, device: DeviceInfo) -> Call[Enrollment]:
    body = {
        "code": code,
        "installation_id": installation_id,
        "device": {
            "platform": device.platform,
            "os_version": device.os_version,
            "model": device.model,
        },
    }
    return Call(
        method="POST",
        path="/v1/enrollments",
        read=_enrollment,
        body=lambda _: body,
        needs_token=False,
    )


def rotate_token() -> Call[str]:
    return Call(method="POST", path="/v1/device/token", read=lambda answer, _: _token(answer))


def device_status() -> Call[DeviceStatus]:
    return Call(method="GET", path="/v1/device", read=_device_status)


def report_permission(
    state: PermissionState, sequence: int, observed_at: datetime
) -> Call[PermissionStatus]:
    body = {"state": state, "sequence": sequence, "observed_at": _time(observed_at)}
    return Call(
        method="PUT", path="/v1/device/permission", read=_permission_status, body=lambda _: body
    )


def create_check_in(new: NewCheckIn | JudgedCheckIn, epoch: int | None) -> Call[CheckIn]:
    return Call(
        method="POST",
        path="/v1/check-ins",
        read=_single_check_in,
        body=lambda now: {**_claim(new, epoch, now), "sent_at": _time(now.wall)},
    )


def create_check_ins(
    new: Sequence[NewCheckIn | JudgedCheckIn], epoch: int | None
) -> Call[tuple[BatchResult, ...]]:
    return Call(
        method="POST",
        path="/v1/check-ins/batch",
        read=lambda answer, response: _batch(answer, response, expected=len(new)),
        body=lambda now: {
            "check_ins": [_claim(one, epoch, now) for one in new],
            "sent_at": _time(now.wall),
        },
    )


def fetch_bundle(known_sha256: str | None) -> Call[bytes | None]:
    """The bundle as it is; None when the one that is known is still the same."""
    tag = {} if known_sha256 is None else {"If-None-Match": f'"{known_sha256}"'}
    return Call(
        method="GET",
        path="/v1/sites/bundle",
        read=_no_document,
        read_file=_file,
        headers={"Accept": f"{_BUNDLE}, application/problem+json", **tag},
    )


def restrictions() -> Call[Restrictions]:
    return Call(
        method="GET",
        path="/v1/device",
        read=lambda answer, _: _restrictions(answer.child("restrictions")),
    )


def restrict(wanted: Restrictions) -> Call[Restrictions]:
    body = {"purposes": list(wanted.purposes), "wholly": wanted.wholly}
    return Call(
        method="PUT",
        path="/v1/device/restrictions",
        read=lambda answer, _: _restrictions(answer),
        body=lambda _: body,
    )


def erase() -> Call[str]:
    return Call(
        method="POST",
        path="/v1/device/erasure",
        read=lambda answer, _: answer.text("erasure"),
    )


def erasure_status(code: str) -> Call[Erasure]:
    from urllib.parse import quote  # noqa: PLC0415 (slow to import, and rarely needed)

    return Call(
        method="GET",
        path=f"/v1/erasures/{quote(code, safe='')}",
        read=lambda answer, _: Erasure(
            code=code, status=answer.text("status"), receipt=answer.maybe_text("receipt")
        ),
        needs_token=False,
    )


def signing_keys() -> Call[tuple[Mapping[str, str], ...]]:
    return Call(
        method="GET",
        path="/v1/privacy/signing-keys",
        read=lambda answer, _: tuple(_signing_key(one) for one in answer.children("keys")),
        needs_token=False,
    )


def list_check_ins(page_size: int, cursor: str | None) -> Call[Page]:
    from urllib.parse import quote  # noqa: PLC0415 (slow to import, and rarely needed)

    following = f"&cursor={quote(cursor, safe='')}" if cursor else ""
    return Call(
        method="GET",
        path=f"/v1/check-ins?limit={page_size}{following}",
        read=lambda answer, _: _page(answer, cursor),
    )


def _claim(new: NewCheckIn | JudgedCheckIn, epoch: int | None, now: Moment) -> Body:
    return {
        "id": new.id,
        "purpose": new.purpose,
        "site_id": new.site_id,
        "action": new.action,
        **(_told(new, now) if isinstance(new, JudgedCheckIn) else _seen(new, now)),
        "permission_epoch": epoch if new.permission_epoch is None else new.permission_epoch,
    }


def _seen(new: NewCheckIn, now: Moment) -> Body:
    return {"fix": _fix(new.fix), "age_s": new.fix.age_s(now)}


def _told(new: JudgedCheckIn, now: Moment) -> Body:
    verdict = {
        "reason": new.reason,
        "captured_at": _time(new.captured_at),
        "bundle_version": new.bundle_version,
    }
    return {"verdict": verdict, "age_s": new.age_s(now)}


def _fix(fix: Fix) -> Body:
    return {
        "lat": fix.lat,
        "lon": fix.lon,
        "accuracy_m": fix.accuracy_m,
        "captured_at": _time(fix.captured_at),
        "mocked": fix.mocked,
        "source": fix.source,
    }


def _time(moment: datetime) -> str:
    """In UTC: the phone's own offset is nobody's business."""
    return moment.astimezone(UTC).isoformat()


def _no_document(_: Document, __: Response) -> NoReturn:
    raise Mismatch


def _file(response: Response) -> bytes | None:
    """What came; None of an answer that says that nothing has changed."""
    if response.status == 304:
        return None
    if not (response.header("content-type") or "").startswith(_BUNDLE):
        raise Mismatch
    return response.body


def _restrictions(answer: Document) -> Restrictions:
    return Restrictions(purposes=answer.texts("purposes"), wholly=answer.flag("wholly"))


def _signing_key(answer: Document) -> Mapping[str, str]:
    return {name: answer.text(name) for name in ("kty", "crv", "x")}


def _token(answer: Document) -> str:
    token = answer.text("token")
    if not is_token(token):
        raise Mismatch
    return token


def _enrollment(answer: Document, _: Response) -> Enrollment:
    tenant = answer.child("tenant")
    return Enrollment(
        device_id=answer.text("device_id"),
        token=_token(answer),
        tenant=Tenant(id=tenant.text("id"), name=tenant.text("name")),
        subject_id=answer.text("subject_id"),
        purposes=_purposes(answer),
        permission_epoch=answer.whole("permission_epoch"),
    )


def _device_status(answer: Document, _: Response) -> DeviceStatus:
    return DeviceStatus(
        device_id=answer.text("device_id"),
        permission=answer.text("permission"),
        permission_sequence=answer.whole("permission_sequence"),
        permission_epoch=answer.whole("permission_epoch"),
        features=_features(answer),
        purposes=_purposes(answer),
    )


def _permission_status(answer: Document, _: Response) -> PermissionStatus:
    return PermissionStatus(
        state=answer.text("state"),
        permission_epoch=answer.whole("permission_epoch"),
        features=_features(answer),
    )


def _features(answer: Document) -> tuple[Feature, ...]:
    return tuple(
        Feature(
            name=one.text("name"),
            available=one.flag("available"),
            because=one.maybe_text("because"),
        )
        for one in answer.children("features")
    )


def _purposes(answer: Document) -> tuple[Purpose, ...]:
    return tuple(
        Purpose(
            name=one.text("name"),
            title=one.text("title"),
            level=one.text("level"),
            time_precision_s=one.whole("time_precision_s"),
            retention_days=one.whole("retention_days"),
            max_age_s=one.whole("max_age_s"),
            requires_consent=one.flag("requires_consent"),
            # a server that knows of no others judges itself
            judged_by=one.maybe_text("judged_by") or "server",
        )
        for one in answer.children("purposes")
    )


def _single_check_in(answer: Document, response: Response) -> CheckIn:
    replayed = (response.header("doorstep-replayed") or "").lower() == "true"
    return _check_in(answer, replayed=replayed, request_id=request_id_of(response))


def _check_in(answer: Document, *, replayed: bool | None, request_id: str | None) -> CheckIn:
    stored = answer.child("stored")
    return CheckIn(
        id=answer.text("id"),
        outcome=answer.text("outcome"),
        reason=answer.maybe_text("reason"),
        site_id=answer.maybe_text("site_id"),
        action=answer.maybe_text("action"),
        stored=Stored(level=stored.text("level"), fields=stored.others("level")),
        expires_on=answer.maybe_day("expires_on"),
        decision=answer.maybe_text("decision"),
        replayed=replayed,
        request_id=request_id,
    )


def _batch(answer: Document, response: Response, *, expected: int) -> tuple[BatchResult, ...]:
    results = answer.children("results")
    if [one.whole("index") for one in results] != list(range(expected)):
        raise Mismatch
    return tuple(_batch_result(one, request_id_of(response)) for one in results)


def _batch_result(one: Document, request_id: str | None) -> BatchResult:
    """An item that cannot be read is an error of its own: the others keep their answers."""
    status = one.whole("status")
    check_in: CheckIn | None = None
    error: ApiError | None = None
    if is_success(status):
        try:
            check_in = _check_in(one, replayed=one.maybe_flag("replayed"), request_id=request_id)
        except Mismatch:
            error = UnexpectedAnswer(status, request_id=request_id)
    else:
        error = problem_error(status, one, request_id=request_id)
    return BatchResult(
        index=one.whole("index"),
        id=one.maybe_text("id"),
        status=status,
        check_in=check_in,
        error=error,
    )


def _page(answer: Document, cursor: str | None) -> Page:
    next_cursor = answer.maybe_text("next_cursor")
    if next_cursor is not None and next_cursor == cursor:
        raise Mismatch  # it would never end
    return Page(
        items=tuple(_listed(one) for one in answer.children("items")), next_cursor=next_cursor
    )


def _listed(one: Document) -> ListedCheckIn:
    return ListedCheckIn(
        id=one.text("id"),
        site_id=one.maybe_text("site_id"),
        site_version=one.maybe_whole("site_version"),
        purpose=one.text("purpose"),
        action=one.maybe_text("action"),
        time=one.maybe_time("time"),
        outcome=one.text("outcome"),
        reason=one.maybe_text("reason"),
        evidence=one.maybe_text("evidence"),
        level=one.text("level"),
        expires_on=one.maybe_day("expires_on"),
    )
