"""The accuracies that phones report, drawn from quantiles of what real ones reported."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FILE = Path(__file__).with_name("data") / "accuracy_quantiles.json"
#: How the tables call the distributions.
_NAMES = {"phone_trace_biel": "Biel", "phone_history_zurich": "Zurich"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Accuracies:
    """A distribution of reported accuracies; 0 is what phones write for unknown."""

    name: str
    quantiles_at: Floats
    quantiles_m: Floats

    def at(self, levels: Floats) -> Floats:
        """The inverse of the distribution function, straight between the quantiles."""
        return np.interp(levels, self.quantiles_at, self.quantiles_m)

    def of_known_at(self, levels: Floats) -> Floats:
        """The same for the known ones alone."""
        unknown = self.quantiles_at[self.quantiles_m == 0.0].max(initial=0.0)
        return self.at(unknown + (1.0 - unknown) * levels)


def read(file: Path = FILE) -> list[Accuracies]:
    """The distributions of the file."""
    document = json.loads(file.read_text())
    return [
        Accuracies(
            name=_NAMES.get(name, name),
            quantiles_at=np.array(given["quantiles_at"]),
            quantiles_m=np.array(given["accuracy_m"]),
        )
        for name, given in document["distributions"].items()
    ]
