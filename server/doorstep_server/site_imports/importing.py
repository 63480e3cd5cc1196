"""An import, from what was read of a file to its report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from doorstep_server.site_doubts import PURPOSE_UNKNOWN
from doorstep_server.site_imports.options import Options
from doorstep_server.site_imports.reading import Prepared, warned
from doorstep_server.site_imports.report import Fate, Report
from doorstep_server.site_imports.taking import Plan, Wanted, make_ready, plan, take
from doorstep_server.store import Connection, purposes


@dataclass(kw_only=True, slots=True)
class Import:
    """One import: `look` in a transaction that reads, then `write` in one that writes."""

    tenant_id: UUID
    options: Options
    prepared: Prepared
    _plan: Plan = field(default_factory=lambda: Plan(version=0))

    def look(self, connection: Connection) -> None:
        """Find out what would become of each feature and what it overlaps; make rows ready."""
        prepared = self.prepared
        self._plan = plan(connection, self.tenant_id, prepared.spool)
        prepared.neighbours.against(connection, self.tenant_id, prepared.external_ids)
        registered = {purpose.name for purpose in purposes.all_purposes(connection, self.tenant_id)}
        for purpose, place in prepared.purposes.items():
            if purpose not in registered:
                prepared.findings.warnings.add(warned(PURPOSE_UNKNOWN, place))
        if self.is_to_be_written:
            prepared.rows = make_ready(connection, prepared.spool, self._plan)

    @property
    def is_rejected(self) -> bool:
        """Whether nothing is taken because some features cannot be."""
        return bool(self.prepared.findings.rejections) and not self.options.skip_invalid

    @property
    def is_to_be_written(self) -> bool:
        """Whether there is something to write, and it is wanted."""
        wanted = not self.options.dry_run and not self.is_rejected
        return wanted and self._plan.changes_something()

    def write(self, connection: Connection, now: datetime) -> None:
        """Take the sites in, all of them."""
        wanted = Wanted(
            tenant_id=self.tenant_id,
            spool=self.prepared.spool,
            plan=self._plan,
            rows=self.prepared.rows,
            now=now,
        )
        self._plan = take(connection, wanted)

    def report(self, *, applied: bool) -> Report:
        """What was done, or would be."""
        fates: Mapping[Fate, int] = self._plan.fates()
        return self.prepared.findings.report(fates, dry_run=self.options.dry_run, applied=applied)
