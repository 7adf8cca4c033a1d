"""Which environment variables a project's files read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from .expressions import dotted, is_literal, keyword, last_name, literal, text
from .settings import Settings, Value

# What calls of django-environ and environs read without being told a name.
NAMELESS = {
    "db": "DATABASE_URL",
    "db_url": "DATABASE_URL",
    "dj_db_url": "DATABASE_URL",
    "cache": "CACHE_URL",
    "cache_url": "CACHE_URL",
    "dj_cache_url": "CACHE_URL",
}
MAKES_READER = {"Env", "FileAwareEnv", "AutoConfig", "Config"}
READERS = {"env", "config"}
NOT_READING = {"read_env", "read_envfile", "prefixed", "seal", "parse", "parser_for", "dump", "search_url"}
PARSES_URL = re.compile(r"dj_database_url\.parse|parse_db_url|db_url_config")
UNKNOWN = object()


@dataclass(frozen=True)
class Read:
    """A variable that is read. `part` says that the value is only a piece of what it is used in."""

    name: str
    # Without the variable the settings do not load.
    required: bool
    default: Any = UNKNOWN
    # The standard name of which this is known to be the value.
    standard: str = ""
    part: bool = False


@dataclass
class Names:
    """What the names in a project's files mean."""

    settings: Settings
    # Readers of django-environ, environs and decouple, with the defaults that Env(NAME=(type, value)) gives.
    readers: dict[str, dict[str, Any]] = field(default_factory=dict)
    # Functions that read the variable that an argument names: its index, and whether it has a default.
    functions: dict[str, tuple[int, bool]] = field(default_factory=dict)


def names_of(settings: Settings) -> Names:
    """Return what reads variables in the settings and in what they import."""
    found = Names(settings)
    for path in [*settings.paths, *settings.imported]:
        parsed = settings.tree.parse(path)
        for node in ast.walk(parsed) if parsed else ():
            if isinstance(node, ast.ImportFrom) and node.module in ("decouple", "environs", "environ"):
                for alias in node.names:
                    if alias.name in READERS:
                        found.readers[alias.asname or alias.name] = {}
            elif isinstance(node, ast.FunctionDef):
                found.functions |= reading_function(node)
    everything = [
        *settings.values.items(),
        *(item for own in settings.local.values() for item in own.items()),
    ]
    for name, values in everything:
        for value in values:
            if isinstance(value.node, ast.Call) and last_name(value.node.func) in MAKES_READER:
                found.readers[name] = defaults_of(value.node)
    return found


def defaults_of(call: ast.Call) -> dict[str, Any]:
    """Return the defaults in Env(DEBUG=(bool, False))."""
    found = {}
    for given in call.keywords:
        if given.arg and isinstance(given.value, ast.Tuple) and len(given.value.elts) == 2:
            found[given.arg] = default_of(given.value.elts[1])
    return found


def default_of(node: ast.AST | None) -> Any:
    """Return a default, if it is literal."""
    return literal(node) if node is not None and is_literal(node) else UNKNOWN


def reading_function(node: ast.FunctionDef) -> dict[str, tuple[int, bool]]:
    """Return a function that reads the variable that its argument names."""
    arguments = [argument.arg for argument in node.args.args]
    for inner in ast.walk(node):
        key, has_default = key_of(inner)
        if isinstance(key, ast.Name) and key.id in arguments:
            kinds = {type(one) for one in ast.walk(node)}
            # A function that looks before it reads refuses what is not there only where it says so.
            optional = has_default or bool(kinds & {ast.If, ast.IfExp, ast.Try})
            refuses = ast.Raise in kinds and "required" not in {
                arg.arg for arg in [*node.args.args, *node.args.kwonlyargs]
            }
            return {node.name: (arguments.index(key.id), optional and not refuses)}
    return {}


def key_of(node: ast.AST) -> tuple[ast.expr | None, bool]:
    """Return what os.environ is asked for, and whether it need not be there."""
    if isinstance(node, ast.Subscript) and dotted(node.value) in ("os.environ", "environ"):
        return (node.slice, False) if isinstance(node.ctx, ast.Load) else (None, False)
    if isinstance(node, ast.Call) and dotted(node.func) in (
        "os.environ.get",
        "environ.get",
        "os.getenv",
        "getenv",
    ):
        return (node.args[0] if node.args else keyword(node, "key")), True
    return None, False


