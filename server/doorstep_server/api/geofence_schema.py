"""How OpenAPI describes a geofence. Reading and checking one is `doorstep_geofences`' work."""

from typing import Annotated, Any

from litestar.openapi.spec import OpenAPIType, Schema
from msgspec import Meta

from doorstep_geofences import MAX_RADIUS_M

_NUMBERS = Schema(
    type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.NUMBER), min_items=2, max_items=3
)


def _list_of(items: Schema, least: int = 1) -> Schema:
    return Schema(type=OpenAPIType.ARRAY, items=items, min_items=least)


def _shape(kind: str, properties: dict[str, Schema], optional: dict[str, Schema]) -> Schema:
    kind_schema = Schema(type=OpenAPIType.STRING, const=kind)
    return Schema(
        title=kind,
        type=OpenAPIType.OBJECT,
        properties={"type": kind_schema, **properties, **optional},
        required=["type", *properties],
        additional_properties=False,
    )


_POLYGON = _list_of(_list_of(_NUMBERS, 4))
_BBOX = {"bbox": _list_of(Schema(type=OpenAPIType.NUMBER), 4)}

GEOFENCE_SCHEMA: dict[str, Any] = {
    "one_of": [
        _shape("Polygon", {"coordinates": _POLYGON}, _BBOX),
        _shape("MultiPolygon", {"coordinates": _list_of(_POLYGON)}, _BBOX),
        _shape(
            "Circle",
            {
                "center": _NUMBERS,
                "radius_m": Schema(
                    type=OpenAPIType.NUMBER, exclusive_minimum=0, maximum=MAX_RADIUS_M
                ),
            },
            {},
        ),
    ],
    "type": OpenAPIType.OBJECT,
    "additional_properties": None,
}

GeofenceDocument = Annotated[
    dict[str, Any],
    Meta(
        description="A GeoJSON Polygon or MultiPolygon (RFC 7946: longitude first, holes allowed), "
        "or a circle: a centre `[longitude, latitude]` and a radius in metres.",
        extra_json_schema={"extra": GEOFENCE_SCHEMA},
    ),
]
