"""How many check-ins one device may send: so many at once, and then some more every minute.

A phone that was offline for days sends hundreds at once, and then one now and again; whatever sends
thousands is not somebody who checks in. Each check-in counts as one, alone or in a batch, whatever
is answered. In memory: each process counts for itself, by a clock that is never set.
"""

from collections.abc import Callable
from dataclasses import dataclass

from doorstep_server.callers import Caller
from doorstep_server.check_ins.probes import RATE_LIMITED
from doorstep_server.problems import Refusal
from doorstep_server.throttle import Allowance

#: a batch of the largest size, and some more
AT_ONCE = 600
PER_MINUTE = 60


@dataclass(frozen=True, slots=True)
class DeviceLimit:
    """What is left to each device; to all of them, where nothing is limited."""

    allowance: Allowance | None

    @classmethod
    def of(
        cls, monotonic: Callable[[], float], *, at_once: int = AT_ONCE, per_minute: int = PER_MINUTE
    ) -> "DeviceLimit":
        """So many at once, and so many more each minute; 0 at once: as many as they like."""
        if not at_once:
            return cls(None)
        return cls(Allowance(monotonic, at_once=at_once, each_s=60.0 / per_minute))

    def take(self, caller: Caller, check_ins: int) -> int:
        """How many of a device's check-ins are taken now: the first ones."""
        if self.allowance is None:
            return check_ins
        return self.allowance.take_some(caller.device_id.bytes, check_ins)

    def refusal(self, caller: Caller) -> Refusal:
        """Of what is not taken."""
        assert self.allowance is not None, "without a limit everything is taken"
        wait_s = self.allowance.wait_s(caller.device_id.bytes)
        return Refusal(RATE_LIMITED, retry_after_s=max(1, wait_s))
