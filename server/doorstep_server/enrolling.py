"""Issuing enrollment codes: for the API and for the command line alike."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from doorstep_server import credentials
from doorstep_server.privacy import labels
from doorstep_server.privacy.keys import TenantKeys
from doorstep_server.store import Connection, enrollments
from doorstep_server.store.enrollments import CODE_LIFE, Code


@dataclass(frozen=True, kw_only=True, slots=True)
class IssuedCode:
    """A code for one device: shown once, stored as a label only."""

    code: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Issuer:
    """The tenant whose subjects enroll."""

    tenant_id: UUID
    handle: str
    keys: TenantKeys = field(repr=False)

    def issue(self, connection: Connection, subject_id: UUID, now: datetime) -> IssuedCode:
        """Make a code for one of a subject's devices."""
        code = credentials.new_enrollment_code(self.handle)
        stored = Code(
            code_label=labels.enrollment_code_label(self.keys, code),
            subject_id=subject_id,
            expires_at=now + CODE_LIFE,
        )
        enrollments.issue(connection, self.tenant_id, stored, now)
        return IssuedCode(code=credentials.shown_code(code), expires_at=stored.expires_at)
