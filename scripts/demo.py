"""The demo: one container stands for a server and gets the whole stack.

Usage: demo.py up|destroy     (environment: DEMO_PORT, default 8443, on loopback)

`up` starts the container, runs the same playbooks as for a real server, places an order over HTTPS and
waits until a worker has paid it. Run again, it converges. `destroy` removes everything but the images.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import requests
import yaml

PROJECT = Path(__file__).resolve().parent.parent
BIN = PROJECT / ".venv/bin"
CACHE = PROJECT / ".cache"
LOG = CACHE / "demo.log"
CERTIFICATE = CACHE / "demo.crt"
INVENTORY = Path("inventories/demo")
VAULT = INVENTORY / "group_vars/all/vault.yml"
CONTAINER = "rootstock-demo"
CERTIFICATE_ON_SERVER = "/etc/ssl/rootstock/shop.crt"
FLOWER_USER = "flower"
DEFAULT_PORT = 8443
SYSTEMD_SECONDS = 60
ORDER_SECONDS = 60
LONGEST_MESSAGE = 12
NEEDS = "What it needs of Docker is in docs/testbed.md."

# What the message of a failing task says when the network is at fault, and which way was cut.
NETWORK_FAULTS = {
    "The Debian mirror": r"apt.cache update failed|Failed to update apt cache|Unable to fetch"
    "|Failed to fetch http|failure resolving|locate package python3-apt",
    "PyPI": r"error sending request|Failed to fetch: `|NewConnectionError|dns error|No matching distribution",
}

started = time.monotonic()


class DemoError(Exception):
    """A failure that its one-line message explains whole: what, why and the fix."""


def say(text: str) -> None:
    """Print a line of progress with the seconds since the start."""
    print(f"[{time.monotonic() - started:4.0f} s] {text}", flush=True)


def platform() -> dict[str, Any]:
    """Return the container settings of the test servers: the demo's are the same."""
    config = yaml.safe_load((PROJECT / ".config/molecule/config.yml").read_text())
    settings: dict[str, Any] = config["platforms"][0]
    return settings


def cache_volumes() -> list[str]:
    """Return the named volumes of all test servers: downloads of apt and uv."""
    config = yaml.safe_load((PROJECT / ".config/molecule/config.yml").read_text())
    sources = {volume.split(":")[0] for server in config["platforms"] for volume in server["volumes"]}
    return sorted(source for source in sources if not source.startswith("/"))


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the docker client. Raises DemoError with its message, unless check is false."""
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise DemoError("there is no docker client. 'make demo' installs it on Debian and Ubuntu.") from None
    if check and done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        # `docker run` ends with a hint at its help.
        raise DemoError(f"'docker {arguments[0]}' failed: {lines[0].removeprefix('docker: ')}")
    return done


def wanted_port() -> int:
    """Return the loopback port to publish. Raises DemoError when DEMO_PORT is no port."""
    text = os.environ.get("DEMO_PORT") or str(DEFAULT_PORT)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise DemoError(f"DEMO_PORT is '{text}', but must be a number from 1 to 65535.")
    return int(text)


def docker_holder(port: int) -> str:
    """Return the container that publishes the port; '' when none does."""
    return docker("ps", "--filter", f"publish={port}", "--format", "container {{.Names}}").stdout.strip()


def check_port_is_free(port: int) -> None:
    """Raise DemoError, with the holder's name where it can be known, when the port is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            raise DemoError(
                f"port {port} needs root. Choose one above 1023: DEMO_PORT=9443 make demo"
            ) from None
        except OSError:
            pass
        else:
            return
    holder = docker_holder(port)
    if not holder:
        try:
            sockets = subprocess.run(
                ["ss", "-Hltnp", f"sport = :{port}"], capture_output=True, text=True, check=False
            ).stdout
        except FileNotFoundError:
            sockets = ""
        found = re.search(r'\("([^"]+)",pid=(\d+)', sockets)
        holder = f"process {found[1]} (pid {found[2]})" if found else "another process"
    raise DemoError(
        f"port {port} on 127.0.0.1 is taken by {holder}. Stop it, or choose another: "
        f"DEMO_PORT={port % 60000 + 1000} make demo"
    )


def container_state(name: str = CONTAINER) -> tuple[str, int | None]:
    """Return the container's state ('' when there is none) and the port that it publishes."""
    found = docker("container", "inspect", name, check=False)
    if found.returncode != 0:
        docker("version")  # no container, or no engine: the second is an error
        return "", None
    details = json.loads(found.stdout)[0]
    bindings = details["HostConfig"]["PortBindings"].get("443/tcp") or [{}]
    port = bindings[0].get("HostPort")
    return details["State"]["Status"], int(port) if port else None


def run_arguments(settings: Mapping[str, Any], name: str, *more: str) -> list[str]:
    """Translate a Molecule platform into the arguments of `docker run`, more of them among them."""
    arguments = ["--detach", "--pull", "never", "--name", name, "--hostname", name]
    arguments += [*more, "--stop-signal", "SIGRTMIN+3"]
    for option, key in (
        ("--cap-add", "capabilities"),
        ("--security-opt", "security_opts"),
        ("--tmpfs", "tmpfs"),
        ("--volume", "volumes"),
    ):
        for value in settings.get(key, []):
            arguments += [option, value]
    arguments += ["--cgroupns", settings["cgroupns_mode"]]
    return [*arguments, settings["image"], *settings["command"].split()]


