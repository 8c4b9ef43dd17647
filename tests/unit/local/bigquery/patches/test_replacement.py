import ast
import importlib.metadata
import re
import sys
import types
from pathlib import Path

import pytest

import etlkit.local
from etlkit.errors import ConfigError
from etlkit.local.bigquery.patches.replacement import (
    ABSENT,
    Original,
    PatchTable,
    current_fingerprint,
)
from etlkit.local.bigquery.patches.table import EMULATOR_VERSION, ORIGINALS

LOCAL = Path(etlkit.local.__file__).parent
MODULES = sorted(LOCAL.rglob("*.py"))
FOREIGN = ("bqemulator", "sqlglot", "duckdb")
# The emulator's memory of jobs and readers. Patches remove entries from it, and replace nothing.
STATE = {"executor.JOB_RESULTS", "executor.JOB_SCHEMAS", "emulator_sessions._SESSIONS"}
MUTATORS = {"append", "extend", "insert", "update", "add", "discard", "remove", "pop", "setdefault"}


@pytest.fixture
def emulator(tmp_path, monkeypatch):
    """A fake emulator with a function, a class, data and a router."""
    path = tmp_path / "fake_emulator.py"
    path.write_text(
        "def run():\n    return 1\n\n"
        "class Engine:\n    def ask(self):\n        return 2\n\n"
        "WORDS = {'b', 'a'}\nENTRIES = {'known': 1}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    sys.modules.pop("fake_emulator", None)


def original(path, fingerprint=None):
    return Original(path, fingerprint or current_fingerprint(path), ("patches/fake",), "A reason.")


def table(*originals):
    return PatchTable(originals, "1.0")


def test_a_checked_original_is_replaced(emulator):
    """Functions, methods, data and entries are replaced after the check."""
    run, ask = original("fake_emulator:run"), original("fake_emulator:Engine.ask")
    words, added = original("fake_emulator:WORDS"), original("fake_emulator:ENTRIES[new]", ABSENT)
    patches = table(run, ask, words, added)
    patches.check("1.0")
    for row in (run, ask, words, added):
        patches.replace(row.path, "replaced")
    module = sys.modules["fake_emulator"]
    assert (module.run, module.Engine.ask, module.WORDS) == ("replaced",) * 3
    assert module.ENTRIES == {"known": 1, "new": "replaced"}


def test_an_entry_of_a_cache_is_forgotten(emulator):
    """Also one that is not there; a cache that is gone is noticed."""
    PatchTable.forget("fake_emulator:ENTRIES", "known")
    PatchTable.forget("fake_emulator:ENTRIES", "known")
    assert sys.modules["fake_emulator"].ENTRIES == {}
    with pytest.raises(AttributeError, match="GONE"):
        PatchTable.forget("fake_emulator:GONE", "known")


def test_nothing_is_replaced_before_the_check(emulator):
    """An unchecked table refuses to replace anything."""
    patches = table(original("fake_emulator:run"))
    with pytest.raises(LookupError, match="fake_emulator:run is not a checked row"):
        patches.replace("fake_emulator:run", None)
    assert sys.modules["fake_emulator"].run() == 1


def test_what_has_no_row_is_not_replaced(emulator):
    """A patch must not replace a part that has no row in the table."""
    patches = table(original("fake_emulator:run"))
    patches.check("1.0")
    with pytest.raises(LookupError, match="fake_emulator:WORDS is not a checked row"):
        patches.replace("fake_emulator:WORDS", None)
    assert len(sys.modules["fake_emulator"].WORDS) == 2


@pytest.mark.parametrize(
    ("path", "fingerprint"),
    [
        ("fake_emulator:run", "0123456789ab"),
        ("fake_emulator:WORDS", "0123456789ab"),
        ("fake_emulator:gone", "0123456789ab"),
        ("fake_emulator:Gone.ask", "0123456789ab"),
        ("fake_emulator.gone:run", "0123456789ab"),
        ("fake_emulator:ENTRIES[known]", ABSENT),
    ],
    ids=["source", "data", "name", "class", "module", "entry that should be new"],
)
def test_a_changed_or_missing_original_stops_the_start(emulator, path, fingerprint):
    """The error names the changed part and the patches to check, and nothing else."""
    patches = table(
        original("fake_emulator:Engine"), Original(path, fingerprint, ("patches/one",), "A reason.")
    )
    sentence = (
        f"Parts that the local server replaces are missing or have changed ({path}): "
        "check these patches: patches/one"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        patches.check("1.0")


def test_a_changed_source_changes_the_fingerprint(emulator):
    """The fingerprint follows the source, not the name."""
    row = original("fake_emulator:run")
    emulator.write_text("def run():\n    return 10\n")
    sys.modules.pop("fake_emulator")
    sys.path_importer_cache.clear()
    for cached in emulator.parent.glob("__pycache__/*"):
        cached.unlink()
    with pytest.raises(ConfigError, match=r"changed \(fake_emulator:run\)"):
        table(row).check("1.0")


def test_another_version_stops_the_start(emulator):
    """The error names both versions and all patches."""
    patches = table(original("fake_emulator:run"))
    with pytest.raises(ConfigError, match=r"written for bqemulator 1\.0, but 1\.1 .*patches/fake$"):
        patches.check("1.1")


def test_a_route_is_answered_by_its_replacement(monkeypatch):
    """The path and the methods of the route stay."""
    module = types.ModuleType("fake_routes")

    def show():
        return 1

    class Route:
        endpoint, path, methods = show, "/v2/show", {"GET"}

    class Router:
        prefix = "/v2"
        routes = [Route]  # noqa: RUF012 - one per test
        added = []  # noqa: RUF012 - as above

        def add_api_route(self, path, endpoint, methods):
            self.added.append((path, endpoint, methods))

    Route.endpoint = staticmethod(show)
    module.router, module.show = Router(), show
    monkeypatch.setitem(sys.modules, "fake_routes", module)
    patches = table(original("fake_routes:show"))
    patches.check("1.0")
    patches.replace_route("fake_routes:show", "new")
    assert (Router.routes, Router.added) == ([], [("/show", "new", ["GET"])])
    with pytest.raises(LookupError, match="No route is answered by fake_routes:show"):
        patches.replace_route("fake_routes:show", "new")


def test_the_table_holds_for_the_pinned_emulator():
    """The installed version, the pin and the table agree."""
    assert importlib.metadata.version("bqemulator") == EMULATOR_VERSION
    project = LOCAL.parent.parent / "pyproject.toml"
    assert f'"bqemulator=={EMULATOR_VERSION}"' in project.read_text()


def test_each_row_is_used_by_the_patches_that_it_names():
    """The rows of the table and the calls of `replace` agree, in both directions."""
    used = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("PATCHES.replace"):
                module = path.relative_to(LOCAL).with_suffix("").as_posix()
                used.setdefault(ast.literal_eval(node.args[0]), set()).add(module)
    assert used == {row.path: set(row.patches) for row in ORIGINALS}
    assert len(ORIGINALS) == len(used)


def foreign_changes(tree):
    """Lines that change an attribute or an entry of an imported foreign module or class."""
    foreign = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            foreign |= {
                alias.asname or alias.name.split(".")[0]
                for alias in node.names
                if alias.name.split(".")[0] in FOREIGN
            }
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FOREIGN:
            foreign |= {alias.asname or alias.name for alias in node.names}
    for node in ast.walk(tree):  # another name for a foreign object, such as `_Parser`
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Attribute):
            names = node.targets if isinstance(node, ast.Assign) else [node.target]
            if root(node.value) in foreign:
                foreign |= {name.id for name in names if isinstance(name, ast.Name)}
    for node in ast.walk(tree):
        changes = [changed for changed in changed_by(node) if root(changed) in foreign]
        if any(not is_state(changed) for changed in changes):
            yield ast.unparse(node)


def is_state(changed):
    """Whether an expression is the state of jobs and readers, or an entry of it."""
    container = changed.value if isinstance(changed, ast.Subscript) else changed
    return ast.unparse(container) in STATE


def changed_by(node):
    """The expressions whose attribute or entry a statement or call changes."""
    if isinstance(node, ast.Assign | ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"setattr", "delattr"}:
        return [node.args[0]]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return [node.func.value] if node.func.attr in MUTATORS else []
    else:
        return []
    flat = [inner for target in targets for inner in getattr(target, "elts", [target])]
    return [target for target in flat if isinstance(target, ast.Attribute | ast.Subscript)]


def root(node):
    """The name at the start of an expression of attributes and entries."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(LOCAL).as_posix())
def test_nothing_is_replaced_past_the_table(path):
    """No module of the local world changes bqemulator, sqlglot or duckdb without the table."""
    assert list(foreign_changes(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import bqemulator.server as s\ns.create_app = 1",
        "from bqemulator.jobs import executor\nexecutor.run.limit += 1",
        "from sqlglot.dialects.bigquery import BigQuery\nP = BigQuery.Parser\nP.FUNCTIONS['X'] = 1",
        "def f():\n    import duckdb\n    setattr(duckdb, 'connect', 1)",
        "import sqlglot\nsqlglot.exp.TABLE.update({1: 2})",
        "from bqemulator.sql import translator\ndel translator.WORDS",
    ],
)
def test_a_change_past_the_table_is_found(code):
    """The check above sees assignments, entries, aliases, `setattr`, mutating calls and `del`."""
    assert list(foreign_changes(ast.parse(code)))
