"""Writing renewed leases: once a day all devices of a tenant anew, and not only the renewed ones.

See `renewals` for why. It is done in the order of the devices' ids, which are random.
"""

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from uuid import UUID

from doorstep_server import logs
from doorstep_server.keyring import KeyringUnusable
from doorstep_server.privacy.keys import SubjectKeys
from doorstep_server.privacy.personal import seal_device_details, unseal_device_details
from doorstep_server.renewals import Report, with_report
from doorstep_server.services import Services
from doorstep_server.store import Connection, devices
from doorstep_server.store.database import DatabaseUnavailable
from doorstep_server.store.devices import Device
from doorstep_server.store.reach import Reach

EVERY_S = 86_400.0
#: devices written in one transaction: some milliseconds
PAGE = 200


async def keep_writing(services: Services) -> None:
    """Write what waits once a day, until cancelled."""
    while True:
        await asyncio.sleep(EVERY_S * random.uniform(0.8, 1.2))  # noqa: S311
        await write(services)


async def write_at_end(services: Services) -> None:
    """A server that stops keeps nothing in memory."""
    await write(services)


async def write(services: Services) -> None:
    """Write what waits. What cannot be written now is lost: those apps report again."""
    for tenant_id in services.renewals.tenants():
        reports = services.renewals.take(tenant_id)
        try:
            await asyncio.to_thread(_write, services, tenant_id, reports)
        except DatabaseUnavailable as error:
            logs.event("leases-not-written", level=logging.WARNING, cause=error.code)
        except KeyringUnusable as error:
            logs.failure(error)


def _page(tenant_id: UUID, after: UUID | None, connection: Connection) -> list[Device]:
    return devices.in_order(connection, tenant_id, after, PAGE)


def _write(services: Services, tenant_id: UUID, reports: Mapping[UUID, Report]) -> None:
    reach = Reach.of(tenant_id)
    after: UUID | None = None
    while True:
        some = services.database.read_now(reach, partial(_page, tenant_id, after))
        owners = services.keyring.subjects(tenant_id, {device.subject_id for device in some})
        keys = {d.device_id: owners[d.subject_id].keys for d in some if d.subject_id in owners}
        services.database.write_now(reach, partial(_write_anew, tenant_id, keys, reports))
        if len(some) < PAGE:
            return
        after = some[-1].device_id


def _write_anew(
    tenant_id: UUID,
    keys: Mapping[UUID, SubjectKeys],
    reports: Mapping[UUID, Report],
    connection: Connection,
) -> None:
    # read again under the lock: a withdrawal may have come
    current = devices.locked(connection, tenant_id, list(keys))
    anew = {d.device_id: _anew(keys[d.device_id], reports.get(d.device_id), d) for d in current}
    devices.replace_many(connection, tenant_id, anew)


def _anew(keys: SubjectKeys, report: Report | None, device: Device) -> bytes:
    details = unseal_device_details(keys, device.device_id, device.sealed)
    if report is not None:
        details = replace(details, permission=with_report(details.permission, report))
    return seal_device_details(keys, device.device_id, details)
