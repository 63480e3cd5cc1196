"""What a web server itself costs: uvicorn, which `doorstep serve` uses, beside granian.

    pip install granian
    python loadtests/web_servers.py

Both run what `bench.py` compares check-ins with, and Doorstep on SQLite, each with one worker and
one thread, on uvloop. They take turns.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import contenders as servers
from contenders import ECHO, EMPTY, PORT, SQLITE, Contender, started
from costs import cores, pin
from deployed import Deployed
from doorstep_server.settings import PREFIX, Settings
from driving import HOST
from rounds import Generator, Load, Round

UVICORN, GRANIAN = "uvicorn", "granian"
#: what granian is to import; those of ours from this folder
_APPS = {
    ECHO: ("plain_servers:echo",),
    EMPTY: ("--factory", "plain_servers:empty"),
    SQLITE: ("--factory", "doorstep_server.cli.serving:worker"),
}


def by_granian(contender: Contender) -> Contender:
    """The same, served by granian."""
    options = ("--interface", "asgi", "--loop", "uvloop", "--no-log", "--workers", "1")
    where = ("--host", HOST, "--port", PORT, "--working-dir", str(Path(__file__).parent))
    program = ("-m", "granian", *options, *where, *_APPS[contender.name])
    return replace(contender, program=program, acknowledged=[])


def compare(source: Deployed, folder: Path, load: Load, chosen: argparse.Namespace) -> None:
    """In turns, and print. Raises `ServerEnded`."""
    pinned = cores()
    generator = Generator(pinned=pinned)
    known = [servers.echo(source), servers.empty(source), servers.doorstep(SQLITE, source)]
    for one in known:
        pair = {UVICORN: one}
        if find_spec(GRANIAN):
            pair[GRANIAN] = by_granian(one)
        with ExitStack() as stack:
            pin(pinned, 0)
            running = {
                name: stack.enter_context(started(each, folder, _home(source)))
                for name, each in pair.items()
            }
            pin(pinned, 1)
            rounds: dict[str, list[Round]] = {name: [] for name in pair}
            for _ in range(chosen.rounds + 1):
                for name, at in running.items():
                    rounds[name].append(generator.round(at, load, chosen.seconds))
        # the first is to warm up
        print("\n".join(_lines(one.name, {name: found[1:] for name, found in rounds.items()})))


def _home(source: Deployed) -> dict[str, str]:
    return {PREFIX + "HOME": str(source.settings.home)}


def _lines(name: str, rounds: dict[str, list[Round]]) -> Iterator[str]:
    for server, found in rounds.items():
        used = median(one.server_us or 0.0 for one in found)
        rate = median(one.rate for one in found)
        yield f"{name}, {server}: {used:.0f} µs of CPU a check-in, {rate:.0f} a second"
    if GRANIAN in rounds:
        pairs = zip(rounds[UVICORN], rounds[GRANIAN], strict=True)
        share = median((b.server_us or 0.0) / (a.server_us or 1.0) for a, b in pairs)
        yield f"{name}: granian's CPU is x {share:.2f} of uvicorn's"


def main() -> None:
    """Deploy, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--sites", type=int, default=1_000)
    chosen = parser.parse_args()
    load = Load(name="single", size=1, connections=chosen.connections, is_claimed=True)
    if not find_spec(GRANIAN):
        print("NOT COMPARED: granian, which is not installed. pip install granian")
    with tempfile.TemporaryDirectory() as name:
        source = Deployed(settings=Settings(home=Path(name) / "home"))
        source.furnish(chosen.devices, chosen.sites)
        compare(source, Path(name), load, chosen)


if __name__ == "__main__":
    sys.exit(main())
