"""Nginx in front of the application and of Flower, asked over the network."""

import http.client
import socket
import ssl
from collections.abc import Mapping

import pytest
from testinfra.host import Host

from generations import live
from stack import APP, DOMAIN, Stack, ansible_vault, wait_for


@pytest.fixture(scope="session")
def flower_login() -> tuple[str, str]:
    return "flower", ansible_vault()["vault_flower_password"]


def test_the_configuration_is_valid(host: Host) -> None:
    result = host.run("nginx -t")
    assert result.rc == 0, result.stderr
    assert "warn" not in result.stderr


def test_a_worker_may_open_what_its_connections_need(host: Host) -> None:
    workers = host.check_output("pgrep --uid www-data --exact nginx").split()
    assert workers
    for worker in workers:
        soft = host.check_output(f"awk '/open files/ {{ print $4 }}' /proc/{worker}/limits")
        assert int(soft) >= 2 * 4096


def test_plain_http_is_sent_to_https(stack: Stack) -> None:
    connection = http.client.HTTPConnection(stack.address, 80, timeout=10)
    connection.request("GET", "/path?x=1", headers={"Host": DOMAIN})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (301, f"https://{DOMAIN}/path?x=1")


def assert_secure(headers: Mapping[str, str]) -> None:
    """What OWASP recommends is there, once, and the version of Nginx is nobody's business."""
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "geolocation=()" in headers["Permissions-Policy"]
    assert "/" not in headers["Server"]


@pytest.mark.parametrize(
    ("path", "status"), [("/", 200), ("/flower", 301), ("/flower/", 401), ("/no-such-page", 404)]
)
def test_security_headers_are_on_every_answer(stack: Stack, path: str, status: int) -> None:
    answer = stack.get(path)
    assert answer.status_code == status
    # The application says more about it.
    assert answer.headers["Strict-Transport-Security"].split(";")[0] == "max-age=63072000"
    assert_secure(answer.headers)


def test_security_headers_are_on_the_way_to_https(stack: Stack) -> None:
    connection = http.client.HTTPConnection(stack.address, 80, timeout=10)
    connection.request("GET", "/", headers={"Host": DOMAIN})
    headers = connection.getresponse().headers
    assert_secure(dict(headers))
    assert "Strict-Transport-Security" not in headers, "it is for HTTPS only"


def test_security_headers_are_on_an_answer_without_application(stack: Stack) -> None:
    program = f"{APP}-web.{live(stack)}"
    stack.host.check_output(f"supervisorctl stop {program}")
    try:
        answer = stack.get("/")
    finally:
        stack.host.check_output(f"supervisorctl start {program}")
    wait_for(lambda: stack.get("/").status_code == 200, 30, "it serves again")
    assert answer.status_code == 502
    assert answer.headers["Strict-Transport-Security"] == "max-age=63072000"
    assert_secure(answer.headers)


def test_an_unknown_host_name_gets_no_answer(stack: Stack) -> None:
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        context = ssl.create_default_context(cafile=stack.certificate)
        with socket.create_connection((stack.address, 443), timeout=10) as raw:
            context.wrap_socket(raw, server_hostname="somebody-else.test")
    plain = http.client.HTTPConnection(stack.address, timeout=10)
    plain.request("GET", "/", headers={"Host": "somebody-else.test"})
    with pytest.raises(http.client.RemoteDisconnected):
        plain.getresponse()


def test_a_name_of_another_connection_is_misdirected(stack: Stack) -> None:
    answer = stack.get("/", headers={"Host": "somebody-else.test"})
    assert answer.status_code == 421


def test_old_tls_is_refused(stack: Stack) -> None:
    context = ssl.create_default_context(cafile=stack.certificate)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        with socket.create_connection((stack.address, 443), timeout=10) as raw:
            context.wrap_socket(raw, server_hostname=DOMAIN)


