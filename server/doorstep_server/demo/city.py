"""The demo's city: made-up customers at plausible places in São Paulo, all drawn for this demo."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Self

import msgspec
import shapely

from doorstep_geofences import Geofence, ParsedFeature, RejectedFeature, Site, read_features
from doorstep_server.demo.walking import Spot

#: How often a random spot in a site's box is tried before its middle is taken.
_TRIES = 500


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Place:
    """A site as people see it: the ground itself, without tolerance."""

    site_id: str
    name: str
    #: who is admitted; empty for everyone
    groups: frozenset[str]
    ground: Site

    @classmethod
    def of(cls, shown: Mapping[str, Any]) -> Self:
        """The place of a site as `GET /v1/sites` shows it."""
        geofence = Geofence.parse(shown["geofence"])
        return cls(
            site_id=shown["id"],
            name=shown["name"],
            groups=frozenset(shown["groups"]),
            ground=Site(site_id=shown["id"], version=shown["version"], geofence=geofence),
        )

    def admits(self, groups: frozenset[str]) -> bool:
        """Whether people of these groups may check in here."""
        return not self.groups or bool(self.groups & groups)

    def distance_m(self, spot: Spot) -> float:
        """How far the spot is from here; 0 inside."""
        area = self.ground.area
        return 0.0 if area.covers(spot.lon, spot.lat) else area.distance_m(spot.lon, spot.lat)

    def middle(self) -> Spot:
        """The spot that is deepest inside."""
        return _middle(self.ground.geofence)

    def spot_inside(self, rng: random.Random) -> Spot:
        """Any spot inside, all equally likely."""
        box = self.ground.bounds
        for _ in range(_TRIES):
            spot = Spot(lat=rng.uniform(box.south, box.north), lon=rng.uniform(box.west, box.east))
            if self.distance_m(spot) == 0.0:
                return spot
        return self.middle()


@cache
def document() -> dict[str, Any]:
    """The demo's sites as GeoJSON."""
    text = files(__package__).joinpath("sao_paulo.geojson").read_bytes()
    decoded: dict[str, Any] = msgspec.json.decode(text)
    return decoded


def features() -> list[ParsedFeature | RejectedFeature]:
    """The demo's sites, read as any customer's."""
    return list(read_features(document()))


def standing_in(external_id: str) -> dict[str, float]:
    """A position in a demo site, as keyword arguments for `doorstep.Fix.now`."""
    for feature in features():
        assert isinstance(feature, ParsedFeature)
        if feature.properties.get("external_id") == external_id:
            middle = _middle(feature.geofence)
            return {"lat": middle.lat, "lon": middle.lon}
    raise LookupError("No demo site has this external_id.")


def _middle(geofence: Geofence) -> Spot:
    if geofence.center is not None:
        lon, lat = geofence.center
        return Spot(lat=lat, lon=lon)
    assert geofence.shape is not None
    to_the_edge = shapely.maximum_inscribed_circle(geofence.shape)
    lon, lat = to_the_edge.coords[0]
    return Spot(lat=lat, lon=lon)
