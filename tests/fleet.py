"""The servers of the scenario `fleet`."""

import subprocess

import testinfra
from testinfra.host import Host

from stack import Stack


def server(name: str) -> Host:
    """A server, asked over the engine's own connection: what is seen does not hang on what is tested."""
    return testinfra.get_host(f"docker://{name}")


def consumers(stack: Stack) -> set[str]:
    """The servers whose workers answer."""
    code = "from shop.celery import app\nprint(json.dumps(list(app.control.inspect(timeout=2).ping() or {})))"
    return {name.split("@")[1] for name in stack.python(code)}


def stop(name: str) -> None:
    """Take a server's power away."""
    subprocess.run(["docker", "kill", name], check=True, capture_output=True)


def start(name: str) -> None:
    """Switch it on again."""
    subprocess.run(["docker", "start", name], check=True, capture_output=True)
