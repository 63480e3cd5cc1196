"""An id for each request, made here: it joins an answer to a log line and to nothing else."""

import os
from typing import Any, cast

from litestar.connection import ASGIConnection
from litestar.types import Scope

_KEY = "doorstep.request_id"


def request_id(request: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The id of a request; the same for the whole request."""
    return scope_request_id(request.scope)


def scope_request_id(scope: Scope) -> str:
    """The id of the request with this ASGI scope."""
    state = cast("dict[str, Any]", scope)
    if _KEY not in state:
        state[_KEY] = os.urandom(16).hex()
    return str(state[_KEY])
