"""What an app sends to check in, as it is on the wire."""

from datetime import datetime
from typing import Annotated, ClassVar, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from doorstep_geofences import LONGEST_AGE_S, Fix

RANDOM_UUID_VERSIONS = frozenset({4, 8})
#: the same, as the API describes it
RANDOM_UUID = (
    "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[48][0-9A-Fa-f]{3}-[89ABab][0-9A-Fa-f]{3}-[0-9A-Fa-f]{12}$"
)

#: the largest sequence number that every JSON reader can hold exactly
MAX_SEQUENCE = 2**53 - 1

PURPOSE_NAME = r"^[a-z][a-z0-9_-]{0,63}\Z"
PurposeName = Annotated[
    str,
    Meta(
        pattern=PURPOSE_NAME,
        description="Lower-case letters, digits, `_` and `-`, beginning with a letter.",
    ),
]
AwareTime = Annotated[datetime, Meta(tz=True, description="RFC 3339, with a zone.")]
Epoch = Annotated[int, Meta(ge=0, le=MAX_SEQUENCE)]
Age = Annotated[
    float,
    Meta(
        ge=0,
        le=LONGEST_AGE_S,
        description="Seconds since the capture, on a clock that is never set.",
    ),
]


class FixClaim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One position from the device. It is judged in memory and forgotten."""

    lat: Annotated[float, Meta(ge=-90, le=90, description="Degrees, WGS 84.")]
    lon: Annotated[float, Meta(ge=-180, le=180, description="Degrees, WGS 84.")]
    captured_at: AwareTime
    accuracy_m: (
        Annotated[
            float,
            Meta(
                ge=0,
                le=1e7,
                description="Radius in metres that holds the true place with 68 % probability. "
                "Missing or 0 means unknown, and is never taken for perfect.",
            ),
        ]
        | None
    ) = None
    mocked: bool | None = None
    source: Annotated[str, Meta(max_length=32, pattern=r"^[a-z0-9_-]*\Z")] | None = None

    def __repr__(self) -> str:
        return "<FixClaim redacted>"

    def fix(self) -> Fix:
        """The position to judge."""
        return Fix(
            lat=self.lat,
            lon=self.lon,
            accuracy_m=self.accuracy_m,
            mocked=bool(self.mocked),
            source=self.source,
        )


class Told(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the device found, where the purpose is judged by devices: the position stays there.

    The reason says the outcome, too. There is no member for a coordinate, a distance or an
    accuracy.
    """

    reason: Annotated[
        Literal[
            "inside",
            "outside",
            "no_site_near",
            "mocked",
            "null_island",
            "outside_hours",
            "near_boundary",
            "accuracy_too_low",
            "accuracy_unknown",
        ],
        Meta(description="Why: one of the reasons. `inside` needs `site_id`."),
    ]
    captured_at: AwareTime
    bundle_version: Annotated[
        int, Meta(ge=0, le=MAX_SEQUENCE, description="Of the bundle that it was judged by.")
    ]


class Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One claim of presence: `fix`, or `verdict` where the purpose is judged by devices.

    Send the same id again to repeat it safely.
    """

    ONE_OF: ClassVar = ("fix", "verdict")

    id: Annotated[
        UUID,
        Meta(
            description="Made by the app: a random UUID, version 4 or 8.",
            extra_json_schema={"extra": {"pattern": RANDOM_UUID}},
        ),
    ]
    purpose: PurposeName
    fix: FixClaim | UnsetType = UNSET
    verdict: Told | UnsetType = UNSET
    site_id: UUID | None = None
    action: Literal["in", "out"] | None = None
    sent_at: AwareTime | None = None
    age_s: Age | None = None
    permission_epoch: (
        Annotated[Epoch, Meta(description="Under which the position was captured.")] | None
    ) = None

    def __post_init__(self) -> None:
        if (self.fix is UNSET) is (self.verdict is UNSET):
            raise ValueError("a claim has a fix or a verdict")

    @property
    def told(self) -> Told | None:
        """What the device found; None where it sent its position."""
        return None if self.verdict is UNSET else self.verdict

    @property
    def captured_at(self) -> datetime:
        """When the position was taken, by the device's wall clock."""
        evidence = self.fix if self.verdict is UNSET else self.verdict
        assert evidence is not UNSET
        return evidence.captured_at


def is_random(check_in_id: UUID) -> bool:
    """Whether an id is of a kind that tells nothing about the time or the machine it was made on.

    Version 8 may lead with the day, which the check-in tells anyway.
    """
    return check_in_id.version in RANDOM_UUID_VERSIONS
