"""Breaks a server at random, and says what was lost.

Usage: python -m chaos SERVER INVENTORY [--seed N] [--seeds N] [--schedule PROFILE] [--minutes N] [--faults N]
       python -m chaos SERVER INVENTORY --repeat FILE     (a stored result: the same schedule again)
       python -m chaos SERVER INVENTORY --shrink FILE     (the fewest of its faults that still fail)

SERVER is the container of Molecule's scenario `chaos`: scripts/chaos.sh makes it and calls this.
"""

import argparse
import json
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import testinfra

from chaos.history import History
from chaos.oracle import CERTAIN, Verdict, judge
from chaos.run import Server
from chaos.schedule import PROFILES, Schedule, generate
from chaos.shrink import shrink
from stack import PROJECT, Stack

CACHE = PROJECT / ".cache/chaos"
RESULTS = CACHE / "results.jsonl"


def record(schedule: Schedule, history: History, verdict: Verdict) -> Path:
    """Keeps a run: a line of the results, and a file with the schedule and all that was seen."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{schedule.profile}-{schedule.seed}.json"
    result = {
        "schedule": json.loads(schedule.to_json()),
        "figures": verdict.figures,
        "lost": verdict.lost,
        "errors": verdict.errors,
        "violations": [asdict(violation) for violation in verdict.violations],
        "events": [asdict(event) for event in history.events],
        "file": name,
    }
    with RESULTS.open("a") as file:
        file.write(json.dumps(result) + "\n")
    path = CACHE / name
    path.write_text(json.dumps({**result, "history": json.loads(history.to_json())}) + "\n")
    return path


def show(verdict: Verdict, path: Path) -> None:
    """Prints figures and violations."""
    print("; ".join(f"{name} {value:g}" for name, value in verdict.figures.items()))
    for text, count in verdict.errors.items():
        print(f"  {count} x {text}")
    for violation in verdict.violations[:30]:
        print(f"  VIOLATION {violation.kind}: {violation.what}")
    if len(verdict.violations) > 30:
        print(f"  … {len(verdict.violations)} violations in all")
    print(f"{path.relative_to(PROJECT)}\n", flush=True)


def run(server: Server, schedule: Schedule) -> Verdict:
    """One run, kept and shown."""
    print(schedule, flush=True)
    history = server.run(schedule)
    verdict = judge(history)
    show(verdict, record(schedule, history, verdict))
    return verdict


def smallest(server: Server, path: Path) -> Schedule:
    """Runs parts of a stored schedule until no fault can be left out.

    A part fails if it breaks a promise that the whole has broken.
    """
    stored = json.loads(path.read_text())
    schedule = Schedule.from_json(json.dumps(stored["schedule"]))
    wanted = {violation["kind"] for violation in stored["violations"]}
    # A machine that is slow for a moment breaks others.
    wanted = wanted & CERTAIN or wanted
    if not wanted:
        sys.exit(f"{path} has no violation: there is nothing to shrink")
    faults = shrink(
        schedule.faults,
        lambda part: bool(wanted & set(run(server, schedule.with_faults(part)).kinds)),
    )
    return schedule.with_faults(faults)


def main() -> int:
    """Exit status: 0, or 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="chaos", description="Breaks a server at random.")
    parser.add_argument("server")
    parser.add_argument("inventory")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after another")
    parser.add_argument("--schedule", choices=PROFILES, default="mixed")
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--faults", type=int, default=6)
    parser.add_argument("--repeat", type=Path)
    parser.add_argument("--shrink", type=Path)
    arguments = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    # An ended run must not leave a broken server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with TemporaryDirectory(prefix="chaos-") as name:
        stack = Stack(testinfra.get_host(f"docker://{arguments.server}"), Path(name))
        return chosen(Server(stack, arguments.inventory, Path(name)), arguments)


def chosen(server: Server, arguments: argparse.Namespace) -> int:
    """Does what the arguments say; returns the exit status."""
    if arguments.shrink:
        found = smallest(server, arguments.shrink)
        path = arguments.shrink.with_name(f"smallest-{arguments.shrink.name}")
        path.write_text(f"{found.to_json()}\n")
        print(f"The smallest schedule that fails:\n{found}\n{path}")
        return 1
    if arguments.repeat:
        stored = json.loads(arguments.repeat.read_text())
        schedules = [Schedule.from_json(json.dumps(stored.get("schedule", stored)))]
    else:
        schedules = [
            generate(seed, arguments.schedule, arguments.minutes, arguments.faults)
            for seed in range(arguments.seed, arguments.seed + arguments.seeds)
        ]
    verdicts = [run(server, schedule) for schedule in schedules]
    return 1 if any(verdict.violations for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
