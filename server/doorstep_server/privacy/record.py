"""The record of processing of a tenant: GDPR article 30 (1) and (2), LGPD article 37.

Made of the data map, of what Doorstep is known to do, and of the tenant's own configuration. What
nobody has told Doorstep is named as missing, never guessed. The same configuration gives the same
record, whenever it is asked for.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from doorstep_server.privacy import measures
from doorstep_server.privacy.categories import DATA_SUBJECTS, DESCRIPTIONS, OF_TABLE, Category
from doorstep_server.privacy.data_map import DATA_MAP, Entry, Kept
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.measures import Practice
from doorstep_server.privacy.minimize import CELL_TIME_PRECISION_S
from doorstep_server.privacy.places import FILES
from doorstep_server.privacy.policy import JudgedBy, Purpose
from doorstep_server.privacy.stored_at import INSIDE, STORED_AT, Written

BY_CONTROLLER = "to be completed by the controller"
BY_OPERATOR = "to be completed by the operator"

_ARTICLES = {
    "consent": "GDPR art. 6 (1) (a); LGPD art. 7, I",
    "contract": "GDPR art. 6 (1) (b); LGPD art. 7, V",
    "legal_obligation": "GDPR art. 6 (1) (c); LGPD art. 7, II",
    "vital_interests": "GDPR art. 6 (1) (d); LGPD art. 7, VII",
    "public_task": "GDPR art. 6 (1) (e); LGPD art. 7, III",
    "legitimate_interests": "GDPR art. 6 (1) (f); LGPD art. 7, IX",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """What a tenant has set, as far as it says something about processing."""

    tenant_name: str
    purposes: Sequence[Purpose]
    #: the most that any purpose may store
    max_level: Level
    #: None: how fast people travel is not looked at
    max_speed_kmh: int | None


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """The controller or the processor."""

    name: str
    contact: str
    representative: str
    data_protection_officer: str


class RecordedPurpose(msgspec.Struct, frozen=True, kw_only=True):
    """One of the tenant's purposes."""

    name: str
    title: str
    version: int
    active: Annotated[bool, Meta(description="Whether it is switched on.")]
    legal_basis: str
    articles: Annotated[str, Meta(description="Where the law names this basis.")]
    requires_consent: bool
    level: Annotated[Level, Meta(description="The most that is stored of a place.")]
    may_store: Annotated[
        list[Level], Meta(description="The levels at which a check-in may come to be stored.")
    ]
    time_precision_s: Annotated[int, Meta(description="Times are cut to a multiple of this.")]
    retention_days: int
    max_age_s: int
    judged_by: Annotated[
        JudgedBy,
        Meta(description="Who looks at positions. Judged by the device, none is ever sent."),
    ]


class StoredColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column that a check-in writes, as `table.column`."""

    column: str
    purpose: str
    inside: Annotated[list[str], Meta(description="What is inside, where it is sealed.")]


class RecordedLevel(msgspec.Struct, frozen=True, kw_only=True):
    """What a check-in leaves at a level."""

    level: Level
    stored: list[StoredColumn]


class DataSubjects(msgspec.Struct, frozen=True, kw_only=True):
    """A category of the people whom the data are about."""

    category: str
    kinds: Annotated[str, Meta(description="Employees, contractors and so on.")]


class RecordedColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column, as `table.column`."""

    column: str
    purpose: str
    concerns: str
    basis: str
    retention: str


class RecordedCategory(msgspec.Struct, frozen=True, kw_only=True):
    """A category of data: what it is, whom it concerns, why it may be kept, and how long."""

    category: str
    description: str
    concerns: list[str]
    basis: list[str]
    retention: list[str]
    columns: list[RecordedColumn]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A file in the home (`DOORSTEP_HOME`); the operator may have put the database elsewhere."""

    file: str
    holds: str


class Disclosure(msgspec.Struct, frozen=True, kw_only=True):
    """To whom data go: what the software does by itself, and what others may have arranged."""

    by_doorstep: Annotated[list[str], Meta(description="Empty: none.")]
    because: Practice
    by_others: str


class OpenPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What a record needs and Doorstep cannot know."""

    by: Annotated[str, Meta(description="`controller` or `operator`.")]
    what: str


