"""What an inventory says of an application, from where its code is."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from . import celery, commands, elsewhere, environment, expressions, layout, mapping, requirements, settings
from .tree import Tree, files_in, module_of, rank_of_name, tree_of

GIT = re.compile(r"(https|ssh|file)://|[^/\s]+@[^/\s]+:")
PACKAGE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?==")
LONGEST_NAME = 31
# For Ansible to work out when the settings are known.
PACKAGE_OF_SETTINGS = "{{ app_settings_module.split('.')[0] }}"
CONCURRENCY = 2
BEAT = "django_celery_beat.schedulers:DatabaseScheduler"
READY = re.compile(
    r"\^?/?((?:[\w-]+/)?(?:healthz?|readyz|readiness|ready|livez?|ping|up|ht|_?health(?:[-_]?check)?|alive|heartbeat)/?)\$?"
)
# Long lists are read in the project itself.
SHOWN = 12


@dataclass
class Description:
    """What RETURN of the lookup describes; `blocks` are variables with the comment above them."""

    name: str = ""
    source: str = ""
    git: bool = False
    ref: str = ""
    directory: str = ""
    settings: str = ""
    wsgi: str = ""
    asgi: str = ""
    celery: str = ""
    pools: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    blocks: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    guessed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class Dumper(yaml.SafeDumper):
    """YAML as people write it."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Items of a list are indented."""
        super().increase_indent(flow, False)


