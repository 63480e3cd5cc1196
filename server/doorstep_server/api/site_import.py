"""Importing sites: the file is the body, kept on disk as it arrives, and taken whole or not at all.

What could be taken is answered with the report, and so is a dry run. What was to be imported and
was not is a problem, which carries the same report: a script that looks at the status alone must
not take it for done.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from tempfile import TemporaryFile
from typing import Annotated, Any, BinaryIO

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency, Provide
from litestar.openapi.spec import Example
from litestar.params import QueryParameter

from doorstep_geofences import MAX_RADIUS_M
from doorstep_server import time_zones
from doorstep_server.api import documented
from doorstep_server.api.documented import FileBody
from doorstep_server.auth import Admin, scope
from doorstep_server.problems import Refusal
from doorstep_server.scopes import WRITE, Area
from doorstep_server.services import Services
from doorstep_server.site_files import Format, UnreadableFile
from doorstep_server.site_imports.importing import Import
from doorstep_server.site_imports.options import Options
from doorstep_server.site_imports.reading import Prepared, prepare
from doorstep_server.site_imports.report import Report
from doorstep_server.site_imports.turns import NoTurn
from doorstep_server.store.database import DatabaseUnavailable
from doorstep_server.store.reach import Reach
from doorstep_server.store.tenants import Limits

#: on disk: in memory there is little of it at once
FILE_BODY_BYTES = 256 * 1024 * 1024
#: written to the temporary file at once
_WRITTEN_BYTES = 1024 * 1024
#: an import takes seconds
_RETRY_AFTER_S = 15

_ANY_FILE = "application/octet-stream"
_MEDIA_TYPES = {
    Format.GEOJSON: ("application/geo+json", "application/json"),
    Format.GEOJSONSEQ: ("application/geo+json-seq", "application/x-ndjson"),
    Format.KML: ("application/vnd.google-earth.kml+xml", "application/xml", "text/xml"),
    Format.KMZ: ("application/vnd.google-earth.kmz",),
    Format.CSV: ("text/csv", "text/tab-separated-values"),
    Format.GPX: ("application/gpx+xml", "application/xml", "text/xml"),
}
_TAKEN = FileBody(
    media_types=(*(types[0] for types in _MEDIA_TYPES.values()), _ANY_FILE),
    example={
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {"name": "Head office", "external_id": "hq", "radius_m": 80},
                "geometry": {"type": "Point", "coordinates": [-46.6565, -23.5613]},
            }
        ],
    },
)

PropertyName = Annotated[
    str,
    QueryParameter(
        min_length=1, max_length=200, description="The property that holds it, in other files."
    ),
]


def file_options(
    format: Annotated[  # noqa: A002
        Format, QueryParameter(examples=[Example(value="geojson")])
    ],
    timezone: Annotated[
        str,
        QueryParameter(
            max_length=64,
            description="IANA name, for sites that name none.",
            examples=[Example(value="America/Sao_Paulo")],
        ),
    ] = "UTC",
    radius_m: Annotated[
        float | None,
        # not `gt=0`: Litestar leaves a bound of nought out of the description
        QueryParameter(ge=0.001, le=MAX_RADIUS_M, description="For points that say none."),
    ] = None,
    name_from: PropertyName = "name",
    id_from: PropertyName = "external_id",
) -> Options:
    """Dependency: how the file is to be read."""
    if not time_zones.is_known(timezone):
        raise Refusal("timezone-unknown", at="timezone")
    return Options(
        format=format, timezone=timezone, radius_m=radius_m, name_from=name_from, id_from=id_from
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Treatment:
    """What is to be done with a file."""

    dry_run: bool
    skip_invalid: bool
    repair: bool


def treatment(
    dry_run: Annotated[
        bool, QueryParameter(description="Say what would happen, and change nothing.")
    ] = False,
    skip_invalid: Annotated[
        bool, QueryParameter(description="Take the valid features although others are not.")
    ] = False,
    repair: Annotated[
        bool,
        QueryParameter(description="Mend fences that are not valid, and say how each changed."),
    ] = False,
) -> Treatment:
    """Dependency: what is to be done with the file."""
    return Treatment(dry_run=dry_run, skip_invalid=skip_invalid, repair=repair)


@post(
    "/v1/sites/import",
    status_code=200,
    guards=[scope(Area.SITES, WRITE)],
    dependencies={
        "file_options": Provide(file_options, sync_to_thread=False),
        "treatment": Provide(treatment, sync_to_thread=False),
    },
    opt={documented.TAKES_FILE: _TAKEN},
    request_max_body_size=FILE_BODY_BYTES,
    responses=documented.refusals(
        *documented.ADMIN,
        "body-too-large",
        "body-incomplete",
        "unsupported-media-type",
        "timezone-unknown",
        "file-unreadable",
        "import-rejected",
    ),
)
async def import_file(
    request: Request[Any, Admin, Any],
    services: NamedDependency[Services],
    file_options: NamedDependency[Options],
    treatment: NamedDependency[Treatment],
) -> Report:
    """Import the sites of a file: all of them, or none.

    A feature with an `external_id` that a site has replaces that site; without one it always makes
    a new site. Properties that features may have are those of POST /v1/sites, beside others.
    """
    options = replace(file_options, **asdict(treatment))
    _require_type(request, options.format)
    try:
        with services.imports.taken():
            async with _received(request) as file:
                return await _imported(services, request.auth, options, file)
    except NoTurn:
        raise Refusal("unavailable", retry_after_s=_RETRY_AFTER_S) from None


def _require_type(request: Request[Any, Any, Any], form: Format) -> None:
    said = [value.partition(";")[0].strip() for value in request.headers.getall("content-type", [])]
    taken = {_ANY_FILE, *_MEDIA_TYPES[form]}
    encodings = {value.lower() for value in request.headers.getall("content-encoding", [])}
    if len(said) != 1 or said[0].lower() not in taken or not encodings <= {"identity"}:
        raise Refusal("unsupported-media-type")


@asynccontextmanager
async def _received(request: Request[Any, Any, Any]) -> AsyncIterator[BinaryIO]:
    """The body in a file that nobody else can open, and that ends with the request."""
    with TemporaryFile() as file:
        part = bytearray()
        async for chunk in request.stream():
            part += chunk
            if len(part) >= _WRITTEN_BYTES:
                await asyncio.to_thread(file.write, bytes(part))
                part.clear()
        file.write(part)
        file.seek(0)
        yield file


async def _imported(services: Services, caller: Admin, options: Options, file: BinaryIO) -> Report:
    tenant_id = caller.tenant_id
    policy = await services.policies.of(tenant_id)
    with await _prepared(file, options, policy.limits) as prepared:
        work = Import(tenant_id=tenant_id, options=options, prepared=prepared)
        await services.database.read_much(Reach.of(tenant_id), work.look)
        if work.is_rejected and not options.dry_run:
            report = work.report(applied=False)
            raise Refusal("import-rejected", report=msgspec.to_builtins(report))
        if work.is_to_be_written:
            await services.write_much_as(caller, lambda c: work.write(c, services.now()))
            # written it is; if it cannot be read now, the next look at what changed sees it
            with suppress(DatabaseUnavailable):
                await services.policies.renew(tenant_id)
        return work.report(applied=not options.dry_run)


async def _prepared(file: BinaryIO, options: Options, limits: Limits) -> Prepared:
    """In a thread: to read and check a file takes a while, and check-ins must not wait for it."""
    try:
        return await asyncio.to_thread(prepare, file, options, limits)
    except UnreadableFile as error:
        raise Refusal("file-unreadable", at=error.at, reason=error.code) from None
