"""For the tests of apps: a server in this process, and a network that fails as asked.

    server = FakeServer()
    server.add_site(lat=52.3702, lon=4.8952)
    client = Client(server.url, transport=server.transport())
    client.device.enroll(server.code())

`FakeServer` answers as a Doorstep server does: enrollment, the device's standing, permission,
check-ins with replays and withdrawals, batches, lists, the bundle and the person's rights. What it
does not do: tokens are not secret, nothing is stored or sealed, no budgets or limits, no travel, no
opening hours. The suite of this package runs one scenario against it and the real server.

`FaultTransport` and `AsyncFaultTransport` stand between a client and any transport.
"""

from __future__ import annotations

from doorstep.testing._faults import (
    AsyncFaultTransport,
    Delay,
    DropAfter,
    DropBefore,
    Duplicate,
    Fault,
    FaultTransport,
    Refuse,
    Truncate,
)
from doorstep.testing._server import FakeServer
from doorstep.testing._time import FakeClock

__all__ = [
    "AsyncFaultTransport",
    "Delay",
    "DropAfter",
    "DropBefore",
    "Duplicate",
    "FakeClock",
    "FakeServer",
    "Fault",
    "FaultTransport",
    "Refuse",
    "Truncate",
]
