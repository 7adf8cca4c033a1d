"""Python expressions that are read and not run."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath
from typing import Any


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` of a name or an attribute; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def last_name(node: ast.AST) -> str:
    """Return the last part of what is called or named."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def text(node: ast.AST | None) -> str:
    """Return a literal text; empty for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """Return an argument that is given by its name."""
    return next((one.value for one in call.keywords if one.arg == name), None)


def literal(node: ast.AST) -> Any:
    """Return a literal's value. Raises ValueError for what is none."""
    try:
        return ast.literal_eval(node)
    except (TypeError, SyntaxError, MemoryError, RecursionError):
        raise ValueError from None


def is_literal(node: ast.AST) -> bool:
    """Whether an expression is the same on every machine."""
    try:
        literal(node)
    except ValueError:
        return False
    return True


def texts_in(node: ast.AST) -> list[str]:
    """Return all literal texts of an expression."""
    return [text(found) for found in ast.walk(node) if text(found)]


def climbed(path: PurePosixPath, levels: int) -> PurePosixPath | None:
    """Return a directory above; None for one above the project."""
    for _ in range(levels):
        if path == PurePosixPath("."):
            return None
        path = path.parent
    return path


def joined(path: PurePosixPath | None, parts: list[ast.expr]) -> PurePosixPath | None:
    """Return a path below a directory of the project; None if it may be elsewhere."""
    for part in parts:
        if path is None or not text(part) or text(part).startswith("/"):
            return None
        for step in PurePosixPath(text(part)).parts:
            path = climbed(path, 1) if step == ".." else path / step
            if path is None:
                return None
    return path


NOTHING = ast.Module(body=[], type_ignores=[])
