"""No secret where it does not belong, while a deployment runs with everything said aloud and after faults."""

import re
import subprocess

import pytest
from testinfra.host import Host

from generations import live
from stack import APP, Stack, ansible, wait_for

SAMPLER = r"""
import glob, os, sys, time
seen = set()
while not os.path.exists("/run/sampler.stop"):
    for name in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            seen.add(open(name, "rb").read())
        except OSError:
            pass
    time.sleep(0.02)
open("/run/sampler.seen", "wb").write(b"\n".join(seen))
"""


def found_in(text: str, secrets: dict[str, str]) -> list[str]:
    """The names of the secrets that a text has in it."""
    return [name for name, secret in secrets.items() if secret in text]


@pytest.fixture(scope="module")
def deployment(host: Host, stack: Stack, inventory: str) -> subprocess.CompletedProcess[str]:
    """A whole run that starts another generation, says all it can and shows differences."""
    host.check_output("rm -f /run/sampler.stop /run/sampler.seen")
    host.check_output("systemd-run --quiet --unit=sampler python3 -c %s", SAMPLER)
    before = live(stack)
    run = ansible(
        "-vvv", "--diff", '--extra-vars={"django_app_gunicorn_workers": 3}', inventory=inventory, check=False
    )
    assert run.returncode == 0, run.stdout
    assert live(stack) != before
    host.check_output("touch /run/sampler.stop")
    wait_for(lambda: host.run("test -s /run/sampler.seen").rc == 0, 20, "the sampler writes what it saw")
    return run


def test_nothing_is_printed(deployment: subprocess.CompletedProcess[str], secrets: dict[str, str]) -> None:
    assert len(deployment.stdout) > 100_000, "it was to say much"
    assert found_in(deployment.stdout + deployment.stderr, secrets) == []


def test_nothing_is_in_a_command_line(
    host: Host, deployment: subprocess.CompletedProcess[str], secrets: dict[str, str]
) -> None:
    seen = host.check_output("tr '\\0' ' ' </run/sampler.seen")
    assert len(seen.splitlines()) > 100
    assert found_in(seen, secrets) == []


def test_nothing_is_in_a_log_after_faults(
    host: Host, stack: Stack, deployment: subprocess.CompletedProcess[str], secrets: dict[str, str]
) -> None:
    """Tracebacks show what a program holds: each loses its data stores once."""
    host.check_output("systemctl kill --signal=KILL redis-server postgresql@*")
    wait_for(lambda: stack.get("/").status_code == 200, 60, "it is back")
    wait_for(lambda: "Traceback" in host.run(f"cat /var/log/{APP}/*.log").stdout, 60, "a traceback")
    logs = host.check_output("cat /var/log/*.log /var/log/*/*.log; journalctl --no-pager --output=cat")
    assert len(logs) > 10_000
    assert found_in(logs, secrets) == []


def test_nothing_is_on_a_page_of_flower(
    stack: Stack, flower_login: tuple[str, str], secrets: dict[str, str]
) -> None:
    worker = f"default.{live(stack)}@{stack.host.check_output('hostname')}"
    pages = ["", "workers", f"worker/{worker}", "tasks", "broker", "api/workers?refresh=1", "api/tasks"]
    path = f"/flower/worker/{worker}"
    wait_for(lambda: stack.get(path, auth=flower_login).status_code == 200, 60, "Flower knows the worker")
    texts = {}
    for page in pages:
        answer = stack.get(f"/flower/{page}", auth=flower_login)
        assert answer.status_code in (200, 302), page
        texts[page] = answer.text
    assert re.search("broker_url|broker", texts[f"worker/{worker}"]), "it shows the configuration"
    assert {page: found for page, text in texts.items() if (found := found_in(text, secrets))} == {}


def test_nothing_is_on_an_error_page(stack: Stack, secrets: dict[str, str]) -> None:
    for path in ("/no-such-page", "/orders/x", "/%00"):
        answer = stack.get(path)
        assert answer.status_code >= 400
        assert found_in(answer.text, secrets) == []
