"""Breaks a server as a schedule says, and makes it good again, whatever happens meanwhile."""

import io
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import releases
from chaos.history import Event
from chaos.schedule import EXCLUSIVE, OWN_END, Fault, Schedule, needs_of
from generations import files, generations, live
from injection import (
    REDIS,
    TABLE,
    child_pids,
    cut_from,
    fill,
    kill,
    main_pid,
    program_pid,
    slow_database,
    small_disk,
    web,
    worker,
)
from interruption import Playbooks, Run
from stack import APP, Stack, broker_setting, wait_for

POSTGRESQL = "postgresql@15-main"
REDIS_FILES = "/var/lib/redis"
#: ext4 left so many after a real power cut, in the place of what had not been synced.
NUL_BYTES = 2336
#: Seconds that a query takes on a slow database.
SLOW_SECONDS = 1.0
#: The disk of Redis has so much room before it is filled.
DISK_MEBIBYTES = 64
#: Booting takes no longer, nor does a shutdown before the rest is killed.
BOOT_SECONDS, SHUTDOWN_SECONDS = 60, 150
DEPLOY_SECONDS = 900

#: Breaks something when it is entered and makes it good when it is left.
Break = Callable[["Nemesis", Fault], AbstractContextManager[None]]


class NoVictim(Exception):
    """What was to be broken is not there at the moment."""


