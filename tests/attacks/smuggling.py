"""Sends requests whose end two servers could see in different places; prints what was answered.

Each carries a second request, for a path of its own. Nginx may take it for a request or for a body; what it
must never be is a request that the application sees and Nginx has not seen.
"""

import json
import sys
from collections.abc import Iterator

from wire import exchange, statuses

HIDDEN = "GET {path} HTTP/1.1\r\nHost: {domain}\r\nX: x"
# What ends a chunked body, before the hidden request.
END = "0\r\n\r\n"


def shapes() -> Iterator[tuple[str, str]]:
    """Yield the head's ambiguous lines and the body; {hidden} is the hidden request, {length} its length."""
    short, long = "Content-Length: 0", "Content-Length: {length}"
    chunked = "Transfer-Encoding: chunked"
    # Content-Length and Transfer-Encoding together, in both orders.
    yield f"{long}\r\n{chunked}", END + "{hidden}"
    yield f"{chunked}\r\n{long}", END + "{hidden}"
    yield f"Content-Length: 4\r\n{chunked}", "5c\r\n{hidden}\r\n" + END
    # A Transfer-Encoding that one server may overlook.
    for disguised in (
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chunked\x0b",
        " Transfer-Encoding: chunked",
        "X: x\nTransfer-Encoding: chunked",
        "Transfer-Encoding\r\n : chunked",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: CHUNKED",
        'Transfer-Encoding: "chunked"',
        "Transfer_Encoding: chunked",
        "Transfer-Encoding: chunked;x=1",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding:chunked\r\nConnection: Transfer-Encoding",
    ):
        yield f"{long}\r\n{disguised}", END + "{hidden}"
    # A length that is read in different ways.
    for length in (
        f"{short}\r\n{long}",
        f"{long}\r\n{short}",
        "Content-Length: +{length}",
        "Content-Length: 0,{length}",
        "Content-Length: {length}, 0",
        "Content-Length: 0x10",
        "Content-Length: -1",
        "Content-Length: 0\x00{length}",
        "Content-Length : {length}",
        "Content_Length: {length}",
        "Content-Length: {length} 0",
        "Content-Length:\r\n {length}",
        "Content-Length: 00000000000000000000{length}",
        "Content-Length: 18446744073709551616",
        "",
    ):
        yield length, "{hidden}"
    # Chunks whose size is read in different ways.
    for size in ("0x0", "-1", "00000000000000000000", "0;x\n", "0 ", "g", "ffffffffffffffff", "0\n"):
        yield chunked, f"{size}\r\n\r\n" + "{hidden}"
    # Lines that end otherwise.
    yield "X: x\r" + chunked, END + "{hidden}"
    yield f"X: x\n{long}", "{hidden}"
    # A body where none is expected, and a request within a request line.
    yield "Expect: 100-continue\r\n" + long, "{hidden}"
    yield "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk", "{hidden}"


def main(address: str, domain: str, mark: str) -> None:
    """Send all of them, and after each an ordinary request of somebody else."""
    found = []
    for number, (head, body) in enumerate(shapes()):
        hidden = HIDDEN.format(path=f"/{mark}-{number}", domain=domain) + "\r\n\r\n"
        lines = f"POST /healthz HTTP/1.1\r\nHost: {domain}\r\n" + (f"{head}\r\n" if head else "")
        sent = (lines + "\r\n" + body).replace("{length}", str(len(hidden))).replace("{hidden}", hidden)
        answered = statuses(exchange(address, domain, sent.encode("latin-1"), 2))
        other = f"GET /healthz HTTP/1.1\r\nHost: {domain}\r\nConnection: close\r\n\r\n"
        after = statuses(exchange(address, domain, other.encode()))
        found.append({"number": number, "head": head, "answered": answered, "after": after})
    print(json.dumps(found))


main(**json.loads(sys.argv[1]))
