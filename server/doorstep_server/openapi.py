"""The API's own description."""

from typing import Any

import msgspec
from litestar import MediaType
from litestar._openapi.schema_generation.plugins.struct import StructSchemaPlugin
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, Schema, SecurityScheme
from litestar.typing import FieldDefinition

from doorstep_server import __version__

DESCRIPTION = """Check-ins at authorized locations, without tracking anyone.

A position is judged in memory and forgotten; what is stored is the verdict, tied to a purpose,
with an expiry. Errors are RFC 9457 problems; each `type` leads to a page that says what to do
next. Lists take `limit` (50, at most 500) and `cursor`.
"""


class ClosedStructs(StructSchemaPlugin):
    """Says of structs that forbid unknown members that they do."""

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:
        """The struct's schema, closed if the struct is."""
        schema = super().to_openapi_schema(field_definition, schema_creator)
        struct: type[msgspec.Struct] = field_definition.type_
        if struct.__struct_config__.forbid_unknown_fields:
            schema.additional_properties = False
        return schema


def config() -> OpenAPIConfig:
    """One document at /openapi.json; pages that show it are ours."""
    return OpenAPIConfig(
        title="Doorstep",
        version=__version__,
        description=DESCRIPTION,
        path="/openapi.json",
        render_plugins=[JsonRenderPlugin(path="/", media_type=MediaType.JSON)],
        components=Components(
            security_schemes={
                "deviceToken": SecurityScheme(
                    type="http", scheme="bearer", description="A device's token: `dst_…`"
                ),
                "apiKey": SecurityScheme(
                    type="http", scheme="bearer", description="A tenant's API key: `dsk_…`"
                ),
            }
        ),
    )
