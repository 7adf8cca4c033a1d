"""A real Redis, and real workers that load the runtime package; each test has a database of its own."""

import json
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
from redis import Redis
from redis.exceptions import RedisError

HERE = Path(__file__).resolve().parent
#: The package as the role copies it; where it lies in the container of the tests is told.
PACKAGE = Path(
    os.environ.get("RUNTIME_PACKAGE", str(HERE.parents[1] / "roles/celery/files/rootstock_worker"))
)
sys.path[:0] = [str(PACKAGE.parent), str(HERE)]
#: The users of Redis as the role writes them, by tests/redis_users.py.
USERS = HERE / "users.acl"


def wait_for(check: Callable[[], Any], seconds: float, what: str) -> Any:
    """Poll until check() is true and return its value; AssertionError after the given seconds."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return value


class Broker:
    """A redis-server that can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program, "no redis-server: make test-app runs these tests where there is one"
        options = f"--port {self.port} --bind 127.0.0.1 --aclfile {USERS}"
        options += " --appendonly yes --appendfsync always --save"
        self.process = subprocess.Popen(
            [program, *options.split(), "", "--dir", self.directory], stdout=subprocess.DEVNULL
        )
        client = self.client(0)

        def answers() -> bool:
            try:
                return bool(client.ping())
            except RedisError:
                return False

        wait_for(answers, 10, "redis-server answers")

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def client(self, database: int) -> "Redis[bytes]":
        return Redis(port=self.port, db=database, username="admin", password="password-of-admin")

    def url(self, user: str, port: int = 0) -> str:
        """The broker for a user, perhaps by another port."""
        return f"redis://{user}:password-of-{user}@127.0.0.1:{port or self.port}/1"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("redis"))
    broker.start()
    yield broker
    broker.kill()


class Stage:
    """A broker's database, an application that uses it, and its workers."""

    def __init__(self, server: Broker, directory: Path, **environment: str) -> None:
        self.server, self.directory = server, directory
        self.environment = os.environ | {
            "PYTHONPATH": f"{PACKAGE.parent}:{HERE}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "VICTIM_EFFECTS": str(directory / "effects"),
            "ROOTSTOCK_DRAIN_SECONDS": "2",
            "ROOTSTOCK_RETIRE_SECONDS": "60",
            "ROOTSTOCK_GENERATION": "one",
            "ROOTSTOCK_LIVE_GENERATION_FILE": str(directory / "generation"),
            "ROOTSTOCK_QUEUES": "one",
            **environment,
        }
        self.prefix, self.users = "", "plain"
        self.environment["VICTIM_BROKER"] = server.url("plain-app")
        self.broker, self.effects = server.client(1), directory / "effects"
        self.effects.touch()
        self.workers: list[Worker] = []

    def worker(
        self,
        name: str = "a",
        concurrency: int = 1,
        hardened: bool = True,
        queues: str = "one",
        events: bool = False,
        **environment: str,
    ) -> "Worker":
        """A worker that consumes the queue `one`, or others, and perhaps says what its tasks do."""
        worker = Worker(self, name, concurrency, hardened, queues, events, environment)
        self.workers.append(worker)
        return worker

    def use_prefix(self, prefix: str) -> None:
        """All keys begin with it, and with users whom Redis refuses others."""
        self.prefix, self.users = prefix, "prefixed"
        self.environment |= {"VICTIM_PREFIX": prefix, "VICTIM_BROKER": self.server.url("prefixed-app")}

    def python(self, code: str, **environment: str) -> str:
        """Run code in the application's environment; return what it prints."""
        result = subprocess.run(
            [sys.executable, "-c", code],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return result.stdout.strip()

    def send(self, task: str, *arguments: Any, **options: Any) -> None:
        """Publish a task of the application."""
        call = f"app.send_task('victim.{task}', {list(arguments)!r}, **{options!r})"
        self.python(f"from victim import app; {call}")

    def letters(self, *arguments: str, status: int = 0) -> str:
        """Run the command for dead letters; return what it prints."""
        result = subprocess.run(
            [sys.executable, "-m", "rootstock_worker.dead_letters", "victim", *arguments],
            env=self.environment | {"VICTIM_BROKER": self.server.url(f"{self.users}-worker")},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert result.returncode == status, result.stderr
        return result.stdout + result.stderr

    def count(self, name: str, key: str) -> int:
        """How often a task has said that."""
        return self.effects.read_text().splitlines().count(f"{name} {key}")

    def done(self, key: str) -> int:
        return self.count("done", key)

    def begun(self, key: str) -> int:
        return self.count("begun", key)

    def held(self) -> int:
        """Unacknowledged messages of all processes."""
        names = self.broker.keys(f"{self.prefix}unacked.*") + self.broker.keys(f"{self.prefix}unacked")
        return sum(int(self.broker.hlen(name)) for name in names)


class Worker:
    """`celery worker` in a process group of its own."""

    def __init__(
        self,
        stage: Stage,
        name: str,
        concurrency: int,
        hardened: bool,
        queues: str,
        events: bool,
        environment: dict[str, str],
    ) -> None:
        self.stage, self.name = stage, name
        self.log = stage.directory / f"{name}-{len(stage.workers)}.log"
        self.heartbeat_file = stage.directory / f"{name}.heartbeat"
        command = ["rootstock_worker.run", "celery"] if hardened else ["celery"]
        command += ["-A", "victim", "worker", "-Q", queues, "-O", "fair", "--without-mingle"]
        command += ["--loglevel", "INFO", "--hostname", f"{name}@test", "--concurrency", str(concurrency)]
        command += ["-I", "rootstock_worker.install"] if hardened else []
        command += ["-E"] if events else []
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=stage.environment
                | {
                    "VICTIM_BROKER": stage.server.url(f"{stage.users}-worker"),
                    "ROOTSTOCK_HEARTBEAT_FILE": str(self.heartbeat_file),
                    **environment,
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(self.ready, 30, f"{name} is ready")

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return f"{self.name}@test ready" in self.log.read_text()

    def says(self, text: str, seconds: float = 15) -> None:
        wait_for(lambda: text in self.log.read_text(), seconds, f"{self.name} says '{text}'")

    def children(self) -> list[int]:
        """The processes that run its tasks."""
        main = self.process.pid
        return [int(pid) for pid in Path(f"/proc/{main}/task/{main}/children").read_text().split()]

    def heartbeat(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.heartbeat_file.read_text())
        return found

    def kill(self, whole: bool = True) -> None:
        """SIGKILL, to all its processes or only to the main one."""
        if whole:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Warm shutdown."""
        self.process.terminate()
        self.process.wait(30)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()


@pytest.fixture
def stage(server: Broker, tmp_path: Path) -> Iterator[Stage]:
    server.client(0).flushall()
    server.client(0).acl_log_reset()
    found = Stage(server, tmp_path)
    yield found
    for worker in found.workers:
        worker.end()
    denials = [(e["username"], e["object"], e["context"], e["reason"]) for e in server.client(0).acl_log()]
    assert denials == []
