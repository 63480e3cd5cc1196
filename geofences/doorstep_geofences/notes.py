"""What is worth telling about a fence that was taken."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A remark to the person who drew the fence; never a refusal."""

    #: Stable, for programs.
    code: str
    #: What it means and what to do; it carries no input.
    message: str
    #: The place in the document, such as "coordinates[0]".
    at: str | None = None
    #: What the fence as written covers, read literally: outlines without their holes.
    area_before_m2: float | None = None
    #: What the repaired fence covers.
    area_after_m2: float | None = None
