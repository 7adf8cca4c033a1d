"""A real Redis with the users that role redis writes, and an environment for each supported Celery."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from redis_users import acl, password, user
from repository import PROJECT

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = PROJECT / ".cache/versions"
UV = Path(sys.executable).parent / "uv"
#: No lock pins the rest: these environments never leave this machine, and what is new is to be noticed.
FLOWER = "flower"
#: The last kombu of each series that Celery 5 still runs with, and its Celery.
VERSIONS = {
    "5.3.7": "celery==5.3.6",
    "5.4.2": "celery==5.4.0",
    "5.5.4": "celery==5.5.3",
    "5.6.2": "celery==5.6.2",
    "5.7.0": "celery==5.7.0",
}
PURPOSES = ("app", "worker", "beat", "flower")


def wait_for(check: Callable[[], Any], seconds: float, what: str) -> Any:
    """Poll until check() is true and return its value; AssertionError after the given seconds."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)
    return value


class Redis:
    """A redis-server for these tests alone."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        users = directory / "users.acl"
        self.command: list[str | Path] = ["redis-server", "--aclfile", users, "--dir", directory]
        self.command += ["--bind", "127.0.0.1", "--port", str(self.port), "--save", ""]
        users.write_text(acl([user(purpose, prefix) for prefix in ("", "shop:") for purpose in PURPOSES]))
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        wait_for(lambda: self.ask("PING") == "PONG", 10, "redis-server answers")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, *command: str) -> str:
        """Run a command as the administrator."""
        options = f"-p {self.port} -n 1 --user admin --no-auth-warning"
        done = subprocess.run(
            ["redis-cli", *options.split(), *command],
            env=os.environ | {"REDISCLI_AUTH": password("admin")},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()

    def url(self, name: str) -> str:
        return f"redis://{name}:{password(name)}@127.0.0.1:{self.port}/1"

    def refused(self) -> set[tuple[str, str, str]]:
        """User, reason and command or key of everything that Redis has refused."""
        lines = self.ask("ACL", "LOG").splitlines()
        found: list[dict[str, str]] = []
        for name, value in itertools.pairwise(lines):
            if name == "count":
                found.append({})
            if name in ("reason", "object", "username"):
                found[-1][name] = value
        return {(entry["username"], entry["reason"], entry["object"]) for entry in found}


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    missing = [program for program in ("redis-server", "redis-cli") if not shutil.which(program)]
    assert not missing, (
        f"{missing[0]} is not there. Type apt-get install --no-install-recommends redis-server; "
        "its own service is not needed"
    )
    server = Redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


def environment(kombu: str) -> Path:
    """Return the interpreter of an environment with that kombu, made once."""
    wanted = ENVIRONMENTS / kombu
    if not wanted.exists():
        ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
        # Only a whole one gets its name: a run that is cut off leaves nothing that looks usable.
        new = ENVIRONMENTS / f"new-{os.getpid()}"
        packages = [f"kombu[redis]=={kombu}", VERSIONS[kombu], FLOWER]
        try:
            venv: list[str | Path] = [UV, "venv", "--quiet", "--relocatable", "--python", sys.executable, new]
            subprocess.run(venv, check=True)
            subprocess.run([UV, "pip", "install", "--quiet", "--python", new, *packages], check=True)
            new.rename(wanted)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return wanted / "bin/python"


class Application:
    """The application with one kombu, as users with or without a prefix."""

    def __init__(self, redis: Redis, python: Path, prefix: str, directory: Path) -> None:
        self.redis, self.python, self.prefix, self.directory = redis, python, prefix, directory
        self.processes: list[subprocess.Popen[str]] = []

    def name(self, purpose: str) -> str:
        """Of a user of Redis."""
        return f"{'prefixed' if self.prefix else 'plain'}-{purpose}"

    def environment(self, purpose: str) -> dict[str, str]:
        return os.environ | {
            "VERSIONED_URL": self.redis.url(self.name(purpose)),
            "VERSIONED_PREFIX": self.prefix,
            "PYTHONPATH": str(HERE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FLOWER_UNAUTHENTICATED_API": "true",
        }

    def do(self, action: str, purpose: str = "app") -> None:
        """Run one action of versioned.py as a user of Redis."""
        done = subprocess.run(
            [self.python, HERE / "versioned.py", action],
            env=self.environment(purpose),
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert done.returncode == 0, f"{done.stderr[-3000:]}\nrefused: {self.redis.refused()}"

    def start(self, purpose: str, command: list[str | Path], **options: Any) -> subprocess.Popen[str]:
        """Start a program as a user of Redis; what it says is in a file."""
        with self.log(purpose).open("w") as output:
            process = subprocess.Popen(
                command,
                env=self.environment(purpose),
                cwd=self.directory,
                stderr=output,
                start_new_session=True,
                text=True,
                **({"stdout": output} | options),
            )
        self.processes.append(process)
        return process

    def celery(self, purpose: str, *arguments: str) -> subprocess.Popen[str]:
        return self.start(purpose, [self.python, "-m", "celery", "-A", "versioned", *arguments])

    def log(self, purpose: str) -> Path:
        return self.directory / f"{purpose}.log"

    def worker(self) -> subprocess.Popen[str]:
        """A worker without the package rootstock_worker; with gossip, mingle and events."""
        process = self.celery("worker", "worker", "--concurrency=2", "-E", "--loglevel=INFO")
        wait_for(lambda: " ready." in self.log("worker").read_text(), 60, "the worker is ready")
        return process

    def length(self, queue: str = "one") -> int:
        return int(self.redis.ask("LLEN", f"{self.prefix}{queue}"))

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> Path:
    return environment(request.param)


@pytest.fixture(params=["", "shop:"], ids=["all-keys", "prefix"])
def application(
    redis: Redis, python: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Application]:
    redis.ask("FLUSHALL")
    redis.ask("ACL", "LOG", "RESET")
    found = Application(redis, python, request.param, tmp_path)
    yield found
    found.end()
    assert redis.refused() == set()
