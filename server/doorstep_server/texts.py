"""Text that is kept."""

from typing import Annotated

from msgspec import Meta

#: PostgreSQL keeps no U+0000, so nothing does
Text = Annotated[str, Meta(pattern=r"^[^\x00]*\Z")]
#: groups of people: they say who may check in where
Groups = Annotated[list[Annotated[Text, Meta(min_length=1, max_length=64)]], Meta(max_length=100)]
