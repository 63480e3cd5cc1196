"""A purpose: why location is processed, and what it allows to be kept."""

from dataclasses import dataclass
from enum import StrEnum

from doorstep_server.privacy.levels import Level


class JudgedBy(StrEnum):
    """Who looks at the position."""

    SERVER = "server"
    #: it never leaves the phone: what comes in is a verdict
    DEVICE = "device"


@dataclass(frozen=True, kw_only=True, slots=True)
class Purpose:
    """One registered purpose of a tenant, in one version."""

    name: str
    title: str
    version: int
    legal_basis: str
    #: the most that is stored of a check-in's place
    level: Level
    #: stored times are cut down to a multiple of this
    time_precision_s: int
    #: days that a stored check-in can be read
    retention_days: int
    #: how old a position may be when it arrives
    max_age_s: int
    requires_consent: bool
    active: bool
    judged_by: JudgedBy = JudgedBy.SERVER
