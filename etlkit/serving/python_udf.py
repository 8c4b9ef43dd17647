"""An Etl as a Python UDF that BigQuery runs by itself: the statement, or why there is none.

Source: https://cloud.google.com/bigquery/docs/user-defined-functions-python
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from etlkit.api.transform import EtlBase
from etlkit.errors import ConfigError
from etlkit.rows.columns import quoted
from etlkit.serving import udf_runtime
from etlkit.serving.function_sql import literal, quoted_path

if TYPE_CHECKING:
    from etlkit.engine.transform_spec import TransformSpec
    from etlkit.rows.columns import Column

RUNTIME: Final = "python-3.11"
"""The only one there is; see the page above."""

_ENTRY: Final = "etlkit_row"
_BASES: Final = frozenset({"etlkit", "etlkit.api.transform", "etl_base"})

LIMITS: Final = (
    "What this function cannot do, and etlkit serve --sql can:",
    "  - retries, rate limits, caps and the breaker: a call that fails is an error of its row",
    "  - pay once: BigQuery may call it again for a row, and each call is made again",
    "  - after_action, transform_batch, async hooks, several rows at a time in one instance",
    "  - a JSON result: it returns text, for PARSE_JSON or JSON_VALUE",
    "  - check values against output_schema",
    "  - VPC networks and CMEK; at most 4 vCPU and 16 GiB; python-3.11",
    "Calls to services need the connection; without any, leave WITH CONNECTION out.",
)


class PythonUdf:
    """A transform as a Python UDF.

    Args:
        spec: The transform.
        columns: The columns that it reads.
        name: `dataset.function`, or `project.dataset.function`.
        connection: `location.name`, or `project.location.name`.

    Raises:
        ConfigError: It is not self-contained; says why.
    """

    def __init__(
        self, spec: TransformSpec, columns: Sequence[Column], name: str, connection: str
    ) -> None:
        _refuse_other_hooks(spec)
        self._columns = spec.read_columns(tuple(columns))
        self._name = name
        self._connection = connection
        self._kind = spec.kind
        source = inspect.getsource(sys.modules[self._kind.__module__])
        self._tree = ast.parse(source)
        self.packages: list[str] = sorted(set(_packages(self._tree)))
        _refuse_files(self._tree)

    def code(self) -> str:
        """The Python that BigQuery runs."""
        own = ast.unparse(_without_etlkit(self._tree))
        runtime = _without_docstring(inspect.getsource(udf_runtime))
        kinds = {column.name: _kind(column) for column in self._columns}
        return f"""\
{runtime.strip()}


{own.strip()}


def {_ENTRY}(row):
    return _etlkit_answer({self._kind.__qualname__}, {kinds!r}, row)
"""

    def create(self) -> str:
        """The statement that creates it."""
        options = [f'runtime_version = "{RUNTIME}"', f'entry_point = "{_ENTRY}"']
        if self.packages:
            options.append(f"packages = [{', '.join(map(literal, self.packages))}]")
        listed = ",\n  ".join(options)
        return f"""\
CREATE OR REPLACE FUNCTION {quoted_path(self._name)}(`row` STRING)
RETURNS STRING
LANGUAGE python
WITH CONNECTION {quoted_path(self._connection)}
OPTIONS (
  {listed}
)
AS {_code_literal(self.code())};
"""

    def call(self) -> str:
        """The expression that calls it, where the columns are in scope."""
        names = ", ".join(quoted(column.name) for column in self._columns)
        return f"{quoted_path(self._name)}(TO_JSON_STRING(STRUCT({names})))"


def _refuse_other_hooks(spec: TransformSpec) -> None:
    kind = spec.kind
    if spec.make is not kind:
        raise _refused(f"{kind.__name__} is made by a function, which BigQuery does not have")
    if spec.is_async or spec.batched or spec.is_arrow:
        hook = "async hooks" if spec.is_async else "transform_batch or transform_arrow"
        raise _refused(f"{kind.__name__} has {hook}: BigQuery calls a function for one row")
    if "<locals>" in kind.__qualname__:
        raise _refused(f"{kind.__name__} is defined inside of a function")
    for base in kind.__mro__:
        if base not in {EtlBase, object} and base.__module__ != kind.__module__:
            raise _refused(f"{kind.__name__} inherits from {base.__module__}.{base.__qualname__}")


def _refuse_files(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "__file__":
            raise _refused(
                f"line {node.lineno} uses __file__: there are no files beside the function"
            )


def _packages(tree: ast.Module) -> Iterator[str]:
    """The packages to install, each in the version that is installed here.

    Raises:
        ConfigError: Something else is imported.
    """
    for node, name in _imports(tree):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or name in _BASES:
            continue
        where = f"line {node.lineno} imports {name}"
        if top == "etlkit":
            raise _refused(f"{where}, and BigQuery does not have etlkit")
        found = importlib.util.find_spec(top)
        if found is None:
            raise _refused(f"{where}, which is not installed here")
        origin = Path(found.origin or next(iter(found.submodule_search_locations or ()), ""))
        homes = _distributions()
        if top not in homes or not {"site-packages", "dist-packages"} & set(origin.parts):
            raise _refused(f"{where}, a module of yours: move what it needs into the same file")
        for distribution in sorted(set(homes[top])):
            yield f"{distribution}=={metadata.version(distribution)}"


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Importable names and what brings them; looking takes about a second."""
    return metadata.packages_distributions()


def _imports(tree: ast.Module) -> Iterator[tuple[Any, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in {"etlkit", "etl_base"}:
                    raise _refused(f"line {node.lineno}: write from etlkit import EtlBase")
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise _refused(f"line {node.lineno} imports a module beside it")
            name = node.module or ""
            names = {alias.asname or alias.name for alias in node.names}
            if name in _BASES and node not in tree.body:
                raise _refused(f"line {node.lineno} imports etlkit inside of a block")
            if name in _BASES and not names <= {"EtlBase"}:
                others = ", ".join(sorted(names - {"EtlBase"}))
                raise _refused(f"line {node.lineno} imports {others} of etlkit")
            yield node, name


def _without_etlkit(tree: ast.Module) -> ast.Module:
    """The module without imports of etlkit; `annotations` are not evaluated in either."""
    kept = [
        node
        for node in tree.body
        if not (isinstance(node, ast.ImportFrom) and node.module in {*_BASES, "__future__"})
    ]
    if kept and _is_docstring(kept[0]):
        del kept[0]
    return ast.Module(kept, [])


def _without_docstring(source: str) -> str:
    """The source as it is, comments included, without the first statement."""
    first = ast.parse(source).body[0]
    return "\n".join(source.splitlines()[first.end_lineno :])


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _kind(column: Column) -> Any:
    kind: Any = column.type
    if column.fields:
        kind = {field.name: _kind(field) for field in column.fields}
    return [kind] if column.mode == "REPEATED" else kind


def _code_literal(code: str) -> str:
    for quotes in ("'''", '"""'):
        if quotes not in code and not code.endswith((quotes[0], "\\")):
            return f"r{quotes}\n{code}{quotes}"
    return literal(code)


def _refused(reason: str) -> ConfigError:
    return ConfigError(
        f"this Etl cannot be a Python UDF: {reason}. It has to be a class in one file that imports "
        "Python's library and packages only. etlkit serve --sql has no such limits"
    )
