"""People and stored check-ins by the million, made by the server's own functions, without HTTP.

What is left in the database is what so many check-ins leave: rows and receipts, sealed and labelled
by the keyring's keys, with the tokens that their people's rows get, in the tables and indexes that
the server writes. Receipts that would have gone by now are not made.
"""

import random
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from uuid import UUID, uuid4

import msgspec

from doorstep import check_in_id
from doorstep_geofences import Reason, Site, Verdict
from doorstep_server.deployment import FIRST_PURPOSE
from doorstep_server.keyring import Keyring
from doorstep_server.keyring.entries import EntryName, Kind
from doorstep_server.privacy import labels
from doorstep_server.privacy.keys import SECRET_BYTES, SubjectKeys, TenantKeys
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.minimize import Evidence, Judged, Minimized, minimize
from doorstep_server.store import Connection
from doorstep_server.store.check_ins import write_receipts, write_records
from doorstep_server.store.database import Database
from doorstep_server.store.reach import Reach

#: rows in a transaction
AT_ONCE = 10_000
#: how often people are where they are mostly
AT_HOME = 0.8
#: over how many days stored check-ins lie: those before today of which none has expired
DAYS = FIRST_PURPOSE.retention_days - 1


class People:
    """Their ids and keys, made in the keyring many at once."""

    def __init__(self, keyring: Keyring, tenant_id: UUID, number: int) -> None:
        made = {uuid4(): secrets.token_bytes(SECRET_BYTES) for _ in range(number)}
        entries = {
            EntryName(str(tenant_id), Kind.SUBJECT, i.hex): msgspec.msgpack.encode(
                [secret, f"person-{number}"]
            )
            for number, (i, secret) in enumerate(made.items())
        }
        keyring._entries.add(keyring._wrapped(entries), counted=False)  # noqa: SLF001
        self.ids = list(made)
        self.keys = {i: SubjectKeys.of(secret) for i, secret in made.items()}


@dataclass(kw_only=True, slots=True)
class Filler:
    """Stores check-ins of everybody in turn, of the days before today.

    What a server stores today has tokens of other series: both may go on in turns.
    """

    database: Database
    tenant_id: UUID
    keys: TenantKeys
    people: People
    sites: Sequence[Site] = field(repr=False)
    today: date
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    #: how many rows each person has of each day
    numbers: Counter[tuple[date, int]] = field(default_factory=Counter)

    def store(self, count: int, days: int = DAYS) -> None:
        """So many more, as many on each day; the oldest first."""
        made = self._made(count, days)
        while some := list(islice(made, AT_ONCE)):
            self.database.write_now(
                Reach.of(self.tenant_id), lambda c, some=some: self._write(c, some)
            )

    def _write(self, connection: Connection, some: list[Minimized]) -> None:
        records = [(self.tenant_id, m.record, self._token(m)) for m in some if m.record is not None]
        write_records(connection, records)
        left = [m.receipt for m in some if m.receipt.expires_on > self.today]
        write_receipts(connection, [(self.tenant_id, receipt) for receipt in left])

    def _token(self, minimized: Minimized) -> bytes:
        assert minimized.tokens is not None
        series = minimized.tokens
        # a person's keys are one object
        of = (series.expires_on, id(series.keys))
        self.numbers[of] += 1
        return series.token(self.numbers[of] - 1)

    def _made(self, count: int, days: int) -> Iterator[Minimized]:
        home = {person: self.rng.choice(self.sites) for person in self.people.ids}
        everybody = self.rng.sample(self.people.ids, len(self.people.ids))
        for number in range(count):
            person = everybody[number % len(everybody)]
            at_home = self.rng.random() < AT_HOME
            site = home[person] if at_home else self.rng.choice(self.sites)
            yield self._minimized(person, site, self._instant(days - number * days // count))

    def _instant(self, days_ago: int) -> datetime:
        midnight = datetime.combine(self.today - timedelta(days=days_ago), time(), UTC)
        return midnight + timedelta(seconds=self.rng.randrange(86_400))

    def _minimized(self, person: UUID, site: Site, at: datetime) -> Minimized:
        check_in = UUID(check_in_id(at))
        judged = Judged(
            id=check_in,
            subject_id=person,
            subject_keys=self.people.keys[person],
            purpose=FIRST_PURPOSE,
            max_level=Level.CELL,
            claimed_site_id=None,
            action=None,
            verdict=Verdict(Reason.INSIDE, site),
            cell=None,
            exact=None,
            captured_at=at,
            received_at=at,
            receipt_key=labels.receipt_key(self.keys, check_in),
            digest=secrets.token_bytes(labels.DIGEST_BYTES),
            evidence=Evidence.GPS,
        )
        return minimize(self.keys, judged)
