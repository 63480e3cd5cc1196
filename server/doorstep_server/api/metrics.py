"""The server's numbers, for whoever watches over it.

Nothing in them is about anybody, but how much is going on is the operator's to know. So they are
told to this machine alone, and not to what a proxy on it passes on; or, where there is a key for
them, to whoever sends it.
"""

import asyncio
import hmac
from ipaddress import ip_address
from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency

from doorstep_server.meters import MEDIA_TYPE
from doorstep_server.problems import Refusal
from doorstep_server.services import Services

#: a proxy adds one of these
_PASSED_ON = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


@get("/metrics", include_in_schema=False)
async def metrics(
    request: Request[Any, Any, Any], services: NamedDependency[Services]
) -> Response[str]:
    """The numbers of all workers, as Prometheus reads them."""
    _require_let_in(request, services.metrics_key)
    text = await asyncio.to_thread(services.meters.text)
    return Response(text, media_type=MEDIA_TYPE)


def _require_let_in(request: Request[Any, Any, Any], key: str | None) -> None:
    if key is None:
        if not _is_of_this_machine(request):
            raise Refusal("metrics-closed")
        return
    said = request.headers.get("authorization", "").encode()
    if not hmac.compare_digest(said, f"Bearer {key}".encode()):
        raise Refusal("unauthorized")


def _is_of_this_machine(request: Request[Any, Any, Any]) -> bool:
    if request.client is None or any(name in request.headers for name in _PASSED_ON):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False
