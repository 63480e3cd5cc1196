"""The composition root: everything is made and wired here, once."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from doorstep_server import answers, openapi
from doorstep_server.api import (
    api_keys,
    check_in_lists,
    check_ins,
    devices,
    enrollments,
    health,
    pages,
    purposes,
    sites,
    subjects,
)
from doorstep_server.api.paging import paging
from doorstep_server.auth import Authenticator
from doorstep_server.check_ins.journal import Journal
from doorstep_server.deployment import open_deployment
from doorstep_server.policies import Policies, keep_fresh
from doorstep_server.services import Services
from doorstep_server.settings import Settings
from doorstep_server.store.check_ins import commit_group
from doorstep_server.throttle import FailureThrottle
from doorstep_server.wire import SMALL_BODY_BYTES

ROUTES: list[ControllerRouterHandler] = [
    check_ins.create,
    check_ins.create_batch,
    check_in_lists.list_all,
    enrollments.enroll,
    enrollments.issue_code,
    devices.status,
    devices.report_permission,
    devices.rotate_token,
    devices.list_all,
    devices.revoke,
    subjects.get_or_create,
    subjects.list_all,
    subjects.read,
    subjects.set_groups,
    sites.list_all,
    sites.create,
    sites.read,
    sites.revise,
    sites.deactivate,
    sites.versions,
    sites.try_position,
    purposes.list_all,
    purposes.create,
    purposes.read,
    purposes.revise,
    api_keys.list_all,
    api_keys.create,
    api_keys.revoke,
    health.live,
    health.ready,
    pages.home,
    pages.docs,
    pages.asset,
    pages.problem_index,
    pages.problem_page,
]


def now() -> datetime:
    """The current time."""
    return datetime.now(UTC)


def make_services(settings: Settings, clock: Callable[[], datetime] = now) -> Services:
    """Open the deployment that the settings name."""
    database, keyring = open_deployment(settings)
    policies = Policies(database, keyring)
    pepper = keyring.pepper()
    return Services(
        database=database,
        keyring=keyring,
        pepper=pepper,
        policies=policies,
        journal=Journal(lambda group: database.write(lambda c: commit_group(c, group))),
        authenticator=Authenticator(database, policies, pepper),
        enrollment_throttle=FailureThrottle(time.monotonic),
        now=clock,
    )


@asynccontextmanager
async def _running(services: Services, _: Litestar) -> AsyncIterator[None]:
    """While the app runs: follow changes; at the end, settle what waits, then close."""
    following = asyncio.create_task(keep_fresh(services.policies), name="follow changes")
    try:
        yield
    finally:
        following.cancel()
        await asyncio.wait([following])
        await services.journal.drain()
        services.database.close()


def create_app(settings: Settings, clock: Callable[[], datetime] = now) -> Litestar:
    """The API on an initialized deployment."""
    return build_app(make_services(settings, clock))


def build_app(services: Services) -> Litestar:
    """The API on services that were already made."""
    return Litestar(
        route_handlers=ROUTES,
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "paging": Provide(paging, sync_to_thread=False),
            "filters": Provide(check_in_lists.check_in_query, sync_to_thread=False),
        },
        exception_handlers=answers.EXCEPTION_HANDLERS,
        before_request=answers.refuse_unknown_parameters,
        before_send=[answers.add_headers],
        request_max_body_size=SMALL_BODY_BYTES,
        openapi_config=openapi.config(),
        plugins=[openapi.ClosedStructs(), openapi.Described()],
        lifespan=[partial(_running, services)],
        state=State({"authenticator": services.authenticator}),
        logging_config=None,
        debug=False,
    )