def as_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    """Write several lines as they are."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


Dumper.add_representer(str, as_text)


def block(comment: str, values: dict[str, Any], commented: bool = False) -> str:
    """Return variables with a comment above them; `commented` are those that somebody has to decide on."""
    text = yaml.dump(values, Dumper=Dumper, sort_keys=False, width=110, allow_unicode=True)
    lines = [f"# {line}" for line in text.splitlines()] if commented else text.splitlines()
    return "\n".join([*(f"# {line}" for line in comment.splitlines()), *lines])


def name_of(source: str) -> str:
    """A name for the application, made of the last part of where its code is; empty if none can be made."""
    package = PACKAGE.match(source)
    last = package[1] if package else re.split(r"[/:]", source.rstrip("/"))[-1].removesuffix(".git")
    name = re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:LONGEST_NAME].rstrip("-")
    return name if re.match("[a-z]", name) else ""


def pool(queues: list[str], concurrency: int | None) -> dict[str, Any]:
    """Return a pool of workers."""
    name = re.sub(r"[^a-z0-9]+", "-", queues[0].lower()).strip("-")
    return {"name": name, "queues": queues, "concurrency": concurrency or CONCURRENCY}


def pools(found: commands.Commands, queues: list[str], default: str) -> list[dict[str, Any]]:
    """Return a pool for each worker that a command starts, and for each queue that none of them consumes."""
    made: list[dict[str, Any]] = []
    consumed: set[str] = set()
    for names, concurrency in sorted(found.workers, key=lambda worker: not worker[0]):
        own = [name for name in names or [default] if name not in consumed]
        if own:
            made.append(pool(own, concurrency))
            consumed |= set(own)
    made += [pool([name], None) for name in queues if name not in consumed]
    return made


def unread(description: Description, settings_module: str) -> None:
    """Say what startproject makes of a project with these settings: its files are not known."""
    package = settings_module.split(".")[0] or PACKAGE_OF_SETTINGS
    description.wsgi = f"{package}.wsgi"
    description.pools = [pool([celery.DEFAULT_QUEUE], None)]
    description.guessed.append("app_wsgi_module, after the name of the settings")
    # Of a package, nothing says that its application of Celery is where that of a project is.
    if not PACKAGE.match(description.source):
        description.celery = package
        description.guessed.append("app_celery_application, after the name of the settings")


def describe(
    source: str, given: str, relative_to: Path, ref: str = "", key: str = "", index: str = ""
) -> Description:
    """Return what can be told. Raises OSError for a path that is no directory which can be read."""
    git = bool(GIT.match(source))
    description = Description(name_of(source), source, git, ref)
    package = bool(PACKAGE.match(source))
    if git or package:
        copy = elsewhere.from_git(source, ref, key) if git else elsewhere.from_index(source, index)
        tree = copy.tree
        description.ref = ref or copy.ref
        if tree is None:
            description.missing.append(f"the code, so nothing was read in it: {copy.why}")
    elif source:
        place = Path(source).expanduser()
        project = place.resolve()
        tree = tree_of(files_in(project))
        description.name = name_of(str(project))
        description.source = str(place) if place.is_absolute() else from_inventory(project, relative_to)
    else:
        tree = None
    if tree is None:
        unread(description, given)
        description.settings = given
        return description
    read(description, tree, given, package)
    if description.directory and not git:
        description.name = description.name or name_of(description.directory)
        description.source = f"{description.source.rstrip('/')}/{description.directory}"
        description.directory = ""
    return description


def from_inventory(project: Path, relative_to: Path) -> str:
    """Return a path that leads to the same place for all who have this inventory, wherever their clone is."""
    return "{{ inventory_dir }}/" + os.path.relpath(project, relative_to)


def read(description: Description, tree: Tree, given: str, package: bool) -> None:
    """Read a project's files."""
    place = layout.Layout(tree) if package else layout.find(tree)
    description.directory = place.directory
    # Compose files and Dockerfiles are often at the top of the repository, beside the project.
    said = commands.read(tree, "/".join(filter(None, [place.directory, place.base])))
    project, base = place.tree, place.base
    made = list(celery.applications(project))
    loaders = [path for path in project.python() if PurePosixPath(path).name == "manage.py"]
    named = layout.settings_in(next((project.texts[path] for path in loaders), ""))
    package_of = named.split(".")[0]
    served = {
        kind: layout.only(
            [path for path in project.python() if PurePosixPath(path).name == f"{kind}.py"], package_of
        )
        for kind in ("wsgi", "asgi")
    }
    deployed = sorted((path for path in project.texts if commands.is_read(path)), key=commands.rank)
    elsewhere_named = [path for path in deployed if layout.settings_in(project.texts[path])]
    order = [served["wsgi"], served["asgi"], *(one.path for one in made), *elsewhere_named, *loaders]
    description.settings, where = given, "given"
    if not given:
        description.settings, where = layout.choose_settings(place, [path for path in order if path])
    path = project.file_of(description.settings, base) if description.settings else ""
    values = settings.read(project, path, base)
    names = environment.names_of(values)
    application = which(made, description.settings, package_of, base)
    if description.settings:
        description.found.append(f"app_settings_module {description.settings} ({where})")
    else:
        description.missing.append("a settings module: nothing in the project sets INSTALLED_APPS")
    interface(description, values, served, said, base)
    of_celery(description, project, values, application, said, base)
    prefix = celery.namespace(project, application)
    variables = mapping.mapping_of(
        values,
        names,
        celery_values(values, application, prefix, "BROKER_URL", "broker"),
        celery_values(values, application, prefix, "RESULT_BACKEND", "backend"),
        [application.path] if application else [],
        package,
    )
    of_environment(description, variables, base)
    extras = (
        re.findall(r"[\w.-]+", (PACKAGE.match(description.source) or [""] * 3)[2] or "") if package else []
    )
    asked = requirements.of_metadata(project, extras) if package else requirements.read(project)
    of_requirements(description, asked, package)
    of_database_schedule(description, project, values, application, said, prefix)
    of_commands(description, said)
    readiness(description, project, values, base)
    description.guessed += [*place.guessed, *variables.guessed]
    description.missing += variables.missing
    for name in dict.fromkeys([*tree.unread, *project.unread]):
        description.missing.append(f"what {name} says: it cannot be parsed")


def which(made: list[celery.Application], module: str, package: str, base: str) -> celery.Application | None:
    """Return the application of several that belongs to the settings; those for production before others."""
    own = {module.split(".")[0], package} - {""}
    inside = [one for one in made if module_of(one.path, base).split(".")[0] in own]
    inside.sort(key=lambda one: (one.path.count("/"), rank_of_name(PurePosixPath(one.path).stem) == 4))
    return inside[0] if inside else made[0] if len(made) == 1 else None


def celery_values(
    values: settings.Settings, application: celery.Application | None, prefix: str, name: str, argument: str
) -> list[settings.Value]:
    """Return what an address of Celery is given: by the settings, or where the application is made."""
    old = "CELERY_RESULT_BACKEND" if name == "RESULT_BACKEND" else name
    found = values.of(*dict.fromkeys([f"{prefix}{name}", old, name]))
    if application:
        given = expressions.keyword(application.call, argument)
        given_later = celery.configured(values.tree, application, name.lower())
        found += [
            settings.Value(node, application.path) for node in [given, *given_later] if node is not None
        ]
    return found


