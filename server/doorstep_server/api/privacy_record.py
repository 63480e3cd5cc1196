"""The tenant's record of processing."""

from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency

from doorstep_server.api import documented
from doorstep_server.auth import Admin, scope
from doorstep_server.privacy.record import ProcessingRecord, record_of
from doorstep_server.scopes import READ, Area
from doorstep_server.services import Services
from doorstep_server.store.configuration import configuration


@get(
    "/v1/privacy/record",
    guards=[scope(Area.PRIVACY, READ)],
    responses=documented.refusals(*documented.ADMIN),
)
async def read(
    request: Request[Any, Admin, Any], services: NamedDependency[Services]
) -> ProcessingRecord:
    """The record of processing (GDPR art. 30, LGPD art. 37), as the tenant is configured now.

    It says nothing about any one person. What Doorstep cannot know is named as to be completed.
    """
    tenant_id = request.auth.tenant_id
    return record_of(await services.read(tenant_id, lambda c: configuration(c, tenant_id)))
