"""wrk in place of our own closed loop, where it is installed: it sends more with less.

It knows neither what a check-in is nor which were acknowledged: `wrk.lua` makes ids, looks through
answers, and writes down what was accepted. What is under way when the time is over is never heard
of, so there may be rows that nobody was told of.
"""

import random
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from doorstep import check_in_id
from driving import HOST, Target, Turn

_SCRIPT = Path(__file__).with_name("wrk.lua")
#: of an id that the SDK makes, the digits of the day
_DAY_DIGITS = 4


def is_here() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def closed_loop(target: Target, size: int, connections: int, seconds: float) -> Turn:
    """As `driving.closed_loop`."""
    now = datetime.now(UTC)
    day, at = check_in_id(now)[:_DAY_DIGITS], now.isoformat().encode()
    with tempfile.TemporaryDirectory() as folder:
        tokens, bodies, out = (Path(folder) / name for name in ("tokens", "bodies", "out"))
        tokens.write_text("\n".join(random.sample(list(target.tokens), len(target.tokens))))
        bodies.write_bytes(b"\n".join(body % (b"%s", at) for body in target.bodies))
        seed, marker = str(random.randrange(2**31)), target.accepted.decode()
        given = [str(tokens), str(bodies), str(size), day, seed, marker, str(out)]
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout"]
        command += ["60s", "-s", str(_SCRIPT), f"http://{HOST}:{target.port}", "--", *given]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        return _turn(out.read_text().splitlines())


def _turn(told: list[str]) -> Turn:
    turn = Turn()
    for line in told:
        what, _, value = line.partition(" ")
        if what == "took_us":
            turn.took_s = float(value) / 1e6
        elif what == "latency_us":
            turn.latencies_s.append(float(value) / 1e6)
        elif what == "failed":
            turn.failures[value] += 1
        else:
            turn.acknowledged.append(what.encode())
    turn.accepted = len(turn.acknowledged)
    return turn
