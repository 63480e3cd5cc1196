"""How much place is stored for a check-in."""

from enum import StrEnum


class Level(StrEnum):
    """From nothing to everything; a purpose names the most that it needs."""

    NONE = "none"
    SITE = "site"
    CELL = "cell"
    EXACT = "exact"


#: what this version can store; a purpose that asks for more is refused, never cut silently
AVAILABLE_LEVELS = frozenset({Level.NONE, Level.SITE})
