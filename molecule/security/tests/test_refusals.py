"""What cannot work is refused with its reason, and what serves goes on serving."""

import json
from pathlib import Path

import pytest
from testinfra.host import Host

from attacker import LONG
from preflight_tables import certified
from prober import Prober
from stack import APP, DOMAIN, Stack, ansible, recap, wait_for

#: A package of Debian's that nothing needs.
PACKAGE = "hello"
LOCK = "/var/lib/dpkg/lock-frontend"
HOLD = (
    "import fcntl, sys, time; f = open({lock!r}, 'w'); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep({seconds})"
)


def run(inventory: str, *arguments: str, **variables: object) -> tuple[int, str, dict[str, int]]:
    """Run site.yml; return its exit status, what it said without the breaks of its lines, and its figures."""
    done = ansible(f"--extra-vars={json.dumps(variables)}", *arguments, inventory=inventory, check=False)
    figures = recap(done.stdout).get("security12", {})
    return done.returncode, " ".join((done.stdout + done.stderr).split()), figures


def pair(directory: Path, name: str, days: float = 90) -> tuple[str, str]:
    """Make a certificate for a name and its key; return their paths."""
    directory /= f"{name} {days}"
    directory.mkdir()
    variables = certified(directory, days, (name,)).everywhere
    return variables["nginx_tls_certificate"], variables["nginx_tls_key"]


@pytest.mark.parametrize("mistake", ["missing", "expired", "of another name", "of another key"])
def test_a_certificate_that_browsers_refuse(
    host: Host, stack: Stack, inventory: str, tmp_path: Path, mistake: str
) -> None:
    certificate, key = pair(tmp_path, DOMAIN)
    given, reason = {
        "missing": (("/nonexistent/site.crt", key), "there is no such file on the controller"),
        "expired": (pair(tmp_path, DOMAIN, -10), "The certificate ended on"),
        "of another name": (pair(tmp_path, "other.example"), f"not for {DOMAIN}"),
        "of another key": ((certificate, pair(tmp_path, "second.example")[1]), "it is not the key of"),
    }[mistake]
    shown = host.check_output(f"sha256sum /etc/ssl/rootstock/{APP}.crt")
    status, said, figures = run(inventory, nginx_tls_certificate=given[0], nginx_tls_key=given[1])
    assert status != 0
    assert reason in said
    assert "No host was touched." in said
    assert figures.get("changed", 0) == 0
    assert host.check_output(f"sha256sum /etc/ssl/rootstock/{APP}.crt") == shown
    assert stack.get("/").status_code == 200


def packages(inventory: str) -> tuple[int, str, dict[str, int]]:
    """Run what installs a package that is not there."""
    return run(inventory, "--tags=django_app", django_app_system_packages=[PACKAGE])


@pytest.fixture
def without_package(host: Host) -> None:
    host.check_output(f"apt-get remove --yes {PACKAGE}")


@pytest.mark.usefixtures("without_package")
def test_somebody_else_installs_packages(host: Host, inventory: str) -> None:
    hold = HOLD.format(lock=LOCK, seconds=45)
    host.check_output("systemd-run --quiet --collect --unit=holder python3 -c %s", hold)
    status, said, figures = packages(inventory)
    assert status == 0, said
    assert figures["changed"] > 0
    assert host.package(PACKAGE).is_installed
    assert host.run("systemctl is-active holder").rc != 0, "it was waited for"


@LONG
@pytest.mark.usefixtures("without_package")
def test_somebody_else_installs_packages_for_ever(host: Host, inventory: str) -> None:
    hold = HOLD.format(lock=LOCK, seconds=3600)
    host.check_output("systemd-run --quiet --collect --unit=holder python3 -c %s", hold)
    try:
        status, said, _ = packages(inventory)
    finally:
        host.check_output("systemctl stop holder")
    assert status != 0
    assert "lock" in said, said[-2000:]
    status, said, _ = packages(inventory)
    assert status == 0, said


@pytest.mark.usefixtures("without_package")
def test_the_mirror_is_away(host: Host, stack: Stack, inventory: str) -> None:
    """Not a byte of the package is there already."""
    away = "/etc/apt/apt.conf.d/99away"
    host.check_output(f"rm -f /var/cache/apt/archives/{PACKAGE}_*.deb")
    host.check_output(f"""echo 'Acquire::http::Proxy "http://127.0.0.1:9";' >{away}""")
    try:
        status, said, _ = packages(inventory)
    finally:
        host.check_output(f"rm {away}")
    assert status != 0
    assert "127.0.0.1:9" in said, said[-2000:]
    assert stack.get("/").status_code == 200
    status, said, _ = packages(inventory)
    assert status == 0, said


def test_a_disk_that_is_nearly_full(host: Host, stack: Stack, inventory: str) -> None:
    """Whoever asks sees a small /srv; what serves keeps its own."""
    small = "/usr/local/bin/python-of-a-small-disk"
    mount = "mount -t tmpfs -o size=900m small /srv"
    program = f'#!/bin/sh\nexec unshare --mount sh -c \'{mount} && exec python3 "$@"\' python "$@"\n'
    host.check_output(f"printf %s %s >{small} && chmod 755 {small}", "%s", program)
    with Prober(stack) as prober:
        status, said, figures = run(inventory, ansible_python_interpreter=small)
        wait_for(lambda: prober.result().sent > 100, 60, "requests are sent")
    host.check_output(f"rm {small}")
    assert status != 0
    assert "/srv has 900 MiB free, and 1024 MiB are needed." in said, said[-2000:]
    assert "Nothing was changed on any." in said
    assert figures["changed"] == 0
    assert not prober.result().failures, prober.result()