def interface(
    description: Description,
    values: settings.Settings,
    served: dict[str, str],
    said: commands.Commands,
    base: str,
) -> None:
    """Say whether the application is WSGI or ASGI, and where."""
    installed = values.texts("INSTALLED_APPS")
    realtime = bool({"channels", "daphne"} & installed)
    modules = {kind: module_of(path, base) if path else "" for kind, path in served.items()}
    # Channels needs ASGI; a command knows what it starts.
    kind = (
        "asgi" if realtime and modules["asgi"] else said.interface or ("wsgi" if modules["wsgi"] else "asgi")
    )
    chosen = said.web if said.interface == kind else ""
    chosen = chosen or modules[kind]
    setattr(description, kind, chosen)
    if chosen:
        why = f" ({', '.join(dict.fromkeys(said.where[:1]))})" if said.web == chosen else ""
        description.found.append(f"app_{kind}_module {chosen}{why}")
    else:
        description.missing.append("the WSGI or ASGI application: app_wsgi_module or app_asgi_module")


def of_celery(
    description: Description,
    project: Tree,
    values: settings.Settings,
    application: celery.Application | None,
    said: commands.Commands,
    base: str,
) -> None:
    """Say where Celery's application is, and which queues it has."""
    target = application.target(base) if application else ""
    module = said.celery.partition(":")[0]
    if module and (project.file_of(module, base) or project.file_of(f"{module}.celery", base)):
        target = said.celery
    description.celery = target
    queues, default = celery.queues(project)
    description.pools = pools(said, queues, default)
    if target:
        consumed = [name for one in description.pools for name in one["queues"]]
        description.found.append(f"app_celery_application {target}, queues {', '.join(consumed)}")
    else:
        description.missing.append("an application of Celery: app_celery_application")
    eager = values.of("CELERY_TASK_ALWAYS_EAGER", "CELERY_ALWAYS_EAGER")
    if eager and values.literals("CELERY_TASK_ALWAYS_EAGER", "CELERY_ALWAYS_EAGER") == [True] * len(eager):
        description.missing.append(
            "whether workers get tasks: TASK_ALWAYS_EAGER is on in the settings. celery_settings: "
            "{task_always_eager: false} switches it off"
        )
    if "django_celery_results" in values.texts("INSTALLED_APPS"):
        description.found.append(
            "django_celery_results: Celery reads CELERY_RESULT_BACKEND first, so results go to Redis"
        )


def of_environment(description: Description, variables: mapping.Mapping, base: str) -> None:
    """Write what concerns the environment."""
    if base:
        variables.environment = {"PYTHONPATH": base} | variables.environment
        description.found.append(f"modules in {base}, which is PYTHONPATH")
    description.environment = variables.environment
    if variables.names:
        names = {
            standard: given[0] if len(given) == 1 else given for standard, given in variables.names.items()
        }
        description.blocks.append(
            block("Names by which the settings read what Rootstock knows.", {"app_environment_names": names})
        )
        description.found.append(f"app_environment_names for {', '.join(names)}")
    if variables.database:
        parts = {part: given[0] if len(given) == 1 else given for part, given in variables.database.items()}
        description.blocks.append(
            block("Parts of the database's address by their names.", {"app_database_environment": parts})
        )
        description.found.append("app_database_environment")
    if variables.secrets:
        comment = "Secrets that the settings need. They belong into vault.yml: ansible-vault edit."
        wanted = {"app_secret_environment": dict.fromkeys(variables.secrets, "CHANGE_ME")}
        description.blocks.append(block(comment, wanted, commented=True))
    if variables.optional:
        shown = ", ".join(variables.optional[:SHOWN])
        more = f" and {len(variables.optional) - SHOWN} more" if len(variables.optional) > SHOWN else ""
        description.found.append(f"variables that have defaults or need not be set: {shown}{more}")
    if variables.overlay:
        lines = variables.overlay
        lines = ["import os", "", *lines] if any("os.environ" in line for line in lines) else lines
        comment = (
            "Python that runs after the settings, for what stands in the code and no environment reaches."
        )
        description.blocks.append(block(comment, {"app_settings_overlay": "\n".join(lines) + "\n"}))
    if variables.media:
        comment = "Uploads outlive releases: this directory of the project becomes a link to them."
        description.blocks.append(block(comment, {"django_app_media_dir": variables.media}))
    description.found += variables.found


