"""How OpenAPI describes a geofence. Reading and checking one is `doorstep_geofences`' work."""

from typing import Annotated, Any

from litestar.openapi.spec import OpenAPIType
from msgspec import Meta

from doorstep_geofences import MAX_RADIUS_M

# JSON Schema as it is written: Litestar would copy schema objects into dicts of Python's names
_POSITION = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 3}


def _list_of(items: dict[str, Any], least: int = 1) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least}


def _shape(kind: str, properties: dict[str, Any], optional: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": kind,
        "type": "object",
        "properties": {"type": {"type": "string", "const": kind}, **properties, **optional},
        "required": ["type", *properties],
        "additionalProperties": False,
    }


_POLYGON = _list_of(_list_of(_POSITION, 4))
_BBOX = {"bbox": {"description": "Not read: the coordinates say it."}}

GEOFENCE_SCHEMA: dict[str, Any] = {
    "one_of": [
        _shape("Polygon", {"coordinates": _POLYGON}, _BBOX),
        _shape("MultiPolygon", {"coordinates": _list_of(_POLYGON)}, _BBOX),
        _shape(
            "Circle",
            {
                "center": _POSITION,
                "radius_m": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_RADIUS_M},
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
        examples=[
            {"type": "Circle", "center": [-46.655, -23.561], "radius_m": 120},
            {
                "type": "Polygon",
                "coordinates": [
                    [
                        [-46.656, -23.562],
                        [-46.654, -23.562],
                        [-46.654, -23.56],
                        [-46.656, -23.56],
                        [-46.656, -23.562],
                    ]
                ],
            },
        ],
        extra_json_schema={"extra": GEOFENCE_SCHEMA},
    ),
]
