"""Where the code of a job takes random numbers or the time, which differ from run to run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

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
    names = tuple(f"/{name}" for name in code_digests([part]))
    files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    for file in sorted(file for file in files if file.endswith(names)):
        try:
            with unwarned():
                tree = ast.parse(Path(file).read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue
        for name, line in calls_by_chance(tree):
            yield f"{name} ({Path(file).name}:{line})"


def calls_by_chance(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Calls of functions that give something else each time, with their lines."""
    meant = dict(_imports(tree))
    for node in ast.walk(tree):
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
