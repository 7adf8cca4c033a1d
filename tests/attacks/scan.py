"""Prints which TCP ports of an address take a connection."""

import asyncio
import json
import sys

# Begun together: more would keep a busy machine from looking at the answers in time.
AT_A_TIME = 2000
SECONDS = 3


async def is_open(address: str, port: int) -> bool:
    """Whether a connection comes about."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), SECONDS)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def main(address: str, ports: list[int]) -> None:
    """Try these ports, or all if none is named."""
    ports = ports or list(range(1, 65536))
    found: list[int] = []
    for first in range(0, len(ports), AT_A_TIME):
        some = ports[first : first + AT_A_TIME]
        answers = await asyncio.gather(*(is_open(address, port) for port in some))
        found += [port for port, is_one in zip(some, answers, strict=True) if is_one]
    print(json.dumps(found))


asyncio.run(main(**json.loads(sys.argv[1])))
