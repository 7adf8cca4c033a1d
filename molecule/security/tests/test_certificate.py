"""A certificate from an authority: Debian's Pebble, on the server itself, which asks Nginx on port 80."""

import json
import socket
import ssl
from collections.abc import Iterator

import pytest
from cryptography import x509
from testinfra.host import Host

from attacker import LONG
from stack import APP, DOMAIN, Stack, ansible, recap, wait_for

DIRECTORY = "https://127.0.0.1:14000/dir"
PEBBLE = {
    "pebble": {
        "listenAddress": "127.0.0.1:14000",
        "managementListenAddress": "127.0.0.1:15000",
        "certificate": "/opt/pebble/tls.crt",
        "privateKey": "/opt/pebble/tls.key",
        "httpPort": 80,
        "tlsPort": 443,
    }
}


ANSWERS = f"import urllib.request as u; u.urlopen('{DIRECTORY}').read()"
# For longer than a run takes to come to certbot.
AT_WORK = """
import fcntl, time
with open("/etc/letsencrypt/.certbot.lock", "w") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    time.sleep(45)
"""


@pytest.fixture(scope="module")
def authority(host: Host) -> Iterator[None]:
    host.check_output("apt-get install --yes --no-install-recommends pebble")
    host.check_output(
        "mkdir -p /opt/pebble && cd /opt/pebble && openssl req -x509 -newkey rsa:2048 -nodes -days 2"
        " -subj /CN=pebble -addext subjectAltName=IP:127.0.0.1 -keyout tls.key -out tls.crt"
        " && cp tls.crt /usr/local/share/ca-certificates/pebble.crt && update-ca-certificates"
    )
    host.check_output("printf %s %s >/opt/pebble/config.json", "%s", json.dumps(PEBBLE))
    start = "systemd-run --quiet --unit=pebble --setenv=PEBBLE_VA_NOSLEEP=1 pebble -config"
    host.check_output(f"{start} /opt/pebble/config.json")
    wait_for(lambda: host.run("python3 -c %s", ANSWERS).rc == 0, 20, "it answers")
    yield
    host.run("systemctl stop pebble")


def served(stack: Stack) -> x509.Certificate:
    """The certificate that a browser is shown, whoever has signed it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((stack.address, 443), timeout=10) as raw:
        with context.wrap_socket(raw, server_hostname=DOMAIN) as tls:
            shown = tls.getpeercert(binary_form=True)
    assert shown
    return x509.load_der_x509_certificate(shown)


def site(inventory: str, **variables: object) -> dict[str, int]:
    """Run Nginx' part of site.yml; return the figures of the server."""
    extra = f"--extra-vars={json.dumps(variables)}"
    run = ansible("--tags=nginx", extra, inventory=inventory, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return recap(run.stdout)["security12"]


@LONG
def test_a_certificate_comes_is_renewed_and_goes(
    authority: None, stack: Stack, host: Host, inventory: str
) -> None:
    before = served(stack)
    assert before.issuer == before.subject, "self-signed"
    wanted = {"nginx_acme_enabled": True, "nginx_acme_directory": DIRECTORY}
    assert site(inventory, **wanted)["changed"] > 0
    first = served(stack)
    assert "Pebble" in first.issuer.rfc4514_string()
    assert DOMAIN in str(first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    assert site(inventory, **wanted)["changed"] == 0

    # As certbot's timer does when it is time.
    pid = host.check_output("systemctl show -p MainPID --value nginx")
    assert host.service("certbot.timer").is_enabled
    host.check_output("certbot renew --force-renewal --no-random-sleep-on-renew")
    wait_for(lambda: served(stack).serial_number != first.serial_number, 20, "Nginx shows the new one")
    assert host.check_output("systemctl show -p MainPID --value nginx") == pid
    # As while it is at work.
    host.check_output("systemd-run --quiet --unit=renewal python3 -c %s", AT_WORK)
    assert site(inventory, **wanted)["changed"] == 0
    assert not host.service("renewal").is_running

    # The authority is away: the site goes on.
    renewed = served(stack)
    host.check_output("systemctl stop pebble")
    run = ansible(
        "--tags=nginx",
        f"--extra-vars={json.dumps(wanted | {'app_extra_domains': ['127.0.0.1.nip.test']})}",
        inventory=inventory,
        check=False,
    )
    assert run.returncode != 0
    assert "nginx_acme_enabled is true, and there is no certificate" in run.stdout + run.stderr
    assert served(stack).serial_number == renewed.serial_number

    # Off again it goes on with that certificate, and without it with one of its own.
    assert site(inventory)["changed"] > 0
    assert host.check_output("ls /etc/letsencrypt/renewal") == ""
    assert served(stack).serial_number == renewed.serial_number
    host.check_output(f"rm /etc/ssl/rootstock/{APP}.crt /etc/ssl/rootstock/{APP}.key")
    assert site(inventory)["changed"] > 0
    last = served(stack)
    assert last.issuer == last.subject
    assert site(inventory)["changed"] == 0