def test_http_2_is_spoken(stack: Stack) -> None:
    context = ssl.create_default_context(cafile=stack.certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection((stack.address, 443), timeout=10) as raw:
        with context.wrap_socket(raw, server_hostname=DOMAIN) as tls:
            assert tls.selected_alpn_protocol() == "h2"


def test_static_files_come_from_the_release_with_a_long_life(stack: Stack) -> None:
    page = stack.get("/").text
    path = next(part for part in page.split('"') if part.startswith("/static/") and part.endswith(".css"))
    answer = stack.get(path)
    assert answer.status_code == 200
    assert "max-age=31536000" in answer.headers["Cache-Control"]


def test_readiness_is_not_for_the_public(stack: Stack) -> None:
    assert stack.get("/readyz").status_code in (403, 404)
    assert stack.get("/healthz").status_code == 200


def test_flower_wants_the_password(stack: Stack, flower_login: tuple[str, str]) -> None:
    assert stack.get("/flower/").status_code == 401
    assert stack.get("/flower/", auth=(flower_login[0], "wrong")).status_code == 401
    assert stack.get("/flower/", auth=flower_login).status_code == 200


def test_who_guesses_flowers_password_is_slowed_down(stack: Stack, flower_login: tuple[str, str]) -> None:
    """At most ten tries in a minute from one address; who knows it is not held up, even from there."""
    tries = [stack.get("/flower/", auth=(flower_login[0], f"guess{n}")).status_code for n in range(25)]
    assert set(tries) == {401, 429}
    assert tries.count(401) <= 10
    assert tries[-1] == 429
    assert {stack.get("/flower/", auth=flower_login).status_code for _ in range(10)} == {200}
    assert stack.get("/").status_code == 200


def test_who_sends_a_login_form_too_often_is_slowed_down(stack: Stack) -> None:
    """However the path is spelled that Django's admin has; others, and other requests, are not held up."""
    session = stack.session()

    def tries(path: str) -> list[int]:
        return [session.post(stack.url(path), timeout=30).status_code for _ in range(15)]

    other = tries("/orders/")
    assert 429 not in other
    first = tries("/admin/login/?next=/")
    assert first.count(429) in range(3, 6), first
    assert set(tries("/admin/%6Cogin/")[:5]) == {429}
    assert session.get(stack.url("/admin/login/"), timeout=30).status_code != 429


def test_flower_itself_wants_a_password_too(host: Host) -> None:
    """Whoever is on the server, or finds a way round Nginx, still has no Flower."""
    code = host.check_output(
        "python3 -c \"import urllib.request as u\ntry: print(u.urlopen('http://127.0.0.1:5555/flower/').status)\n"
        'except u.HTTPError as e: print(e.code)"'
    )
    assert code == "401"
    addresses = {
        word for word in host.check_output("ss -Hltn sport = :5555").split() if word.endswith(":5555")
    }
    assert addresses == {"127.0.0.1:5555"}


def test_flower_shows_the_workers(stack: Stack, flower_login: tuple[str, str]) -> None:
    def online() -> set[str]:
        answer = stack.get("/flower/api/workers?status=true", auth=flower_login)
        return {name.split("@")[0] for name, is_online in answer.json().items() if is_online}

    workers = {f"{pool}.{live(stack)}" for pool in ("critical", "default", "low-priority")}
    wait_for(lambda: online() == workers, 30, "Flower sees the three workers")


@pytest.mark.parametrize("path", ["/flower/metrics", "/flower/healthcheck"])
def test_what_flower_leaves_open_is_closed(stack: Stack, flower_login: tuple[str, str], path: str) -> None:
    assert stack.get(path).status_code in (401, 403, 404)
    assert stack.get(path, auth=flower_login).status_code in (403, 404)


def test_flower_is_read_only(stack: Stack, flower_login: tuple[str, str]) -> None:
    session = stack.session()
    answer = session.post(stack.url("/flower/api/worker/shutdown/default"), auth=flower_login, timeout=30)
    assert answer.status_code == 403


def test_no_password_is_in_a_list_of_processes(host: Host, flower_login: tuple[str, str]) -> None:
    processes = host.check_output("ps axww -o args")
    for name, secret in ansible_vault().items():
        assert secret not in processes, name
    assert f"{APP}" in processes


def test_a_client_cannot_forge_the_scheme(stack: Stack) -> None:
    """Django would send a request that claims to have come by plain HTTP away, to HTTPS."""
    assert stack.get("/", headers={"X-Forwarded-Proto": "http"}).status_code == 200
