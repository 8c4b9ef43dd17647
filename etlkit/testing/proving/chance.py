"""Where the code of a job takes random numbers or the time, which differ from run to run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

from etlkit.api.transform import EtlBase
from etlkit.engine.code_files import code_digests, unwarned

_CALLS: Final = frozenset(
    {
        *("time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns"),
        *("time.perf_counter", "time.perf_counter_ns", "time.localtime", "time.gmtime"),
        *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today"),
        *("datetime.date.today", "uuid.uuid1", "uuid.uuid4", "os.urandom", "os.getpid"),
    }
)
_MODULES: Final = ("random.", "secrets.", "numpy.random.")
_SEEDED: Final = frozenset({"random.Random", "random.seed", "numpy.random.default_rng"})
"""With an argument they give the same numbers each time."""

_MAX_SHOWN: Final = 3


def chance_text(part: object) -> str:
    """A sentence about the first such calls in the code of a transform; empty = none was found.

    Args:
        part: The transform's class or function.
    """
    found = list(dict.fromkeys(_calls_of(part)))
    if not found:
        return ""
    more = len(found) - _MAX_SHOWN
    shown = ", ".join(found[:_MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return f"The code uses what differs from run to run: {shown}"


def _calls_of(part: object) -> Iterator[str]:
    names = {f"/{name}": name for name in code_digests([part])}
    modules = {getattr(each, "__file__", None) or "": each for each in list(sys.modules.values())}
    for file, module in sorted(modules.items(), key=lambda item: item[0]):
        name = next((name for end, name in names.items() if file.endswith(end)), None)
        if name is None:
            continue
        try:
            with unwarned():
                tree = ast.parse(Path(file).read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue
        for call, line in calls_by_chance(tree, _other_transforms(module, part)):
            yield f"{call} ({name}:{line})"


def _other_transforms(module: ModuleType, part: object) -> frozenset[str]:
    """Names of the classes of a module that are transforms, and not this one or what it is made of."""
    own = part.__mro__ if isinstance(part, type) else ()
    return frozenset(
        name
        for name, each in list(vars(module).items())
        if isinstance(each, type) and issubclass(each, EtlBase) and each not in own
    )


def calls_by_chance(tree: ast.Module, without: Collection[str] = ()) -> Iterator[tuple[str, int]]:
    """Calls of functions that give something else each time, with their lines.

    Args:
        tree: A module.
        without: Classes of it that are not looked at.
    """
    meant = dict(_imports(tree))
    parts = [
        each for each in tree.body if not (isinstance(each, ast.ClassDef) and each.name in without)
    ]
    for node in (node for each in parts for node in ast.walk(each)):
        if not isinstance(node, ast.Call):
            continue
        first, _, rest = _dotted(node.func).partition(".")
        name = ".".join(filter(None, (meant.get(first, ""), rest)))
        is_seeded = name in _SEEDED and bool(node.args or node.keywords)
        if (name in _CALLS or name.startswith(_MODULES)) and not is_seeded and first in meant:
            yield name, node.lineno


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What names of the module mean: `np` is `numpy`, `now` is `datetime.datetime`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                whole = each.name if each.asname else each.name.partition(".")[0]
                yield each.asname or whole, whole
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for each in node.names:
                yield each.asname or each.name, f"{node.module}.{each.name}"


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
