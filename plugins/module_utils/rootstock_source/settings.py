"""Django's settings, with what they import of the project."""

from __future__ import annotations

import ast
import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from .expressions import climbed, dotted, joined, last_name, literal, text
from .tree import Tree

MOST_MODULES = 100
DEEPEST = 12


@dataclass(frozen=True)
class Value:
    """An expression that a name is given, and the file in which."""

    node: ast.expr
    path: str


@dataclass
class Settings:
    """All that settings assign, in the order of the files."""

    tree: Tree
    base: str = ""
    # Files whose names are the settings', and files that those import.
    paths: list[str] = field(default_factory=list)
    imported: list[str] = field(default_factory=list)
    values: dict[str, list[Value]] = field(default_factory=dict)
    # What the files give their own names that are not the settings'.
    local: dict[str, dict[str, list[Value]]] = field(default_factory=dict)
    followed: set[tuple[str, frozenset[tuple[str, str]] | None]] = field(default_factory=set)

    def of(self, *names: str) -> list[Value]:
        """Return what these names are given, the last one last."""
        return [value for name in names for value in self.values.get(name, [])]

    def named(self, name: str, path: str) -> list[Value]:
        """Return what a name means in a file."""
        own = self.local.get(path, {}).get(name, [])
        return own if own and path not in self.paths else self.values.get(name, own)

    def resolved(self, value: Value, depth: int = 0) -> Iterator[Value]:
        """Yield an expression, and instead of a name of the settings what that name is given."""
        named = self.named(value.node.id, value.path) if isinstance(value.node, ast.Name) else None
        if not named or depth > DEEPEST:
            yield value
        else:
            for one in named:
                yield from self.resolved(one, depth + 1)

    def literals(self, *names: str) -> list[object]:
        """Return what the names are given, as far as that is literal."""
        found = []
        for value in self.of(*names):
            for one in self.resolved(value):
                try:
                    found.append(literal(one.node))
                except ValueError:
                    continue
        return found

    def texts(self, *names: str) -> set[str]:
        """Return the literal texts in what the names are given, such as the installed applications."""
        found: set[str] = set()
        seen: set[int] = set()
        waiting = self.of(*names)
        while waiting:
            value = waiting.pop()
            if id(value.node) in seen:
                continue
            seen.add(id(value.node))
            for node in ast.walk(value.node):
                if text(node):
                    found.add(text(node))
                elif isinstance(node, ast.Name):
                    waiting += self.named(node.id, value.path)
        return found

    def path_of(self, value: Value, depth: int = 0) -> PurePosixPath | None:
        """Return the path below the project that an expression is; None for any other."""
        node, up = value.node, depth + 1
        if depth > DEEPEST:
            return None
        if isinstance(node, ast.Name):
            if node.id == "__file__":
                return PurePosixPath(value.path)
            given = self.named(node.id, value.path)
            return self.path_of(given[-1], up) if given else None
        if isinstance(node, ast.BinOp):
            left = self.path_of(Value(node.left, value.path), up)
            if isinstance(node.op, ast.Div):
                return joined(left, [node.right])
            # environ.Path(__file__) - 2
            levels = node.right.value if isinstance(node.right, ast.Constant) else None
            return climbed(left, levels) if left is not None and isinstance(levels, int) else None
        if isinstance(node, ast.Attribute) and node.attr == "parent":
            inner = self.path_of(Value(node.value, value.path), up)
            return climbed(inner, 1) if inner is not None else None
        if isinstance(node, ast.Subscript) and last_name(node.value) == "parents":
            inner = self.path_of(Value(node.value.value, value.path), up)  # type: ignore[attr-defined]
            index = node.slice.value if isinstance(node.slice, ast.Constant) else None
            return climbed(inner, index + 1) if inner is not None and isinstance(index, int) else None
        return self.path_of_call(node, value.path, up) if isinstance(node, ast.Call) else None

    def path_of_call(self, node: ast.Call, path: str, depth: int) -> PurePosixPath | None:
        """Return the path that a call gives."""
        name = last_name(node.func)
        if name in ("resolve", "absolute", "joinpath", "path") and isinstance(node.func, ast.Attribute):
            # os.path has no such function.
            inner = self.path_of(Value(node.func.value, path), depth)
            return joined(inner, node.args) if name in ("joinpath", "path") else inner
        if not node.args:
            return None
        first = self.path_of(Value(node.args[0], path), depth)
        if name in ("Path", "str", "abspath", "realpath", "normpath", "fspath", "join"):
            return joined(first, node.args[1:])
        if name == "dirname":
            return climbed(first, 1) if first is not None else None
        # ROOT_DIR = environ.Path(…); ROOT_DIR("staticfiles")
        called = self.named(name, path)
        return joined(self.path_of(called[-1], depth), node.args) if called else None