def read_of(node: ast.AST, names: Names, prefix: str = "") -> Read | None:
    """Return the variable that this node itself reads."""
    key, has_default = key_of(node)
    if key is not None:
        default = node.args[1] if isinstance(node, ast.Call) and len(node.args) > 1 else None
        name = text(key)
        known = default_of(default) if default is not None else None
        return Read(name, not has_default, known if has_default else UNKNOWN) if name else None
    if not isinstance(node, ast.Call):
        return None
    called = dotted(node.func)
    first = text(node.args[0]) if node.args else ""
    if called in names.functions:
        index, has_default = names.functions[called]
        name = text(node.args[index]) if len(node.args) > index else ""
        more = len(node.args) > index + 1 or any(one.arg == "default" for one in node.keywords)
        return Read(name, not (has_default or more)) if name else None
    of_url = called == "config" and called not in names.readers and uses_url(names)
    if of_url or called == "dj_database_url.config":
        return Read(
            text(keyword(node, "env")) or first or "DATABASE_URL", required=False, standard="DATABASE_URL"
        )
    owner, _, method = called.partition(".")
    if owner not in names.readers or method in NOT_READING or "." in method:
        return None
    name = prefix + first if first else NAMELESS.get(method, "")
    if not name:
        return None
    schemes = names.readers[owner]
    default = keyword(node, "default")
    second = node.args[1] if len(node.args) > 1 else None
    if default is None and second is not None and not (isinstance(second, ast.Name) and not method):
        default = second
    known = default_of(default) if default is not None else schemes.get(name, UNKNOWN)
    required = default is None and name not in schemes
    return Read(name, required, known, standard=NAMELESS.get(method, ""))


def uses_url(names: Names) -> bool:
    """Whether the settings know dj_database_url."""
    settings = names.settings
    return any("dj_database_url" in settings.tree.texts[path] for path in settings.paths)


def reads_in(
    value: Value, names: Names, part: bool = False, standard: str = "", seen: frozenset[int] = frozenset()
) -> Iterator[Read]:
    """Yield what an expression is made of, names of the settings included."""
    node = value.node
    if id(node) in seen:
        return
    seen |= {id(node)}
    found = read_of(node, names)
    if found:
        yield replace(found, part=part, standard=standard or found.standard)
        return
    if isinstance(node, ast.Name):
        for given in names.settings.named(node.id, value.path):
            yield from reads_in(given, names, part, standard, seen)
        return
    if isinstance(node, ast.Call) and PARSES_URL.search(dotted(node.func)):
        standard = "DATABASE_URL"
    part = part or isinstance(node, ast.JoinedStr) or is_composed(node)
    last = joined_last(node)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr | ast.keyword | ast.comprehension):
            composed = part and child is not last
            yield from reads_in(Value(child, value.path), names, composed, standard, seen)  # type: ignore[arg-type] # walked alike


def is_composed(node: ast.AST) -> bool:
    """Whether an expression makes a text of several; a list of several is none."""
    if isinstance(node, ast.BinOp):
        kinds = (ast.List, ast.Tuple, ast.ListComp, ast.Dict)
        return not isinstance(node.op, ast.BitOr) and not any(
            isinstance(s, kinds) for s in (node.left, node.right)
        )
    return isinstance(node, ast.Call) and last_name(node.func) in ("format", "join")


def joined_last(node: ast.AST) -> ast.expr | None:
    """Return what is joined to a path last: if that begins at the root, it is the whole path."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return node.right
    if isinstance(node, ast.Call) and dotted(node.func).endswith("path.join") and node.args:
        return node.args[-1]
    return None


class Walker(ast.NodeVisitor):
    """Finds every read of a file, and which of them happen only under a condition."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.found: list[Read] = []
        self.guarded = 0
        self.prefix = ""

    def generic_visit(self, node: ast.AST) -> None:
        read = read_of(node, self.names, self.prefix)
        if read:
            self.found.append(replace(read, required=read.required and not self.guarded))
        super().generic_visit(node)

    def under_condition(self, *nodes: ast.AST) -> None:
        """Visit what need not happen."""
        self.guarded += 1
        for node in nodes:
            self.visit(node)
        self.guarded -= 1

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.under_condition(*node.body, *node.orelse)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        self.under_condition(node.body, node.orelse)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.visit(node.values[0])
        self.under_condition(*node.values[1:])

    def visit_Try(self, node: ast.Try) -> None:
        self.under_condition(*node.body, *node.handlers, *node.orelse, *node.finalbody)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.under_condition(*node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.under_condition(node.body)

    def visit_With(self, node: ast.With) -> None:
        """Environs: with env.prefixed("SHOP_")."""
        before = self.prefix
        for item in node.items:
            call = item.context_expr
            if isinstance(call, ast.Call) and last_name(call.func) == "prefixed" and call.args:
                self.prefix += text(call.args[0])
        super().generic_visit(node)
        self.prefix = before


def all_reads(names: Names, more: list[str]) -> list[Read]:
    """Return every read of the settings, of what they import, and of more files."""
    walker = Walker(names)
    for path in dict.fromkeys([*names.settings.paths, *names.settings.imported, *more]):
        parsed = names.settings.tree.parse(path)
        if parsed:
            walker.visit(parsed)
    # A variable that is looked for before it is read need not be there.
    optional = {read.name for read in walker.found if not read.required and read.default is not UNKNOWN}
    return [replace(read, required=read.required and read.name not in optional) for read in walker.found]