def of_requirements(description: Description, asked: requirements.Requirements, package: bool) -> None:
    """Write which Python and which requirements a release gets."""
    if asked.python:
        version, problem = requirements.python_for(asked.python)
        if version:
            comment = f"The project demands Python {asked.python}."
            description.blocks.append(block(comment, {"django_app_python": version}))
        description.found.append(f"requires-python {asked.python}")
        description.missing += [f"a Python: {problem}"] if problem else []
    if not package:
        if asked.problem:
            description.missing.append(f"a file with requirements: {asked.problem}")
        elif not asked.file:
            description.missing.append("a file with requirements, at the top or in requirements/")
        elif asked.named:
            comment = "The requirements for production."
            description.blocks.append(block(comment, {"django_app_requirements_file": asked.file}))
            description.guessed.append(f"django_app_requirements_file is {asked.file}")
    lines = requirements.missing(asked, asgi=bool(description.asgi))
    if lines:
        comment = "What is needed and not among the project's own requirements."
        description.blocks.append(block(comment, {"django_app_extra_requirements": lines}))
        description.found.append(f"not among the requirements: {', '.join(lines)}")
    if asked.system:
        comment = "Debian packages without which these requirements cannot be installed."
        description.blocks.append(block(comment, {"django_app_system_packages": asked.system}))


def of_database_schedule(
    description: Description,
    project: Tree,
    values: settings.Settings,
    application: celery.Application | None,
    said: commands.Commands,
    prefix: str,
) -> None:
    """Say which scheduler beat has: the application's own, or one that a command or a package asks for."""
    own = celery.scheduler(project, application, values, prefix)
    if own:
        description.found.append(f"beat's scheduler {own}, by the application's own settings")
        return
    wanted = said.scheduler or (BEAT if "django_celery_beat" in values.texts("INSTALLED_APPS") else "")
    if wanted:
        comment = "Beat's scheduler, which the application's own settings do not name."
        wanted = BEAT if wanted == "django" else wanted
        description.blocks.append(block(comment, {"celery_settings": {"beat_scheduler": wanted}}))
        said_so = description.found if said.scheduler else description.guessed
        said_so.append(f"beat's scheduler is {wanted}")


def of_commands(description: Description, said: commands.Commands) -> None:
    """Write what else is run elsewhere, for the user to decide on."""
    if said.programs:
        programs = [{"name": name, "command": line} for name, line in said.programs.items()]
        comment = (
            "Other programs that the project runs elsewhere. Those that run all the time are for Supervisor."
        )
        description.blocks.append(block(comment, {"app_extra_programs": programs}, commented=True))
        description.found.append(f"programs beside web and workers, as comments: {', '.join(said.programs)}")
    if said.release:
        comment = "Commands that the project runs elsewhere at each release."
        description.blocks.append(block(comment, {"django_app_commands": said.release}, commented=True))
    if said.builds:
        comment = "Commands that the project runs elsewhere before its static files are collected."
        description.blocks.append(block(comment, {"django_app_build_commands": said.builds}, commented=True))
        description.found.append(f"build commands, as comments: {'; '.join(said.builds)}")


def readiness(description: Description, project: Tree, values: settings.Settings, base: str) -> None:
    """Write the page that says whether the application can work."""
    module = next((str(value) for value in values.literals("ROOT_URLCONF")[-1:]), "")
    path = project.file_of(module, base) if module else ""
    pages = []
    for text in expressions.texts_in(project.parse(path) or expressions.NOTHING) if path else []:
        page = READY.fullmatch(text)
        pages += [f"/{page[1]}"] if page else []
    if "/readyz" in pages:
        return
    if pages:
        comment = "A page that answers 200 when the application can work."
        description.blocks.append(block(comment, {"django_app_readiness_path": pages[0]}))
        description.guessed.append(f"django_app_readiness_path is {pages[0]}, by its name")
    else:
        description.missing.append(
            "a page that tells readiness: django_app_readiness_path, /readyz without it"
        )