class RecordContent(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a record says."""

    controller: Party
    processor: Party
    operations: list[Practice]
    max_level: Annotated[Level, Meta(description="The most that any purpose may store.")]
    purposes: list[RecordedPurpose]
    levels: list[RecordedLevel]
    data_subjects: list[DataSubjects]
    data: list[RecordedCategory]
    places: list[Place]
    recipients: Disclosure
    transfers: Disclosure
    measures: list[Practice]
    to_be_completed: list[OpenPoint]


class ProcessingRecord(RecordContent, frozen=True, kw_only=True):
    """A tenant's record of processing (GDPR art. 30, LGPD art. 37)."""

    content_hash: Annotated[
        str,
        Meta(
            description="Of two records with the same hash, nothing differs. SHA-256 of all other "
            "members, as JSON in UTF-8 with sorted names and without spaces."
        ),
    ]


def record_of(configuration: Configuration) -> ProcessingRecord:
    """A tenant's record, with the hash of all that it says."""
    content = _content(configuration)
    return ProcessingRecord(content_hash=_hash(content), **_members(content))


def _hash(content: RecordContent) -> str:
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def _members(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _content(configuration: Configuration) -> RecordContent:
    purposes = sorted(configuration.purposes, key=attrgetter("name"))
    speed = configuration.max_speed_kmh
    return RecordContent(
        controller=_party(configuration.tenant_name, BY_CONTROLLER),
        processor=_party(BY_OPERATOR, BY_OPERATOR),
        operations=[*measures.OPERATIONS, *([] if speed is None else [measures.travel(speed)])],
        max_level=configuration.max_level,
        purposes=[_purpose(purpose, configuration.max_level) for purpose in purposes],
        levels=[_level(level, written) for level, written in STORED_AT.items()],
        data_subjects=_data_subjects(),
        data=[_category(category, purposes) for category in Category],
        places=[Place(file=file, holds=holds) for file, holds in FILES.items()],
        recipients=_nobody(f"Whoever holds an API key of the controller: {BY_CONTROLLER}."),
        transfers=_nobody(f"Countries of servers, databases and backups: {BY_OPERATOR}."),
        measures=measures.MEASURES,
        to_be_completed=[*_by_controller(purposes), *_by_operator()],
    )


def _party(name: str, completed: str) -> Party:
    """Doorstep keeps no contact details of anybody, so they are always still to be given."""
    return Party(
        name=name, contact=completed, representative=completed, data_protection_officer=completed
    )


def _purpose(purpose: Purpose, max_level: Level) -> RecordedPurpose:
    said = {name: getattr(purpose, name) for name in _SAID_BY_PURPOSE}
    return RecordedPurpose(
        articles=_ARTICLES.get(purpose.legal_basis, BY_CONTROLLER),
        may_store=[
            level
            for level, written in STORED_AT.items()
            if purpose.level in written.allowed_by and level.rank <= max_level.rank
        ],
        time_precision_s=_precision_s(purpose),
        **said,
    )


_SAID_BY_PURPOSE = set(RecordedPurpose.__struct_fields__) - {
    "articles",
    "may_store",
    "time_precision_s",
}


def _precision_s(purpose: Purpose) -> int:
    """A cell is stored with no finer time than the hour, whatever its purpose says."""
    of_cells = CELL_TIME_PRECISION_S if purpose.level is Level.CELL else 0
    return max(purpose.time_precision_s, of_cells)


def _level(level: Level, written: Written) -> RecordedLevel:
    stored = [
        StoredColumn(column=name, purpose=entry.purpose, inside=list(INSIDE.get(name, ())))
        for name, entry in written.columns()
    ]
    return RecordedLevel(level=level, stored=stored)


def _data_subjects() -> list[DataSubjects]:
    concerned = {entry.concerns for columns in DATA_MAP.values() for entry in columns.values()}
    categories = _once(text for concerns, text in DATA_SUBJECTS.items() if concerns in concerned)
    return [DataSubjects(category=category, kinds=BY_CONTROLLER) for category in categories]


def _category(category: Category, purposes: Sequence[Purpose]) -> RecordedCategory:
    entries = {
        f"{table}.{name}": entry
        for table, columns in DATA_MAP.items()
        if OF_TABLE[table] is category
        for name, entry in columns.items()
    }
    return RecordedCategory(
        category=category,
        description=DESCRIPTIONS[category],
        concerns=_once(entry.concerns for entry in entries.values()),
        basis=_once(entry.basis for entry in entries.values()),
        retention=_once(_retention(entry.kept, purposes) for entry in entries.values()),
        columns=[_column(name, entry) for name, entry in entries.items()],
    )


def _column(name: str, entry: Entry) -> RecordedColumn:
    return RecordedColumn(
        column=name,
        purpose=entry.purpose,
        concerns=entry.concerns,
        basis=entry.basis,
        retention=entry.kept,
    )


def _retention(kept: Kept, purposes: Sequence[Purpose]) -> str:
    """How long; in days where the tenant has said in how many."""
    if kept is not Kept.PURPOSE_RETENTION or not purposes:
        return kept
    days = ", ".join(f"{purpose.name} {purpose.retention_days} days" for purpose in purposes)
    return f"{kept} ({days})"


def _once(texts: Iterable[str]) -> list[str]:
    """Each text once, in the order in which they first came."""
    return list(dict.fromkeys(map(str, texts)))


def _nobody(others: str) -> Disclosure:
    return Disclosure(by_doorstep=[], because=measures.NOBODY_ELSE, by_others=others)


def _by_controller(purposes: Sequence[Purpose]) -> list[OpenPoint]:
    points = [
        "Contact details; those of joint controllers, a representative, a data protection officer.",
        "Which kinds of people check in.",
        "Who holds API keys, and who else is given what they read: these are recipients.",
        *(
            f"The assessment of legitimate interests for the purpose {purpose.name}."
            for purpose in purposes
            if purpose.legal_basis == "legitimate_interests"
        ),
    ]
    return [OpenPoint(by="controller", what=what) for what in points]


def _by_operator() -> list[OpenPoint]:
    points = [
        "Name and contact details; those of a representative, a data protection officer.",
        "Whether there is an access vault (DOORSTEP_ACCESS_VAULT), and for how many days.",
        "In which countries servers, databases and backups are, and who has access to them.",
        "What Doorstep does not do: TLS before its servers, encryption of disks, backups.",
    ]
    return [OpenPoint(by="operator", what=what) for what in points]
