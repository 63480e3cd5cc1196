"""How much place is stored for a check-in."""

from enum import StrEnum


class Level(StrEnum):
    """From nothing to everything; a purpose names the most that it needs."""

    NONE = "none"
    SITE = "site"
    CELL = "cell"
    EXACT = "exact"

    @property
    def rank(self) -> int:
        """From nothing to everything."""
        return _RANKS[self]


_RANKS = {level: rank for rank, level in enumerate(Level)}


def least(*levels: Level) -> Level:
    """The one that stores least."""
    return min(levels, key=lambda level: level.rank)
