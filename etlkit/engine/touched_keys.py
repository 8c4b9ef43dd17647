"""Which keys of its row a transform touches, as far as its code says so.

Most transforms write `row["answer"] = f(row["uri"])` and return the row. Their code shows which columns
they look at, and the others need not become Python values: they pass by in Arrow, as if the class had
named its `columns`. This module reads the code, and says nothing unless the code leaves no doubt: then
every mention of the row in it is one of the few forms below. A row that goes anywhere else, such as to
a helper, may have any of its keys read.
"""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from inspect import getattr_static
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, TypeAlias

from etlkit.engine.code_files import unwarned

if TYPE_CHECKING:
    from etlkit.api.transform import EtlBase

_HOOK = "transform_row"

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

_FRAME_READERS = frozenset(
    {
        *("breakpoint", "currentframe", "dir", "eval", "exec"),
        *("f_locals", "_getframe", "locals", "set_trace", "vars"),
        *("f_back", "getargvalues", "interact", "IPython", "post_mortem", "tb_frame"),
    }
)
"""Whoever is called by one of these names may look at the row without naming it."""

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)

_MAX_CHARS = 250_000
"""A longer file is not read: it takes longer than most runs gain. A table of 3 MB took 7 seconds."""


def touched_keys(kind: type[EtlBase]) -> frozenset[str] | None:
    """The keys that `transform_row` of a class reads, writes or deletes; None = it may be any.

    The result is the row itself, or holds the whole row (`{**row, "label": "cat"}`), so that a column
    which is not touched comes out as it went in.
    """
    hook = hook_of(kind)
    if type(hook) is not FunctionType or _may_replace_hook(kind) or _is_debugged():
        return None
    code = hook.__code__
    return _keys_in(code, code.co_filename)


def hook_of(kind: type[EtlBase]) -> object:
    """What stands in a class as its `transform_row`: what `touched_keys` is about."""
    return getattr_static(kind, _HOOK)


def _may_replace_hook(kind: type[EtlBase]) -> bool:
    """Whether a method gives an instance another hook, as far as its code says so."""
    for each in kind.__mro__:
        if str(each.__module__).startswith("etlkit.") or each is object:
            continue
        if "__getattribute__" in vars(each):
            return True
        if any(_names_hook(made.__code__) for made in _functions_in(vars(each).values())):
            return True
    return False


def _functions_in(values: Iterable[Any]) -> Iterator[FunctionType]:
    """The functions among values of a class.

    Only types are looked at: a client that connects when it is first used may raise at any attribute.
    """
    for value in values:
        kind = type(value)
        made = value.__func__ if issubclass(kind, (staticmethod, classmethod)) else value
        if type(made) is FunctionType:
            yield made


def _names_hook(code: CodeType) -> bool:
    if _HOOK in code.co_names or _HOOK in code.co_consts:
        return True
    return any(_names_hook(each) for each in code.co_consts if isinstance(each, CodeType))


def _is_debugged() -> bool:
    """Whether somebody may stop in the transform and look at its row."""
    if sys.gettrace() is not None:
        return True
    monitoring = getattr(sys, "monitoring", None)  # from Python 3.12 on
    return monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None


@lru_cache(64)
def _keys_in(code: CodeType, _filename: str) -> frozenset[str] | None:
    """The keys in a function; codes of two files are equal to Python if they do the same."""
    function = _source_of(code)
    if function is None:
        return None
    arguments = function.args
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    if len(names) != 2 or arguments.vararg or arguments.kwarg or arguments.kwonlyargs:
        return None
    if arguments.defaults or names[0] == names[1]:
        return None
    try:
        return _Mentions(function, names[1]).keys()
    except RecursionError:
        return None


def _source_of(code: CodeType) -> _Function | None:
    """The statement that defines a function; None = no source is there that makes this very code."""
    try:
        text = "".join(linecache.getlines(code.co_filename))
        if not text or len(text) > _MAX_CHARS:
            return None
        with unwarned():
            tree = ast.parse(text)
            module = compile(tree, code.co_filename, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    # The file may be newer than the function, and a test runner may have changed the code.
    if not any(_is_same(each, code) for each in _codes_in(module)):
        return None
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name == code.co_name
        and min([node.lineno, *(d.lineno for d in node.decorator_list)]) == code.co_firstlineno
    ]
    return found[0] if len(found) == 1 else None


