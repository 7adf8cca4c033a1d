"""`python -m sandbox`: runs until it is stopped."""

import argparse
import os
import signal
import sys
from pathlib import Path

from sandbox.ledger import Ledger
from sandbox.server import Server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="Payment gateway and CRM.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8900, help="port (default: %(default)s)")
    parser.add_argument(
        "--ledger",
        type=Path,
        default=Path(os.environ.get("SANDBOX_LEDGER") or Path.home() / "sandbox.sqlite3"),
        help="file of the ledger (default: $SANDBOX_LEDGER, else %(default)s)",
    )
    arguments = parser.parse_args()
    server = Server((arguments.host, arguments.port), Ledger(arguments.ledger))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"sandbox: http://{arguments.host}:{server.server_port}, ledger {arguments.ledger}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
