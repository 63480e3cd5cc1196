"""Check-ins at authorized locations: the client for apps. See README.md for the first ten lines."""

#: as type checkers read it: `typing` is slow to import, and so is all that is named below
TYPE_CHECKING = False
if TYPE_CHECKING:
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
    from doorstep._async_client import AsyncClient
    from doorstep._bundle import Bundle
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
    from doorstep._http import HTTPTransport
    from doorstep._httpx import HTTPXTransport
    from doorstep._ids import check_in_id
    from doorstep._location import (
        Imprecise,
        LocationError,
        LocationProvider,
        Mocked,
        Stale,
        Unavailable,
    )
    from doorstep._outbox import Outbox
    from doorstep._retry import Retry, Timeout
    from doorstep._sealing import Sealer
    from doorstep._session import Session
    from doorstep._threads import ThreadedTransport
    from doorstep._ticket import Ticket
    from doorstep._tickets import ProvisionalVerdict, TicketStatus
    from doorstep._transport import AsyncTransport, Transport
    from doorstep._version import __version__
    from doorstep._wire import Request, Response

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

#: where each name is from: a module is imported when one of its names is first asked for
_NAMES_OF = {
    "doorstep._answers": (
        "BatchResult",
        "CheckIn",
        "DeviceInfo",
        "DeviceStatus",
        "Enrollment",
        "Erasure",
        "Feature",
        "ListedCheckIn",
        "PermissionStatus",
        "Purpose",
        "Restrictions",
        "Stored",
        "Tenant",
    ),
    "doorstep._async_client": ("AsyncClient",),
    "doorstep._bundle": ("Bundle",),
    "doorstep._check_in": (
        "Action",
        "JudgedCheckIn",
        "NewCheckIn",
    ),
    "doorstep._client": ("Client",),
    "doorstep._endpoints": ("PermissionState",),
    "doorstep._errors": (
        "ApiError",
        "BundleOutdated",
        "ConnectFailed",
        "ConnectionLost",
        "DeviceRevoked",
        "DoorstepError",
        "IdReused",
        "Invalid",
        "NoTrustStore",
        "NotAllowed",
        "NotEnrolled",
        "NotFound",
        "OutboxFull",
        "OutboxUnusable",
        "PermissionUnknown",
        "PermissionWithdrawn",
        "RateLimited",
        "Redirected",
        "ServerError",
        "TimedOut",
        "TooOld",
        "TransportError",
        "Unauthorized",
        "UnexpectedAnswer",
        "Unsealable",
        "UntrustedServer",
    ),
    "doorstep._fix": ("Fix",),
    "doorstep._http": ("HTTPTransport",),
    "doorstep._httpx": ("HTTPXTransport",),
    "doorstep._ids": ("check_in_id",),
    "doorstep._location": (
        "Imprecise",
        "LocationError",
        "LocationProvider",
        "Mocked",
        "Stale",
        "Unavailable",
    ),
    "doorstep._outbox": ("Outbox",),
    "doorstep._retry": (
        "Retry",
        "Timeout",
    ),
    "doorstep._sealing": ("Sealer",),
    "doorstep._session": ("Session",),
    "doorstep._threads": ("ThreadedTransport",),
    "doorstep._ticket": ("Ticket",),
    "doorstep._tickets": (
        "ProvisionalVerdict",
        "TicketStatus",
    ),
    "doorstep._transport": (
        "AsyncTransport",
        "Transport",
    ),
    "doorstep._version": ("__version__",),
    "doorstep._wire": (
        "Request",
        "Response",
    ),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 (slow to import)

    value: object = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
