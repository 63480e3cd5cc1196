"""The load test, for Locust.

    export DOORSTEP_LOAD_API_KEY=dsk_…
    locust -f loadtests/locustfile.py --host http://127.0.0.1:8000

opens Locust's page; `--shape`, `--users` and `--run-time` can be chosen there, too. The key needs
the scopes `sites:read` and `subjects:write` (and `sites:write` for the shape `churn`). Use a tenant
made for this: people, devices and check-ins remain in it.
"""

from typing import Any

from locust import LoadTestShape, User, events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import WorkerRunner

import gates
from shapes import SHAPES
from users import (
    Device,
    FloodingDevice,
    OfflineDevice,
    QuietDevice,
    SiteAdmin,
    WithdrawingDevice,
)

USERS: dict[str, type[User]] = {
    kind.__name__: kind
    for kind in (
        Device,
        OfflineDevice,
        WithdrawingDevice,
        FloodingDevice,
        QuietDevice,
        SiteAdmin,
    )
}
DEFAULT_USERS, DEFAULT_RUN_TIME_S, DEFAULT_SPAWN_RATE = 20, 60.0, 10.0


@events.init_command_line_parser.add_listener
def options(parser: LocustArgumentParser) -> None:
    """Our own, for the command line and the page."""
    parser.add_argument(
        "--shape",
        choices=list(SHAPES),
        default="steady",
        env_var="DOORSTEP_LOAD_SHAPE",
        help="; ".join(f"{name}: {shape.title}" for name, shape in SHAPES.items()),
    )
    parser.add_argument(
        "--p99-ms", type=float, default=0.0, help="a gate in place of the shape's own"
    )
    parser.add_argument(
        "--gate-error-share", type=float, default=-1.0, help="a gate in place of the shape's own"
    )


class Traffic(LoadTestShape):
    """The shape that was chosen, so large and so long as was chosen."""

    use_common_options = True

    def tick(self) -> tuple[int, float, list[type[User]]] | None:
        """How many users there are to be now, and which."""
        assert self.runner is not None
        chosen: Any = self.runner.environment.parsed_options
        shape = SHAPES[chosen.shape]
        passed = self.get_run_time() / float(chosen.run_time or DEFAULT_RUN_TIME_S)
        if passed >= 1.0:
            return None
        kinds = [USERS[name] for name in shape.users]
        share = shape.share(passed)
        count = max(len(kinds), round((chosen.num_users or DEFAULT_USERS) * share))
        return count, float(chosen.spawn_rate or DEFAULT_SPAWN_RATE), kinds


@events.quitting.add_listener
def judged(environment: Environment, **_: Any) -> None:
    """Look at the gates, and set the exit code."""
    if isinstance(environment.runner, WorkerRunner):
        return
    found = gates.of_stats(environment.stats, environment.parsed_options)
    print(gates.told(found), flush=True)
    environment.process_exit_code = 0 if all(gate.holds for gate in found) else 1
