"""A text that sqlglot has parsed is not parsed again.

The emulator parses a statement about 40 times until it has run it: each of its steps starts from the
text. A copy of a tree takes a tenth of the time. Who gets a tree may change it, so each gets a copy.
"""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from typing import Any, Final

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect

from etlkit.local.bigquery.patches.table import PATCHES

_MAX_TEXTS: Final = 512
_MAX_CHARS: Final = 100_000
"""A longer text is parsed anew: its trees would fill the memory."""


@lru_cache(maxsize=_MAX_TEXTS)
def _parsed(kind: type[Dialect], sql: str) -> tuple[exp.Expr | None, ...]:
    return tuple(_plain_parse(kind(), sql))


def _parse(dialect: Dialect, sql: str, **options: Any) -> list[exp.Expr | None]:
    if options or dialect.settings or len(sql) > _MAX_CHARS:
        return _plain_parse(dialect, sql, **options)
    return [None if tree is None else copied(tree) for tree in _parsed(type(dialect), sql)]


def shared(kind: type[Dialect], sql: str) -> tuple[exp.Expr | None, ...]:
    """The trees of a text as others get them, too: whoever looks at them must not change anything."""
    return tuple(_plain_parse(kind(), sql)) if len(sql) > _MAX_CHARS else _parsed(kind, sql)


_KNOWN_PARTS: Final = {
    "args",
    "parent",
    "arg_key",
    "index",
    "comments",
    "_type",
    "_meta",
    "_hash",
}
_HAS_KNOWN_PARTS: Final = set(exp.Expression.__slots__) == _KNOWN_PARTS


def copied(tree: exp.Expr) -> exp.Expr:
    """As `tree.copy()` in a third of the time: it does not check again what the parser has checked."""
    if not _HAS_KNOWN_PARTS:
        return tree.copy()  # another version of sqlglot
    root: exp.Expr = _without_arguments(tree, None)
    stack = [(tree, root)]
    while stack:
        node, made = stack.pop()
        for key, value in node.args.items():
            if isinstance(value, exp.Expr):
                child = made.args[key] = _without_arguments(value, made)
                stack.append((value, child))
            elif type(value) is list:
                items = made.args[key] = []
                for each in value:
                    if isinstance(each, exp.Expr):
                        child = _without_arguments(each, made)
                        stack.append((each, child))
                        items.append(child)
                    else:
                        items.append(each)
            else:
                made.args[key] = value
    return root


def _without_arguments(node: Any, parent: exp.Expr | None) -> Any:
    made = node.__class__.__new__(node.__class__)
    made.args, made.parent = {}, parent
    made.arg_key, made.index, made._hash = node.arg_key, node.index, node._hash  # noqa: SLF001
    made.comments = None if node.comments is None else [*node.comments]
    meta, kind = node._meta, node._type  # noqa: SLF001
    made._meta = None if meta is None else dict(meta)  # noqa: SLF001 - numbers and texts
    if kind is not None:
        kind = copied(kind) if isinstance(kind, exp.Expr) else deepcopy(kind)
    made._type = kind  # noqa: SLF001
    return made


_plain_parse: Final = Dialect.parse


def apply() -> None:
    """Remember trees. Called after everything that changes how sqlglot parses."""
    _parsed.cache_clear()
    PATCHES.replace("sqlglot.dialects.dialect:Dialect.parse", _parse)