class Reader(ast.NodeVisitor):
    """Puts what a file assigns into settings."""

    def __init__(self, settings: Settings, path: str, names: dict[str, str] | None) -> None:
        self.settings, self.path, self.names = settings, path, names

    def put(self, name: str, node: ast.expr) -> None:
        """Note what a name is given; it is the settings' own if it was imported."""
        value = Value(node, self.path)
        self.settings.local.setdefault(self.path, {}).setdefault(name, []).append(value)
        if self.names is None or name in self.names:
            own = name if self.names is None else self.names[name]
            self.settings.values.setdefault(own, []).append(value)

    def assign(self, target: ast.expr, value: ast.expr) -> None:
        """Note an assignment; of DATABASES["default"]["HOST"] as if a dictionary with HOST were assigned."""
        if isinstance(target, ast.Name):
            self.put(target.id, value)
        elif isinstance(target, ast.Subscript):
            owner: ast.expr = target
            while isinstance(owner, ast.Subscript):
                owner = owner.value
            if isinstance(owner, ast.Name):
                self.put(owner.id, ast.Dict(keys=[target.slice], values=[value]))
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, given in zip(target.elts, value.elts, strict=False):
                self.assign(one, given)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self.assign(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.assign(node.target, node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.assign(node.target, node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """A function's names are its own."""

    def visit_Call(self, node: ast.Call) -> None:
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        if (
            last_name(node.func) in ("update", "append", "extend", "insert", "setdefault")
            and owner is not None
        ):
            while isinstance(owner, ast.Subscript):
                owner = owner.value
            for given in [*node.args, *(one.value for one in node.keywords if not one.arg)]:
                self.put(dotted(owner), given)
            # DATABASES["default"].update(HOST=…)
            if pairs := [(ast.Constant(one.arg), one.value) for one in node.keywords if one.arg]:
                self.put(dotted(owner), ast.Dict(keys=[k for k, _ in pairs], values=[v for _, v in pairs]))
        elif last_name(node.func) == "include":
            self.include(node)

    def include(self, node: ast.Call) -> None:
        """Follow split_settings: include("components/*.py", optional("local.py"))."""
        here = PurePosixPath(self.path).parent
        for argument in node.args:
            inner = argument.args[0] if isinstance(argument, ast.Call) and argument.args else argument
            pattern = str(here / text(inner)) if text(inner) else ""
            for path in fnmatch.filter(self.settings.tree.python(), pattern) if pattern else ():
                follow(self.settings, path, None)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module, base = node.module or "", self.settings.base
        if node.level:
            package = PurePosixPath(self.path).parent
            for _ in range(node.level - 1):
                package = package.parent
            base = "" if package == PurePosixPath(".") else str(package)
        for alias in node.names:
            if path := self.settings.tree.file_of(".".join(filter(None, [module, alias.name])), base):
                follow(self.settings, path, {})
        path = self.settings.tree.file_of(module, base) if module else ""
        if not module and node.level and any(alias.name == "*" for alias in node.names):
            path = f"{base}/__init__.py".lstrip("/")
        if path and path in self.settings.tree.texts:
            star = any(alias.name == "*" for alias in node.names)
            wanted = {alias.name: alias.asname or alias.name for alias in node.names}
            follow(self.settings, path, self.names if star else wanted)


def follow(settings: Settings, path: str, names: dict[str, str] | None) -> None:
    """Read a file into settings: all its names, or those that are imported under names of their own."""
    key = (path, None if names is None else frozenset(names.items()))
    if path in settings.paths or key in settings.followed or len(settings.followed) > MOST_MODULES:
        return
    settings.followed.add(key)
    known = settings.paths if names is None else settings.imported
    if path not in known:
        known.append(path)
    parsed = settings.tree.parse(path)
    if parsed is not None:
        Reader(settings, path, names).visit(parsed)


def read(tree: Tree, path: str, base: str) -> Settings:
    """Return the settings of a file."""
    settings = Settings(tree, base)
    if path:
        follow(settings, path, None)
    return settings
