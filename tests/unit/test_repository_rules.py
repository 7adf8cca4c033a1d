"""Rules that hold for the whole repository."""

import re
import subprocess
from pathlib import Path

import yaml

from repository import PROJECT, tracked_files

FILES = tracked_files()
BINARY = {".png", ".ico", ".woff2"}
TEXTS = {path: (PROJECT / path).read_text() for path in FILES if path.suffix not in BINARY}
PAGES = {path: text for path, text in TEXTS.items() if path.suffix == ".md"}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SHELL_HEAD = re.compile(r"#!.*\b(sh|bash)\b")


def test_there_is_something_to_look_at() -> None:
    assert Path("README.md") in PAGES
    assert len(TEXTS) > 20


def test_every_file_ends_with_one_newline() -> None:
    assert [str(path) for path, text in TEXTS.items() if text and not text.endswith("\n")] == []
    assert [str(path) for path, text in TEXTS.items() if text.endswith("\n\n")] == []


def test_no_path_of_a_machine_and_no_trailing_blank() -> None:
    # Put together here, so that this file does not find itself.
    machine = re.compile(r"(?<![\w.$}])/(wo" + "rk|tmp/w)/")
    assert [str(path) for path, text in TEXTS.items() if machine.search(text)] == []
    assert [str(path) for path, text in TEXTS.items() if re.search(r"[ \t]$", text, re.MULTILINE)] == []


def test_no_work_is_left_as_a_note() -> None:
    note = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    assert [str(path) for path, text in TEXTS.items() if note.search(text)] == []


def test_a_rule_that_is_not_applied_has_a_reason_and_a_date() -> None:
    # Put together here, so that this file does not find itself.
    exception = re.compile(r"# (?:ruff: )?no" + r"qa\b(.*)$", re.MULTILINE)
    sound = re.compile(r": \S+ (?:- )?\S+ .*, 20\d\d-\d\d-\d\d")
    code = {path: text for path, text in TEXTS.items() if path.suffix in (".py", ".yml")}
    found = {path: exception.findall(text) for path, text in code.items()}
    assert sum(map(len, found.values())) > 0
    assert {
        path: wrong for path, each in found.items() if (wrong := [e for e in each if not sound.match(e)])
    } == {}


def test_no_play_has_another_strategy_than_linear() -> None:
    """With another one `run_once` would run on each host: the reason of those exceptions."""
    plays = [text for path, text in TEXTS.items() if path.parts[0] == "playbooks" and path.suffix == ".yml"]
    assert plays
    assert not [text for text in plays if re.search(r"^\s*strategy:", text, re.MULTILINE)]
    assert "strategy" not in TEXTS[Path("ansible.cfg")]


def test_scripts_can_be_executed_and_stop_at_an_error() -> None:
    shell = {path: text for path, text in TEXTS.items() if SHELL_HEAD.match(text) and path.suffix != ".j2"}
    assert Path(".ci/run") in shell
    assert [
        str(path) for path, text in shell.items() if not re.search(r"^set -e?u", text, re.MULTILINE)
    ] == []
    ours = [path for path in shell if path.parts[0] in (".ci", "scripts")]
    assert [str(path) for path in ours if not (PROJECT / path).stat().st_mode & 0o100] == []


def test_every_make_target_is_described() -> None:
    makefile = TEXTS[Path("Makefile")]
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    described = set(re.findall(r"^([a-z][a-z-]*):.* ## \S", makefile, re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE))
    assert targets
    assert targets == described == phony


def test_make_help_lists_every_target() -> None:
    listing = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout
    listed = {line.split()[0] for line in listing.splitlines() if line.strip()}
    assert listed == set(re.findall(r"^([a-z][a-z-]*):", TEXTS[Path("Makefile")], re.MULTILINE))


def test_commands_in_the_pages_are_make_targets() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", TEXTS[Path("Makefile")], re.MULTILINE))
    named = {
        (str(path), target)
        for path, text in PAGES.items()
        for target in re.findall(r"(?:^|`)(?:[A-Z_]+=\S+ )?make ([a-z][a-z-]*)", text, re.MULTILINE)
    }
    assert {(path, target) for path, target in named if target not in targets} == set()


def test_every_page_of_docs_is_linked_from_the_readme() -> None:
    linked = set(LINK.findall(TEXTS[Path("README.md")]))
    pages = {str(path) for path in FILES if path.parts[0] == "docs" and path.suffix == ".md"}
    assert pages
    assert pages - linked == set()


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for path, text in PAGES.items():
        for target in LINK.findall(text):
            file, _, anchor = target.partition("#")
            if "://" in target or target.startswith("mailto:"):
                continue
            found = (PROJECT / path.parent / file) if file else PROJECT / path
            if not found.exists():
                broken.append(f"{path}: {target}")
            elif anchor and anchor not in anchors(found.read_text()):
                broken.append(f"{path}: {target} (no such heading)")
    assert broken == []


def anchors(page: str) -> set[str]:
    """Return the anchors that a page's headings get."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_ranges_of_collections_are_the_same_twice() -> None:
    needed = {
        item["name"]: item["version"]
        for item in yaml.safe_load(TEXTS[Path("requirements.yml")])["collections"]
    }
    galaxy = yaml.safe_load(TEXTS[Path("galaxy.yml")])["dependencies"]
    # The docker connection is the test bed's: whoever installs the collection needs none.
    assert galaxy == {name: version for name, version in needed.items() if name != "community.docker"}


def test_collections_are_declared_exactly_when_they_are_used() -> None:
    declared = {item["name"] for item in yaml.safe_load(TEXTS[Path("requirements.yml")])["collections"]}
    sources = [
        text
        for path, text in TEXTS.items()
        if path.parts[0] in ("roles", "playbooks", "molecule", "inventories")
        and path.suffix in (".yml", ".j2")
    ]
    assert set(re.findall(r"\b(community\.[a-z]+|ansible\.posix)\.\w", "".join(sources))) == declared


def test_an_action_of_a_workflow_is_named_by_its_commit() -> None:
    workflow = TEXTS[Path(".github/workflows/test.yml")]
    uses = re.findall(r"\buses: (\S+)", workflow)
    assert uses
    assert [name for name in uses if not re.search(r"@[0-9a-f]{40}$", name)] == []
