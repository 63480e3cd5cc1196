"""What can be wrong with something that a person gave, and what they can do about it."""

from enum import StrEnum
from typing import Self


class Advised(StrEnum):
    """A stable code, with a sentence that tells the person what to do next."""

    advice: str

    def __new__(cls, code: str, advice: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.advice = advice
        return member
