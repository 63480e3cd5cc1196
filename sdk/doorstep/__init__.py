"""Check-ins at authorized locations: the client for apps. See README.md for the first ten lines."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

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
from doorstep._check_in import Action, JudgedCheckIn, NewCheckIn
from doorstep._client import Client
from doorstep._endpoints import PermissionState
from doorstep._errors import (
    ApiError,
    BundleOutdated,
    ConnectFailed,
    ConnectionLost,
    DeviceRevoked,
    DoorstepError,
    IdReused,
    Invalid,
    NotAllowed,
    NotEnrolled,
    NotFound,
    NoTrustStore,
    OutboxFull,
    OutboxUnusable,
    PermissionUnknown,
    PermissionWithdrawn,
    RateLimited,
    Redirected,
    ServerError,
    TimedOut,
    TooOld,
    TransportError,
    Unauthorized,
    UnexpectedAnswer,
    Unsealable,
    UntrustedServer,
)
from doorstep._fix import Fix
from doorstep._ids import check_in_id
from doorstep._location import (
    Imprecise,
    LocationError,
    LocationProvider,
    Mocked,
    Stale,
    Unavailable,
)
from doorstep._retry import Retry, Timeout
from doorstep._transport import AsyncTransport, Transport
from doorstep._version import __version__
from doorstep._wire import Request, Response

if TYPE_CHECKING:
    from doorstep._async_client import AsyncClient
    from doorstep._bundle import Bundle
    from doorstep._http import HTTPTransport
    from doorstep._httpx import HTTPXTransport
    from doorstep._outbox import Outbox
    from doorstep._sealing import Sealer
    from doorstep._session import Session
    from doorstep._threads import ThreadedTransport
    from doorstep._ticket import Ticket
    from doorstep._tickets import ProvisionalVerdict, TicketStatus

__all__ = [
    "Action",
    "ApiError",
    "AsyncClient",
    "AsyncTransport",
    "BatchResult",
    "Bundle",
    "BundleOutdated",
    "CheckIn",
    "Client",
    "ConnectFailed",
    "ConnectionLost",
    "DeviceInfo",
    "DeviceRevoked",
    "DeviceStatus",
    "DoorstepError",
    "Enrollment",
    "Erasure",
    "Feature",
    "Fix",
    "HTTPTransport",
    "HTTPXTransport",
    "IdReused",
    "Imprecise",
    "Invalid",
    "JudgedCheckIn",
    "ListedCheckIn",
    "LocationError",
    "LocationProvider",
    "Mocked",
    "NewCheckIn",
    "NoTrustStore",
    "NotAllowed",
    "NotEnrolled",
    "NotFound",
    "Outbox",
    "OutboxFull",
    "OutboxUnusable",
    "PermissionState",
    "PermissionStatus",
    "PermissionUnknown",
    "PermissionWithdrawn",
    "ProvisionalVerdict",
    "Purpose",
    "RateLimited",
    "Redirected",
    "Request",
    "Response",
    "Restrictions",
    "Retry",
    "Sealer",
    "ServerError",
    "Session",
    "Stale",
    "Stored",
    "Tenant",
    "ThreadedTransport",
    "Ticket",
    "TicketStatus",
    "TimedOut",
    "Timeout",
    "TooOld",
    "Transport",
    "TransportError",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Unsealable",
    "UntrustedServer",
    "__version__",
    "check_in_id",
]

#: loaded on first use: they bring ssl, http.client, asyncio and sqlite3, which are slow to import
_LATE = {
    "AsyncClient": "doorstep._async_client",
    "Bundle": "doorstep._bundle",
    "HTTPTransport": "doorstep._http",
    "HTTPXTransport": "doorstep._httpx",
    "Outbox": "doorstep._outbox",
    "ProvisionalVerdict": "doorstep._tickets",
    "Sealer": "doorstep._sealing",
    "Session": "doorstep._session",
    "ThreadedTransport": "doorstep._threads",
    "Ticket": "doorstep._ticket",
    "TicketStatus": "doorstep._tickets",
}


def __getattr__(name: str) -> object:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LATE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
