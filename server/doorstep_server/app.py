"""The composition root: everything is made and wired here, once."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler

from doorstep_server import answers, lease_writing, logs, openapi, retention
from doorstep_server.api import (
    api_keys,
    check_in_lists,
    check_ins,
    devices,
    enrollments,
    health,
    holds,
    metrics,
    pages,
    privacy,
    privacy_record,
    purposes,
    site_bundle,
    site_export,
    site_import,
    site_search,
    sites,
    subjects,
    tenant_settings,
)
from doorstep_server.api.paging import paging
from doorstep_server.auth import Authenticator
from doorstep_server.check_ins.device_limit import DeviceLimit
from doorstep_server.check_ins.flow import Way
from doorstep_server.check_ins.journal import Journal
from doorstep_server.check_ins.probes import ProbeBudget
from doorstep_server.check_ins.travel import LastPresences
from doorstep_server.deployment import open_deployment
from doorstep_server.erasing import Eraser
from doorstep_server.erasures import Erasures
from doorstep_server.front import front
from doorstep_server.meters import Meters
from doorstep_server.policies import Policies, keep_fresh
from doorstep_server.problems import TYPES
from doorstep_server.renewals import Renewals
from doorstep_server.services import Services
from doorstep_server.settings import Settings
from doorstep_server.store.check_ins import Proposal, Refused, Settled, commit_group
from doorstep_server.store.database import Database, DatabaseUnavailable
from doorstep_server.store.reach import Reach
from doorstep_server.store.tokens import NextNumbers
from doorstep_server.throttle import FailureThrottle
from doorstep_server.wire import SMALL_BODY_BYTES

ROUTES: list[HTTPRouteHandler] = [
    check_ins.create,
    check_ins.create_batch,
    check_in_lists.list_all,
    enrollments.enroll,
    enrollments.issue_code,
    devices.status,
    devices.report_permission,
    devices.restrict,
    devices.rotate_token,
    devices.list_all,
    devices.revoke,
    subjects.get_or_create,
    subjects.list_all,
    subjects.read,
    subjects.set_groups,
    subjects.restrict,
    privacy.erase_subject,
    privacy.erase_oneself,
    privacy.erasure_status,
    privacy.signing_keys,
    privacy.exact_position,
    holds.create,
    holds.list_all,
    holds.list_held,
    holds.end,
    sites.list_all,
    site_bundle.read,
    sites.create,
    sites.read,
    sites.revise,
    sites.deactivate,
    sites.versions,
    sites.read_version,
    sites.try_position,
    site_search.search,
    site_import.import_file,
    site_export.export,
    tenant_settings.read,
    tenant_settings.change,
    purposes.list_all,
    purposes.create,
    purposes.read,
    purposes.revise,
    privacy_record.read,
    api_keys.list_all,
    api_keys.create,
    api_keys.revoke,
    health.live,
    health.ready,
    metrics.metrics,
    pages.home,
    pages.docs,
    pages.asset,
    pages.problem_index,
    pages.problem_page,
]


def templates() -> set[str]:
    """The addresses of all routes, as a request that matched one names it."""
    paths = {path for handler in ROUTES for path in handler.paths}
    return {re.sub(r":[a-z]+}", "}", path) for path in paths | {openapi.PATH}}


def now() -> datetime:
    """The current time."""
    return datetime.now(UTC)


def make_services(settings: Settings, clock: Callable[[], datetime] = now) -> Services:
    """Open the deployment that the settings name."""
    database, keyring = open_deployment(settings)
    meters = Meters(routes=templates(), codes=TYPES, folder=settings.meters)
    if settings.meters is not None and not meters.is_shared:
        logs.event("metrics-apart", level=logging.WARNING)
    memory_bytes = settings.sites_memory_mb * 1_000_000
    policies = Policies(database, keyring, clock, memory_bytes, meters)
    pepper = keyring.pepper()
    numbers = NextNumbers()
    return Services(
        database=database,
        keyring=keyring,
        pepper=pepper,
        policies=policies,
        way=Way(
            journal=Journal(
                lambda group: _commit(database, group, numbers),
                capacity=settings.queue,
                meters=meters,
            ),
            last=LastPresences(database),
            probes=ProbeBudget.usual(time.monotonic, is_on=settings.probe_budget),
            keyring=keyring,
            meters=meters,
        ),
        renewals=Renewals(),
        erasures=Erasures(Eraser(database, keyring), clock, meters),
        authenticator=Authenticator(database, keyring, policies, pepper),
        enrollment_throttle=FailureThrottle(time.monotonic),
        device_limit=DeviceLimit.of(
            time.monotonic,
            at_once=settings.device_at_once,
            per_minute=settings.device_per_minute,
        ),
        meters=meters,
        metrics_key=settings.metrics_key,
        now=clock,
    )


async def _commit(
    database: Database, group: Sequence[Proposal], numbers: NextNumbers
) -> list[Settled | Refused]:
    """Settle a group of check-ins in one transaction, which names exactly their tenants."""
    reach = Reach.of_all(proposal.tenant_id for proposal in group)
    try:
        results = await database.write_group(reach, lambda c: commit_group(c, group, numbers))
    except DatabaseUnavailable as error:
        # here once for all who are refused for it
        logs.event("check-ins-not-taken", level=logging.WARNING, cause=error.code)
        raise
    numbers.committed()
    return results


def erase(services: Services) -> Coroutine[Any, Any, None]:
    """Finish what erasures are left."""
    return services.erasures.keep_finishing()


def renew(services: Services) -> Coroutine[Any, Any, None]:
    """Write renewed leases, once a day."""
    return lease_writing.keep_writing(services)


def follow_changes(services: Services) -> Coroutine[Any, Any, None]:
    """See what other processes change."""
    return keep_fresh(services.policies, services.meters)


def let_go(services: Services) -> Coroutine[Any, Any, None]:
    """Let go of what has expired."""
    return retention.keep_running(
        services.database, services.keyring, services.now, services.meters
    )


Background = Callable[[Services], Coroutine[Any, Any, None]]
#: what a server does beside answering
BACKGROUND: tuple[Background, ...] = (follow_changes, let_go, erase, renew)


@asynccontextmanager
async def _running(
    services: Services, background: Sequence[Background], _: Litestar
) -> AsyncIterator[None]:
    """While the app runs: what is done beside; at the end, settle what waits, then close."""
    # an erasure that was begun is finished before the first answer
    await services.erasures.finish()
    at_work = [asyncio.create_task(work(services), name=work.__name__) for work in background]
    try:
        yield
    finally:
        for task in at_work:
            task.cancel()
        await asyncio.gather(*at_work, return_exceptions=True)
        await services.way.journal.drain()
        services.meters.drains.add()
        await lease_writing.write_at_end(services)
        await services.database.close()
        services.meters.close()


def create_app(settings: Settings, clock: Callable[[], datetime] = now) -> Litestar:
    """The API on an initialized deployment."""
    return build_app(make_services(settings, clock))


def build_app(services: Services, background: Sequence[Background] = BACKGROUND) -> Litestar:
    """The API on services that were already made."""
    app = Litestar(
        route_handlers=ROUTES,
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "paging": Provide(paging, sync_to_thread=False),
            "filters": Provide(check_in_lists.check_in_query, sync_to_thread=False),
        },
        exception_handlers=answers.EXCEPTION_HANDLERS,
        before_request=answers.before,
        request_max_body_size=SMALL_BODY_BYTES,
        openapi_config=openapi.config(),
        plugins=[openapi.ClosedStructs(), openapi.Described()],
        lifespan=[partial(_running, services, background)],
        state=State({"authenticator": services.authenticator, "meters": services.meters}),
        logging_config=None,
        debug=False,
    )
    app.asgi_handler = front(answers.headed(answers.heads(app.asgi_handler)), services)
    return app
