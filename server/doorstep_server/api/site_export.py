"""Exporting sites: written out as they are read, so that few are in memory at once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import Request, get
from litestar.di import NamedDependency, Provide
from litestar.params import QueryParameter
from litestar.response import Stream

from doorstep_server.api import documented
from doorstep_server.auth import Admin, scope
from doorstep_server.scopes import READ, Area
from doorstep_server.services import Services
from doorstep_server.site_exports import MEDIA_TYPES, all_sites, page_reader
from doorstep_server.site_files import Format, write
from doorstep_server.store.sites import StoredSite

#: sent at once, or somewhat more
_PART_BYTES = 256 * 1024


def export_format(
    format: Annotated[  # noqa: A002
        Literal["geojson", "geojsonseq", "kml", "csv"],
        QueryParameter(description="Each can be imported again, and changes nothing then."),
    ] = "geojson",
) -> Format:
    """Dependency: the format of the file."""
    return Format(format)


@get(
    "/v1/sites/export",
    guards=[scope(Area.SITES, READ)],
    dependencies={"export_format": Provide(export_format, sync_to_thread=False)},
    opt={documented.GIVES_FILE: tuple(MEDIA_TYPES.values())},
    responses=documented.refusals(*documented.ADMIN),
)
async def export(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    export_format: NamedDependency[Format],
) -> Stream:
    """All sites as a file, each in its current version, active or not."""
    sites = all_sites(_pages(services, request.auth.tenant_id))
    parts = _parts(write(sites, export_format))
    # before anything is sent it can still be refused
    first = await anext(parts, b"")
    return Stream(
        lambda: _with_first(first, parts),
        media_type=MEDIA_TYPES[export_format],
        headers={"content-disposition": f'attachment; filename="sites.{export_format}"'},
    )


def _pages(services: Services, tenant_id: UUID) -> Callable[[UUID | None], list[StoredSite]]:
    """Reads pages from a thread, by the event loop that serves."""
    loop = asyncio.get_running_loop()

    def read(after: UUID | None) -> list[StoredSite]:
        reading = services.read(tenant_id, page_reader(tenant_id, after))
        return asyncio.run_coroutine_threadsafe(reading, loop).result()

    return read


async def _parts(written: Iterator[bytes]) -> AsyncIterator[bytes]:
    """In a thread, a part at a time: to write geofences out takes a while."""
    while part := await asyncio.to_thread(_part, written):
        yield part


def _part(written: Iterator[bytes]) -> bytes:
    part = bytearray()
    for some in written:
        part += some
        if len(part) >= _PART_BYTES:
            break
    return bytes(part)


async def _with_first(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in rest:
        yield part
