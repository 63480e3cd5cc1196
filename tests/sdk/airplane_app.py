"""A small app: it does what its arguments say, in order, and prints what came of it."""

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime

from doorstep import AsyncClient, Fix, Outbox, Session
from doorstep._clock import elapsed
from sdk.boxes import Provider
from world import INSIDE


async def main(url: str, path: str, orders: list[str]) -> None:
    client = AsyncClient(url, token=os.environ["TOKEN"], permission_epoch=0, permission_sequence=1)
    async with client, Session(client, outbox=Outbox(path), provider=Provider()) as session:
        for order in orders:
            word, _, argument = order.partition(" ")
            await DO[word](session, argument)


async def check_in(session: Session, captured: str) -> None:
    taken = datetime.fromisoformat(captured)
    age_s = (datetime.now(UTC) - taken).total_seconds()
    reading = elapsed() - age_s
    fix = Fix(**INSIDE, accuracy_m=8, captured_at=taken, elapsed_s=reading if reading > 0 else None)
    say(await session.check_in(purpose="visit", fix=fix))


async def settle(session: Session, id_: str) -> None:
    ticket = await session.ticket(id_)
    assert ticket is not None
    await ticket.settled(timeout_s=30)
    say(ticket)


async def withdraw(session: Session, _: str) -> None:
    assert await session.withdraw()


async def flush(session: Session, _: str) -> None:
    print(json.dumps(await session.flush()), flush=True)


async def die(_: Session, __: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def say(ticket) -> None:
    told = {"id": ticket.id, "state": ticket.state, "confidence": ticket.time_confidence}
    print(json.dumps(told), flush=True)


DO = {"check-in": check_in, "settle": settle, "withdraw": withdraw, "flush": flush, "die": die}

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
