"""Prints which TCP ports of an address take a connection."""

import asyncio
import json
import sys

AT_A_TIME = 4000
SECONDS = 2


async def is_open(address: str, port: int, turn: asyncio.Semaphore) -> bool:
    """Whether a connection comes about."""
    async with turn:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), SECONDS)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True


async def main(address: str, ports: list[int]) -> None:
    """Try these ports, or all if none is named."""
    turn = asyncio.Semaphore(AT_A_TIME)
    ports = ports or list(range(1, 65536))
    found = await asyncio.gather(*(is_open(address, port, turn) for port in ports))
    print(json.dumps([port for port, is_one in zip(ports, found, strict=True) if is_one]))


asyncio.run(main(**json.loads(sys.argv[1])))
