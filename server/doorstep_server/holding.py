"""Keeping a person's check-ins under legal holds, when they would go."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from uuid import UUID, uuid4

from doorstep_server.keyring import Keyring, KnownSubject
from doorstep_server.policies import LONGEST_RETENTION_DAYS
from doorstep_server.privacy import labels
from doorstep_server.privacy.held import HeldFor, seal_held
from doorstep_server.privacy.keys import TenantKeys
from doorstep_server.privacy.minimize import CheckInRecord
from doorstep_server.store import Connection, check_ins, holds, purposes
from doorstep_server.store.database import Database
from doorstep_server.store.holds import Held, Hold
from doorstep_server.store.reach import Reach
from doorstep_server.store.tokens import PersonRows

#: rows moved in one transaction: some milliseconds
AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Holding:
    """Moves check-ins of one tenant from their table to where they are held.

    Its calls wait: none belongs into the event loop.
    """

    database: Database
    keyring: Keyring = field(repr=False)
    tenant_id: UUID

    def in_force(self, today: date) -> list[Hold]:
        """The tenant's holds that are in force."""
        return [hold for hold in self._every() if hold.expires_on > today]

    def end(self, today: date) -> int:
        """Let go of what was held, where the hold has ended; how many have."""
        ended = [hold for hold in self._every() if hold.expires_on <= today]
        for hold in ended:
            # without its key nobody can read what may be left of it anywhere
            self.keyring.destroy_hold_key(self.tenant_id, hold.hold_id)
            self.database.write_now(
                Reach.of(self.tenant_id),
                lambda c, hold=hold: holds.remove(c, self.tenant_id, hold.hold_id),  # type: ignore[misc]
            )
        return len(ended)

    def keep_expired(self, keys: TenantKeys, today: date) -> int:
        """Move what expired and is held; how many."""
        moved = 0
        for subject_id in {hold.subject_id for hold in self.in_force(today)}:
            subject = self.keyring.subject(self.tenant_id, subject_id)
            if subject is not None:
                days = [today - timedelta(days=i) for i in range(LONGEST_RETENTION_DAYS)]
                moved += self._keep(keys, subject, days, today)
        return moved

    def keep_all(self, keys: TenantKeys, subject: KnownSubject, today: date) -> int:
        """Move all that is held of a person who is being erased; how many."""
        longest = LONGEST_RETENTION_DAYS
        days = [today + timedelta(days=i) for i in range(-longest, longest + 1)]
        return self._keep(keys, subject, days, today)

    def _keep(
        self, keys: TenantKeys, subject: KnownSubject, days: Sequence[date], today: date
    ) -> int:
        held_for = [h for h in self.in_force(today) if h.subject_id == subject.subject_id]
        if not held_for:
            return 0
        reach = Reach.of(self.tenant_id)
        found = self.database.read_now(reach, lambda c: self._rows(c, subject, days))
        for start in range(0, len(found), AT_ONCE):
            some = found[start : start + AT_ONCE]
            held = self._sealed(held_for, subject, some)
            receipts = [labels.receipt_key(keys, record.id) for record in some]

            def move(
                connection: Connection,
                some: Sequence[CheckInRecord] = some,
                held: Sequence[Held] = held,
                receipts: Sequence[bytes] = receipts,
            ) -> None:
                holds.keep(connection, self.tenant_id, held)
                check_ins.remove(connection, self.tenant_id, some, receipts)

            self.database.write_now(reach, move)
        return len(found)

    def _sealed(
        self, held_for: Sequence[Hold], subject: KnownSubject, some: Sequence[CheckInRecord]
    ) -> list[Held]:
        held: list[Held] = []
        about = HeldFor(subject_id=subject.subject_id, external_id=subject.external_id)
        for hold in held_for:
            key = self.keyring.hold_key(self.tenant_id, hold.hold_id)
            for record in some:
                held_id = uuid4()
                sealed = seal_held(key, held_id, about, record)
                held.append(Held(hold_id=hold.hold_id, held_id=held_id, sealed=sealed))
        return held

    def _rows(
        self, connection: Connection, subject: KnownSubject, days: Sequence[date]
    ) -> list[CheckInRecord]:
        names = [purpose.name for purpose in purposes.all_purposes(connection, self.tenant_id)]
        person = PersonRows(keys=subject.keys, purposes=names, expires_on=days)
        return check_ins.of_person(connection, self.tenant_id, person)

    def _every(self) -> list[Hold]:
        return self.database.read_now(
            Reach.of(self.tenant_id), lambda c: holds.every(c, self.tenant_id)
        )
