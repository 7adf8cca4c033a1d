"""Real servers on free loopback ports, for one run of the tests: PostgreSQL, Redis, the sandbox, the web
processes behind Nginx, and workers. Everything lies in one temporary directory."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis
import requests

SOURCE = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
HERE = Path(tempfile.mkdtemp(prefix="shop-tests-"))
REDIS_PASSWORD = "secret-of-redis"
QUEUES = ("critical", "default", "low-priority")
BATCH = uuid.UUID(int=1)
#: Seconds; short, so that a test of a timeout is.
GATEWAY_TIMEOUT = 1.5


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


POSTGRESQL_PORT, REDIS_PORT, SANDBOX_PORT, SITE_PORT = (free_port() for _ in range(4))
SANDBOX_URL = f"http://127.0.0.1:{SANDBOX_PORT}"
SITE = f"https://localhost:{SITE_PORT}"
_REDIS_URL = f"redis://:{REDIS_PASSWORD}@127.0.0.1:{REDIS_PORT}"

ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "shop.settings",
    "SECRET_KEY": "only-for-tests-4ciy0dqp7b3xzk1m9wvtj2hra8ueglnfo6s5",
    "ALLOWED_HOSTS": "localhost",
    "CSRF_TRUSTED_ORIGINS": SITE,
    "DATABASE_URL": f"postgresql://shop@127.0.0.1:{POSTGRESQL_PORT}/shop",
    "CACHE_URL": f"{_REDIS_URL}/0",
    "CELERY_BROKER_URL": f"{_REDIS_URL}/1",
    "CELERY_RESULT_BACKEND": f"{_REDIS_URL}/2",
    "PAYMENT_GATEWAY_URL": f"{SANDBOX_URL}/gateway",
    "PAYMENT_GATEWAY_TIMEOUT": str(GATEWAY_TIMEOUT),
    "CRM_URL": f"{SANDBOX_URL}/crm",
    "STATIC_ROOT": str(HERE / "static"),
    "REPORT_STEP_SECONDS": "0.15",
    "DIAGNOSTIC_TASKS": "1",
}


def wait_for(condition: Callable[[], object], seconds: float = 15, what: str = "") -> None:
    """Asks again and again until the condition is true; fails after the given seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.05)


