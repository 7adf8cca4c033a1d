"""What a run has seen: what was published and done, what was broken, and what was left."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Self

#: Kinds of tasks that may be done or not; they may not be left for ever, nor done when it is too late.
OPTIONAL = {"expires", "revoked", "once"}


@dataclass(frozen=True)
class Publication:
    """A task, or several that belong together, as the ledger has it. Times are seconds since 1970."""

    key: str
    kind: str
    queue: str
    at: float
    #: A row is expected of each.
    keys: tuple[str, ...]
    due: float | None = None
    expires: float | None = None
    acknowledged: float | None = None
    error: str = ""


def publications(text: str) -> list[Publication]:
    """Reads the lines that producer.py writes; a last one that was cut is left out."""
    entries: dict[str, dict[str, Any]] = {}
    for line in text.splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        match json.loads(line):
            case ["attempted", key, kind, queue, when, expected]:
                entries[key] = {
                    "key": key,
                    "kind": kind,
                    "queue": queue,
                    "at": when,
                    **expected,
                    "keys": tuple(expected["keys"]),
                }
            case ["acknowledged", key, when]:
                entries[key]["acknowledged"] = when
            case ["failed", key, error]:
                entries[key]["error"] = error
            case ["stopped"]:
                pass
            case entry:
                raise ValueError(f"not an entry of a ledger: {entry}")
    return [Publication(**entry) for entry in entries.values()]


@dataclass(frozen=True)
class Execution:
    """A row that a task has left."""

    key: str
    started: float
    finished: float
    node: str


@dataclass(frozen=True)
class Event:
    """A fault as it really was: when it began to bite, and when it was healed."""

    kind: str
    target: str
    begun: float
    ended: float
    #: Why nothing was broken (there was no victim), or what went wrong.
    note: str = ""


@dataclass(frozen=True)
class Sample:
    """What the status said when it was asked, the texts of its reasons, and the machine's load average."""

    at: float
    state: str
    reasons: tuple[str, ...] = ()
    load: float = 0


@dataclass(frozen=True)
class Left:
    """A message of the run that was still in Redis at the end."""

    key: str
    #: A queue, or the name of the worker process that had taken it.
    where: str
    #: Whether a worker that lives knows of it.
    known: bool
    #: When it was published or taken.
    since: float


@dataclass
class History:
    """All of a run, for the oracle."""

    begun: float
    #: When the last fault was healed, and when nothing happened any more.
    healed: float
    ended: float
    publications: list[Publication]
    executions: list[Execution]
    events: list[Event]
    samples: list[Sample] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    #: Keys of tasks in the dead letters.
    dead_letters: list[str] = field(default_factory=list)
    #: When beat has sent the periodic task, and how often it should.
    ticks: list[float] = field(default_factory=list)
    tick_interval: float = 10
    #: Requests: all, and of those that failed when they were due, and how they ended.
    requests: int = 0
    request_failures: list[tuple[float, str]] = field(default_factory=list)
    orders_unfinished: int = 0
    #: Locks, generations, holders, processes that are nobody's.
    leftovers: list[str] = field(default_factory=list)
    #: What was not healthy when the time to recover was over; and how long recovery took.
    unhealthy: list[str] = field(default_factory=list)
    recovery: float = 0
    #: Errors that ended a worker, by their text.
    crashes: dict[str, int] = field(default_factory=dict)
    #: Deploys that failed although nothing else was broken.
    failed_deploys: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        found = json.loads(text)
        return cls(
            **{
                **found,
                "publications": [
                    Publication(**{**each, "keys": tuple(each["keys"])}) for each in found["publications"]
                ],
                "executions": _all(Execution, found["executions"]),
                "events": _all(Event, found["events"]),
                "samples": [
                    Sample(**{**each, "reasons": tuple(each["reasons"])}) for each in found["samples"]
                ],
                "left": _all(Left, found["left"]),
                "request_failures": [(when, how) for when, how in found["request_failures"]],
            }
        )


def _all(cls: type[Any], entries: Iterable[dict[str, Any]]) -> list[Any]:
    return [cls(**entry) for entry in entries]