class Nemesis:
    """The one that breaks things on a server; `events` is what it has done."""

    def __init__(
        self, stack: Stack, playbooks: Playbooks, sources: Path, long_tasks: Callable[[], object]
    ) -> None:
        self.stack = stack
        #: Publishes a long task to each queue.
        self.long_tasks = long_tasks
        self.playbooks, self.sources = playbooks, sources
        self.events: list[Event] = []
        self.deploys = 0
        #: The output of the last deploy, if it failed.
        self.failed_deploy = ""
        self._locks = {need: threading.Lock() for need in {*EXCLUSIVE, "deploy"}}
        self._maxmemory = self._setting("maxmemory")

    # --- A run

    def run(self, schedule: Schedule, said: Callable[[str], None] = print) -> None:
        """Breaks all of a schedule; returns when everything is healed."""
        begun = time.time()
        threads = [
            threading.Thread(target=self._fault, args=(fault, begun, said), name=fault.kind, daemon=True)
            for fault in schedule.faults
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            self.heal()

    def _fault(self, fault: Fault, begun: float, said: Callable[[str], None]) -> None:
        time.sleep(max(0.0, begun + fault.at - time.time()))
        with ExitStack() as locks:
            # In one order, so that no two wait for each other.
            for need in sorted(needs_of(fault)):
                locks.enter_context(self._locks[need])
            started, ended, note = time.time(), 0.0, ""
            try:
                with BREAKS[fault.kind](self, fault):
                    time.sleep(0 if fault.kind in OWN_END else fault.lasts)
                    ended = time.time()
            except NoVictim as none:
                note = f"no victim: {none}"
            except Exception as error:  # noqa: BLE001 - other faults go on, and the record has it, 2026-11-30
                note = f"{type(error).__name__}: {str(error)[-500:]}"
            # What heals slowly, such as a boot or a deploy, is healed at its end.
            ended = max(ended, time.time())
            self.events.append(Event(fault.kind, fault.target, started, ended, note))
        what = f"{fault.kind} {fault.target}".strip()
        said(f"{started - begun:6.1f} s to {ended - begun:6.1f} s  {what}  {note}".rstrip())

    def heal(self) -> None:
        """Takes back whatever a fault may have left, and deploys again where the last deploy failed."""
        host, name = self.stack.host, self.stack.host.backend.get_hostname()
        docker("start", name)
        wait_for(
            lambda: host.run("systemctl is-system-running --wait").rc in (0, 1), 60, "the server has started"
        )
        self.stack.find_address()
        host.run(f"nft delete table {TABLE}")
        host.run("ps -eo pid=,stat= | awk '$2 ~ /^T/ {print $1}' | xargs -r kill -CONT")
        wait_for(lambda: host.run(f"systemctl start {REDIS} {POSTGRESQL}").rc == 0, 60, "data stores run")
        if self._setting("maxmemory") != self._maxmemory:
            self._set("maxmemory", self._maxmemory)

    def deploy_again(self) -> str:
        """Makes good what a failed deploy has left, if one has; returns why it could not be."""
        if not self.failed_deploy:
            return ""
        begun = time.time()
        self.end_deploy(self.start_deploy())
        self.events.append(Event("deploy", "", begun, time.time(), self.failed_deploy))
        return self.failed_deploy

    # --- What faults do

    def pids_of(self, program: str) -> list[int]:
        """A Supervisor program's process and all that it has begun."""
        pid = program_pid(self.stack, program)
        if not pid:
            raise NoVictim(f"{program} does not run")
        return [pid, *child_pids(self.stack, pid)]

    def pids_of_unit(self, unit: str) -> list[int]:
        """Likewise of a systemd unit."""
        pid = main_pid(self.stack, unit)
        if not pid:
            raise NoVictim(f"{unit} does not run")
        return [pid, *child_pids(self.stack, pid)]

    def kill(self, *pids: int) -> None:
        with suppress(AssertionError):
            # One may have ended by itself.
            kill(self.stack, *pids)

    @contextmanager
    def frozen(self, pids: list[int]) -> Iterator[None]:
        """Stopped and continued: nothing is closed, nothing answers."""
        numbers = " ".join(map(str, pids))
        self.stack.host.run(f"kill -STOP {numbers}")
        try:
            yield
        finally:
            self.stack.host.run(f"kill -CONT {numbers}")

    def start_deploy(self) -> Run:
        """Begins to deploy another release."""
        self.deploys += 1
        source = releases.good(self.sources, f"chaos-{self.deploys}-{time.time():.0f}")
        return self.playbooks.start("deploy", {"app_source": str(source)})

    def end_deploy(self, run: Run) -> None:
        """Waits for its end, and keeps why it failed."""
        self.failed_deploy = "" if run.wait() == 0 else _reason(run.output)

    def boot(self, off: float) -> None:
        """Starts the server, which was switched off, after so many seconds."""
        time.sleep(off)
        docker("start", self.stack.host.backend.get_hostname())
        up = "supervisorctl status >/dev/null 2>&1; [ $? -ne 4 ]"
        wait_for(lambda: self.stack.host.run(up).rc == 0, BOOT_SECONDS, "Supervisor answers")
        self.stack.find_address()

    def _setting(self, name: str) -> str:
        return str(self.stack.redis(f"print(json.dumps(server.config_get('{name}')['{name}']))"))

    def _set(self, name: str, value: str) -> None:
        self.stack.redis(
            f"print(json.dumps(server.config_set('{name}', arguments['value'])))", {"value": value}
        )


def _reason(output: str) -> str:
    """What a failed run of Ansible says, in one line."""
    told = output.rpartition("fatal: ")[2].partition("PLAY RECAP")[0]
    return " ".join(told.split())[:500]


def docker(*arguments: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, input=stdin).stdout


def append_nul_bytes(server: str) -> None:
    """Appends NUL bytes to the last append-only file of a server that is switched off."""
    files = f"{REDIS_FILES}/appendonlydir"
    with tarfile.open(fileobj=io.BytesIO(docker("cp", f"{server}:{files}", "-"))) as stored:
        member = max(
            (member for member in stored if member.name.endswith(".incr.aof")), key=lambda found: found.mtime
        )
        file = stored.extractfile(member)
        assert file, f"{member.name} is a file"
        content = file.read() + bytes(NUL_BYTES)
    member.size = len(content)
    changed = io.BytesIO()
    with tarfile.open(fileobj=changed, mode="w") as written:
        written.addfile(member, io.BytesIO(content))
    docker("cp", "--archive", "-", f"{server}:{REDIS_FILES}", stdin=changed.getvalue())


# --- The faults, by their kinds


@contextmanager
def kill_child(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
    main, *children = nemesis.pids_of(worker(nemesis.stack, fault.target))
    if not children:
        raise NoVictim(f"process {main} has no children")
    # One of a pool's two, by turns.
    nemesis.kill(children[len(nemesis.events) % len(children)])
    yield


@contextmanager
def kill_worker(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
    nemesis.kill(*nemesis.pids_of(worker(nemesis.stack, fault.target)))
    yield


@contextmanager
def kill_beat(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
    nemesis.kill(*nemesis.pids_of(f"{APP}-beat"))
    yield


@contextmanager
def kill_web_worker(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
    nemesis.kill(nemesis.pids_of(web(nemesis.stack))[-1])
    yield


@contextmanager
def kill_web_master(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
    nemesis.kill(nemesis.pids_of(web(nemesis.stack))[0])
    yield


def kill_unit(unit: str) -> Break:
    """Kills the main process of a systemd unit."""

    @contextmanager
    def broken(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
        nemesis.kill(nemesis.pids_of_unit(unit)[0])
        yield

    return broken


def freeze_unit(unit: str) -> Break:
    """Stops all processes of a systemd unit, and continues them."""

    @contextmanager
    def broken(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
        with nemesis.frozen(nemesis.pids_of_unit(unit)):
            yield

    return broken


@contextmanager
def freeze_worker(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
    with nemesis.frozen(nemesis.pids_of(worker(nemesis.stack, fault.target))):
        yield


@contextmanager
def freeze_beat(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
    with nemesis.frozen(nemesis.pids_of(f"{APP}-beat")):
        yield


@contextmanager
def stop_pool(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
    """Waits for the tasks that run, as Supervisor does."""
    program = worker(nemesis.stack, fault.target)
    nemesis.stack.host.run(f"supervisorctl stop {program}")
    try:
        yield
    finally:
        # A deploy may have taken it away meanwhile.
        nemesis.stack.host.run(f"supervisorctl start {program}")


def cut(port: int) -> Break:
    """Drops what the application sends to a port of this server, and what comes from there."""

    @contextmanager
    def broken(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
        with cut_from(nemesis.stack, port):
            yield

    return broken


@contextmanager
def slow_postgresql(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
    with slow_database(nemesis.stack) as database:
        database.delay(SLOW_SECONDS)
        yield


@contextmanager
def full_redis(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
    """At its limit with what it has now: what is done makes room for a while."""
    used = (
        "info = server.info('memory')\nprint(info['used_memory'] - info.get('mem_not_counted_for_evict', 0))"
    )
    with broker_setting(nemesis.stack, "maxmemory", str(nemesis.stack.redis(used))):
        yield


@contextmanager
def full_disk(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
    """Redis is restarted onto a small disk, which is filled, and back."""
    with small_disk(nemesis.stack, REDIS_FILES, "redis", REDIS, DISK_MEBIBYTES):
        fill(nemesis.stack, REDIS_FILES)
        yield


@contextmanager
def deploy(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
    nemesis.end_deploy(nemesis.start_deploy())
    assert not nemesis.failed_deploy, nemesis.failed_deploy
    yield


@contextmanager
def reboot(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
    """As a server is shut down: systemd has its time, then all that is left is killed."""
    nemesis.stack.host.run("systemctl poweroff")
    name = nemesis.stack.host.backend.get_hostname()
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(["docker", "wait", name], check=True, capture_output=True, timeout=SHUTDOWN_SECONDS)
    docker("stop", "--time", "0", name)
    nemesis.boot(fault.lasts)
    yield


@contextmanager
def power(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
    """Everything ends at once; the boot id is another one afterwards."""
    docker("kill", "--signal", "SIGKILL", nemesis.stack.host.backend.get_hostname())
    nemesis.boot(fault.lasts)
    yield


@contextmanager
def power_torn_file(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
    """Power loss that leaves NUL bytes at the end of the append-only file."""
    name = nemesis.stack.host.backend.get_hostname()
    docker("kill", "--signal", "SIGKILL", name)
    append_nul_bytes(name)
    nemesis.boot(fault.lasts)
    yield


def power_in_deploy(switched: bool) -> Break:
    """Power loss so long after a new generation has appeared, or after the old one was told to finish.

    Its long tasks are with the workers of the old generation.
    """

    @contextmanager
    def broken(nemesis: Nemesis, fault: Fault) -> Iterator[None]:
        stack, old = nemesis.stack, live(nemesis.stack)
        nemesis.long_tasks()
        run = nemesis.start_deploy()

        def reached() -> bool:
            if switched:
                return f"{APP}.{old}.conf" not in files(stack)
            return bool(generations(stack) - {old})

        wait_for(lambda: run.process.poll() is not None or reached(), DEPLOY_SECONDS, "a new generation")
        time.sleep(fault.lasts)
        docker("kill", "--signal", "SIGKILL", stack.host.backend.get_hostname())
        nemesis.boot(0)
        nemesis.end_deploy(run)
        yield

    return broken


BREAKS: dict[str, Break] = {
    "kill-child": kill_child,
    "kill-worker": kill_worker,
    "kill-supervisord": kill_unit("supervisor"),
    "kill-beat": kill_beat,
    "kill-redis": kill_unit(REDIS),
    "kill-nginx": kill_unit("nginx"),
    "kill-postgresql": kill_unit(POSTGRESQL),
    "kill-web-worker": kill_web_worker,
    "kill-web-master": kill_web_master,
    "freeze-worker": freeze_worker,
    "freeze-beat": freeze_beat,
    "freeze-redis": freeze_unit(REDIS),
    "freeze-postgresql": freeze_unit(POSTGRESQL),
    "stop-pool": stop_pool,
    "cut-redis": cut(6379),
    "cut-postgresql": cut(5432),
    "slow-postgresql": slow_postgresql,
    "full-redis": full_redis,
    "full-disk": full_disk,
    "deploy": deploy,
    "reboot": reboot,
    "power": power,
    "power-torn-file": power_torn_file,
    "power-before-switch": power_in_deploy(switched=False),
    "power-after-switch": power_in_deploy(switched=True),
}
