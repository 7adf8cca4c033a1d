"""What a run has shown: every violation of a promise, and figures. Pure: it only reads a history."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from chaos.history import OPTIONAL, Execution, History, Publication, Sample
from chaos.schedule import WHOLE_SERVER

#: A worker tells Redis within that time (seconds) that a task is done.
ACKNOWLEDGED = 2.0
#: Clocks and timers are no more exact than that.
TIMER = 0.5
#: A task is not begun later than that after it has expired.
EXPIRY = 5.0
#: After that time without any work the status has to say that something is wrong.
STATUS_DELAY = 60.0
#: How long an effect of a fault may last after it: the watchdog's and Supervisor's delays, retries.
RECOVERY = 30.0
#: How long the status may call something unhealthy after the last fault.
ALARM = 90.0
#: Processes of a pool of the test server.
PROCESSES = 2
#: Beat starts within that time.
BEAT_START = 3.0

#: Faults through which a task that was being done may be done again, and whether only those of the pool.
DONE_AGAIN = {
    "kill-child": True,
    "kill-worker": True,
    "freeze-worker": True,
    "stop-pool": True,
    "kill-supervisord": False,
    "kill-redis": False,
    "freeze-redis": False,
    "cut-redis": False,
    "full-redis": False,
    "full-disk": False,
    **dict.fromkeys(WHOLE_SERVER, False),
    # The row may have been written and the answer lost: the task is retried.
    "kill-postgresql": False,
    "freeze-postgresql": False,
    "cut-postgresql": False,
    "slow-postgresql": False,
}
#: Faults in which a task leaves no row, and is retried.
DATABASE = {"kill-postgresql", "freeze-postgresql", "cut-postgresql", "slow-postgresql"}
#: Faults that no visitor may notice.
UNNOTICED = {"kill-child", "kill-worker", "freeze-worker", "stop-pool", "kill-beat", "freeze-beat", "deploy"}
#: Faults in which beat cannot send, or is not there.
WITHOUT_BEAT = {
    "kill-beat",
    "freeze-beat",
    "kill-redis",
    "freeze-redis",
    "cut-redis",
    "full-redis",
    "full-disk",
    "kill-supervisord",
    *WHOLE_SERVER,
}
#: Kinds of tasks whose later messages are published by workers: done again may be what follows, too.
FOLLOWED = {"retry", "autoretry", "chord", "chain"}

#: Kinds of violations that do not depend on how fast the machine is.
CERTAIN = {"lost", "stuck", "unexpected", "duplicated", "early", "set aside", "left over", "order unfinished"}


@dataclass(frozen=True)
class Violation:
    """A broken promise."""

    kind: str
    what: str


@dataclass
class Verdict:
    """What became of a run."""

    figures: dict[str, float] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    #: Acknowledged, and not done, by kind of task.
    lost: dict[str, int] = field(default_factory=dict)
    #: Publishes refused, requests failed and workers ended, by cause.
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def kinds(self) -> list[str]:
        """The kinds of violations."""
        return sorted({violation.kind for violation in self.violations})


class Case:
    """A history, prepared for questions."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.runs: dict[str, list[Execution]] = defaultdict(list)
        for execution in sorted(history.executions, key=lambda execution: execution.started):
            self.runs[execution.key].append(execution)
        self.left = {left.key for left in history.left}
        self.stuck = [left for left in history.left if not left.known]
        self.set_aside = set(history.dead_letters)

    # --- Tasks

    def lost(self) -> list[Publication]:
        """Acknowledged and not done in full, although nothing of it is in Redis any more."""
        return [
            task
            for task in self.history.publications
            if task.acknowledged is not None
            and task.kind not in OPTIONAL
            and any(key not in self.runs for key in task.keys)
            and not (self.left | self.set_aside) & {task.key, *task.keys}
        ]

    def unexpected(self) -> list[str]:
        """Done, and never published."""
        published = {key for task in self.history.publications for key in task.keys}
        return sorted(self.runs.keys() - published)

    def duplicated(self) -> list[tuple[str, int, bool]]:
        """Keys that were done more than once: how often more, and whether a fault explains it."""
        return [
            (key, len(self.runs[key]) - 1, self._explained(task, key))
            for task in self.history.publications
            for key in task.keys
            if len(self.runs.get(key, ())) > 1
        ]

    def _explained(self, task: Publication, key: str) -> bool:
        first = self.runs[key][0]
        began = task.at if task.kind in FOLLOWED else first.started
        # A retry after an error of the database is a message that was published meanwhile. Without a row
        # nothing says when the task that failed was begun.
        wanted = task.due or task.at
        if any(
            event.kind in DATABASE and event.begun <= first.started and wanted <= event.ended
            for event in self.history.events
        ):
            began = wanted
        return any(
            event.begun <= first.finished + ACKNOWLEDGED
            and began <= event.ended + ACKNOWLEDGED
            and (not DONE_AGAIN[event.kind] or first.node.startswith(f"{event.target}."))
            for event in self.history.events
            if event.kind in DONE_AGAIN
        )

    def early(self) -> Iterator[str]:
        """Begun before its time, or before what it had to wait for."""
        for task in self.history.publications:
            runs = [self.runs.get(key, []) for key in task.keys]
            if task.due and runs[0] and runs[0][0].started < task.due - TIMER:
                yield f"{task.key} {task.due - runs[0][0].started:.1f} s before its ETA"
            if task.kind == "chain":
                for before, after, key in zip(runs, runs[1:], task.keys[1:], strict=False):
                    if after and (not before or after[0].started < before[0].finished):
                        yield f"{key} before the step that it follows"
            if task.kind == "chord" and runs[-1]:
                *parts, body = runs
                if any(not part or part[0].finished > body[0].started for part in parts):
                    yield f"{task.keys[-1]} before all parts of the chord"

    def expired(self) -> Iterator[str]:
        """Begun after they had expired."""
        for task in self.history.publications:
            for run in self.runs.get(task.key, []) if task.expires else []:
                late = run.started - (task.expires or 0)
                frozen = any(
                    event.kind == "freeze-worker" and event.begun <= run.started <= event.ended + EXPIRY
                    for event in self.history.events
                )
                if late > EXPIRY and not frozen:
                    yield f"{task.key} {late:.1f} s after it had expired"

    # --- Beat, requests

    def ticks(self) -> Iterator[Violation]:
        """Periodic tasks that were sent twice, or not at all though nothing held beat up."""
        interval, ticks = self.history.tick_interval, self.history.ticks
        # A tick that beat could not send in time is sent late, and the next one when it is due: at once.
        late = False
        for before, after in pairwise(ticks):
            gap = after - before
            if gap < interval / 2 and not late:
                yield Violation("beat doubled", f"{gap:.1f} s after the tick before, at {self._when(after)}")
            late = gap > interval * 1.5
            if gap > 2 * interval + BEAT_START and not self._during(before, after, WITHOUT_BEAT):
                yield Violation("beat missed", f"{gap:.1f} s between ticks, until {self._when(after)}")

    def requests(self) -> Iterator[Violation]:
        """Requests that failed without a fault that a visitor may notice."""
        noticed = {event.kind for event in self.history.events} - UNNOTICED
        for when, how in self.history.request_failures:
            if not self._during(when - RECOVERY, when + TIMER, noticed):
                yield Violation("request failed", f"{how} at {self._when(when)}")

    # --- Status

    def lies(self) -> Iterator[Violation]:
        """Healthy or at most a warning, while something is stuck, lost, or nobody works on a queue."""
        lost = self.lost()
        for sample in self.history.samples:
            if sample.state != "healthy":
                continue
            known = sample.at - STATUS_DELAY
            stuck = [left for left in self.stuck if max(left.since, self._last_fault(sample)) < known]
            gone = [task for task in lost if self._last_event_after(task) < known]
            idle = self._idle(sample)
            if stuck or gone or idle:
                what = ", ".join(
                    [
                        *([f"{len(stuck)} stuck"] if stuck else []),
                        *([f"{len(gone)} lost"] if gone else []),
                        *(f"nobody works on {queue}" for queue in idle),
                    ]
                )
                yield Violation("status lie", f"healthy at {self._when(sample.at)}: {what}")

    def false_alarms(self) -> Iterator[Violation]:
        """Unhealthy although nothing has been broken for long, and nothing is."""
        if self.stuck or self.history.unhealthy or self.history.leftovers:
            return
        for sample in self.history.samples:
            if sample.state == "unhealthy" and not self._during(sample.at - ALARM, sample.at):
                why = "; ".join(sample.reasons) or "no reason"
                yield Violation("false alarm", f"unhealthy at {self._when(sample.at)}: {why}")

    def _idle(self, sample: Sample) -> list[str]:
        """Queues in which short tasks wait for a minute and nothing is done."""
        known = sample.at - STATUS_DELAY
        waiting = {
            task.queue
            for task in self.history.publications
            if task.kind == "short"
            and task.acknowledged is not None
            and task.acknowledged < known
            and all(run.finished > sample.at for run in self.runs.get(task.key, []))
            and (task.key in self.runs or task.key in self.left)
        }
        queues = {key: task.queue for task in self.history.publications for key in task.keys}
        busy = {
            queues.get(run.key)
            for run in self.history.executions
            if run.started <= sample.at and run.finished >= known
        }
        return sorted(waiting - busy - self._interrupted(sample))

    def _interrupted(self, sample: Sample) -> set[str]:
        """Queues whose pool may have been busy with long tasks that a fault interrupted, without a row."""
        found = Counter(
            task.queue
            for task in self.history.publications
            if task.kind == "long" and task.acknowledged is not None and task.acknowledged <= sample.at
            for run in self.runs.get(task.key, [])[:1]
            if any(
                event.kind in DONE_AGAIN and sample.at <= event.ended and event.begun <= run.started
                for event in self.history.events
            )
            and run.started > sample.at
        )
        return {queue for queue, count in found.items() if count >= PROCESSES}

    def _last_fault(self, sample: Sample) -> float:
        """When the last fault before a sample had ended: until then it may be what holds a message up."""
        return max((event.ended for event in self.history.events if event.begun <= sample.at), default=0)

    def _last_event_after(self, task: Publication) -> float:
        """A time at which a lost task is certainly lost: it was due, and all faults were over."""
        due = task.due or task.acknowledged or task.at
        return max([due, *(event.ended for event in self.history.events)])

    # ---

    def _during(self, since: float, until: float, kinds: set[str] | None = None) -> bool:
        """Whether a fault (of these kinds) lasted, or had just ended, in a span of time."""
        return any(
            event.begun <= until and event.ended + (RECOVERY if kinds else 0) >= since
            for event in self.history.events
            if kinds is None or event.kind in kinds
        )

    def _when(self, at: float) -> str:
        return f"{at - self.history.begun:.0f} s"


