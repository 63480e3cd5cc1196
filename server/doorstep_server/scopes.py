"""What API keys may be allowed to do."""

from enum import StrEnum


class Area(StrEnum):
    """What API keys are scoped to; each may be read or written."""

    SITES = "sites"
    SUBJECTS = "subjects"
    DEVICES = "devices"
    PURPOSES = "purposes"
    CHECK_INS = "check-ins"
    PRIVACY = "privacy"
    AUDIT = "audit"
    KEYS = "keys"


READ, WRITE = "read", "write"
ALL_SCOPES = tuple(f"{area}:{access}" for area in Area for access in (READ, WRITE))
