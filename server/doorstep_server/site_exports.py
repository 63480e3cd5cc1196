"""Sites as files hold them, page by page: importing such a file leaves every site unchanged."""

from collections.abc import Callable, Iterator
from uuid import UUID

from doorstep_server.site_files import ExportedSite, Format
from doorstep_server.store import Connection, sites
from doorstep_server.store.sites import StoredSite

MEDIA_TYPES = {
    Format.GEOJSON: "application/geo+json",
    Format.GEOJSONSEQ: "application/geo+json-seq",
    Format.KML: "application/vnd.google-earth.kml+xml",
    Format.CSV: "text/csv",
}
#: sites read at once
PAGE = 500

#: reads a page of sites, those after an id
ReadPage = Callable[[UUID | None], list[StoredSite]]


def page_reader(tenant_id: UUID, after: UUID | None) -> Callable[[Connection], list[StoredSite]]:
    """The store function that reads the page after a site."""
    return lambda connection: sites.page(connection, tenant_id, after=after, limit=PAGE)


def all_sites(read: ReadPage) -> Iterator[ExportedSite]:
    """Every current site, in the order of their ids. One changed meanwhile is as either version."""
    after: UUID | None = None
    while page := read(after):
        for site in page:
            yield exported(site)
        if len(page) < PAGE:
            return
        after = page[-1].site_id


def exported(site: StoredSite) -> ExportedSite:
    """A site as a file holds it: what an import says of it, and nothing that it could not."""
    kept = site.content
    said = {
        "external_id": kept.external_id,
        "timezone": kept.timezone,
        "tolerance_m": kept.tolerance_m,
        "assurance": kept.assurance,
        "max_accuracy_m": kept.max_accuracy_m,
        "hours": kept.hours,
        "purposes": kept.purposes,
        "groups": kept.groups,
        "active": kept.active,
    }
    given = {name: value for name, value in said.items() if value is not None}
    return ExportedSite(name=kept.name, geofence=kept.geofence, properties=given)