def judge(history: History) -> Verdict:
    """Compares what was promised with what was seen."""
    case, verdict = Case(history), Verdict()
    lost, again = case.lost(), case.duplicated()
    beyond = [(key, count) for key, count, explained in again if not explained]
    early, expired = list(case.early()), list(case.expired())
    lies = list(case.lies())
    verdict.lost = dict(Counter(task.kind for task in lost))
    verdict.violations = [
        *(Violation("lost", f"{task.kind} {task.key}") for task in lost),
        *(Violation("unexpected", key) for key in case.unexpected()),
        *(Violation("duplicated", f"{key} {count} times more") for key, count in beyond),
        *(Violation("early", what) for what in early),
        *(Violation("expired", what) for what in expired),
        *(Violation("stuck", f"{left.key} with {left.where}") for left in case.stuck),
        *(Violation("set aside", key) for key in sorted(case.set_aside)),
        *case.ticks(),
        *case.requests(),
        *lies,
        *case.false_alarms(),
        *(Violation("left over", what) for what in history.leftovers),
        *(Violation("not healthy", what) for what in history.unhealthy),
        *(Violation("deploy failed", what) for what in history.failed_deploys),
    ]
    if history.orders_unfinished:
        verdict.violations.append(Violation("order unfinished", f"{history.orders_unfinished} orders"))
    optional = [
        task
        for task in history.publications
        if task.kind == "once" and task.acknowledged is not None and task.key not in case.runs
    ]
    verdict.figures = {
        "attempted": len(history.publications),
        "acknowledged": sum(task.acknowledged is not None for task in history.publications),
        "lost": len(lost),
        "stuck": len(case.stuck),
        "duplicated": sum(count for _, count, _ in again),
        "duplicated beyond in flight": sum(count for _, count in beyond),
        "early": len(early),
        "expired": len(expired),
        "lost with acks_late=False": len(optional),
        "set aside": len(case.set_aside),
        "status samples": len(history.samples),
        "status lies": len(lies),
        "requests": history.requests,
        "requests failed": len(history.request_failures),
        "highest load": round(max((sample.load for sample in history.samples), default=0), 1),
        "recovery seconds": round(history.recovery, 1),
        "seconds": round(history.ended - history.begun),
    }
    errors = Counter(
        f"publish: {task.error.partition(':')[0]}" for task in history.publications if task.error
    )
    errors += Counter(f"request: {how}" for _, how in history.request_failures)
    errors += Counter({f"worker: {text}": count for text, count in history.crashes.items()})
    verdict.errors = dict(errors.most_common())
    return verdict
