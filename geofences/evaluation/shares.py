"""How many of how many, and how sure that is."""

import math
from dataclasses import dataclass

_Z_95 = 1.959964


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A count out of a sample."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """The part."""
        return self.count / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % confidence interval, after Wilson: sound for few and for none."""
        z2 = _Z_95**2
        middle = (self.count + z2 / 2) / (self.of + z2)
        spread = self.count * (self.of - self.count) / self.of + z2 / 4
        half = _Z_95 * math.sqrt(spread) / (self.of + z2)
        return max(middle - half, 0.0), min(middle + half, 1.0)

    @property
    def percent(self) -> str:
        """As it is written."""
        return f"{_hundred(self.value)} %"

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.percent} ({_hundred(low)}–{_hundred(high)})"


def _hundred(part: float) -> str:
    return f"{100.0 * part:.{2 if part < 0.09995 else 0}f}"
