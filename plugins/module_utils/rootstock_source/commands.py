"""The commands by which a project is run elsewhere: Procfile, Compose, Dockerfile, start scripts."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import yaml

from .tree import Tree

SERVERS = {"gunicorn": "wsgi", "uwsgi": "wsgi", "uvicorn": "asgi", "daphne": "asgi", "hypercorn": "asgi"}
CELERY_PROGRAMS = ("worker", "beat", "flower", "multi")
TARGET = re.compile(r"[A-Za-z_]\w*(\.\w+)*(:[A-Za-z_]\w*)?")
# Commands of Django that a deploy runs by itself, or that are for developers.
OWN_COMMANDS = {
    "migrate",
    "collectstatic",
    "runserver",
    "runserver_plus",
    "check",
    "makemigrations",
    "shell",
    "test",
}
OWN_COMMANDS |= {"tailwind", "createsuperuser", "compress", "compilemessages", "createcachetable"}
BUILDS = re.compile(
    r"(?:python3? )?\S*manage\.py (?:compilemessages|compress)\b.*"
    r"|^(?:npm|yarn|pnpm) (?:run )?(?:build|ci|install)\b.*"
)
LOCAL = re.compile(r"local|dev|test|debug|ci\b|staging|override", re.IGNORECASE)
PRODUCTION = re.compile(r"prod|deploy|live", re.IGNORECASE)


@dataclass
class Command:
    """One command: its words, the name that it has where it stands, and that place."""

    words: list[str]
    name: str
    where: str


@dataclass
class Commands:
    """What the commands say."""

    # The module that the web server loads, and whether by ASGI.
    web: str = ""
    interface: str = ""
    celery: str = ""
    workers: list[tuple[list[str], int | None]] = field(default_factory=list)
    scheduler: str = ""
    # Others that run all the time, by name.
    programs: dict[str, str] = field(default_factory=dict)
    # Management commands of a release, and what is built before static files are collected.
    release: list[str] = field(default_factory=list)
    builds: list[str] = field(default_factory=list)
    python: str = ""
    where: list[str] = field(default_factory=list)


def rank(path: str) -> int:
    """Return 0 for a file that is for production, 2 for one that is for developers."""
    return 0 if PRODUCTION.search(path) else 2 if LOCAL.search(path) else 1


def split(line: str) -> Iterator[list[str]]:
    """Yield the words of each command of a line; what is wrapped in `sh -c` as well."""
    try:
        words = shlex.split(line.replace("\\\n", " "), comments=True)
    except ValueError:
        words = line.split()
    if (
        len(words) > 2
        and PurePosixPath(words[0]).name in ("sh", "bash")
        and re.fullmatch("-[a-z]*c", words[1])
    ):
        yield from split(words[2])
        return
    current: list[str] = []
    for word in words:
        ends = word.endswith(";")
        if word not in ("&&", "||", "|", ";", "&"):
            current.append(word.rstrip(";"))
            if not ends:
                continue
        if current:
            yield current
        current = []
    if current:
        yield current


def of_procfile(path: str, content: str) -> Iterator[Command]:
    """Yield the commands of a Procfile."""
    for line in content.splitlines():
        name, found, command = line.partition(":")
        if found and re.fullmatch(r"[\w-]+", name.strip()):
            for words in split(command):
                yield Command(words, name.strip(), path)


def of_compose(path: str, content: str) -> Iterator[Command]:
    """Yield the commands of the services that are built of the project. Raises yaml.YAMLError."""
    loaded: Any = yaml.safe_load(content)
    services = loaded.get("services") if isinstance(loaded, dict) else None
    for name, service in (services or {}).items() if isinstance(services, dict) else ():
        if not isinstance(service, dict):
            continue
        for key in ("entrypoint", "command"):
            given = service.get(key)
            line = given if isinstance(given, str) else shlex.join(map(str, given or []))
            own = "build" in service or "env_file" in service or not service.get("image")
            for words in split(line):
                yield Command(words, str(name) if own else "", path)


def of_dockerfile(path: str, content: str) -> Iterator[Command]:
    """Yield the commands of a Dockerfile; those that build have no name."""
    for line in re.sub(r"\\\s*\n", " ", content).splitlines():
        found = re.match(r"\s*(CMD|ENTRYPOINT|RUN)\s+(.*)", line, re.IGNORECASE)
        if not found:
            continue
        rest = re.sub(r"^(--\S+\s+)+", "", found[2])
        if rest.startswith("["):
            try:
                rest = shlex.join(map(str, json.loads(rest)))
            except ValueError:
                continue
        for words in split(rest):
            yield Command(words, "RUN" if found[1].upper() == "RUN" else "", path)


def of_script(path: str, content: str) -> Iterator[Command]:
    """Yield the commands of a shell script."""
    for line in content.replace("\\\n", " ").splitlines():
        for words in split(line):
            yield Command(words, "", path)


def is_read(path: str) -> bool:
    """Whether a file has commands."""
    return not path.endswith((".py", ".txt", ".toml", ".lock", ".cfg", ".pip", "METADATA"))


def commands_of(tree: Tree) -> list[Command]:
    """Return all commands, those for production first."""
    found: list[Command] = []
    for path in sorted(tree.texts, key=lambda path: (rank(path), path.count("/"), path)):
        name, content = PurePosixPath(path).name, tree.texts[path]
        try:
            if name.startswith("Procfile"):
                found += of_procfile(path, content)
            elif name.endswith((".yml", ".yaml")):
                found += of_compose(path, content)
            elif "Dockerfile" in name:
                found += of_dockerfile(path, content)
            elif is_read(path):
                found += of_script(path, content)
        except yaml.YAMLError:
            tree.unread.append(path)
    return found


def option(words: list[str], *names: str) -> str:
    """Return the value of an option, however it is written; empty without it."""
    for index, word in enumerate(words):
        for name in names:
            if word == name and index + 1 < len(words):
                return words[index + 1]
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
            if len(name) == 2 and word.startswith(name) and len(word) > 2 and not word.startswith("--"):
                return word[2:]
    return ""


def literal(word: str) -> str:
    """Return a word; empty if the environment decides on it."""
    return "" if "$" in word else word


def read(tree: Tree, base: str) -> Commands:
    """Return what the commands of a project say, those for production before others."""
    found = Commands()
    for command in commands_of(tree):
        # Watchers, waiters and launchers stand before the program itself.
        names = [PurePosixPath(word).name for word in command.words]
        program = next((name for name in names if name in (*SERVERS, "celery", "manage.py")), "")
        words = command.words[names.index(program) + 1 :] if program else []
        if program in SERVERS:
            of_server(found, program, words, tree, base, command)
        elif program == "celery" and any(word in CELERY_PROGRAMS for word in words):
            of_celery(found, words, command)
        elif build := BUILDS.search(shlex.join(without_assignments(command.words))):
            found.builds.append(build[0])
        elif command.name == "release" and program == "manage.py":
            if words and words[0] not in OWN_COMMANDS:
                found.release.append(shlex.join(words))
        elif is_program(command, program, words):
            found.programs.setdefault(command.name.lower().replace("_", "-"), program_line(command.words))
    found.builds = list(dict.fromkeys(found.builds))
    return found


def without_assignments(words: list[str]) -> list[str]:
    """Return a command without the variables before it."""
    first = next(
        (index for index, word in enumerate(words) if not re.match(r"[A-Za-z_]\w*=", word)), len(words)
    )
    return words[first:]


def is_program(command: Command, program: str, words: list[str]) -> bool:
    """Whether this runs all the time beside the web server and the workers."""
    if command.name in ("", "RUN", "release") or rank(command.where) == 2:
        return False
    if program == "manage.py":
        return bool(words) and words[0] not in OWN_COMMANDS
    return PurePosixPath(command.words[0]).name in ("python", "python3") and "celery" not in command.words


def program_line(words: list[str]) -> str:
    """Return a command as a program of the release is run."""
    first = PurePosixPath(words[0]).name
    words = ["python", *words[1:]] if first in ("python", "python3") else words
    return shlex.join(["python", *words] if first == "manage.py" else words)


def of_server(
    found: Commands, program: str, words: list[str], tree: Tree, base: str, command: Command
) -> None:
    """Note the module that a web server loads."""
    if found.web:
        return
    for word in words:
        module, _, attribute = word.partition(":")
        if TARGET.fullmatch(word) and "." in word + ":." * bool(attribute) and tree.file_of(module, base):
            found.web = module if attribute in ("", "application") else word
            worker = option(words, "-k", "--worker-class").lower()
            found.interface = "asgi" if "uvicorn" in worker else SERVERS[program]
            found.where.append(command.where)
            return


def of_celery(found: Commands, words: list[str], command: Command) -> None:
    """Note what a Celery command says."""
    found.celery = found.celery or literal(option(words, "-A", "--app"))
    if "beat" in words or "-B" in words:
        found.scheduler = found.scheduler or literal(option(words, "-S", "--scheduler"))
    if "worker" in words:
        queues = [queue for queue in literal(option(words, "-Q", "--queues")).split(",") if queue]
        count = option(words, "-c", "--concurrency")
        worker = (queues, int(count) if count.isdecimal() and int(count) else None)
        # Of the same queues the first command counts: the one for production.
        if all(worker[0] != other for other, _ in found.workers):
            found.workers.append(worker)
    found.where.append(command.where)
