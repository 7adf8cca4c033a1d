"""Requests that no browser sends."""

import statistics
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from testinfra.host import Host

from attacker import attack
from generations import live
from stack import APP, DOMAIN, Stack

REQUESTS = 300


def test_tls_is_what_mozilla_recommends(stack: Stack, host: Host) -> None:
    """The intermediate profile; of its ciphers those that go with the key of the certificate, without DHE."""
    found = attack("tls", address=stack.address, domain=DOMAIN)
    assert found["versions"] == ["TLSv1_2", "TLSv1_3"]
    assert found["tried"] > 50
    text = host.check_output(f"openssl x509 -noout -text -in /etc/ssl/rootstock/{APP}.crt")
    kind = "ECDSA" if "id-ecPublicKey" in text else "RSA"
    assert set(found["ciphers"]) == {
        f"ECDHE-{kind}-{cipher}" for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    }


def test_no_request_reaches_the_application_that_nginx_has_not_seen(stack: Stack) -> None:
    mark = f"hidden-{uuid.uuid4().hex[:8]}"
    found = attack("smuggling", address=stack.address, domain=DOMAIN, mark=mark)
    assert len(found) >= 45
    assert [each for each in found if each["after"] != [200]] == [], "somebody else's request was mistaken"
    assert {status for each in found for status in each["answered"]} >= {400, 403}
    log = stack.host.run(f"grep -oh '{mark}-[0-9]*' /var/log/nginx/access.log").stdout.split()
    application = stack.host.run(
        f"grep -oh '{mark}-[0-9]*' /var/log/{APP}/{APP}-web.{live(stack)}.log"
    ).stdout
    assert log, "requests that follow one another are two"
    assert application, "the application says which address it does not know"
    assert set(application.split()) - set(log) == set()


def p99(stack: Stack) -> float:
    """The 99th percentile of the seconds that a page takes, asked twenty times a second."""
    session = stack.session()

    def ask() -> float:
        begun = time.monotonic()
        assert session.get(stack.url("/healthz"), timeout=30).status_code == 200
        return time.monotonic() - begun

    seconds = []
    for _ in range(REQUESTS):
        seconds.append(ask())
        time.sleep(max(0, 0.05 - seconds[-1]))
    return statistics.quantiles(seconds, n=100)[98]


def slowed_down(stack: Stack) -> float:
    """How much longer the slowest pages take while 200 requests never end."""
    before = p99(stack)
    with ThreadPoolExecutor() as pool:
        attacker = pool.submit(
            attack, "slow", address=stack.address, domain=DOMAIN, connections=200, seconds=30
        )
        established = "ss -Htn state established sport = :443 | wc -l"
        deadline = time.monotonic() + 30
        while int(stack.host.check_output(established)) < 200:
            assert time.monotonic() < deadline, "200 connections"
        during = p99(stack)
        assert attacker.result() == 200, "all were closed after client_header_timeout"
    print(f"p99 {before * 1000:.1f} ms, with 200 requests that never end {during * 1000:.1f} ms")
    return during / before


def test_others_do_not_notice_requests_that_never_end(stack: Stack) -> None:
    """A median of three: one p99 is three answers of this machine, which may have been busy."""
    assert statistics.median(slowed_down(stack) for _ in range(3)) <= 2
