"""Who calls: the device behind a token."""

from dataclasses import dataclass, field
from uuid import UUID

from doorstep_server.privacy.keys import SubjectKeys


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """The authenticated device that checks in."""

    tenant_id: UUID
    kid: str
    device_id: UUID
    subject_id: UUID
    subject_keys: SubjectKeys = field(repr=False)
    groups: frozenset[str]
