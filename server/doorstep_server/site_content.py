"""What an admin says of a site, and whether it can be honoured: over HTTP and in files alike."""

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from doorstep_geofences import Flaw, Geofence, InvalidHours, OpeningHours
from doorstep_server import time_zones
from doorstep_server.check_ins.claim import PurposeName
from doorstep_server.hours_document import HoursDocument
from doorstep_server.problems import TYPES
from doorstep_server.store.sites import SiteContent
from doorstep_server.store.tenants import Limits
from doorstep_server.texts import Groups, Text

_M2_PER_KM2 = 1e6


class SiteMembers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said of a site beside its geofence."""

    name: Annotated[Text, Meta(min_length=1, max_length=200)]
    timezone: Annotated[
        str,
        Meta(
            max_length=64,
            description="IANA name, such as America/Sao_Paulo.",
            examples=["America/Sao_Paulo"],
        ),
    ]
    external_id: Annotated[Text, Meta(min_length=1, max_length=200)] | None = None
    tolerance_m: Annotated[
        float, Meta(ge=0, le=1_000, description="The geofence is grown by this before judging.")
    ] = 0.0
    assurance: Annotated[
        Literal["standard", "strict"],
        Meta(description="How sure one must be that the person is inside: 50 % or 90 %."),
    ] = "standard"
    max_accuracy_m: Annotated[
        float, Meta(gt=0, le=10_000, description="Worse positions are uncertain.")
    ] = 100.0
    hours: HoursDocument | None = None
    purposes: Annotated[
        list[PurposeName], Meta(max_length=100, description="Empty: every purpose.")
    ] = []
    groups: Annotated[Groups, Meta(description="Who may check in here. Empty: everyone.")] = []
    active: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why a site cannot be as it was said to be."""

    #: the code of the problem that it is
    problem: str
    #: the member that is at fault, and where in it
    at: str
    #: a closer code, where there is one
    reason: str | None = None
    #: what the person who said it can do; it carries no input
    message: str


def check(said: SiteMembers, geofence: Geofence, limits: Limits) -> SiteContent | Fault:
    """What is kept of a site, or why it cannot be."""
    if not time_zones.is_known(said.timezone):
        return _NO_SUCH_ZONE
    if geofence.area_m2 > limits.max_site_area_km2 * _M2_PER_KM2:
        return _TOO_LARGE
    try:
        hours = None if said.hours is None else OpeningHours.parse(said.hours).to_document()
    except InvalidHours as error:
        at = f"hours.{error.at}" if error.at else "hours"
        return Fault(problem="hours-invalid", at=at, reason=error.code, message=error.message)
    return SiteContent(
        name=said.name,
        external_id=said.external_id,
        geofence=geofence,
        tolerance_m=said.tolerance_m,
        assurance=said.assurance,
        max_accuracy_m=said.max_accuracy_m,
        timezone=said.timezone,
        hours=hours,
        purposes=list(said.purposes),
        groups=list(said.groups),
        active=said.active,
    )


_NO_SUCH_ZONE = Fault(
    problem="timezone-unknown", at="timezone", message=TYPES["timezone-unknown"].advice
)
_TOO_LARGE = Fault(
    problem="geofence-invalid",
    at="geofence",
    reason=Flaw.TOO_LARGE.value,
    message=Flaw.TOO_LARGE.advice,
)
