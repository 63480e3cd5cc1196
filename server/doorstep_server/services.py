"""What the handlers work with, made once by the composition root."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from doorstep_server.auth import Authenticator
from doorstep_server.check_ins.journal import Journal
from doorstep_server.keyring import Keyring
from doorstep_server.policies import Policies
from doorstep_server.store.database import Database
from doorstep_server.throttle import FailureThrottle


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """The server's parts, wired together."""

    database: Database
    keyring: Keyring
    pepper: bytes
    policies: Policies
    journal: Journal
    authenticator: Authenticator
    enrollment_throttle: FailureThrottle
    #: the current time, aware
    now: Callable[[], datetime]
