"""A typing error after make is one line and an exit status, before anything starts.

make runs in a copy of the repository in which every other script and every program is a stand-in that notes
that it was started: a check with a hole must not start a scenario on somebody's containers.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from repository import PROJECT

#: What the checks themselves read or run; of bench.sh the names only.
REAL = [
    "Makefile",
    "scripts/arguments.sh",
    "scripts/host_names.py",
    "tests/faults/rows.yml",
    "tests/chaos/schedule.py",
]
STANDS_IN = """#!/bin/sh
[ "${{1:-}}" != --names ] || exec {project}/scripts/bench.sh --names
echo "$(basename "$0") $*" >>{started}
"""
# The one program that is real, for the hosts of an inventory.
PYTHON = (
    '#!/bin/sh\ncase $1 in scripts/host_names.py) exec {python} "$@" ;; esac\necho "python $*" >>{started}\n'
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clone")
    for real in REAL:
        (root / real).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / real, root / real)
    for scenario in PROJECT.glob("molecule/*/molecule.yml"):
        (root / "molecule" / scenario.parent.name).mkdir(parents=True)
        (root / "molecule" / scenario.parent.name / "molecule.yml").touch()
    for inventory in ("demo", "fleet"):
        (root / "inventories" / inventory / "group_vars").mkdir(parents=True)
        shutil.copy(PROJECT / "inventories" / inventory / "hosts.yml", root / "inventories" / inventory)
    (root / "requirements.txt").touch()
    words = {"project": PROJECT, "python": sys.executable, "started": root / "started"}
    stands_in = {path.relative_to(PROJECT) for path in PROJECT.glob("scripts/*.sh")} - {Path(REAL[1])}
    programs = {
        Path(".venv/bin", name) for name in ("ansible-playbook", "python", "pytest", "docker", "molecule")
    }
    for name in stands_in | programs:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        text = PYTHON if name.name == "python" else STANDS_IN
        (root / name).write_text(text.format_map(words))
        (root / name).chmod(0o755)
    return root


def make(clone: Path, *typed: str, **environment: str) -> tuple[int, str, str]:
    """Return the exit status, what make says on stderr, and what it has started."""
    (clone / "started").unlink(missing_ok=True)
    # Without what a make around these tests has typed.
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        ["make", *typed],
        cwd=clone,
        env=inherited | {"PATH": f"{clone}/.venv/bin:{inherited['PATH']}"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    started = (clone / "started").read_text() if (clone / "started").exists() else ""
    return done.returncode, done.stderr, started


INVENTORIES = "there are demo, fleet. Fix: make {} INVENTORY=<one of them>"
# What is typed, how the line begins, and what it has besides.
ERRORS = [
    *(
        ([target, "INVENTORY=nope"], "INVENTORY is nope: ", INVENTORIES.format(target))
        for target in (
            *("site", "deploy", "rollback", "preflight", "status"),
            *("drain", "failover", "reboot", "secrets"),
        )
    ),
    (["site", "INVENTORY=nope"], "INVENTORY is nope: ", "or make inventory NAME=nope for a new one."),
    (["site", "INVENTORY="], "INVENTORY is empty: ", INVENTORIES.format("site")),
    (["site", "INVENTORY=."], "INVENTORY is .: ", "there are demo, fleet."),
    (["site", "INVENTORY=.."], "INVENTORY is ..: ", "there are demo, fleet."),
    (["site", "INVENTORY=fleet/group_vars"], "INVENTORY is fleet/group_vars: ", "there are demo, fleet."),
    (["site", "INVENTORY=Fleet"], "INVENTORY is Fleet: ", "there are demo, fleet."),
    (["site", "INVENTORY=demo fleet"], "INVENTORY is demo fleet: ", "there are demo, fleet."),
    (["site", "INVENTORY=demo;id"], "INVENTORY is demo;id: ", "there are demo, fleet."),
    (["site", "INVENTROY=fleet"], "INVENTROY is no variable of make: ", "there are INVENTORY, HOST, "),
    (["site", "inventory=fleet"], "inventory is no variable of make: ", "Fix: make help"),
    (["deploy", "HOST=web1"], "HOST is typed: ", "make deploy takes INVENTORY, and would ignore it"),
    (["drain", "INVENTORY=fleet"], "HOST is empty: ", "make drain INVENTORY=fleet HOST=<a host>"),
    (["reboot", "INVENTORY=fleet", "HOST="], "HOST is empty: ", "make reboot INVENTORY=fleet"),
    (["reboot", "HOST=web1 web2"], "HOST is web1 web2: ", "make reboot INVENTORY=demo"),
    (["drain", "HOST=~["], "HOST is ~[: ", "make drain INVENTORY=demo"),
    (["drain", "HOST=it's"], "HOST is it's: ", "make drain INVENTORY=demo"),
    (["rollback", "RELEASE=nope"], "RELEASE is nope: ", "12 of the characters 0-9 and a-f"),
    (["rollback", "RELEASE="], "RELEASE is empty: ", "make rollback INVENTORY=demo for the one before."),
    (["rollback", "RELEASE=0f3a9c51be7"], "RELEASE is 0f3a9c51be7: ", "make status INVENTORY=demo"),
    (["inventory", "NAME=bad name"], "NAME is bad name: ", "Fix: make inventory NAME=production."),
    (["inventory", "NAME=Production"], "NAME is Production: ", "Fix: make inventory NAME=production."),
    (["inventory", "NAME=-x"], "NAME is -x: ", "Fix: make inventory NAME=production."),
    (["inventory", "NAME="], "NAME is empty: ", "Fix: make inventory NAME=production."),
    (["chaos", "SEED=x"], "SEED is x: ", "a whole number"),
    (["chaos", "MINUTES=0"], "MINUTES is 0: ", "a whole number"),
    (["chaos", "FAULTS="], "FAULTS is empty: ", "a whole number"),
    (["chaos", "SCHEDULE=nope"], "SCHEDULE is nope: ", "there are process, network, "),
    (["chaos", "SHRINK=nope"], "SHRINK is nope: ", "no file"),
    (["chaos", "CONVERGE=yes"], "CONVERGE is yes: ", "it is 1"),
    (["molecule", "SCENARIO=nope"], "SCENARIO is nope: ", "there are apps, chaos, default, "),
    (["molecule", "SCENARIO="], "SCENARIO is empty: ", "Fix: make molecule SCENARIO=default."),
    (["faults", "ROW=nope"], "ROW is nope: ", "docs/promises.md has rows 1, 2, "),
    (["faults", "ROW=5,99"], "ROW is 5,99: ", "Fix: make faults ROW=5, or ROW=5,12 for several."),
    # Each of these would be all rows.
    (["faults", "ROW="], "ROW is empty: ", "Fix: make faults ROW=5"),
    (["faults", "ROW=,"], "ROW is ,: ", "Fix: make faults ROW=5"),
    (["faults", "ROW= "], "ROW is ", "Fix: make faults ROW=5"),
    (["faults", "ROW=5,"], "ROW is 5,: ", "Fix: make faults ROW=5"),
    (["faults", "ROW=5,,6"], "ROW is 5,,6: ", "Fix: make faults ROW=5"),
    (["faults", "ROW=5 6"], "ROW is 5 6: ", "Fix: make faults ROW=5"),
    (["bench", "BENCH=nope"], "BENCH is nope: ", "there are converge, unchanged, "),
    (["bench", "BENCH="], "BENCH is empty: ", "or make bench for all."),
    (["sbom", "FILE=nope.txt"], "FILE is nope.txt: ", "Fix: make sbom FILE=sample_app/requirements.txt."),
    (["sbom", "FILE="], "FILE is empty: ", "there is no file of that name to read"),
    (["sbom", "FILE=inventories"], "FILE is inventories: ", "there is no file of that name to read"),
]


@pytest.mark.parametrize(("typed", "begins", "has"), ERRORS, ids=[" ".join(row[0]) for row in ERRORS])
def test_a_typing_error_is_one_line_and_nothing_starts(
    clone: Path, typed: list[str], begins: str, has: str
) -> None:
    status, said, started = make(clone, *typed)
    line, *rest = said.splitlines()
    assert (status, started) == (2, "")
    assert line.startswith(begins)
    assert has in line
    assert "Fix: " in line
    assert len(rest) == 1, "make's own line alone comes after it"
    assert rest[0].startswith("make: ***")


@pytest.mark.parametrize("host", ["nope", "worker1,nope", "worker1:!nope", "worker1,", "no*"])
@pytest.mark.parametrize("target", ["drain", "reboot"])
def test_a_host_that_the_inventory_does_not_have_is_refused(clone: Path, target: str, host: str) -> None:
    status, said, started = make(clone, target, "INVENTORY=fleet", f"HOST={host}")
    line, *rest = said.splitlines()
    assert (status, started) == (2, "setup.sh \n")
    assert line.startswith(f"HOST is {host}: inventories/fleet ")
    assert len(rest) == 1


# What is typed, and the last thing that is started.
SOUND = [
    (["site"], "ansible-playbook -i inventories/demo playbooks/site.yml"),
    (["site", "INVENTORY=fleet"], "ansible-playbook -i inventories/fleet playbooks/site.yml"),
    (
        ["site", "INVENTORY=fleet/hosts.yml"],
        "ansible-playbook -i inventories/fleet/hosts.yml playbooks/site.yml",
    ),
    (
        ["drain", "INVENTORY=fleet", "HOST=worker1"],
        "ansible-playbook -i inventories/fleet playbooks/drain.yml --limit worker1",
    ),
    (
        ["reboot", "INVENTORY=fleet", "HOST=web:!web1"],
        "ansible-playbook -i inventories/fleet playbooks/reboot.yml --limit web:!web1",
    ),
    (["reboot", "INVENTORY=fleet"], "ansible-playbook -i inventories/fleet playbooks/reboot.yml"),
    (
        ["rollback", "RELEASE=0f3a9c51be77"],
        "ansible-playbook -i inventories/demo playbooks/rollback.yml -e rollback_to=0f3a9c51be77",
    ),
    (
        ["inventory", "NAME=production"],
        "ansible-playbook -i localhost, playbooks/inventory.yml -e inventory_name=production",
    ),
    (["molecule"], "molecule.sh default"),
    (["molecule", "SCENARIO=apps"], "molecule.sh apps"),
    (["faults", "ROW=5,6b"], "faults.sh 5,6b"),
    (["faults"], "faults.sh"),
    (["bench", "BENCH=growth"], "bench.sh growth"),
    (["bench", "BENCH=worker 2 100"], "bench.sh worker 2 100"),
    (["sbom"], "sbom.sh sample_app/requirements.txt .cache/sbom.json"),
    (["sbom", "FILE=requirements.txt"], "sbom.sh requirements.txt .cache/sbom.json"),
    # Of several targets each takes its own, and what programs read is theirs.
    (
        ["inventory", "preflight", "NAME=production", "INVENTORY=fleet"],
        "ansible-playbook -i inventories/fleet playbooks/preflight.yml",
    ),
    (["site", "ANSIBLE_FORKS=5"], "ansible-playbook -i inventories/demo playbooks/site.yml"),
]


@pytest.mark.parametrize(("typed", "last"), SOUND, ids=[" ".join(row[0]) for row in SOUND])
def test_what_is_right_is_run(clone: Path, typed: list[str], last: str) -> None:
    status, said, started = make(clone, *typed)
    assert (status, said) == (0, "")
    assert started.splitlines()[-1].rstrip() == last


def test_what_nobody_has_typed_is_not_taken(clone: Path) -> None:
    """Some shells and systems have these in the environment."""
    _, _, started = make(clone, "inventory", NAME="DESKTOP-1")
    assert "inventory_name" not in started
    _, _, started = make(clone, "reboot", HOST="laptop")
    assert "--limit" not in started


# --- Ansible itself


@pytest.mark.parametrize("arguments", [[], ["-i", "inventories/nope"], ["-i", "localhost,", "-i", "nope"]])
def test_a_playbook_without_its_inventory_fails(arguments: list[str]) -> None:
    done = subprocess.run(
        [PROJECT / ".venv/bin/ansible-playbook", *arguments, "playbooks/status.yml", "--list-hosts"],
        cwd=PROJECT,
        env={name: value for name, value in os.environ.items() if name != "ANSIBLE_INVENTORY"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0, done.stdout
