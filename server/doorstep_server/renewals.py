"""Renewed leases: a report that only says that all is as it was is not written at once.

A device's row that changes when its owner is about to check in would tell, of two copies of the
database, who checked in between them. So renewals wait in memory, and once a day all devices of a
tenant are written anew, whether they were renewed or not. A renewal that is lost with its process
makes a lease lapse early: then the app reports again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from doorstep_server.privacy.permission import Permission, State, after_report


@dataclass(frozen=True, slots=True)
class Report:
    """A report of a device that renewed its lease."""

    state: State
    sequence: int
    at: datetime


@dataclass(slots=True)
class Renewals:
    """The reports of this process that were not written yet."""

    #: how many devices may wait; the reports of more are written at once
    limit: int = 1_000_000
    _waiting: dict[UUID, dict[UUID, Report]] = field(default_factory=dict, repr=False)
    _count: int = 0

    def add(self, tenant_id: UUID, device_id: UUID, report: Report) -> bool:
        """Let a report wait; False where there are too many."""
        of_tenant = self._waiting.setdefault(tenant_id, {})
        if device_id not in of_tenant:
            if self._count >= self.limit:
                return False
            self._count += 1
        of_tenant[device_id] = report
        return True

    def applied(self, tenant_id: UUID, device_id: UUID, stored: Permission) -> Permission:
        """A stored permission with what waits for it."""
        waiting = self._waiting.get(tenant_id, {}).get(device_id)
        return stored if waiting is None else with_report(stored, waiting)

    def tenants(self) -> list[UUID]:
        """Whose devices have renewals that wait."""
        return list(self._waiting)

    def take(self, tenant_id: UUID) -> Mapping[UUID, Report]:
        """All that wait for a tenant's devices, which wait no more."""
        taken = self._waiting.pop(tenant_id, {})
        self._count -= len(taken)
        return taken


def with_report(stored: Permission, report: Report) -> Permission:
    """A stored permission after a report that waited."""
    return after_report(stored, report.state, report.sequence, report.at)
