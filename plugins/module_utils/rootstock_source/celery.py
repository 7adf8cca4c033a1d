"""The Celery application of a project: where it is, its queues and its settings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .expressions import dotted, keyword, last_name, text
from .settings import Settings
from .tree import Tree, module_of

# Celery's own, where a project names none: https://docs.celeryq.dev/en/stable/userguide/configuration.html
DEFAULT_QUEUE = "celery"
QUEUE_NAME = r"""["']([A-Za-z0-9][A-Za-z0-9._:-]*)["']"""
DEFAULT = re.compile(
    rf"""\b(?:CELERY_)?(?:TASK_DEFAULT_QUEUE|DEFAULT_QUEUE)\b["']?\s*[=:]\s*{QUEUE_NAME}""", re.IGNORECASE
)
QUEUE = re.compile(rf"""(?:\bQueue\(\s*(?:name=)?|["']queue["']\s*:\s*|\bqueue=){QUEUE_NAME}""")


@dataclass(frozen=True)
class Application:
    """An application that a file makes."""

    path: str
    variable: str
    call: ast.Call

    def target(self, base: str) -> str:
        """Return what `celery -A` takes: of shop/celery.py it is told shop."""
        module = module_of(self.path, base)
        if self.variable not in ("app", "celery"):
            return f"{module}:{self.variable}"
        return module.removesuffix(".celery")


def applications(tree: Tree) -> Iterator[Application]:
    """Yield what is made by Celery(…), or is given Celery's settings, at the top of a file."""
    for path in tree.python("Celery(", ".config_from_object("):
        parsed = tree.parse(path)
        configured = {
            dotted(node.func).removesuffix(".config_from_object")
            for node in (ast.walk(parsed) if parsed else ())
            if isinstance(node, ast.Call) and dotted(node.func).endswith(".config_from_object")
        }
        for node in parsed.body if parsed else ():
            if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(node.value, ast.Call):
                continue
            value = node.value
            is_celery = dotted(value.func) in ("Celery", "celery.Celery")
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name) and (is_celery or target.id in configured):
                    yield Application(path, target.id, value)
                    break


def namespace(tree: Tree, application: Application | None) -> str:
    """Return what the names of Celery's settings begin with in Django's; empty for the old names."""
    parsed = tree.parse(application.path) if application else None
    for node in ast.walk(parsed) if parsed else ():
        if isinstance(node, ast.Call) and last_name(node.func) == "config_from_object":
            given = text(keyword(node, "namespace"))
            return f"{given}_" if given else ""
    return "CELERY_"


def configured(tree: Tree, application: Application | None, name: str) -> list[ast.expr]:
    """Return what is given to app.conf.<name> beside the application."""
    parsed = tree.parse(application.path) if application else None
    found = []
    for node in ast.walk(parsed) if parsed else ():
        if isinstance(node, ast.Assign):
            found += [node.value for target in node.targets if dotted(target).endswith(f".conf.{name}")]
        elif isinstance(node, ast.Call) and dotted(node.func).endswith(".conf.update"):
            given = keyword(node, name)
            found += [given] if given else []
    return found


def queues(tree: Tree) -> tuple[list[str], str]:
    """Return the names of all queues, and the one of tasks that name none."""
    texts = [tree.texts[path] for path in tree.python()]
    default = next((name for content in texts for name in DEFAULT.findall(content)), DEFAULT_QUEUE)
    defaults = {name for content in texts for name in DEFAULT.findall(content)} or {default}
    return sorted({name for content in texts for name in QUEUE.findall(content)} | defaults), default


def scheduler(tree: Tree, application: Application | None, settings: Settings, prefix: str) -> str:
    """Return beat's scheduler, if the project sets one."""
    given = [text(node) for node in configured(tree, application, "beat_scheduler")]
    given += [str(value) for value in settings.literals(f"{prefix}BEAT_SCHEDULER", "CELERYBEAT_SCHEDULER")]
    return next(filter(None, given), "")
