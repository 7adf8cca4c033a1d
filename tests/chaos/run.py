"""One run: a healthy server, traffic, faults, recovery, and all that was seen."""

import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import condition
from chaos import observer
from chaos.history import History
from chaos.nemesis import Nemesis
from chaos.oracle import STATUS_DELAY, Case
from chaos.schedule import Schedule
from chaos.workload import Workload, remove_all
from interruption import Playbooks
from prober import Prober
from stack import Stack
from traffic import QUEUES

#: Tasks published, and requests sent, each second: two cores bear them beside the faults.
TASKS, REQUESTS = 10, 4
#: From the last fault until everything works again (seconds).
RECOVERY = 90
#: Traffic goes on for so long after that.
CALM = 15
#: Long tasks, ETAs and retries have ended by then; what has not moved for so long is stuck.
SETTLE, STUCK = 400, 60
#: Old generations have drained, dead holders are forgotten, orders are finished by then.
TIDY = 120


class Server:
    """The server on which runs take place, one after another."""

    def __init__(self, stack: Stack, inventory: str, directory: Path) -> None:
        self.stack = stack
        self.inventory = inventory
        self.directory = directory

    def run(self, schedule: Schedule) -> History:
        """Breaks the server as the schedule says. AssertionError if it was not healthy before."""
        stack = self.stack
        clean(stack)
        condition.wait_until_healthy(stack, 90)
        with TemporaryDirectory(dir=self.directory) as name:
            work = Path(name)
            (work / "playbooks").mkdir()
            (work / "sources").mkdir()
            workload = Workload(stack, schedule.seed, TASKS)
            playbooks = Playbooks(self.inventory, work / "playbooks")
            nemesis = Nemesis(stack, playbooks, work / "sources", workload.long_tasks)
            try:
                return self._observed(schedule, nemesis, workload)
            finally:
                nemesis.heal()
                # What was wrong is in the history; the next run needs whole ground.
                with suppress(AssertionError):
                    condition.restore(stack)
                clean(stack)

    def _observed(self, schedule: Schedule, nemesis: Nemesis, workload: Workload) -> History:
        stack, begun = self.stack, time.time()
        with observer.Sampler(stack) as sampler, Prober(stack, REQUESTS) as prober:
            with workload:
                nemesis.run(schedule)
                failed_deploy = nemesis.deploy_again()
                healed = time.time()
                unhealthy = recovered(stack, workload.run)
                recovery = time.time() - healed
                time.sleep(CALM)
                published = workload.stop()
            redis, left = observer.settle(stack, workload.run, SETTLE, STUCK)
            history = History(
                begun,
                healed,
                time.time(),
                published,
                observer.executions(stack, workload.run),
                sorted(nemesis.events, key=lambda event: event.begun),
                left=left,
                dead_letters=redis.letters,
                unhealthy=unhealthy,
                recovery=recovery,
                failed_deploys=[failed_deploy] if failed_deploy else [],
            )
            history.leftovers = self._tidy(workload.run, begun)
            history.orders_unfinished = observer.orders_unfinished(stack, begun)
            if left or Case(history).lost():
                # Whether the status says so can be asked when it has had its time.
                time.sleep(max(0.0, healed + STATUS_DELAY + 2 * observer.STATUS_SECONDS - time.time()))
            history.ended = time.time()
        history.ticks, history.tick_interval = observer.ticks(stack, begun, history.ended)
        history.crashes = observer.crashes(stack, begun)
        history.samples = sampler.samples
        traffic = prober.result()
        history.requests = traffic.sent
        history.request_failures = [
            (answer.due, f"{answer.request.kind} {answer.status or answer.detail.partition(':')[0]}")
            for answer in traffic.failures
        ]
        return history

    def _tidy(self, run: str, begun: float) -> list[str]:
        """Waits until nothing is left over; returns what is."""
        deadline = time.monotonic() + TIDY
        while True:
            found = observer.leftovers(self.stack, observer.Redis(self.stack, run).dead_holders)
            waiting = observer.orders_unfinished(self.stack, begun)
            if not (found or waiting) or time.monotonic() > deadline:
                return found
            time.sleep(3)


def recovered(stack: Stack, run: str) -> list[str]:
    """Waits until all programs run and each pool begins tasks; returns what is wrong when the time is over.

    How long a queue has become is no matter: a task that is sent now would wait behind all others.
    """
    since, deadline = time.time(), time.monotonic() + RECOVERY
    while True:
        found = condition.ailments(stack)
        idle = set(QUEUES) - observer.working_pools(stack, run, since)
        found += [f"nobody works on {queue}" for queue in sorted(idle)]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(1)


def clean(stack: Stack) -> None:
    """Removes what an earlier run has left."""
    remove_all(stack)
    code = (
        "import re\nfrom pathlib import Path\n"
        "server.delete('rootstock.dead_letters', 'rootstock.dead_letters_index')\n"
        "boot = Path('/proc/sys/kernel/random/boot_id').read_text().strip()\n"
        "gone = [name for name in server.smembers('rootstock.holders')\n"
        "        if name.split('|')[1].split(':')[0] != boot\n"
        "        or not Path('/proc/' + name.split('|')[2]).exists()]\n"
        "print(server.srem('rootstock.holders', *gone) if gone else 0)"
    )
    stack.redis(code)
