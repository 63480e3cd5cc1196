"""The API's own description."""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any

import msgspec
from litestar import MediaType, Router
from litestar._openapi.schema_generation.plugins.struct import StructSchemaPlugin
from litestar.config.app import AppConfig
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
    SecurityScheme,
)
from litestar.plugins import InitPlugin
from litestar.types import Method
from litestar.typing import FieldDefinition
from msgspec import inspect

from doorstep_server import __version__
from doorstep_server.api.documented import GIVES_FILE, TAKES_FILE, FileBody
from doorstep_server.auth import GuardCaller, guard_callers

DESCRIPTION = """Check-ins at authorized locations, without tracking anyone.

A position is judged in memory and forgotten; what is stored is the verdict, tied to a purpose,
with an expiry. Errors are RFC 9457 problems; each `type` leads to a page that says what to do
next. Lists take `limit` (50, at most 500) and `cursor`.
"""

#: of the document itself
PATH = "/openapi.json"


class ClosedStructs(StructSchemaPlugin):
    """Says of structs what Litestar leaves out: that they are closed, and every bound."""

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:
        """The struct's schema, closed if the struct is."""
        schema = super().to_openapi_schema(field_definition, schema_creator)
        struct: type[msgspec.Struct] = field_definition.type_
        if struct.__struct_config__.forbid_unknown_fields:
            schema.additional_properties = False
        if alternatives := getattr(struct, "ONE_OF", ()):
            schema.one_of = [Schema(required=[name]) for name in alternatives]
        properties = schema.properties or {}
        for field in msgspec.structs.fields(struct):
            kind = inspect.type_info(field.type)
            _bound(properties[field.encode_name], kind)
            if isinstance(kind, inspect.Metadata) and kind.extra:
                properties[field.encode_name] = kind.extra["openapi"]
        return schema


class OneDocument(JsonRenderPlugin):
    """The document at its one address; any other is unknown, and told so as everywhere."""

    def receive_router(self, router: Router) -> None:
        """Take out what Litestar adds: a second address, and an HTML page for unknown ones."""
        router.routes = [route for route in router.routes if route.path == router.path]


def _bound(schema: object, kind: inspect.Type) -> None:
    """Lay a type's bounds on its schema; Litestar loses those of items, and of optional ones 0."""
    if not isinstance(schema, Schema):
        return  # a reference: its own type bounds it
    match kind:
        case inspect.Metadata():
            _bound(schema, kind.type)
        case inspect.UnionType():
            # the bounds of one kind say nothing of the others, such as null
            for each in kind.types:
                _bound(schema, each)
        case inspect.IntType() | inspect.FloatType():
            schema.minimum, schema.exclusive_minimum = kind.ge, kind.gt
        case inspect.StrType():
            schema.min_length, schema.max_length = kind.min_length, kind.max_length
            # Python's end of text; JSON Schema knows only `$`, which means the same there
            schema.pattern = kind.pattern and kind.pattern.replace(r"\Z", "$")
        case inspect.ListType():
            _bound(schema.items, kind.item_type)


@dataclass
class DescribedOperation(Operation):
    """An operation with what Litestar says of it set right."""

    def __post_init__(self) -> None:
        for parameter in self.parameters or ():
            if isinstance(parameter, Parameter):
                _without_null(parameter)
                if parameter.param_in == "header" and self.security == [{"apiKey": []}]:
                    # `Doorstep-Purpose`: only devices, which read their own, need not say why
                    parameter.required = True
        for response in (self.responses or {}).values():
            if isinstance(response, OpenAPIResponse):
                for media_type in (response.content or {}).values():
                    _of_any_kind(media_type)


def _operation_class(opt: Mapping[str, Any]) -> type[DescribedOperation]:
    """What describes a handler; of files that it takes or gives, no type says anything."""
    taken: FileBody | None = opt.get(TAKES_FILE)
    given: tuple[str, ...] = opt.get(GIVES_FILE, ())

    @dataclass
    class OfFiles(DescribedOperation):
        def __post_init__(self) -> None:
            # not `super()`: the decorator may make another class of it
            DescribedOperation.__post_init__(self)
            if taken is not None:
                content = {t: _file(t, taken.example) for t in taken.media_types}
                self.request_body = RequestBody(content=content, required=True)
            answer = (self.responses or {}).get("200")
            if given and isinstance(answer, OpenAPIResponse):
                answer.description = "The file."
                answer.content = {media_type: _file(media_type) for media_type in given}

    return OfFiles


def _file(media_type: str, example: dict[str, Any] | None = None) -> OpenAPIMediaType:
    if media_type.endswith("json"):
        return OpenAPIMediaType(schema=Schema(type=OpenAPIType.OBJECT), example=example)
    return OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY))


def _without_null(parameter: Parameter) -> None:
    """What is optional may be left out, but there is no way to send a null."""
    schema = parameter.schema
    if isinstance(schema, Schema) and schema.one_of:
        [kind] = [k for k in schema.one_of if isinstance(k, Schema) and k.type != OpenAPIType.NULL]
        schema.one_of, schema.type = None, kind.type
        schema.format = schema.format or kind.format


def _of_any_kind(media_type: OpenAPIMediaType) -> None:
    """An answer of one kind may be one of the other too: an empty page is of both."""
    schema = media_type.schema
    if isinstance(schema, Schema) and schema.one_of:
        schema.any_of, schema.one_of = schema.one_of, None


class Described(InitPlugin):
    """Takes each route's words from its docstring, and who may call it from its guard."""

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Complete the routes' descriptions."""
        for handler in app_config.route_handlers:
            if isinstance(handler, HTTPRouteHandler):
                _describe(handler)
        return app_config


def _describe(handler: HTTPRouteHandler) -> None:
    summary, _, rest = cleandoc(handler.fn.__doc__ or "").partition("\n")
    callers = [caller for guard in handler.guards or () for caller in guard_callers(guard)]
    handler.operation_class = _operation_class(handler.opt)
    handler.summary = summary
    handler.description = " ".join([*(rest.split() or summary.split()), *map(_who, callers)])
    handler.security = [{caller.scheme: []} for caller in callers] or None


def _who(caller: GuardCaller) -> str:
    return f"Scope: `{caller.scope}`." if caller.scope else "For devices."


def _operation_id(handler: HTTPRouteHandler, method: Method, path: list[Any]) -> str:
    del method, path
    return f"{handler.fn.__module__.rpartition('.')[2]}.{handler.fn.__name__}"


def config() -> OpenAPIConfig:
    """One document at /openapi.json; pages that show it are ours."""
    return OpenAPIConfig(
        title="Doorstep",
        version=__version__,
        description=DESCRIPTION,
        operation_id_creator=_operation_id,
        path=PATH,
        render_plugins=[OneDocument(path="/", media_type=MediaType.JSON)],
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