class Process:
    """One server in a process group of its own, its output in a file."""

    def __init__(
        self, name: str, command: Sequence[str | Path], ready: Callable[["Process"], bool], **environment: str
    ) -> None:
        self._log = HERE / f"{name}.log"
        self._command = [str(part) for part in command]
        self._ready = ready
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Process":
        """Returns when it is ready."""
        self._log.unlink(missing_ok=True)
        with self._log.open("ab") as output:
            process = self._process = subprocess.Popen(
                self._command,
                cwd=SOURCE,
                env=os.environ | self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_for(lambda: process.poll() is not None or self._ready(self), 30, f"{self._command} is ready")
            assert process.poll() is None, f"{self._command} has ended"
        except AssertionError:
            print(self.log()[-3000:])
            self.kill()
            raise
        return self

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Asks the main process to end, as a supervisor does."""
        if self._process:
            self._process.send_signal(number)
            self._process.wait(30)

    def kill(self) -> None:
        """The whole group at once: children of a killed parent would live on."""
        if self._process:
            self.signal(signal.SIGKILL)
            self._process.wait(30)

    def signal(self, number: int) -> None:
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It exists but does nothing, for as long as the block lasts."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def log(self) -> str:
        return self._log.read_text()

    def records(self) -> list[dict[str, object]]:
        """The lines that are JSON."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def postgresql() -> Process:
    programs = max(Path("/usr/lib/postgresql").iterdir()) / "bin"
    data = HERE / "postgresql"
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "shop", "--auth=trust", "-E", "UTF8", "--no-sync"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    settings = {"listen_addresses": "127.0.0.1", "port": POSTGRESQL_PORT, "unix_socket_directories": HERE}
    # Nothing here must survive a power cut.
    settings |= {"fsync": "off", "max_connections": 200}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    address = ["-h", "127.0.0.1", "-p", str(POSTGRESQL_PORT), "-U", "shop"]
    process = Process(
        "postgresql",
        [programs / "postgres", "-D", data, *options],
        lambda _: subprocess.run([programs / "pg_isready", "-q", *address]).returncode == 0,
    ).start()
    subprocess.run([programs / "createdb", *address, "shop"], check=True)
    return process


def redis_answers() -> bool:
    try:
        return bool(broker().ping())
    except redis.RedisError:
        return False


def broker() -> "redis.Redis[str]":
    return redis.Redis.from_url(ENVIRONMENT["CELERY_BROKER_URL"], decode_responses=True, socket_timeout=5)


def waiting() -> int:
    """Messages in all queues, those that a worker holds included."""
    client = broker()
    return sum(client.llen(queue) for queue in QUEUES) + held()


def held() -> int:
    """Messages that some worker has and has not acknowledged."""
    client = broker()
    return sum(client.zcard(index) for index in client.keys("unacked_index*"))


def forget_held() -> None:
    """Nobody gives them back: the broker will not help."""
    client = broker()
    if keys := client.keys("unacked*"):
        client.delete(*keys)


def faults(*wanted: dict[str, object]) -> None:
    """Replaces the sandbox's faults."""
    requests.put(f"{SANDBOX_URL}/admin/faults", json=list(wanted), timeout=5).raise_for_status()


def injected() -> int:
    return int(requests.get(f"{SANDBOX_URL}/admin/faults", timeout=5).json()["injected"])


def ledger() -> dict[str, object]:
    return dict(requests.get(f"{SANDBOX_URL}/admin/ledger", timeout=5).json())


def worker(name: str, *options: str, **environment: str) -> Process:
    """A worker of all queues, with the package that a deployed one loads."""
    command = [BIN / "celery", "-A", "shop", "worker", "-n", f"{name}@test", "-Q", ",".join(QUEUES)]
    command += ["-I", "rootstock_worker.install", *(options or ("-c", "4"))]
    environment |= {
        "ROOTSTOCK_DRAIN_SECONDS": "30",
        "ROOTSTOCK_RETIRE_SECONDS": "60",
        "ROOTSTOCK_GENERATION": "tests",
        "ROOTSTOCK_LIVE_GENERATION_FILE": str(HERE / "generation"),
        "ROOTSTOCK_QUEUES": ",".join(QUEUES),
        "ROOTSTOCK_HEARTBEAT_FILE": str(HERE / f"{name}.heartbeat"),
    }
    return Process(
        f"worker-{name}", command, lambda p: f"{name}@test ready." in p.log(), **environment
    ).start()


def beat(**environment: str) -> Process:
    command = [BIN / "celery", "-A", "shop", "beat", "-s", HERE / "celerybeat-schedule"]
    return Process("beat", command, lambda p: "beat: Starting" in p.log(), **environment).start()


def web() -> tuple[Process, Process]:
    """Gunicorn, and Nginx that ends TLS in front of it, as a deployment has them."""
    application = HERE / "web.sock"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    certificate = ["-keyout", HERE / "site.key", "-out", HERE / "site.crt", *names]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *certificate],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    configuration = (SOURCE / "tests/nginx.conf").read_text()
    for name, value in {"HERE": str(HERE), "PORT": str(SITE_PORT)}.items():
        configuration = configuration.replace(f"@{name}@", value)
    (HERE / "nginx.conf").write_text(configuration)
    command = [
        BIN / "gunicorn",
        "shop.wsgi",
        "--bind",
        f"unix:{application}",
        "--workers",
        "2",
        "--threads",
        "8",
    ]
    gunicorn = Process("gunicorn", command, lambda _: application.exists()).start()
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin") or "nginx"
    nginx = Process("nginx", [program, "-c", HERE / "nginx.conf"], lambda _: listens(SITE_PORT)).start()
    return gunicorn, nginx


def client() -> requests.Session:
    """Trusts the site's certificate."""
    session = requests.Session()
    session.trust_env = False
    session.verify = str(HERE / "site.crt")
    return session


(HERE / "redis").mkdir()
REDIS = Process(
    "redis",
    [
        "redis-server",
        "--bind",
        "127.0.0.1",
        "--port",
        str(REDIS_PORT),
        "--dir",
        HERE / "redis",
        "--requirepass",
        REDIS_PASSWORD,
        "--appendonly",
        "yes",
        "--save",
        "",
        "--maxmemory",
        "256mb",
        "--maxmemory-policy",
        "noeviction",
    ],
    lambda _: redis_answers(),
)
SANDBOX = Process(
    "sandbox",
    [sys.executable, "-m", "sandbox", "--port", str(SANDBOX_PORT), "--ledger", HERE / "ledger.sqlite3"],
    lambda _: listens(SANDBOX_PORT),
)
