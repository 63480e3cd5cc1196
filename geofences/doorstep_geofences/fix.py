"""One position from a device: judged in memory, never printed, never stored."""

import math
from dataclasses import dataclass
from typing import NoReturn


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Fix:
    """Where a device says it is, in WGS84 degrees.

    It redacts itself wherever Python would write it down (repr, str, format, log records,
    tracebacks) and refuses to be pickled or copied, so it cannot reach a queue or a cache
    by accident. Its errors carry no value either.
    """

    lat: float
    lon: float
    #: Radius around the position that holds the device with 68 % probability. Unknown when
    #: None; platforms write 0 for "unknown", and no receiver is perfect, so 0 means None.
    accuracy_m: float | None = None
    #: The platform says that an app made this position up.
    mocked: bool = False
    #: What the platform says it came from (gps, network, …); never part of the judgement.
    source: str | None = None

    def __post_init__(self) -> None:
        # Written so that NaN, which no comparison holds for, is refused too.
        if not -90.0 <= self.lat <= 90.0:
            raise ValueError("lat must be a number of degrees from -90 to 90")
        if not -180.0 <= self.lon <= 180.0:
            raise ValueError("lon must be a number of degrees from -180 to 180")
        if self.accuracy_m is not None:
            self._settle_accuracy(self.accuracy_m)

    def _settle_accuracy(self, accuracy_m: float) -> None:
        if not 0.0 <= accuracy_m < math.inf:
            raise ValueError("accuracy_m must be a finite number of metres, not negative")
        if accuracy_m == 0.0:
            object.__setattr__(self, "accuracy_m", None)

    def __repr__(self) -> str:
        return "<Fix redacted>"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Fix lives in memory only: it cannot be pickled or copied")
