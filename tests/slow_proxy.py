"""Hands on TCP connections, each message of the client late: see slow_database in injection.py.

Runs on the server. Arguments: the port to listen on, the port to connect to (both on 127.0.0.1), and a file
with the delay in seconds, which is read for each message.
"""

import asyncio
import sys
from pathlib import Path


async def hand_on(source: asyncio.StreamReader, target: asyncio.StreamWriter, delays: Path | None) -> None:
    """Copies one direction until it ends."""
    try:
        while data := await source.read(65536):
            if delays:
                await asyncio.sleep(float(delays.read_text()))
            target.write(data)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()


async def main(port: str, server_port: str, delays: str) -> None:
    async def connected(client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        try:
            server, queries = await asyncio.open_connection("127.0.0.1", int(server_port))
        except OSError:
            answers.close()
            return
        await asyncio.gather(hand_on(client, queries, Path(delays)), hand_on(server, answers, None))

    async with await asyncio.start_server(connected, "127.0.0.1", int(port)) as proxy:
        await proxy.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
