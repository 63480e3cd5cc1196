"""How OpenAPI describes opening hours. Reading and checking them is `doorstep_geofences`' work."""

from typing import Annotated, Any

from msgspec import Meta

from doorstep_geofences.hours import DAYS, MAX_EXCEPTIONS, MAX_SPANS

# JSON Schema as it is written: Litestar would copy schema objects into dicts of Python's names
_TIME = {"type": "string", "pattern": r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"}
_SPAN: dict[str, Any] = {"type": "array", "items": _TIME, "minItems": 2, "maxItems": 2}
_SPANS: dict[str, Any] = {"type": "array", "items": _SPAN, "maxItems": MAX_SPANS}
_EXCEPTION: dict[str, Any] = {
    "type": "object",
    "properties": {"date": {"type": "string", "format": "date"}, "open": _SPANS},
    "required": ["date", "open"],
    "additionalProperties": False,
}

HOURS_SCHEMA: dict[str, Any] = {
    "properties": {
        "weekly": {
            "type": "object",
            "properties": dict.fromkeys(DAYS, _SPANS),
            "additionalProperties": False,
        },
        "exceptions": {"type": "array", "items": _EXCEPTION, "maxItems": MAX_EXCEPTIONS},
    },
    "required": ["weekly"],
    "additional_properties": False,
}

HoursDocument = Annotated[
    dict[str, Any],
    Meta(
        description="Opening hours in the site's local time. `weekly` has the spans that start on "
        "each day; a day that is missing is closed. A span is `[start, end]`, without the end's "
        'minute; an end that is not after the start is of the next day, `["00:00", "24:00"]` a '
        "whole day. An exception takes the place of all spans that start on its date; a night that "
        "began before goes on.",
        examples=[
            {
                "weekly": {
                    "mon": [["09:00", "12:00"], ["13:00", "18:00"]],
                    "fri": [["22:00", "06:00"]],
                },
                "exceptions": [
                    {"date": "2026-12-24", "open": [["09:00", "13:00"]]},
                    {"date": "2026-12-25", "open": []},
                ],
            }
        ],
        extra_json_schema={"extra": HOURS_SCHEMA},
    ),
]
