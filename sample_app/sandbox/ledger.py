"""What the gateway has charged and the CRM has stored; a restart of the sandbox keeps it."""

import sqlite3
import threading
import uuid
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS payments (
    key TEXT PRIMARY KEY, reference TEXT NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL,
    status TEXT NOT NULL, id TEXT NOT NULL, reason TEXT NOT NULL, calls INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS leads (
    key TEXT PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, phone TEXT NOT NULL, calls INTEGER NOT NULL
);
"""


class KeyConflict(Exception):
    """The key was used before, for something else."""


class Ledger:
    """One SQLite file. Safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.executescript("PRAGMA journal_mode = WAL;" + _SCHEMA)

    def pay(
        self, key: str, *, reference: str, amount: int, currency: str, declined: str
    ) -> tuple[dict[str, Any], bool]:
        """Books the payment, or finds the one that was booked under the key; says whether it is new.

        A reason in declined books a refusal. Raises KeyConflict when the amount or reference differs.
        """
        with self._lock:
            row = self._row("SELECT * FROM payments WHERE key = ?", key)
            if row is None:
                row = {
                    "key": key,
                    "reference": reference,
                    "amount": amount,
                    "currency": currency,
                    "status": "declined" if declined else "succeeded",
                    "id": f"ch_{uuid.uuid4().hex}",
                    "reason": declined,
                    "calls": 1,
                }
                self._database.execute(
                    "INSERT INTO payments VALUES"
                    " (:key, :reference, :amount, :currency, :status, :id, :reason, :calls)",
                    row,
                )
                return row, True
            if (row["reference"], row["amount"], row["currency"]) != (reference, amount, currency):
                raise KeyConflict(key)
            self._database.execute("UPDATE payments SET calls = calls + 1 WHERE key = ?", (key,))
            return row, False

    def payment(self, key: str) -> dict[str, Any] | None:
        with self._lock:
            return self._row("SELECT * FROM payments WHERE key = ?", key)

    def payments(self) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(row) for row in self._database.execute("SELECT * FROM payments")]

    def store_lead(self, key: str, *, name: str, email: str, phone: str) -> bool:
        """Stores the lead unless its key is known; returns whether it is new."""
        with self._lock:
            new = self._row("SELECT key FROM leads WHERE key = ?", key) is None
            self._database.execute(
                "INSERT INTO leads VALUES (?, ?, ?, ?, 1) ON CONFLICT (key) DO UPDATE SET calls = calls + 1",
                (key, name, email, phone),
            )
            return new

    def leads(self) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(row) for row in self._database.execute("SELECT * FROM leads")]

    def clear(self) -> None:
        with self._lock:
            self._database.executescript("DELETE FROM payments; DELETE FROM leads;")

    def _row(self, query: str, key: str) -> dict[str, Any] | None:
        row = self._database.execute(query, (key,)).fetchone()
        return None if row is None else dict(row)
