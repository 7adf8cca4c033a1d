"""Holds connections open with requests that never end; prints how many the server has closed by itself."""

import json
import sys
import time

from wire import connect, stranger


def main(address: str, domain: str, connections: int, seconds: float) -> None:
    """Send a byte on each once a second."""
    # One for all: the authorities are read once, and the last is open long before the first is closed.
    context = stranger()
    held = [connect(address, domain, context=context) for _ in range(connections)]
    for each in held:
        each.sendall(f"GET / HTTP/1.1\r\nHost: {domain}\r\nX-Slow: ".encode())
    closed = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for number, each in enumerate(held):
            try:
                each.sendall(b"x")
            except OSError:
                closed.add(number)
        time.sleep(1)
    print(json.dumps(len(closed)))


main(**json.loads(sys.argv[1]))
