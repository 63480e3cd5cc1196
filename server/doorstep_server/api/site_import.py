"""Taking sites from a GeoJSON document: matched by external id, all of them or none."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

import msgspec

from doorstep_geofences import ParsedFeature, RejectedFeature
from doorstep_server.api.sites import NewSite, content
from doorstep_server.problems import Refusal
from doorstep_server.store import Connection, locks, sites
from doorstep_server.store.sites import Conflict, SiteContent, StoredSite

#: what a feature's properties may say of its site; other properties are left alone
_PROPERTIES = frozenset(NewSite.__struct_fields__) - {"geofence", "hours"}


class Fate(StrEnum):
    """What becomes of a feature."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """A feature that is no site, where it stands in the file, and why."""

    place: str
    code: str
    message: str


@dataclass(kw_only=True, slots=True)
class Report:
    """What an import did, or would do."""

    fates: Counter[Fate] = field(default_factory=Counter)
    rejected: list[Rejection] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """How to take the features in."""

    tenant_id: UUID
    now: datetime
    dry_run: bool
    #: take the valid ones although others are not
    skip_invalid: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """The features of a file, checked without the database: others can write meanwhile."""

    sites: list[SiteContent]
    rejected: list[Rejection]


def check(features: Iterable[ParsedFeature | RejectedFeature], *, timezone: str) -> Checked:
    """Make sites of features; the time zone is for those that name none."""
    checked = Checked(sites=[], rejected=[])
    seen: set[str] = set()
    for feature in features:
        result = _content(timezone, feature)
        if isinstance(result, SiteContent) and result.external_id in seen:
            result = Rejection(
                place=feature.place,
                code="external-id-repeated",
                message="Another feature of this file has the same external_id.",
            )
        if isinstance(result, Rejection):
            checked.rejected.append(result)
            continue
        if result.external_id is not None:
            seen.add(result.external_id)
        checked.sites.append(result)
    return checked


def import_sites(connection: Connection, wanted: Import, checked: Checked) -> Report:
    """Take sites in, within the caller's transaction. Nothing is written if one is rejected."""
    locks.configuring(connection, wanted.tenant_id)
    report = Report(rejected=checked.rejected)
    known = _known(connection, wanted.tenant_id, checked.sites)
    write = not wanted.dry_run and (wanted.skip_invalid or not report.rejected)
    for site in checked.sites:
        fate = _fate(site, known)
        report.fates[fate] += 1
        if write and fate is not Fate.UNCHANGED:
            _write(connection, wanted, site, known)
    return report


def _content(timezone: str, feature: ParsedFeature | RejectedFeature) -> SiteContent | Rejection:
    if isinstance(feature, RejectedFeature):
        return Rejection(place=feature.place, code=feature.code, message=feature.message)
    said = {name: value for name, value in feature.properties.items() if name in _PROPERTIES}
    document = {"timezone": timezone, **said, "geofence": feature.geofence.to_document()}
    try:
        return content(msgspec.convert(document, NewSite, strict=True))
    except msgspec.ValidationError:
        return Rejection(
            place=f"{feature.place}.properties",
            code="properties-invalid",
            message="A property is missing or of the wrong kind: `name` is required; see POST "
            "/v1/sites in /docs for the others.",
        )
    except Refusal as refusal:
        return Rejection(
            place=f"{feature.place}.properties",
            code=refusal.reason or refusal.kind.code,
            message=refusal.kind.advice,
        )


def _known(
    connection: Connection, tenant_id: UUID, taken: list[SiteContent]
) -> dict[str, StoredSite]:
    ids = [site.external_id for site in taken if site.external_id is not None]
    known: dict[str, StoredSite] = {}
    for start in range(0, len(ids), 500):
        known |= sites.find_by_external_id(connection, tenant_id, ids[start : start + 500])
    return known


def _fate(site: SiteContent, known: dict[str, StoredSite]) -> Fate:
    before = known.get(site.external_id or "")
    if before is None:
        return Fate.CREATED
    return Fate.UNCHANGED if before.content == site else Fate.UPDATED


def _write(
    connection: Connection, wanted: Import, site: SiteContent, known: dict[str, StoredSite]
) -> None:
    before = known.get(site.external_id or "")
    new = StoredSite(
        site_id=before.site_id if before else uuid4(),
        version=before.version + 1 if before else 1,
        valid_from=wanted.now,
        content=site,
    )
    write = sites.revise if before else sites.add
    written = write(connection, wanted.tenant_id, new)
    assert not isinstance(written, Conflict | None), "read in this transaction"
