"""Health: whether the process lives, and whether it can take check-ins."""

from typing import Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency

from doorstep_server.api import documented
from doorstep_server.services import Services


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The database takes writes."""

    status: Literal["ready"] = "ready"


@get("/health/live", responses=documented.refusals())
async def live() -> Live:
    """Whether the process lives. Restart it if it does not answer."""
    return Live()


@get("/health/ready", responses=documented.refusals())
async def ready(services: NamedDependency[Services]) -> Ready:
    """Whether check-ins can be taken now. Send no traffic while it says 503."""
    await services.database.require_writable()
    return Ready()
