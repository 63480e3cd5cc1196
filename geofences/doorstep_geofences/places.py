"""Many fixes at once: their numbers, in arrays."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from .fix import Fix

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.intp]


class Places:
    """Where some fixes are, and how accurate. As a `Fix`, it prints nothing of that."""

    __slots__ = ("accuracy_m", "lat", "lon")

    def __init__(self, lon: Floats, lat: Floats, accuracy_m: Floats) -> None:
        self.lon = lon
        self.lat = lat
        #: Infinite where it is unknown.
        self.accuracy_m = accuracy_m

    @classmethod
    def of(cls, fixes: Sequence[Fix]) -> Self:
        # one array a number: an array of tuples takes NumPy three times as long
        return cls(
            np.array([fix.lon for fix in fixes]),
            np.array([fix.lat for fix in fixes]),
            np.array([fix.accuracy_m or np.inf for fix in fixes]),
        )

    def __len__(self) -> int:
        return len(self.lon)

    def at(self, numbers: Numbers) -> Self:
        """Some of them, or the same several times."""
        return type(self)(self.lon[numbers], self.lat[numbers], self.accuracy_m[numbers])

    def numbers(self) -> tuple[list[float], list[float], list[float]]:
        """Longitudes, latitudes and accuracies, out of their arrays."""
        return self.lon.tolist(), self.lat.tolist(), self.accuracy_m.tolist()
