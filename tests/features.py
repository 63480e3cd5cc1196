"""GeoJSON features for tests of files."""

import json
from typing import Any

from world import SQUARE

BOW_TIE = {"type": "Polygon", "coordinates": [[[0, 0], [2, 1], [2, 0], [0, 2], [0, 0]]]}


def square(lon: float, lat: float, side: float = 0.001) -> dict[str, Any]:
    """Of about a hundred metres."""
    east, north = lon + side, lat + side
    ring = [[lon, lat], [east, lat], [east, north], [lon, north], [lon, lat]]
    return {"type": "Polygon", "coordinates": [ring]}


def feature(
    name: str | None = None, geometry: dict[str, Any] = SQUARE, **properties: Any
) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": {"name": name, **properties}}


def collection(*features: dict[str, Any]) -> str:
    return json.dumps({"type": "FeatureCollection", "features": list(features)})


def apart(count: int) -> list[dict[str, Any]]:
    """Features with external ids that lie nowhere near each other."""
    places = ((n, -60 + n // 100 * 0.01, -20 + n % 100 * 0.01) for n in range(count))
    return [feature(f"Site {n}", square(*at), external_id=f"s-{n}") for n, *at in places]
