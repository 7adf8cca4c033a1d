"""What the benchmarks share: playbooks that are timed, what it was measured on, where the results go."""

import json
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stack import PROJECT, recap

RESULTS = PROJECT / "bench/results"


@dataclass(frozen=True)
class Played:
    """A playbook that was run to its end."""

    seconds: float
    #: Of the controller's processor, not of the servers'.
    processor_seconds: float
    output: str

    def total(self, figure: str) -> int:
        """A figure of the recap (ok, changed, skipped), of all hosts together."""
        return sum(figures[figure] for figures in recap(self.output).values())


def play(
    playbook: str | Path,
    inventory: Path,
    variables: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Played:
    """Run a playbook as a user does. Raises RuntimeError with its output when it fails."""
    command = [str(PROJECT / ".venv/bin/ansible-playbook"), "--inventory", str(inventory), str(playbook)]
    command += ["--extra-vars", json.dumps(dict(variables or {}))]
    begun, used = time.monotonic(), _processor_seconds()
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env=os.environ
        | {
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_FORCE_COLOR": "false",
            "ANSIBLE_NOCOLOR": "true",
            # A connection is kept by its address, which the server of the next round may have as well.
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(inventory.parent),
        }
        | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - begun
    if done.returncode != 0:
        raise RuntimeError(f"{playbook} has failed:\n{done.stdout}")
    return Played(seconds, _processor_seconds() - used, done.stdout)


def _processor_seconds() -> float:
    """What all processes have used that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def unchanged(run: Played) -> Played:
    """The run. Raises RuntimeError with its output when it has changed something."""
    if run.total("changed"):
        raise RuntimeError(f"changed what should not change:\n{run.output}")
    return run


def said(*words: str) -> subprocess.CompletedProcess[str]:
    """A command that was run. Raises RuntimeError with its errors when it fails."""
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{words} has failed:\n{done.stdout}{done.stderr}")
    return done


def machine(server: str) -> dict[str, Any]:
    """What it was measured on; `server` says what stood for a server."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": said("git", "describe", "--always", "--dirty").stdout.strip(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "kernel": platform.release(),
        "docker": said("docker", "version", "--format", "{{.Server.Version}}").stdout.strip(),
        "python": platform.python_version(),
        "ansible_core": version("ansible-core"),
        "server": server,
    }


def medians(measured: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each kind."""
    return {kind: round(statistics.median(values), 1) for kind, values in measured.items()}


def table(*rows: Iterable[object]) -> list[str]:
    """Rows as a table in Markdown; the first one names the columns."""
    lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * lines[0].count(" | ") + "---|", *lines[1:]]


def listed(values: Iterable[float]) -> str:
    """Figures of several rounds in one cell."""
    return ", ".join(map(str, values))


def write(
    name: str,
    title: str,
    arguments: Sequence[object],
    result: Mapping[str, Any],
    lines: Sequence[str],
    picture: str,
) -> None:
    """Write bench/results/NAME.json, .md and .svg, and print the page. The result has a `machine`."""
    command = " ".join(map(str, ["scripts/bench.sh", name, *arguments]))
    where = result["machine"]
    page = [
        f"# {title}",
        "",
        f"{where['date']}, commit {where['commit']}, {where['cores']} cores, {where['memory_gib']} GiB, "
        f"Linux {where['kernel']}, Docker {where['docker']}, Python {where['python']}, "
        f"ansible-core {where['ansible_core']}. {where['server']}.",
        f"Only ratios can be compared with other machines. Repeat: `{command}`.",
        "",
        *lines,
        "",
        f"![{title}]({name}.svg)",
    ]
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"command": command, **result}, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    (RESULTS / f"{name}.svg").write_text(picture)
    (RESULTS / f"{name}.md").write_text("\n".join(page) + "\n")
    print("\n".join(page))
