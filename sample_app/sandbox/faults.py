"""Faults on demand."""

import random
import threading
from dataclasses import asdict, dataclass
from typing import Any

KINDS = {
    "timeout": "books nothing and answers only after `seconds`, by closing the connection",
    "timeout_after": "books, then answers only after `seconds`, by closing the connection",
    "error": "books nothing and answers 500",
    "error_after": "books, then answers 500",
    "slow": "books and answers properly, after `seconds`",
    "decline": "refuses the payment",
}
TARGETS = ("charge", "find", "lead")


@dataclass
class Fault:
    """Which calls are to fail, and how.

    target: charge, find (the look-up by key) or lead. kind: one of KINDS. share: the part of the calls
    that it hits, from 0 to 1. times: how many calls it hits before it is used up; None: any number.
    seconds: for the kinds that wait.
    """

    target: str
    kind: str
    share: float = 1.0
    times: int | None = None
    seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)}")
        if self.kind not in KINDS or (self.kind == "decline" and self.target != "charge"):
            raise ValueError(f"kind must be one of {', '.join(KINDS)} (decline: only of a charge)")
        if not 0 <= self.share <= 1:
            raise ValueError("share must be from 0 to 1")
        if not 0 <= self.seconds <= 600:
            raise ValueError("seconds must be from 0 to 600")


class Faults:
    """The faults in force, in order: the first that hits a call decides."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self.injected = 0

    def replace(self, faults: list[dict[str, Any]]) -> None:
        """Raises TypeError or ValueError when one of them is not a fault; then nothing changes."""
        wanted = [Fault(**fault) for fault in faults]
        with self._lock:
            self._faults = wanted
            self.injected = 0

    def listed(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(fault) for fault in self._faults]

    def hit(self, target: str) -> Fault | None:
        """The fault that this call is to suffer."""
        with self._lock:
            for fault in self._faults:
                if fault.target != target or fault.times == 0 or random.random() >= fault.share:  # noqa: S311 - no secret, 2026-11-23
                    continue
                if fault.times is not None:
                    fault.times -= 1
                self.injected += 1
                return fault
        return None
