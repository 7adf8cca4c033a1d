"""The instruments of the release scenario: schedule, figures, ledger and the count of the tasks."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest
import requests

from prober import Answer, Prober, Request, Traffic, percentile, planned
from stack import Stack, wait_for
from traffic import Account, Effect, Ledger, check

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def effect(key: str, *, redelivered: bool = False) -> Effect:
    return Effect(key, NOW, NOW, "default@host", 1, redelivered)


def answer(due: float, status: int = 200, seconds: float = 0.01) -> Answer:
    return Answer(Request("page", fresh=False), "/", due, seconds, status)


def account(*done: Effect) -> Account:
    """Return the account of three tasks, one of which was not acknowledged."""
    return check(Ledger("r", ["r/0", "r/1", "r/2"], ["r/0", "r/1"], {"r/2": "Timeout: t"}), done)


def test_all_that_was_acknowledged_is_done() -> None:
    ledger = Ledger("r", ["r/0", "r/1"], ["r/0", "r/1"])
    result = check(ledger, [effect("r/1"), effect("r/0")])
    assert result.complete
    assert (result.attempted, result.acknowledged, result.lost, result.duplicated) == (2, 2, [], {})


def test_a_lost_task_is_named() -> None:
    result = account(effect("r/1"))
    assert result.lost == ["r/0"]
    assert not result.complete
    assert "1 lost: ['r/0']" in str(result)


def test_a_task_done_twice_is_named() -> None:
    result = account(effect("r/0"), effect("r/1"), effect("r/0"), effect("r/0"))
    assert result.duplicated == {"r/0": [effect("r/0")] * 3}
    assert not result.complete
    # Where and when, to find out why.
    assert "1 duplicated: {'r/0': [Effect(key='r/0', started=" in str(result)


def test_an_effect_of_nothing_is_unexpected() -> None:
    result = account(effect("r/0"), effect("r/1"), effect("r/9"))
    assert result.unexpected == ["r/9"]
    assert not result.complete


def test_a_task_of_unknown_fate_is_not_lost_but_may_be_recovered() -> None:
    assert account(effect("r/0"), effect("r/1")).recovered == []
    assert account(effect("r/0"), effect("r/1")).lost == []
    result = account(effect("r/0"), effect("r/1"), effect("r/2"))
    assert result.recovered == ["r/2"]
    # The publisher was told of an error all the same.
    assert not result.complete


def test_a_redelivered_task_that_was_done_once_is_no_fault() -> None:
    result = check(Ledger("r", ["r/0"], ["r/0"]), [effect("r/0", redelivered=True)])
    assert result.redelivered == ["r/0"]
    assert result.complete


LINES = [
    ["attempted", "r/0", "default", 1000.5],
    ["acknowledged", "r/0"],
    ["attempted", "r/1", "critical", 1001.5],
    ["failed", "r/1", "OperationalError: refused"],
    ["stopped", 1.5],
]


def test_the_ledger_is_read_as_it_is_written() -> None:
    ledger = Ledger.parse("r", "".join(json.dumps(line) + "\n" for line in LINES))
    assert ledger == Ledger(
        "r",
        ["r/0", "r/1"],
        ["r/0"],
        {"r/1": "OperationalError: refused"},
        published={"r/0": 1000.5, "r/1": 1001.5},
        queues={"r/0": "default", "r/1": "critical"},
        cpu_seconds=1.5,
    )


def test_a_line_that_is_being_written_is_left_out() -> None:
    text = "".join(json.dumps(line) + "\n" for line in LINES)
    for cut in range(len(text)):
        ledger = Ledger.parse("r", text[:cut])
        assert len(ledger.attempted) + len(ledger.acknowledged) + len(ledger.failed) == min(
            4, text[:cut].count("\n")
        )


def test_a_strange_line_of_the_ledger_is_refused() -> None:
    with pytest.raises(ValueError, match="lost"):
        Ledger.parse("r", '["lost", "r/0"]\n')


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 99, 0),
        ([3], 50, 3),
        ([4, 1, 3, 2], 50, 2),
        (range(1, 101), 99, 99),
        (range(1, 102), 99, 100),
        (range(1, 101), 100, 100),
    ],
)
def test_percentile(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_figures_of_traffic() -> None:
    traffic = Traffic([answer(100 + n / 20, seconds=n / 1000) for n in range(101)])
    assert (traffic.sent, traffic.non_2xx, traffic.errors, traffic.failures) == (101, [], [], [])
    assert traffic.rate == pytest.approx(20)
    assert (traffic.p50, traffic.p99) == (50, 99)


def test_failures_are_told_apart_and_shown() -> None:
    traffic = Traffic([answer(1, 200), answer(2, 502), answer(3, 0), answer(4, 301), answer(5, 204)])
    assert [found.due for found in traffic.non_2xx] == [2, 4]
    assert [found.due for found in traffic.errors] == [3]
    assert "2 not 2xx, 1 without an answer" in str(traffic)
    assert "502 after" in str(traffic)
    assert "no answer after" in str(traffic)


def test_no_request_has_no_rate() -> None:
    assert Traffic([]).rate == 0
    assert Traffic([answer(1)]).rate == 0


def test_every_kind_is_asked_over_kept_and_new_connections() -> None:
    asked = Counter(planned(number) for number in range(1200))
    assert {request.kind for request in asked} == {"page", "static", "health", "order"}
    for kind in ("page", "static", "health"):
        assert min(asked[Request(kind, fresh)] for fresh in (True, False)) > 150
    assert asked[Request("order", fresh=True)] + asked[Request("order", fresh=False)] == 60
    assert min(asked[Request("order", fresh)] for fresh in (True, False)) > 0


class Site(BaseHTTPRequestHandler):
    """A site of which one part is slow and another broken."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/healthz":
            time.sleep(1)
        self.reply(500 if self.path.startswith("/static/") else 200, b'<link href="/static/shop.1.css">')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(201, b'{"page": "/orders/1/"}')

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Local:
    """The part of a Stack that a prober uses."""

    def __init__(self, port: int) -> None:
        self.port = port

    def session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        return session

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture
def site() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_slow_answers_do_not_lower_the_rate_and_none_is_forgotten(site: ThreadingHTTPServer) -> None:
    with Prober(cast(Stack, Local(site.server_port)), rate=40) as prober:
        begun = time.time()
        time.sleep(1.5)
        late = prober.result(since=begun + 0.75)
    traffic = prober.result()
    assert traffic.rate == pytest.approx(40, rel=0.02)
    assert traffic.sent >= 55
    assert {found.request.kind for found in traffic.answers if found.seconds >= 1} == {"health"}
    assert {found.path for found in traffic.non_2xx} == {"/static/shop.1.css"}
    assert {found.status for found in traffic.non_2xx} == {500}
    assert traffic.errors == []
    assert 0 < late.sent < traffic.sent
    assert min(found.due for found in late.answers) >= begun + 0.75


def test_of_an_application_that_is_not_the_sample_only_a_page_and_its_files_are_asked(
    site: ThreadingHTTPServer,
) -> None:
    with Prober(cast(Stack, Local(site.server_port)), rate=40, page="/welcome") as prober:
        wait_for(lambda: prober.result().sent >= 8, 10, "eight answers")
    asked = {(found.path, found.request.fresh) for found in prober.result().answers}
    assert asked == {(path, fresh) for path in ("/welcome", "/static/shop.1.css") for fresh in (True, False)}


def test_a_site_that_is_gone_is_an_error_of_each_request(site: ThreadingHTTPServer) -> None:
    local = Local(site.server_port)
    with Prober(cast(Stack, local), rate=40) as prober:
        time.sleep(0.2)
        local.port = 1
        gone = time.time()
        time.sleep(0.3)
    after = prober.result(since=gone + 0.1)
    assert after.sent > 5
    assert len(after.errors) == after.sent
    assert "refused" in after.errors[0].detail
