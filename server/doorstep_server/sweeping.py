"""Sweeping a database that is older than its keyring: a backup that was put back, above all.

The keyring is the newer of the two, so it knows who was erased since. Rows of people without a key
there, and rows whose month's key was destroyed, are removed before the first answer. In a copy
nothing that a device was granted is believed any more: a withdrawal may have come since.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from typing import TypeVar
from uuid import UUID

from doorstep_server.keyring import Keyring
from doorstep_server.privacy import labels
from doorstep_server.privacy.keys import NoRowKey, TenantKeys
from doorstep_server.privacy.minimize import CheckInRecord
from doorstep_server.privacy.personal import seal_device_details, unseal_device_details
from doorstep_server.privacy.seals import BrokenSeal
from doorstep_server.privacy.unlinkable import unseal_subject
from doorstep_server.store import Connection, check_ins, devices, people, tenants
from doorstep_server.store.database import Database
from doorstep_server.store.devices import Device
from doorstep_server.store.reach import DIRECTORY, NOTHING, Reach

T = TypeVar("T")

#: rows looked at in one transaction
PAGE = 2_000
#: another process may be about to tell the database of what it has put into the keyring
PATIENCE_S = 3.0
_LOOK_EVERY_S = 0.1


def is_needed(database: Database, keyring: Keyring) -> bool:
    """Whether the database is a copy, or older than the keyring."""
    until = time.monotonic() + PATIENCE_S
    while True:
        # of what comes to both meanwhile the keyring's share comes first
        generation = keyring.head().generation
        binding = database.read_now(NOTHING, tenants.binding)
        assert binding is not None
        if binding.is_copy:
            return True
        if generation <= binding.keyring_generation:
            return False
        if time.monotonic() > until:
            return True
        time.sleep(_LOOK_EVERY_S)


def sweep(database: Database, keyring: Keyring, today: date) -> None:
    """Remove what has no key any more, and note that this was done."""
    known = [tenant.tenant_id for tenant in database.read_now(DIRECTORY, tenants.all_tenants)]
    # first of all, since keys that are new count, too
    keys = {tenant_id: keyring.tenant(tenant_id, today) for tenant_id in known}
    generation = keyring.head().generation
    binding = database.read_now(NOTHING, tenants.binding)
    assert binding is not None
    for tenant_id in known:
        one = _Tenant(database, keyring, tenant_id, keys[tenant_id])
        one.sweep_people()
        one.sweep_rows()
        if binding.is_copy:
            one.forget_grants()
    database.scrub_now(None)

    def note(connection: Connection) -> None:
        tenants.note_keyring(connection, generation)
        tenants.mark_copy(connection, is_copy=False)

    database.write_now(NOTHING, note)


class _Tenant:
    """One tenant's share of a sweep."""

    def __init__(
        self, database: Database, keyring: Keyring, tenant_id: UUID, keys: TenantKeys
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._tenant_id = tenant_id
        self._reach = Reach.of(tenant_id)
        self._keys = keys

    def sweep_people(self) -> None:
        """Remove who has no key, with their devices."""
        # in this order: who is new meanwhile is in the keyring first
        there = self._read(people.subject_ids)
        gone = sorted(there - self._keyring.subject_ids(self._tenant_id))
        for start in range(0, len(gone), PAGE):
            self._write(people.remove, gone[start : start + PAGE])

    def sweep_rows(self) -> None:
        """Remove check-ins of who has no key, and those whose month's key is gone."""
        after: tuple[date, UUID] | None = None
        while True:
            some = self._read(check_ins.in_order, after, PAGE)
            owners = [self._owner(record) for record in some]
            known = self._keyring.subjects(self._tenant_id, set(filter(None, owners)))
            gone = [r for r, owner in zip(some, owners, strict=True) if owner not in known]
            if gone:
                receipts = [labels.receipt_key(self._keys, record.id) for record in gone]
                self._write(check_ins.remove, gone, receipts)
            if len(some) < PAGE:
                return
            after = some[-1].expires_on, some[-1].id

    def forget_grants(self) -> None:
        """Take back what devices were granted: each has to report anew."""
        after: UUID | None = None
        while True:
            some = self._read(devices.in_order, after, PAGE)
            self._write(self._forget, [device.device_id for device in some])
            if len(some) < PAGE:
                return
            after = some[-1].device_id

    def _forget(self, connection: Connection, tenant_id: UUID, some: Sequence[UUID]) -> None:
        """Read again under the lock: another process may serve already."""
        current = devices.locked(connection, tenant_id, some)
        devices.replace_many(connection, tenant_id, self._without_grants(current))

    def _without_grants(self, some: Sequence[Device]) -> dict[UUID, bytes]:
        owners = self._keyring.subjects(self._tenant_id, {device.subject_id for device in some})
        changed: dict[UUID, bytes] = {}
        for device in some:
            if device.subject_id not in owners:
                continue
            keys = owners[device.subject_id].keys
            details = unseal_device_details(keys, device.device_id, device.sealed)
            details = replace(details, permission=details.permission.after_restoring())
            changed[device.device_id] = seal_device_details(keys, device.device_id, details)
        return changed

    def _owner(self, record: CheckInRecord) -> UUID | None:
        """Whose row it is; None when nobody can tell."""
        try:
            return unseal_subject(self._keys, record.id, record.expires_on, record.sealed)
        except (NoRowKey, BrokenSeal):
            return None

    def _read(self, function: Callable[..., T], *arguments: object) -> T:
        return self._database.read_now(
            self._reach, lambda c: function(c, self._tenant_id, *arguments)
        )

    def _write(self, function: Callable[..., T], *arguments: object) -> T:
        return self._database.write_now(
            self._reach, lambda c: function(c, self._tenant_id, *arguments)
        )
