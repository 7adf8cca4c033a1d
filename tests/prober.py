"""Requests during a change of the deployed stack: an open loop that counts every answer which is not a 2xx.

with Prober(stack) as prober:
    ...  # deploy
assert not prober.result().failures, prober.result()
"""

import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

import requests

from stack import Stack


@dataclass(frozen=True)
class Request:
    """What to ask, and whether over a connection of its own."""

    kind: str
    fresh: bool


@dataclass(frozen=True, repr=False)
class Answer:
    """One request that has ended. Status 0: there was no answer, `detail` says why."""

    request: Request
    path: str
    #: When it was due (seconds since 1970) and how long after that it had ended, however late it began.
    due: float
    seconds: float
    status: int
    detail: str = ""

    def __repr__(self) -> str:
        when = datetime.fromtimestamp(self.due).strftime("%H:%M:%S.%f")[:-3]
        connection = "new" if self.request.fresh else "kept"
        return (
            f"{when} {self.path} ({connection} connection): {self.status or 'no answer'} "
            f"after {self.seconds:.3f} s. {self.detail}"
        )


@dataclass(frozen=True, repr=False)
class Traffic:
    """The requests of a span of time."""

    answers: Sequence[Answer]

    @property
    def sent(self) -> int:
        return len(self.answers)

    @property
    def non_2xx(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status and not 200 <= answer.status < 300]

    @property
    def errors(self) -> list[Answer]:
        """Those without any answer: refused, reset, timed out."""
        return [answer for answer in self.answers if not answer.status]

    @property
    def failures(self) -> list[Answer]:
        return [*self.non_2xx, *self.errors]

    @property
    def rate(self) -> float:
        """Requests per second; 0 for fewer than two."""
        due = [answer.due for answer in self.answers]
        return (len(due) - 1) / (max(due) - min(due)) if len(due) > 1 else 0.0

    def milliseconds(self, percent: float) -> float:
        """What that share of the requests took at most; 0 if there were none."""
        return percentile([answer.seconds * 1000 for answer in self.answers], percent)

    @property
    def p50(self) -> float:
        return self.milliseconds(50)

    @property
    def p99(self) -> float:
        return self.milliseconds(99)

    def __repr__(self) -> str:
        figures = (
            f"{self.sent} requests, {self.rate:.1f}/s: {len(self.non_2xx)} not 2xx, {len(self.errors)} "
            f"without an answer; p50 {self.p50:.0f} ms, p99 {self.p99:.0f} ms, "
            f"longest {self.milliseconds(100):.0f} ms"
        )
        return "\n  ".join([figures, *map(repr, self.failures[:10])])


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that is not exceeded by that share of them; 0 if there are none."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)] if ordered else 0.0


def planned(number: int) -> Request:
    """The request of this number: each kind in turn, three over kept connections, then three over new ones.

    One in twenty enqueues a task: more would be a load of its own.
    """
    kind = "order" if number % 20 == 19 else ("page", "static", "health")[number % 3]
    return Request(kind, fresh=number // 3 % 2 == 1)


def planned_page(number: int) -> Request:
    """Likewise for an application of which only a page is known: two over kept connections, two over new."""
    return Request(("page", "static")[number % 2], fresh=number // 2 % 2 == 1)


class Prober:
    """Asks the deployed site through Nginx and TLS at a fixed rate, as a context manager.

    The loop is open: a request is sent when it is due, whether those before it were answered or not. None is
    sent again. With a page, which any application may have, it asks for that page and its static files only.
    """

    # At 22 requests per second it takes nine seconds of silence to use them all.
    THREADS = 200
    TIMEOUT = 30.0

    def __init__(self, stack: Stack, rate: float = 22, page: str = "") -> None:
        self._stack = stack
        self._rate = rate
        self._plan = planned_page if page else planned
        self._answers: list[Answer] = []
        self._idle: deque[requests.Session] = deque()
        self._page = page
        self._assets: list[str] = []
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(self.THREADS, thread_name_prefix="prober")
        self._clock = threading.Thread(target=self._send, name="prober", daemon=True)

    def __enter__(self) -> Self:
        with self._stack.session() as session:
            if not self._page:
                # The page of an order asks the database each time.
                placed = session.post(self._stack.url("/api/orders"), json=ORDER, timeout=self.TIMEOUT)
                placed.raise_for_status()
                self._page = placed.json()["page"]
            self._read(session.get(self._stack.url(self._page), timeout=self.TIMEOUT).text)
        assert self._assets, f"{self._page} names no static file"
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._clock.join()
        self._pool.shutdown()
        while self._idle:
            self._idle.pop().close()

    def result(self, since: float = 0) -> Traffic:
        """The requests due since that time (seconds since 1970) that have ended; also while it runs."""
        return Traffic([answer for answer in list(self._answers) if answer.due >= since])

    def _send(self) -> None:
        begun, epoch, number = time.monotonic(), time.time(), 0
        while not self._stop.wait(max(0.0, begun + number / self._rate - time.monotonic())):
            self._pool.submit(self._ask, number, epoch + number / self._rate)
            number += 1

    def _ask(self, number: int, due: float) -> None:
        request = self._plan(number)
        path = {"page": self._page, "order": "/api/orders", "health": "/healthz"}.get(request.kind)
        path = path or self._assets[number // 3 % len(self._assets)]
        status, detail, session = 0, "", None
        try:
            session = self._session(request)
            url = self._stack.url(path)
            if request.kind == "order":
                answer = session.post(url, json=ORDER, timeout=self.TIMEOUT, allow_redirects=False)
            else:
                answer = session.get(url, timeout=self.TIMEOUT, allow_redirects=False)
            status = answer.status_code
            if not answer.ok:
                detail = " ".join(answer.text.split())[:200]
            elif request.kind == "page":
                self._read(answer.text)
        except Exception as error:  # noqa: BLE001 - whatever it is, a user would have had no answer, 2026-11-23
            status, detail = 0, f"{type(error).__name__}: {error}"[:300]
        self._answers.append(Answer(request, path, due, time.time() - due, status, detail))
        if session and (request.fresh or not status):
            session.close()
        elif session:
            self._idle.append(session)

    def _session(self, request: Request) -> requests.Session:
        if not request.fresh:
            try:
                return self._idle.pop()
            except IndexError:
                pass
        return self._stack.session()

    def _read(self, page: str) -> None:
        """Static files are asked for as the page that came last names them."""
        self._assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', page) or self._assets


ORDER = {"product": "mug", "email": "visitor@example.com", "payment_token": "tok_visa"}
