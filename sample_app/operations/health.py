"""Is what the application needs there? Each is asked at the same time and with a limit."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from django.core.cache import cache
from django.db import connection

from shop.celery import app

#: Seconds in which each of them must answer.
TIMEOUT = 2.0


@dataclass(frozen=True)
class Check:
    ok: bool
    milliseconds: float
    error: str = ""


def check_all() -> dict[str, dict[str, object]]:
    """The state of database, broker and cache, by name."""
    pool = ThreadPoolExecutor(max_workers=len(_CHECKS))
    started = time.monotonic()
    running = {name: pool.submit(_timed, check) for name, check in _CHECKS.items()}
    results = {}
    for name, future in running.items():
        try:
            results[name] = future.result(timeout=max(0.0, started + TIMEOUT - time.monotonic()))
        except TimeoutError:
            results[name] = Check(ok=False, milliseconds=TIMEOUT * 1000, error="Timeout")
    # A check that hangs ends by its own timeout; nobody waits for it.
    pool.shutdown(wait=False)
    return {name: asdict(check) for name, check in results.items()}


def _timed(check: Callable[[], None]) -> Check:
    started = time.monotonic()
    error = ""
    try:
        check()
    except Exception as problem:  # noqa: BLE001 - whatever it is, the service is not ready, 2026-11-23
        # Its text would name addresses and users.
        error = type(problem).__name__
    return Check(ok=not error, milliseconds=round((time.monotonic() - started) * 1000, 1), error=error)


def _database() -> None:
    # This thread's own connection: what is asked is whether a new one can be had.
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


def _broker() -> None:
    # Opening a channel makes the transport ask Redis for a sign of life.
    with app.connection_for_read(connect_timeout=TIMEOUT, transport_options=_BROKER_OPTIONS) as broker:
        broker.connect()


def _cache() -> None:
    cache.get("readyz")


_BROKER_OPTIONS = {
    **app.conf.broker_transport_options,
    "socket_timeout": TIMEOUT,
    "socket_connect_timeout": TIMEOUT,
    "max_retries": 0,
}
_CHECKS: dict[str, Callable[[], None]] = {"database": _database, "broker": _broker, "cache": _cache}
