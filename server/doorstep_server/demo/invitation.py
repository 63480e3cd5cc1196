"""How to do one check-in yourself: commands to paste, with an enrollment code that still works."""

import os
import shlex
import sys
from datetime import datetime, timedelta
from pathlib import Path

from doorstep_server.demo.admin import Admin, Code

VISITOR = "demo-you"
SITE = "demo-jacaranda"
_CHECK_EVERY = timedelta(seconds=5)
#: nobody can paste a code that ends in a moment
_RENEW_BEFORE = timedelta(minutes=1)


class Invitation:
    """Commands with a fresh code; renewed when the code was used or is about to end."""

    def __init__(self, admin: Admin, now: datetime) -> None:
        self._admin = admin
        self._subject_id = admin.subject(VISITOR)
        self._devices = admin.count_devices(self._subject_id)
        self._code = admin.code(self._subject_id)
        self._checked_at = now

    def refresh(self, now: datetime) -> bool:
        """Renew the code if need be; whether it was. Asks the server every few seconds at most."""
        if now < self._checked_at + _CHECK_EVERY:
            return False
        self._checked_at = now
        devices = self._admin.count_devices(self._subject_id)
        if devices == self._devices and now < self._code.expires_at - _RENEW_BEFORE:
            return False
        self._devices = devices
        self._code = self._admin.code(self._subject_id)
        return True

    def lines(self) -> list[str]:
        """What to tell, and what to paste."""
        return [
            "Check in yourself, from another terminal (a code works once; it is renewed):",
            "",
            *commands(self._admin.base_url, self._code),
        ]


def commands(base_url: str, code: Code) -> list[str]:
    """A check-in through the SDK, to paste into a shell."""
    return [
        f"{shlex.quote(_python())} - <<'END'",
        "from doorstep import Client, Fix",
        "from doorstep_server.demo.city import standing_in",
        f'client = Client("{base_url}")',
        f'client.device.enroll("{code.text}")',
        'client.permission.report("precise")',
        f'here = standing_in("{SITE}")  # or your own lat and lon',
        "fix = Fix.now(**here, accuracy_m=8)",
        'answer = client.check_ins.create(purpose="visit", fix=fix)',
        "print(answer.outcome, answer.reason)",
        "print(answer.stored.level, dict(answer.stored.fields))",
        "END",
    ]


def _python() -> str:
    """This Python, as it is called from here."""
    python = Path(sys.executable)
    return os.path.relpath(python) if python.is_relative_to(Path.cwd()) else str(python)