def wait_for_systemd(name: str = CONTAINER) -> None:
    """Wait until the container's systemd has started its units. Raises DemoError after SYSTEMD_SECONDS."""
    deadline = time.monotonic() + SYSTEMD_SECONDS
    while time.monotonic() < deadline:
        state = docker("exec", name, "systemctl", "is-system-running", check=False).stdout.strip()
        if state == "running":
            return
        if state == "degraded":
            units = docker("exec", name, "systemctl", "--failed", "--plain", "--no-legend").stdout
            names = ", ".join(line.split()[0] for line in units.splitlines())
            raise DemoError(f"systemd in the container is degraded; failed units: {names}. {NEEDS}")
        if container_state(name)[0] != "running":
            last = docker("logs", "--tail", "1", name, check=False).stdout.strip() or "nothing"
            raise DemoError(f"the container ended by itself; its last words: {last}. {NEEDS}")
        time.sleep(0.5)
    raise DemoError(f"systemd in the container did not start within {SYSTEMD_SECONDS} s. {NEEDS}")


@contextmanager
def removed_on_failure() -> Iterator[None]:
    """Leave no half-started container behind."""
    try:
        yield
    except BaseException:
        docker("rm", "--force", "--volumes", CONTAINER, check=False)
        raise


def start_container(port: int) -> None:
    """Make the demo's container, or start the one that is there."""
    state, published = container_state()
    if state and published != port:
        raise DemoError(
            f"container {CONTAINER} publishes port {published}, DEMO_PORT asks for {port}. "
            f"Go on with DEMO_PORT={published} make demo, or begin anew: make demo-destroy"
        )
    if state == "running":
        say(f"container {CONTAINER} is running")
    elif state:
        check_port_is_free(port)
        say(f"starting the stopped container {CONTAINER}")
        docker("start", CONTAINER)
        wait_for_systemd()
    else:
        check_port_is_free(port)
        say(f"starting container {CONTAINER}: a bare server with systemd")
        with removed_on_failure():
            docker("run", *run_arguments(platform(), CONTAINER, "--publish", f"127.0.0.1:{port}:443"))
            wait_for_systemd()


def failure_message(output: str) -> str:
    """Return the first failing task and what it says, from a playbook's output."""
    task = ""
    lines = output.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("TASK ["):
            task = line.split("]")[0].removeprefix("TASK [")
        if line.startswith(("fatal:", "failed:")):
            block = "\n".join(takewhile(lambda text: text.startswith(" "), lines[number + 1 :]))
            text = said(block) or line
            if culprit := network_fault(text):
                return f"{culprit} cannot be reached (mirror, proxy, DNS?), needed by task '{task}'."
            return f"task '{task}': " + "\n  ".join(text.splitlines()[:LONGEST_MESSAGE])
    errors = [line for line in lines if line.startswith("[ERROR]") or "ERROR!" in line]
    return "\n".join(errors[:5] or lines[-5:])


def said(result: str) -> str:
    """Return the message in a failed task's result, which Ansible prints as YAML."""
    try:
        found = yaml.safe_load(result) or {}
    except yaml.YAMLError:
        return result
    parts = (str(found[key]).strip() for key in ("msg", "stderr", "censored") if found.get(key))
    lines = list(dict.fromkeys(line.strip() for part in parts for line in part.splitlines()))
    return "\n".join(lines)


def network_fault(message: str) -> str | None:
    """Return what cannot be reached when a failing task's message says so."""
    found = (name for name, pattern in NETWORK_FAULTS.items() if re.search(pattern, message))
    return next(found, None)


def playbook(path: str, *arguments: str) -> int:
    """Run a playbook against the demo's inventory, its output into LOG; return the number of changed tasks.

    Prints a line for every play and role. Raises DemoError with the failing task's message.
    """
    command = [str(BIN / "ansible-playbook"), "-i", str(INVENTORY), path, *arguments]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    environment.pop("ANSIBLE_FORCE_COLOR", None)
    output: list[str] = []
    roles: set[str] = set()
    with LOG.open("a") as log:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None  # noqa: S101 - asked for with PIPE, 2026-11-23
        for line in process.stdout:
            log.write(line)
            log.flush()
            output.append(line)
            if play := re.match(r"PLAY \[(.+)\]", line):
                roles.clear()
                say(play[1])
            elif (task := re.match(r"TASK \[(\w+) : ", line)) and task[1] not in roles:
                roles.add(task[1])
                say(f"  role {task[1]}")
        status = process.wait()
    text = "".join(output)
    if status != 0:
        where = LOG.relative_to(PROJECT)
        raise DemoError(f"{path} failed. {failure_message(text)}\nThe whole output: {where}")
    return sum(int(figure) for figure in re.findall(r"\bchanged=(\d+)", text))


