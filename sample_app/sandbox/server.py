"""The HTTP side.

POST   /gateway/charges          Idempotency-Key; {"reference", "amount", "currency", "token"}
GET    /gateway/charges/<key>    what became of it, 404 when it was never seen
POST   /crm/leads                Idempotency-Key; {"name", "email", "phone"}
GET    /admin/ledger             payments, leads and their numbers
DELETE /admin/ledger             forgets them
GET    /admin/faults             the faults in force, and how often they have struck
PUT    /admin/faults             a list of faults that replaces them (see faults.py)
DELETE /admin/faults             none from now on
"""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

from sandbox.faults import Fault, Faults
from sandbox.ledger import KeyConflict, Ledger

#: The gateway's test card that has no money.
DECLINED_TOKEN = "tok_declined"  # noqa: S105 - a test card, 2026-11-23
LARGEST_BODY = 1024 * 1024


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], ledger: Ledger) -> None:
        super().__init__(address, Handler)
        self.ledger = ledger
        self.faults = Faults()


class BadRequest(Exception):
    """What the client sent cannot be read."""


class HangUp(Exception):
    """End the connection without an answer."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    # Without it a small answer may wait 40 ms for the client's acknowledgement.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, method: Any) -> None:
        path = unquote(urlsplit(self.path).path)
        self._body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), LARGEST_BODY))
        try:
            if path.startswith("/admin/") and not ip_address(self.client_address[0]).is_loopback:
                status, body = 403, {"reason": "faults are made on the sandbox's own machine"}
            else:
                status, body = method(path)
        except (BadRequest, TypeError, ValueError) as error:
            status, body = 400, {"reason": str(error)}
        except HangUp:
            self.close_connection = True
            return
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _get(self, path: str) -> tuple[int, Any]:
        if path == "/admin/ledger":
            return 200, self._ledger()
        if path == "/admin/faults":
            return 200, {"faults": self.server.faults.listed(), "injected": self.server.faults.injected}
        if path.startswith("/gateway/charges/"):
            key = path.removeprefix("/gateway/charges/")
            return self._with_faults("find", lambda _: self._find(key))
        return 404, {"reason": "there is nothing here"}

    def _post(self, path: str) -> tuple[int, Any]:
        if path == "/gateway/charges":
            return self._with_faults("charge", self._charge)
        if path == "/crm/leads":
            return self._with_faults("lead", lambda _: self._lead())
        return 404, {"reason": "there is nothing here"}

    def _put(self, path: str) -> tuple[int, Any]:
        if path == "/admin/faults":
            faults = self._json()
            if not isinstance(faults, list):
                raise BadRequest("the body must be a JSON list of faults")
            self.server.faults.replace(faults)
            return 200, {"faults": self.server.faults.listed(), "injected": 0}
        return 404, {"reason": "there is nothing here"}

    def _delete(self, path: str) -> tuple[int, Any]:
        if path == "/admin/faults":
            self.server.faults.replace([])
            return 200, {"faults": [], "injected": 0}
        if path == "/admin/ledger":
            self.server.ledger.clear()
            return 200, {}
        return 404, {"reason": "there is nothing here"}

    def _with_faults(self, target: str, call: Any) -> tuple[int, Any]:
        fault: Fault | None = self.server.faults.hit(target)
        kind = fault.kind if fault else ""
        if fault and kind == "slow":
            time.sleep(fault.seconds)
        if kind not in ("timeout", "error"):
            status, body = call(fault)
        if fault and kind in ("timeout", "timeout_after"):
            time.sleep(fault.seconds)
            raise HangUp
        if kind in ("error", "error_after"):
            return 500, {"reason": "injected"}
        return status, body

    def _charge(self, fault: Fault | None) -> tuple[int, Any]:
        data = self._object()
        amount = data.get("amount")
        if not isinstance(amount, int) or isinstance(amount, bool) or amount <= 0:
            return 422, {"reason": "amount must be a positive whole number"}
        if not data.get("token"):
            return 422, {"reason": "token is missing"}
        refused = (fault is not None and fault.kind == "decline") or data["token"] == DECLINED_TOKEN
        try:
            payment, new = self.server.ledger.pay(
                self._key(),
                reference=str(data.get("reference", "")),
                amount=amount,
                currency=str(data.get("currency", "")),
                declined="insufficient funds" if refused else "",
            )
        except KeyConflict:
            return 422, {"reason": "the idempotency key was used for another payment"}
        if payment["status"] == "declined":
            return 402, payment
        return (201 if new else 200), payment

    def _find(self, key: str) -> tuple[int, Any]:
        payment = self.server.ledger.payment(key)
        return (200, payment) if payment else (404, {"reason": "unknown key"})

    def _lead(self) -> tuple[int, Any]:
        data = self._object()
        if not data.get("email"):
            return 422, {"reason": "email is missing"}
        fields = {name: str(data.get(name, "")) for name in ("name", "email", "phone")}
        return (201 if self.server.ledger.store_lead(self._key(), **fields) else 200), {}

    def _ledger(self) -> dict[str, Any]:
        payments = self.server.ledger.payments()
        charges = [payment for payment in payments if payment["status"] == "succeeded"]
        leads = self.server.ledger.leads()
        return {
            "charges": len(charges),
            "charged_references": len({charge["reference"] for charge in charges}),
            "charged_amount": sum(charge["amount"] for charge in charges),
            "declined": len(payments) - len(charges),
            "payments": payments,
            "leads": leads,
        }

    def _key(self) -> str:
        key = self.headers.get("Idempotency-Key", "")
        if not key:
            raise BadRequest("the header Idempotency-Key is missing")
        return key

    def _object(self) -> dict[str, Any]:
        data = self._json()
        if not isinstance(data, dict):
            raise BadRequest("the body must be a JSON object")
        return data

    def _json(self) -> Any:
        try:
            return json.loads(self._body)
        except ValueError as error:
            raise BadRequest("the body is not valid JSON") from error

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class, 2026-11-23
        """One line per request would only say what the ledger says."""