def _codes_in(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes_in(each)


def _is_same(one: CodeType, other: CodeType) -> bool:
    """Whether two codes do the same on the same lines. The file they are from may have two names."""
    if any(getattr(one, name) != getattr(other, name) for name in _OF_CODE):
        return False
    return len(one.co_consts) == len(other.co_consts) and all(
        _is_same(a, b)
        if isinstance(a, CodeType) and isinstance(b, CodeType)
        else type(a) is type(b) and a == b
        for a, b in zip(one.co_consts, other.co_consts, strict=True)
    )


_OF_CODE = (
    *("co_name", "co_firstlineno", "co_code", "co_names", "co_varnames", "co_freevars"),
    *("co_cellvars", "co_flags", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount"),
)


class _Mentions:
    """All mentions of the row in a function, and the keys by which it is touched.

    Args:
        function: The hook.
        row: The name of its argument.
    """

    def __init__(self, function: _Function, row: str) -> None:
        self._function = function
        self._row = row
        self._keys: set[str] = set()
        self._known: set[ast.AST] = set()

    def keys(self) -> frozenset[str] | None:
        """The keys; None = the row is mentioned in a way that says nothing."""
        for node in _own_nodes(self._function):
            if isinstance(node, ast.YieldFrom):
                return None
            if isinstance(node, (ast.Return, ast.Yield)) and not self._holds_row(node.value):
                return None
        nodes = [node for each in self._function.body for node in ast.walk(each)]
        for node in nodes:
            self._look(node)
        if any(self._is_unknown(node) for node in nodes):
            return None
        return frozenset(self._keys)

    def _look(self, node: ast.AST) -> None:
        """Take a mention that touches keys which are written there."""
        match node:
            case ast.Subscript(value=row, slice=ast.Constant(value=str(key))):
                self._take(row, key)
            case ast.Compare(left=ast.Constant(value=str(key)), ops=[op], comparators=[row]):
                if isinstance(op, (ast.In, ast.NotIn)):
                    self._take(row, key)
            case ast.Call(
                func=ast.Attribute(value=row, attr="get" | "pop" | "setdefault"),
                args=[ast.Constant(value=str(key)), *rest],
                keywords=[],
            ) if len(rest) < 2 and not any(isinstance(each, ast.Starred) for each in rest):
                self._take(row, key)
            case ast.Call(func=ast.Attribute(value=row, attr="update"), args=args):
                self._update(row, args, [each.arg for each in node.keywords])
            case ast.AugAssign(target=row, op=ast.BitOr(), value=ast.Dict() as display):
                # The name stands for the same dict afterwards.
                self._take_with(row, display.keys)

    def _update(self, row: ast.expr, args: list[ast.expr], names: list[str | None]) -> None:
        """Take `row.update({"a": 1}, b=2)`."""
        displays = [each for each in args if isinstance(each, ast.Dict)]
        if len(displays) == len(args) and None not in names:
            keys = [key for display in displays for key in display.keys]
            self._take_with(row, keys, *filter(None, names))

    def _holds_row(self, value: ast.expr | None) -> bool:
        """Whether a result is nothing, or the row with values under keys that are written there."""
        found = False
        match value:
            case None | ast.Constant(value=None):
                found = True
            case ast.Name():
                found = self._take(value)
            case ast.Dict():
                items = list(zip(value.keys, value.values, strict=True))
                spread = [each for key, each in items if key is None]
                keys = [key for key, _ in items if key is not None]
                found = len(spread) == 1 and self._take_with(spread[0], keys)
            case ast.BinOp(left=row, op=ast.BitOr(), right=ast.Dict() as display):
                found = self._take_with(row, display.keys)
            case ast.IfExp():
                found = self._holds_row(value.body) and self._holds_row(value.orelse)
            case ast.List() | ast.Tuple():
                found = all(self._holds_row(each) for each in value.elts)
            case ast.ListComp() | ast.GeneratorExp():
                found = self._holds_row(value.elt)
        return found

    def _take(self, row: ast.expr, *keys: str) -> bool:
        """Know a mention of the row; False = it is none."""
        if not (isinstance(row, ast.Name) and row.id == self._row):
            return False
        self._known.add(row)
        self._keys.update(keys)
        return True

    def _take_with(self, row: ast.expr, written: Sequence[ast.expr | None], *keys: str) -> bool:
        """As `_take`, with keys of a dict display; False as well if one is no text written there."""
        found = [each.value for each in written if isinstance(each, ast.Constant)]
        texts = [each for each in found if isinstance(each, str)]
        return len(texts) == len(written) and self._take(row, *texts, *keys)

    def _is_unknown(self, node: ast.AST) -> bool:
        """Whether a node mentions the row otherwise, gives its name away, or reads frames."""
        if isinstance(node, ast.Name):
            return node.id in _FRAME_READERS or (node.id == self._row and node not in self._known)
        if isinstance(node, ast.Attribute):
            return node.attr in _FRAME_READERS
        if isinstance(node, ast.Constant):  # pandas reads `df.query("uri == @row['uri']")`
            return isinstance(node.value, str) and f"@{self._row}" in node.value
        if isinstance(node, ast.keyword):
            return False
        fields = [value for _, value in ast.iter_fields(node)]
        return any(self._row in (value if isinstance(value, list) else [value]) for value in fields)


def _own_nodes(function: _Function) -> Iterator[ast.AST]:
    """The nodes of a function's body, without those of functions and classes in it."""
    queue: list[ast.AST] = list(function.body)
    while queue:
        node = queue.pop()
        yield node
        if not isinstance(node, _SCOPES):
            queue.extend(ast.iter_child_nodes(node))
