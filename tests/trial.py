"""One run of one row of the fault table: what was measured, against what was promised.

trial.within("a task that was published afterwards is done", 10, ...)
trial.count("lost", 0, at_most=0)

Whatever is above its limit is a broken promise. A test fails of it; a control, in which the hardening is off,
fails without it.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from stack import APP, Stack, wait_for
from traffic import QUEUES, Account, Effect, Ledger, Producer, check, effects, settle

#: The programs of a pool prefetch as many tasks as it has processes; two in each of three pools.
IN_FLIGHT = {"critical": 2, "default": 2, "low-priority": 2}
POLL = 0.1


class PromiseBroken(AssertionError):
    """Measured, and worse than promised. No other error is one: it says nothing about the promise."""


@dataclass(frozen=True)
class Measure:
    """A figure and its limit; without one it is only told."""

    what: str
    value: float
    unit: str = ""
    at_most: float | None = None
    #: The wait was given up: the value is a lower bound.
    given_up: bool = False

    @property
    def holds(self) -> bool:
        return self.at_most is None or (self.value <= self.at_most and not self.given_up)

    def __str__(self) -> str:
        value = f"{'>' if self.given_up else ''}{self.value:g}{' ' + self.unit if self.unit else ''}"
        limit = "" if self.at_most is None else f" (at most {self.at_most:g})"
        return f"{self.what}: {value}{limit}"


@dataclass
class Record:
    """What is kept of a run: a line of the file of results."""

    row: str
    run: int
    #: What was switched off, in a control.
    control: str = ""
    begun: float = 0
    seconds: float = 0
    measures: list[Measure] = field(default_factory=list)
    #: Whether the promise was kept; None: something else went wrong, so nobody knows.
    holds: bool | None = None
    error: str = ""

    @property
    def broken(self) -> list[str]:
        return [str(measure) for measure in self.measures if not measure.holds]

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(asdict(self)) + "\n")

    @classmethod
    def parse(cls, line: str) -> "Record":
        record = json.loads(line)
        return cls(**{**record, "measures": [Measure(**measure) for measure in record["measures"]]})


class Trial:
    """What a test uses: traffic, waits and figures."""

    def __init__(self, stack: Stack, record: Record) -> None:
        self.stack = stack
        self.record = record

    def measure(self, what: str, value: float, unit: str = "", at_most: float | None = None) -> None:
        """Notes a figure, and whether it is within its limit."""
        self.record.measures.append(Measure(what, round(value, 2), unit, at_most))

    def within(
        self,
        what: str,
        at_most: float,
        since: float,
        check: Callable[[], object],
        *,
        give_up: float | None = None,
        at: Callable[[], float] = time.time,
    ) -> None:
        """Waits until check() is true and notes the seconds since then (seconds since 1970).

        `at` says when it has become true, where that can be known better than from when it was seen. Without
        success it ends after `give_up` seconds (three times the limit, if not said): PromiseBroken.
        """
        last = since + (give_up or 3 * at_most)
        while not check():
            if time.time() > last:
                self.record.measures.append(Measure(what, round(last - since), "s", at_most, given_up=True))
                raise PromiseBroken(f"not within {last - since:g} s: {what}")
            time.sleep(POLL)
        self.measure(what, max(0.0, at() - since), "s", at_most)

    @contextmanager
    def traffic(
        self, rate: float = 20, *, long_every: int = 100, user: str = APP, queues: Sequence[str] = QUEUES
    ) -> Iterator["Flow"]:
        """Tasks of all queues while the block runs, at a rate that two cores bear: nothing piles up."""
        with Producer(self.stack, rate, queues, long_every=long_every, in_place=True, user=user) as producer:
            flow = Flow(self, producer)
            flow.wait_for_acknowledged(5 * int(rate))
            yield flow


class Flow:
    """Tasks on their way, and what became of them."""

    def __init__(self, trial: Trial, producer: Producer) -> None:
        self.trial, self.producer = trial, producer
        self.run = producer.run

    def wait_for_acknowledged(self, more: int, seconds: float = 60) -> None:
        """Waits until so many more tasks have been published."""
        wanted = len(self.producer.ledger().acknowledged) + more
        wait_for(
            lambda: len(self.producer.ledger().acknowledged) >= wanted,
            seconds,
            f"{more} more tasks published",
        )

    def flows_again(
        self, since: float, at_most: float, *, give_up: float | None = None, backlog: bool = False
    ) -> None:
        """Waits until of each queue a task is done that was published after that time.

        Where messages have piled up, and no worker can have held one, it is a task that was begun after it:
        how long a queue is says nothing about whether somebody works on it.
        """
        when: list[float] = []

        def done() -> bool:
            ledger, found = self.producer.ledger(), finished(self.trial.stack, self.run, since)
            times = first_done(ledger, found, since, backlog)
            when[:] = [] if None in times.values() else [float(time or 0) for time in times.values()]
            return bool(when)

        self.trial.within("consuming again", at_most, since, done, give_up=give_up, at=lambda: max(when))

    def account(self, *, in_flight: int = 0, seconds: float = 60) -> Account:
        """Stops, waits until all is done, and notes what was lost or done more than once than may be."""
        ledger = self.producer.stop()
        left = settle(self.trial.stack, seconds)
        done = effects(self.trial.stack, f"{self.run}/")
        return self.note(ledger, done, left, in_flight)

    def note(self, ledger: Ledger, done: list[Effect], left: dict[str, int], in_flight: int) -> Account:
        """Notes the figures of an account."""
        account, trial = check(ledger, done), self.trial
        again = sum(len(found) - 1 for found in account.duplicated.values())
        trial.measure("tasks acknowledged", account.acknowledged)
        trial.measure("lost", len(account.lost), at_most=0)
        trial.measure("unexpected", len(account.unexpected), at_most=0)
        trial.measure("done twice", again, at_most=in_flight)
        trial.measure("publishes refused", len(account.failed))
        trial.measure("left in a queue or with a worker", sum(left.values()), at_most=0)
        print(f"row {trial.record.row}: {account}")
        return account


def first_done(
    ledger: Ledger, done: dict[str, tuple[float, float]], since: float, backlog: bool
) -> dict[str, float | None]:
    """For each queue of a ledger, when the first task ended that was published (begun) after that time."""
    found: dict[str, float | None] = dict.fromkeys(ledger.queues.values())
    for key, (begun, ended) in done.items():
        # A line of the ledger may be younger than what is known of it.
        queue = ledger.queues.get(key)
        if queue and (begun if backlog else ledger.published[key]) >= since:
            found[queue] = min(ended, found[queue] or ended)
    return found


def finished(stack: Stack, run: str, since: float) -> dict[str, tuple[float, float]]:
    """When (seconds since 1970) tasks of a run began and ended, of those that ended since that time."""
    query = (
        "select key, extract(epoch from min(started_at)), extract(epoch from min(finished_at)) "  # noqa: S608 - no input of anybody's, 2026-11-25
        f"from diagnostics_effect where key like '{run}/%' and finished_at >= to_timestamp({since:f}) "
        "group by key"
    )
    rows = (row.split("|") for row in sql(stack, query))
    return {key: (float(begun), float(ended)) for key, begun, ended in rows}


def sql(stack: Stack, query: str) -> list[str]:
    """The rows of a query, asked as PostgreSQL's own user; [] if it does not answer."""
    # Far cheaper than a process of the application, so that asking is no load of its own.
    answer = stack.host.run("runuser -u postgres -- psql --no-psqlrc -At -d %s -c %s", stack.app, query)
    return str(answer.stdout).splitlines() if answer.rc == 0 else []
