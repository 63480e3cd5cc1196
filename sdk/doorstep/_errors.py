"""What can go wrong.

DoorstepError
├── NotEnrolled
├── OutboxFull
├── OutboxUnusable
├── Unsealable
├── TransportError
│   ├── ConnectFailed
│   ├── ConnectionLost
│   ├── TimedOut
│   └── UntrustedServer
│       └── NoTrustStore
└── ApiError
    ├── Unauthorized
    │   └── DeviceRevoked
    ├── PermissionWithdrawn
    ├── PermissionUnknown
    ├── NotAllowed
    ├── NotFound
    ├── IdReused
    ├── TooOld
    ├── BundleOutdated
    ├── Invalid
    ├── RateLimited
    ├── ServerError
    └── UnexpectedAnswer
        └── Redirected

No error carries a coordinate, a token or what was sent.
"""

from __future__ import annotations

from typing import ClassVar


class DoorstepError(Exception):
    """Everything that this package raises on purpose, but for wrong arguments."""

    #: what to do next; the default message
    advice: ClassVar[str] = ""

    def __str__(self) -> str:
        return super().__str__() or self.advice


class NotEnrolled(DoorstepError):
    """The client has no token yet, so nothing was sent."""

    advice = "This client has no token: call device.enroll(code) first, or pass token=."


class OutboxFull(DoorstepError):
    """As many check-ins wait as the outbox takes; this one was not stored."""

    advice = (
        "The outbox is full and nothing was stored. Let it send first (flush, the network), or "
        "open it with a larger capacity or with when_full='drop_oldest'."
    )


class OutboxUnusable(DoorstepError):
    """The outbox's file cannot be read or written; nothing was stored or changed."""

    advice = (
        "The outbox's file cannot be used and nothing was stored. Check that the disk has room and "
        "that the app may write where the outbox is, then try again."
    )


class Unsealable(DoorstepError):
    """For sealers to raise: this can never be opened again, because its key is gone."""

    advice = "The key of this check-in is gone: it can be opened by nobody. Check in again."


class TransportError(DoorstepError):
    """There is no answer: the network, the server's address or its certificate is at fault."""

    advice = "No answer came. Send the same id again later: it cannot count twice."


class ConnectFailed(TransportError):
    """No connection could be made, so nothing was sent."""

    advice = (
        "The server cannot be reached and nothing was sent. "
        "Check the network and base_url, then send the same id again."
    )


class ConnectionLost(TransportError):
    """The connection broke before the whole answer was here."""

    advice = (
        "The connection broke before the answer was complete; the server may have the request. "
        "Send the same id again: it cannot count twice."
    )


class TimedOut(TransportError):
    """The time allowed by `Timeout` is over."""

    advice = (
        "No answer came in the time that Timeout allows; the server may have the request. "
        "Send the same id again: it cannot count twice."
    )


class UntrustedServer(TransportError):
    """The server's certificate was refused, so nothing was sent."""

    advice = (
        "The server's certificate is not trusted and nothing was sent. Check base_url, the "
        "phone's clock and the network (a captive portal?), or set SSL_CERT_FILE to your own CA."
    )


class NoTrustStore(UntrustedServer):
    """No certificate authority is known here, as is usual in apps on Android and iOS."""

    advice = (
        "No certificate authorities were found, so no server can be trusted. Add certifi to the "
        "app's requirements, set SSL_CERT_FILE, or pass HTTPTransport(ssl_context=…)."
    )


class ApiError(DoorstepError):
    """The server answered, and refused."""

    advice = "The server refused the request; code says why."

    def __init__(
        self,
        status: int,
        *,
        code: str = "",
        request_id: str | None = None,
        retry_after_s: float | None = None,
        detail: str | None = None,
        at: str | None = None,
    ) -> None:
        super().__init__(status)
        self.status = status
        #: the server's stable word for the reason; new ones may appear
        self.code = code
        #: names this request in the server's logs; quote it when asking for help
        self.request_id = request_id
        #: how long the server wants to be left alone
        self.retry_after_s = retry_after_s
        #: the server's explanation for developers; not part of the message
        self.detail = detail
        #: the member of the body that is wrong, when the server can tell
        self.at = at

    def __str__(self) -> str:
        reason = f"{self.status} {self.code}".strip()
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{reason}: {self.advice}{request}"


class Unauthorized(ApiError):
    """The token is not known to the server."""

    advice = "The server does not know this token. Enroll this device with a new code."


class DeviceRevoked(Unauthorized):
    """The device was revoked."""

    advice = "This device was revoked. Delete its token and enroll with a new code."


class PermissionWithdrawn(ApiError):
    """The location permission was withdrawn since the position was taken."""

    advice = (
        "The location permission was withdrawn. Drop this check-in, it will never be taken; once "
        "the permission is back, call permission.report(…) and take a new position."
    )


class PermissionUnknown(ApiError):
    """The server has not heard of the location permission for too long."""

    advice = "Call permission.report(…), then send the same check-in with the same id again."


class NotAllowed(ApiError):
    """This person may not check in here for this purpose, for now."""

    advice = (
        "Not allowed for this person, purpose or site; code says why. "
        "Sending it again changes nothing until that does."
    )


class NotFound(ApiError):
    """There is no such thing, or it is not yours to see."""

    advice = "Nothing was found under this address or id. Check base_url and the ids."


class IdReused(ApiError):
    """The id already belongs to a check-in with other content."""

    advice = "This id belongs to another check-in. Make a new one with check_in_id()."


class TooOld(ApiError):
    """The position is older than its purpose allows."""

    advice = "The position is too old for its purpose. Drop it and take a new one."


class BundleOutdated(ApiError):
    """The device judged by a site that has changed since."""

    advice = (
        "A site has changed since the bundle was fetched. Call sites.bundle(), judge the position "
        "again, and send that with the same id."
    )


class Invalid(ApiError):
    """The server cannot take the request as it is."""

    advice = "The request is not valid; at and detail may say why. Do not send it again unchanged."


class RateLimited(ApiError):
    """Too many requests."""

    advice = "Too many requests. Wait for retry_after_s, then send the same id again."


class ServerError(ApiError):
    """The server failed, or is busy."""

    advice = "The server failed or is busy. Send the same id again later: it cannot count twice."


class UnexpectedAnswer(ApiError):
    """The answer is not Doorstep's, or not of a version that this package understands."""

    advice = (
        "The answer is not what Doorstep sends. A captive portal or proxy may have given it: "
        "check the network and base_url, then send the same id again."
    )


class Redirected(UnexpectedAnswer):
    """The server, or a captive portal, points elsewhere; it was not followed."""

    advice = (
        "The answer is a redirect. It was not followed, since the position and the token would go "
        "there: check the network (a captive portal?) and put the final address into base_url."
    )
