"""The shape of the house: who may import whom, and what an import may cost."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import etlkit
from etlkit import testing

ROOT = Path(etlkit.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# A module may import from layers below its own, and from its own.
LAYERS = [
    {"redaction", "deferred_imports", "_version"},
    {"errors"},
    {"rows"},
    {"telemetry"},
    {"calls"},
    {"local"},
    {"variables"},
    {"api"},
    {"engine"},
    {"bigquery", "files", "vision"},
    {"workflow"},
    {"sql_check", "serving", "open_lineage"},
    {"worker_process", "worker_imports", "notebook"},
    {"engines"},
    {"runner"},
    {"testing"},
    {"cli"},
    {"run", "runs", "pytest_plugin"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


@cache
def nodes(path):
    """The syntax of a file, each part of it."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def parsed(path):
    """The imports of a file, also those inside functions: modules, and `module.name` of each name."""
    modules, names = [], []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return modules, names


def imports(path):
    """All modules that a file imports."""
    return parsed(path)[0]


def part(path):
    """The layer's name of a file: its module, or its package."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_dependencies_point_one_way():
    """cli -> runner -> bigquery -> engine -> api -> calls -> rows -> errors; `local` imports little."""
    wrong = []
    for path in MODULES:
        if path.name == "__main__.py" or part(path) == "__init__":
            continue  # an entry point of `python -m`, and the public names, which are loaded lazily
        own = LEVEL[part(path)]
        for name in imports(path):
            head, _, rest = name.partition(".")
            other = rest.split(".")[0]
            if head == "etlkit" and rest and other != part(path) and LEVEL[other] >= own:
                wrong.append((str(path.relative_to(ROOT)), name))
    assert wrong == []


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("google.cloud.bigquery", {"bigquery", "local"}),
        ("google.cloud.vision", {"vision", "local", "testing"}),
        ("requests", {"bigquery"}),
        ("urllib3", {"calls", "local"}),
        ("tenacity", {"calls"}),
        ("bqemulator", {"local"}),
        ("opentelemetry", {"telemetry"}),
        ("openlineage", {"open_lineage"}),
        ("IPython", {"notebook"}),
        ("rich", {"cli"}),
        ("sqlglot", {"variables", "local", "workflow"}),
        ("click", {"cli"}),
        ("dbt", {"workflow"}),
        ("apache_beam", {"engines"}),
        ("ray", {"engines"}),
        ("zetasql", {"local"}),
        ("jinja2", {"cli"}),
        ("pygraphviz", {"cli"}),
        ("vl_convert", {"cli"}),
        ("uvicorn", {"local", "serving"}),
    ],
)
def test_each_library_has_a_home(library, homes):
    """Google's clients, requests and the rest are imported in their own corner only."""
    users = {
        part(p) for p in MODULES for name in imports(p) if f"{name}.".startswith(f"{library}.")
    }
    assert users <= homes


def test_the_emulator_is_not_known_to_the_core():
    """There is one BigQuery implementation: outside of `local`, only `runner` and `cli` import it."""
    users = {part(p) for p in MODULES for n in imports(p) if n.startswith("etlkit.local")}
    assert users <= {"local", "runner", "worker_process", "cli"}


def test_one_module_knows_googlesqls_analyzer():
    """The package is young: what we use of it stands in one place."""
    users = {p.relative_to(ROOT).as_posix() for p in MODULES for n in imports(p) if "zetasql" in n}
    assert users == {"local/bigquery/googlesql.py"}


@pytest.mark.parametrize(
    "module",
    [
        "etlkit",
        "etlkit.run",
        "etlkit.local",
        "etlkit.calls.http",
        "etlkit.pytest_plugin",
        "etlkit.testing",
    ],
)
def test_imports_are_cheap(module):
    """Google's clients cost seconds to import: they stay out until they are used."""
    # Some packages put an empty `google.cloud` there when the interpreter starts.
    code = f"import sys; old = set(sys.modules); import {module}; print(*set(sys.modules) - old)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    heavy = ("google.cloud", "google.api_core", "pyarrow", "requests", "duckdb", "onnxruntime")
    assert [name for name in loaded if name.startswith(heavy)] == []


MAKERS = {"pa.array", "pa.scalar"}
WITH_OPTIONS = {"pc.match_substring_regex", "pc.replace_substring_regex", "pc.round"}


def makes_pyarrow_guess(node):
    """Whether pyarrow has to infer the type of a value, or converts to numpy."""
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func)
    if name in MAKERS:
        return len(node.args) == 1 and not any(each.arg == "type" for each in node.keywords)
    if name.startswith("pc.") and name not in WITH_OPTIONS:
        return any(
            isinstance(each, ast.Constant) or (isinstance(each, ast.Name) and each.id.isupper())
            for each in node.args
        )
    return name.endswith(".to_numpy")


def test_pyarrow_is_told_all_types():
    """To infer the type of a value, pyarrow imports pandas, which takes a second.

    The local server is a process that does without pandas.
    """
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path in MODULES
        if part(path) != "local"
        for node in nodes(path)
        if makes_pyarrow_guess(node)
    ]
    assert wrong == []


@pytest.mark.parametrize(("package", "more"), [(etlkit, ["__version__"]), (testing, [])])
def test_public_names_are_all_there(package, more):
    """`__all__`, the lazy table and what can be got are the same names."""
    assert sorted([*package._HOMES, *more]) == sorted(package.__all__)
    assert all(getattr(package, name) is not None for name in package.__all__)
    modules = {path.stem for path in Path(package.__file__).parent.iterdir()}
    assert not modules & {*package.__all__}  # importing such a module would hide the name
    with pytest.raises(AttributeError, match="nothing"):
        package.nothing  # noqa: B018 - the access is the test


def test_no_modules_import_each_other_in_a_circle():
    """Not even by types: what two modules need of each other belongs below both of them."""
    names = {".".join(p.relative_to(ROOT.parent).with_suffix("").parts): p for p in MODULES}
    graph = {}
    for name, path in names.items():
        if path.name in {"__init__.py", "__main__.py"}:
            continue
        modules, members = parsed(path)
        wanted = {*modules, *members}
        graph[name] = (wanted & names.keys()) - {name}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")
    assert len(order) >= len(graph)
