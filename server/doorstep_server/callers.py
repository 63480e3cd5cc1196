"""Who calls: the device behind a token."""

from dataclasses import dataclass, field
from uuid import UUID

from doorstep_server.privacy.keys import SubjectKeys
from doorstep_server.privacy.personal import Opened


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """The authenticated device that checks in."""

    tenant_id: UUID
    kid: str
    device_id: UUID
    subject_id: UUID
    subject_keys: SubjectKeys = field(repr=False)
    groups: frozenset[str]
    #: what is stored of them, as it was read last
    opened: Opened = field(default_factory=Opened, repr=False, compare=False)
