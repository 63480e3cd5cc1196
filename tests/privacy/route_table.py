"""What each route takes and from whom, read from the app itself, so that no route is forgotten.

Paths, methods and guards are the route table's; query parameters and headers are OpenAPI's; bodies
are the types that the handlers decode.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from msgspec import inspect

from doorstep_server.api.documented import TAKES_FILE
from doorstep_server.app import build_app
from doorstep_server.auth import GuardCaller, guard_callers
from doorstep_server.check_ins.claim import Claim
from doorstep_server.services import Services
from doorstep_server.site_content import SiteMembers

#: in a place's steps: each item of a list
EACH = "[]"

#: members that are decoded later than their body, by name: what their items are
RAW_ITEMS: dict[str, type[msgspec.Struct]] = {"check_ins": Claim}

#: values from a closed set or of a measure: they cannot name a thing of a tenant
_CLOSED = (
    inspect.BoolType,
    inspect.DateTimeType,
    inspect.EnumType,
    inspect.FloatType,
    inspect.LiteralType,
    inspect.NoneType,
)


@dataclass(frozen=True)
class Place:
    """Where a request carries one value."""

    where: str
    steps: tuple[str, ...]
    required: bool
    #: whether the value could name a thing: a text, a number or anything at all
    names: bool = True

    @property
    def name(self) -> str:
        return [step for step in self.steps if step != EACH][-1]

    def __str__(self) -> str:
        return f"{self.where} {'.'.join(self.steps)}"


@dataclass(frozen=True)
class Operation:
    """A method of a path."""

    method: str
    path: str
    handler: HTTPRouteHandler
    described: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @cached_property
    def callers(self) -> tuple[GuardCaller, ...]:
        """Whom its guards let through; nobody in particular when there is no guard."""
        guards = self.handler.resolve_guards()
        return tuple(caller for guard in guards for caller in guard_callers(guard))

    @cached_property
    def body(self) -> type[msgspec.Struct] | None:
        """What its body is decoded to."""
        field = self.handler.parsed_data_field
        return cast("type[msgspec.Struct]", field.annotation) if field else None

    @cached_property
    def takes_file(self) -> bool:
        """Whether its body is a file: then the handler reads it as it comes."""
        return TAKES_FILE in self.handler.opt

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Every place where a request of it carries a value."""
        path = [part[1:-1] for part in self.path.split("/") if part.startswith("{")]
        return (
            *(Place("path", (name,), required=True) for name in path),
            *(_parameter(p) for p in self.described.get("parameters", []) if p["in"] != "path"),
            *(_leaves(inspect.type_info(self.body), (), required=True) if self.body else ()),
            *(_of_a_feature() if self.takes_file else ()),
        )

    def takes(self, name: str) -> bool:
        return any(place.name == name for place in self.places)


def operations(app: Litestar) -> list[Operation]:
    """Every route that a request can reach."""
    documented = app.openapi_schema.to_schema()["paths"]
    found = [
        Operation(method, route.path_format, handler, _described(documented, route, method))
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
        if method != "OPTIONS"
    ]
    assert all(isinstance(route, HTTPRoute) for route in app.routes), "a route of a new kind"
    return sorted(found, key=str)  # the app's own order is not always the same


def _described(documented: dict[str, Any], route: HTTPRoute, method: str) -> dict[str, Any]:
    """Its OpenAPI; empty for pages that are not in it."""
    return dict(documented.get(route.path_format, {}).get(method.lower(), {}))


def table() -> list[Operation]:
    """The operations of an app that never starts, to name tests by them."""
    never_used = cast("Services", SimpleNamespace(authenticator=None, meters=None))
    return operations(build_app(never_used))


def _parameter(described: dict[str, Any]) -> Place:
    schema = described["schema"]
    kinds = {kind.get("type") for kind in schema.get("oneOf", [schema])}
    closed = kinds <= {"boolean", "number", "null"} or "date-time" in str(schema)
    return Place(
        described["in"], (described["name"],), described.get("required", False), names=not closed
    )


def _of_a_feature() -> Iterator[Place]:
    """What the one feature of a file says of its site."""
    for place in _leaves(inspect.type_info(SiteMembers), (), required=True):
        yield replace(place, where="file")


def _leaves(kind: inspect.Type, steps: tuple[str, ...], *, required: bool) -> Iterator[Place]:
    """The values in a body, with the types' own knowledge of which are required."""
    match kind:
        case inspect.Metadata():
            yield from _leaves(kind.type, steps, required=required)
        case inspect.StructType():
            first, *others = getattr(kind.cls, "ONE_OF", (None,))
            for field in kind.fields:
                if field.encode_name in others:
                    continue  # of members of which one is sent, the first is
                wanted = required and (field.required or field.encode_name == first)
                yield from _leaves(field.type, (*steps, field.encode_name), required=wanted)
        case inspect.ListType():
            yield from _leaves(kind.item_type, (*steps, EACH), required=required)
        case inspect.RawType():
            name = Place("body", steps, required=required).name
            assert name in RAW_ITEMS, f"say in RAW_ITEMS what the items of {name} are"
            yield from _leaves(inspect.type_info(RAW_ITEMS[name]), steps, required=required)
        case inspect.UnionType():
            for one in kind.types:
                if not isinstance(one, inspect.NoneType):
                    yield from _leaves(one, steps, required=required)
        case _:
            yield Place("body", steps, required, names=not isinstance(kind, _CLOSED))
