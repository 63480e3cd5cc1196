"""The features of a file, each checked: those that can be sites are spooled."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Self

import msgspec

from doorstep_geofences import Note, ParsedFeature, RejectedFeature
from doorstep_server import site_doubts, site_files
from doorstep_server.site_content import Fault, SiteMembers, check
from doorstep_server.site_imports.looking import Neighbours
from doorstep_server.site_imports.options import Options
from doorstep_server.site_imports.report import Findings, Rejection, Warned
from doorstep_server.site_imports.spool import RowSpool, Spool
from doorstep_server.store.sites import SiteContent
from doorstep_server.store.tenants import Limits

#: what a feature's properties may say of its site; other properties are left alone
_MEMBERS = frozenset(SiteMembers.__struct_fields__)

NAMED_BY_ID = Note(
    code="named_by_id",
    message="The feature has no name: its external id is the site's name. Say with name_from "
    "which property holds the names, if one does.",
)
_NAMELESS = (
    "name-missing",
    "Give a `name` or an `external_id`, or say with name_from or id_from what holds it.",
)
_REPEATED = ("external-id-repeated", "Another feature of this file has the same external_id.")
_OF_THE_WRONG_KIND = (
    "properties-invalid",
    "The property is of the wrong kind or beyond its bounds: see POST /v1/sites in /docs.",
)


@dataclass(kw_only=True, slots=True)
class Prepared:
    """A file's sites, checked without the database: others can write meanwhile."""

    spool: Spool = field(default_factory=Spool)
    findings: Findings = field(default_factory=Findings)
    external_ids: set[str] = field(default_factory=set)
    #: the purposes that sites name, and where first
    purposes: dict[str, str] = field(default_factory=dict)
    neighbours: Neighbours = field(init=False)
    #: what is to be written, where the database wants it to be ready
    rows: RowSpool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self.spool.close()
        if self.rows is not None:
            self.rows.close()


def prepare(
    file: BinaryIO, options: Options, limits: Limits, progress: Callable[[], None] | None = None
) -> Prepared:
    """Read a file. `progress` is called now and then.

    Raises `site_files.UnreadableFile` for one that cannot be read at all.
    """
    features = site_files.read(file, options.format, options.reading())
    return check_all(features, options, limits, progress)


def check_all(
    features: Iterable[ParsedFeature | RejectedFeature],
    options: Options,
    limits: Limits,
    progress: Callable[[], None] | None = None,
) -> Prepared:
    """Check features that were read."""
    prepared = Prepared()
    try:
        for feature in features:
            _take(prepared, feature, options, limits)
            if progress is not None:
                progress()
        prepared.neighbours = Neighbours(prepared.spool, prepared.findings.warnings)
        prepared.neighbours.within()
    except BaseException:
        prepared.close()
        raise
    return prepared


def _take(
    prepared: Prepared, feature: ParsedFeature | RejectedFeature, options: Options, limits: Limits
) -> None:
    site = _site(prepared, feature, options, limits)
    if isinstance(site, Rejection):
        prepared.findings.rejections.add(site)
        return
    assert isinstance(feature, ParsedFeature)
    prepared.spool.add(feature.place, site)
    if site.external_id is not None:
        prepared.external_ids.add(site.external_id)
    for purpose in site.purposes:
        prepared.purposes.setdefault(purpose, feature.place)
    for note in (*feature.notes, *_of_name(feature, options), *site_doubts.of_itself(site)):
        prepared.findings.warnings.add(warned(note, feature.place))


def _site(
    prepared: Prepared, feature: ParsedFeature | RejectedFeature, options: Options, limits: Limits
) -> SiteContent | Rejection:
    if isinstance(feature, RejectedFeature):
        return Rejection(place=feature.place, code=feature.code, message=feature.message)
    said = _said(feature, options)
    if isinstance(said, Rejection):
        return said
    if said.external_id in prepared.external_ids:
        return _rejection(feature, "", _REPEATED)
    site = check(said, feature.geofence, limits)
    if isinstance(site, Fault):
        return _rejection(feature, site.at, (site.reason or site.problem, site.message))
    return site


def _said(feature: ParsedFeature, options: Options) -> SiteMembers | Rejection:
    """What a feature's properties say. One that is null or empty text says nothing."""
    said = {
        name: value
        for name, value in feature.properties.items()
        if name in _MEMBERS and value is not None and value != ""
    }
    said |= {"external_id": _external_id(feature, options)}
    said |= {"name": _name(feature, options) or said["external_id"]}
    if said["name"] is None:
        return _rejection(feature, "", _NAMELESS)
    try:
        return msgspec.convert({"timezone": options.timezone, **said}, SiteMembers, strict=True)
    except msgspec.ValidationError as error:
        return _rejection(feature, _member(error), _OF_THE_WRONG_KIND)


def _external_id(feature: ParsedFeature, options: Options) -> Any:
    found = feature.properties.get(options.id_from)
    own = feature.identifier if options.id_from == "id" else None
    return _text(own if found is None else found)


def _name(feature: ParsedFeature, options: Options) -> Any:
    found = feature.properties.get(options.name_from)
    return _text(feature.name if found is None and options.name_from == "name" else found)


def _of_name(feature: ParsedFeature, options: Options) -> tuple[Note, ...]:
    return () if _name(feature, options) else (NAMED_BY_ID,)


def _text(value: Any) -> Any:
    """Numbers are names, too; and empty text is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value or None


def _member(error: msgspec.ValidationError) -> str:
    """The property that is at fault: one of ours, so its name may be told."""
    _, _, place = str(error).rpartition(" - at `$.")
    name = place.rstrip("`").partition("[")[0]
    return name if name in _MEMBERS else ""


def _rejection(feature: ParsedFeature, member: str, said: tuple[str, str]) -> Rejection:
    code, message = said
    if member == "geofence":
        return Rejection(place=f"{feature.place}.geometry", code=code, message=message)
    place = f"{feature.place}.properties"
    return Rejection(place=f"{place}.{member}" if member else place, code=code, message=message)


def warned(note: Note, place: str) -> Warned:
    """A note as a report has it."""
    areas = {"area_before_m2": note.area_before_m2, "area_after_m2": note.area_after_m2}
    given: dict[str, Any] = {name: value for name, value in areas.items() if value is not None}
    return Warned(place=note.at or place, code=note.code, message=note.message, **given)