def visitor(port: int) -> tuple[requests.Session, str]:
    """Return a browser-like session that checks the demo's own certificate, and the site's URL."""
    CERTIFICATE.write_text(docker("exec", CONTAINER, "cat", CERTIFICATE_ON_SERVER).stdout)
    session = requests.Session()
    session.trust_env = False  # no proxy to this machine itself, no other CA bundle
    session.verify = str(CERTIFICATE)
    return session, f"https://localhost:{port}"


def place_order(port: int) -> str:
    """Place an order through the page's form as a visitor does, wait until it is paid; return its page's URL.

    Raises DemoError when the site does not answer, refuses the order, or no worker pays within ORDER_SECONDS.
    """
    session, site = visitor(port)
    try:
        page = session.get(f"{site}/", timeout=30)
        page.raise_for_status()
        form = {
            "csrfmiddlewaretoken": session.cookies.get("csrftoken", ""),
            "product": "mug",
            "email": "visitor@example.com",
            "payment_token": "tok_visa",
            "count": "1",
        }
        answer = session.post(f"{site}/", data=form, headers={"Referer": f"{site}/"}, timeout=30)
        placed = re.fullmatch(rf"{re.escape(site)}/orders/([0-9a-f-]+)/", answer.url)
        if answer.status_code != 200 or not placed:
            raise DemoError(f"the order was refused: HTTP {answer.status_code}. See {site}/ and its log.")
        say(f"placed an order at {site}/, waiting until a worker has paid it")
        deadline = time.monotonic() + ORDER_SECONDS
        status = ""
        while time.monotonic() < deadline:
            order = session.get(f"{site}/api/orders", params={"batch": placed[1]}, timeout=30).json()[
                "orders"
            ][0]
            status = order["status"]
            if status == "paid":
                say(f"order {order['id'][:8]} is PAID")
                return str(answer.url)
            time.sleep(0.2)
    except requests.RequestException as error:
        raise DemoError(f"{site}/ does not answer as it should: {error}") from None
    raise DemoError(
        f"the order is still '{status}' after {ORDER_SECONDS} s: no worker has paid it. "
        f"Look at: docker exec {CONTAINER} supervisorctl status"
    )


def summary(port: int, order_page: str) -> str:
    """Return what a newcomer wants to know at the end."""
    programs = docker("exec", CONTAINER, "supervisorctl", "status", check=False).stdout.splitlines()
    running = ", ".join(line.split()[0] for line in programs if " RUNNING " in line)
    site = f"https://localhost:{port}"
    again = "make demo" if port == DEFAULT_PORT else f"DEMO_PORT={port} make demo"
    return f"""
The shop      {site}/
Your order    {order_page}
Flower        {site}/flower/  user {FLOWER_USER}, password: vault_flower_password
Passwords     .venv/bin/ansible-vault view {VAULT}
What ran      playbooks/secrets.yml and playbooks/site.yml against {INVENTORY}
              (all their output: {LOG.relative_to(PROJECT)})
Programs      {running}
The certificate is self-signed: the browser warns once, and is right to.

Try next
  docker exec {CONTAINER} supervisorctl status
                        what runs on the server
  {again}
                        after a change in sample_app or {INVENTORY}/group_vars/all/main.yml:
                        a new generation starts beside the one that runs, and takes over
  make demo-destroy     remove it all
"""


def up() -> None:
    """Bring the demo up, or converge the one that is there."""
    port = wanted_port()
    CACHE.mkdir(exist_ok=True)
    LOG.write_text("")
    start_container(port)
    origins = {"app_trusted_origins": [f"https://localhost:{port}"]}
    options = [] if port == DEFAULT_PORT else ["--extra-vars", json.dumps(origins)]
    changed = 0
    for path in ("molecule/shared/server.yml", "playbooks/secrets.yml", "playbooks/site.yml"):
        changed += playbook(path, *options)
    say("converged, nothing changed" if changed == 0 else f"converged, {changed} tasks changed something")
    print(summary(port, place_order(port)))


def destroy() -> None:
    """Remove the container, the secrets and the download caches; keep the images."""
    docker("version")
    state, _ = container_state()
    if state:
        docker("rm", "--force", "--volumes", CONTAINER)
        print(f"removed container {CONTAINER}")
    for path in (PROJECT / VAULT, CERTIFICATE, LOG):
        if path.exists():
            path.unlink()
            print(f"removed {path.relative_to(PROJECT)}")
    for volume in cache_volumes():
        if docker("volume", "inspect", volume, check=False).returncode == 0:
            gone = docker("volume", "rm", volume, check=False).returncode == 0
            print(f"removed volume {volume}" if gone else f"kept volume {volume}: another container uses it")
    print("kept the images rootstock/*: 'docker image rm' removes them")


def main() -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(description="The demo: the whole stack on one container.")
    parser.add_argument("command", choices=("up", "destroy"))
    command = parser.parse_args().command
    try:
        {"up": up, "destroy": destroy}[command]()
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted. Run it again to go on, or 'make demo-destroy'.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
