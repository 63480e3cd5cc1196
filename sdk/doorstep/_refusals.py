"""The one table from the server's answers to errors."""

from __future__ import annotations

from datetime import datetime

from doorstep._errors import (
    ApiError,
    BundleOutdated,
    DeviceRevoked,
    IdReused,
    Invalid,
    NotAllowed,
    NotFound,
    PermissionUnknown,
    PermissionWithdrawn,
    RateLimited,
    Redirected,
    ServerError,
    TooOld,
    Unauthorized,
    UnexpectedAnswer,
)
from doorstep._retry import http_date, retry_after_s, told_retry_after_s
from doorstep._wire import Document, Mismatch, Response

_BY_CODE: dict[str, type[ApiError]] = {
    "device-revoked": DeviceRevoked,
    "permission-withdrawn": PermissionWithdrawn,
    "permission-unknown": PermissionUnknown,
    "id-reused": IdReused,
    "too-old": TooOld,
    "bundle-outdated": BundleOutdated,
}
_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: NotAllowed,
    404: NotFound,
    413: Invalid,
    415: Invalid,
    422: Invalid,
}


def is_success(status: int) -> bool:
    return 200 <= status < 300


def refusal(response: Response, now: datetime) -> ApiError:
    """The error that an answer without success stands for."""
    wait_s = retry_after_s(response.header("retry-after"), http_date_of(response) or now)
    request_id = request_id_of(response)
    try:
        problem = Document.of(response)
    except Mismatch:
        return _kind(response.status, "")(
            response.status, request_id=request_id, retry_after_s=wait_s
        )
    return problem_error(response.status, problem, request_id=request_id, wait_s=wait_s)


def problem_error(
    status: int, problem: Document, *, request_id: str | None, wait_s: float | None = None
) -> ApiError:
    """The error that a problem document stands for, alone or in a batch."""
    members = problem.others()
    if wait_s is None:
        wait_s = told_retry_after_s(members.get("retry_after_s"))
    code = _word(members.get("code")) or ""
    detail, at = members.get("detail"), members.get("at")
    return _kind(status, code)(
        status,
        code=code,
        request_id=_word(members.get("request_id")) or request_id,
        retry_after_s=wait_s,
        detail=detail if isinstance(detail, str) else None,
        at=at if isinstance(at, str) else None,
    )


def unexpected(response: Response) -> UnexpectedAnswer:
    """The error for an answer that is no Doorstep server's."""
    return UnexpectedAnswer(response.status, request_id=request_id_of(response))


def request_id_of(response: Response) -> str | None:
    return _word(response.header("request-id") or response.header("x-request-id"))


def http_date_of(response: Response) -> datetime | None:
    """The server's own time, so that a phone's wrong clock spoils no Retry-After date."""
    written = response.header("date") if response.header("retry-after") else None
    return http_date(written) if written else None


def _kind(status: int, code: str) -> type[ApiError]:
    """Without a code a 4xx is a proxy's: it must not pass for a revoked device or permission."""
    if status >= 500 or status == 408:
        return ServerError
    if status == 429:
        return RateLimited
    if 300 <= status < 400:
        return Redirected
    if not code or status < 400:
        return UnexpectedAnswer
    return _BY_CODE.get(code) or _BY_STATUS.get(status, ApiError)


def _word(value: object) -> str | None:
    """A short plain word, or None: whatever else stands there is kept out of messages."""
    if not isinstance(value, str) or len(value) > 64 or not value.isascii():
        return None
    return value if value.replace("-", "").replace("_", "").isalnum() else None
