"""What seems odd of a site that can be kept: it is told, and never refused.

What a fence itself says is `doorstep_geofences.hints`' to find; here it is asked with what we know
around it: the time zone's place, and the sites beside it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import hypot
from uuid import UUID

from doorstep_geofences import Bounds, Fix, Geofence, Note, SiteIndex, hints, shares
from doorstep_server import time_zones
from doorstep_server.store.sites import SiteContent

#: sites beside one that it is compared with: in a larger part of the map some will do
COMPARED = 200
#: fences that fall together but for rounding
_SAME_SHARE = 0.999
#: no degree is longer
_DEGREE_M = 112_000.0

PURPOSE_UNKNOWN = Note(
    code="purpose_unknown",
    message="A purpose of the site is not registered: nobody checks in for it until it is.",
)
DUPLICATE = Note(code="duplicate", message="It has the shape of another one: keep one of them.")
OVERLAPS = Note(
    code="overlaps",
    message="It overlaps another one: who is in both and names no site is taken to be where it is "
    "likelier, or in the smaller one.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """Two fences that share a part."""

    note: Note
    #: how much of the smaller one it is
    share: float


def of_itself(site: SiteContent) -> tuple[Note, ...]:
    """What a site's own fence seems to be."""
    place = time_zones.principal_place(site.timezone)
    anchors = () if place is None else (place,)
    return hints(site.geofence, tolerance_m=site.tolerance_m, anchors=anchors)


def of_purposes(site: SiteContent, registered: Iterable[str]) -> tuple[Note, ...]:
    """Whether all of a site's purposes are registered."""
    return () if set(site.purposes) <= set(registered) else (PURPOSE_UNKNOWN,)


def between(pairs: Sequence[tuple[Geofence, Geofence]]) -> list[Overlap | None]:
    """How the two of each pair overlap, if they do."""
    if not pairs:
        return []
    ones, others = zip(*pairs, strict=True)
    found = zip(ones, others, shares(ones, others), strict=True)
    return [_overlap(one, other, share) if share else None for one, other, share in found]


def _overlap(one: Geofence, other: Geofence, share: float) -> Overlap:
    # one that lies in another shares all of itself, too
    smaller, larger = sorted((one.area_m2, other.area_m2))
    alike = share > _SAME_SHARE and smaller > _SAME_SHARE * larger
    return Overlap(note=DUPLICATE if alike else OVERLAPS, share=round(share, 3))


def beside(
    geofence: Geofence, index: SiteIndex, *, but: UUID | None = None
) -> Iterator[tuple[UUID, Overlap]]:
    """The active sites that a fence overlaps, but for the one whose fence it is to be."""
    bounds = Bounds.of(geofence, 0.0)
    lon, lat = bounds.middle
    middle = Fix(lat=lat, lon=(lon + 180.0) % 360.0 - 180.0, accuracy_m=1.0)
    reach_m = hypot(bounds.east - bounds.west, bounds.north - bounds.south) / 2 * _DEGREE_M
    near = index.near([middle], [reach_m])
    found = [s for s in near.sites() if s.site_id != but][:COMPARED]
    overlaps = between([(geofence, site.geofence) for site in found])
    for site, overlap in zip(found, overlaps, strict=True):
        if overlap is not None:
            yield UUID(str(site.site_id)), overlap
