"""What an import did, or would do: for people and for programs.

Places are those of the file (`features[12]`); no value of the file is in a report.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Generic, Protocol, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

#: of each code so many are listed; all are counted
LISTED = 1_000


class Fate(StrEnum):
    """What becomes of a feature."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A feature that is no site."""

    place: Annotated[str, Meta(description="Where in the file.")]
    code: str
    message: Annotated[str, Meta(description="What to do about it.")]


class Warned(msgspec.Struct, frozen=True, kw_only=True):
    """Something odd about a feature that can be taken: a look at it is worth while."""

    place: Annotated[str, Meta(description="Where in the file.")]
    code: str
    message: Annotated[str, Meta(description="What it means.")]
    area_before_m2: Annotated[float | UnsetType, Meta(description="Of a repaired fence.")] = UNSET
    area_after_m2: Annotated[float | UnsetType, Meta(description="Of a repaired fence.")] = UNSET
    other_place: Annotated[
        str | UnsetType, Meta(description="The feature that it overlaps or repeats.")
    ] = UNSET
    other_site_id: Annotated[
        UUID | UnsetType, Meta(description="The site that it overlaps or repeats.")
    ] = UNSET
    share: Annotated[
        float | UnsetType, Meta(description="How much of the smaller one lies in the other.")
    ] = UNSET


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did, or would do."""

    dry_run: bool
    applied: Annotated[
        bool, Meta(description="Whether the sites now are as the file says. Never of a dry run.")
    ]
    created: int
    updated: int
    unchanged: int
    rejected: int
    rejections: Annotated[
        list[Rejection],
        Meta(description=f"The first {LISTED} of each code, in the order of the file."),
    ]
    rejections_by_code: Annotated[dict[str, int], Meta(description="All of them.")]
    warnings: Annotated[list[Warned], Meta(description=f"The first {LISTED} of each code.")]
    warnings_by_code: Annotated[dict[str, int], Meta(description="All of them.")]


class _Coded(Protocol):
    @property
    def code(self) -> str: ...


C = TypeVar("C", bound=_Coded)


@dataclass(kw_only=True, slots=True)
class Listed(Generic[C]):
    """The first of many, and how many there are of each code."""

    first: list[C] = field(default_factory=list)
    by_code: Counter[str] = field(default_factory=Counter)

    def add(self, item: C) -> None:
        """Count one, and list it if there is room."""
        self.by_code[item.code] += 1
        if self.by_code[item.code] <= LISTED:
            self.first.append(item)

    def __len__(self) -> int:
        return self.by_code.total()


@dataclass(kw_only=True, slots=True)
class Findings:
    """What was found about a file's features."""

    rejections: Listed[Rejection] = field(default_factory=Listed)
    warnings: Listed[Warned] = field(default_factory=Listed)

    def report(self, fates: Mapping[Fate, int], *, dry_run: bool, applied: bool) -> Report:
        """All of it, with what became of the features."""
        return Report(
            dry_run=dry_run,
            applied=applied,
            created=fates.get(Fate.CREATED, 0),
            updated=fates.get(Fate.UPDATED, 0),
            unchanged=fates.get(Fate.UNCHANGED, 0),
            rejected=len(self.rejections),
            rejections=self.rejections.first,
            rejections_by_code=dict(self.rejections.by_code),
            warnings=self.warnings.first,
            warnings_by_code=dict(self.warnings.by_code),
        )
