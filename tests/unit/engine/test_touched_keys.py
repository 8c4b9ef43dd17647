"""Columns that a transform's code does not touch: nobody can tell that they were not in its row."""

import functools
import importlib.util
import linecache
import os
import random
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etlkit import EtlBase, EtlkitError, JobError, TransferJob
from etlkit.api.run import RunRequest
from etlkit.engine.touched_keys import touched_keys
from etlkit.engine.transfer import run_transfer
from etlkit.engine.transform_spec import TransformSpec
from etlkit.rows.columns import parse_schema
from etlkit.testing import MemorySink, MemorySource

ROUNDS = int(os.environ.get("ETLKIT_TOUCHED", "20"))
SEED = int(os.environ.get("ETLKIT_SEED") or 1)

HEAD = """
import functools
from etlkit import EtlBase

def helper(row):
    return row["b"]

class Etl(EtlBase):
    kept = []
    def before_action(self):
        self.found = 0
"""


@pytest.fixture
def etl_of(tmp_path, monkeypatch):
    """Makes a class of the lines of its hook, in a file of its own."""
    numbers = iter(range(100_000))

    def made(*lines, header="def transform_row(self, row):", head=HEAD):
        name = f"touched_{tmp_path.name}_{next(numbers)}"
        path = tmp_path / f"{name}.py"
        body = "\n".join(f"        {line}" for line in lines)
        path.write_text(f"{head}\n    {header}\n{body}\n")
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module.Etl

    return made


KNOWN = {
    'row["x"] = row["a"] + 1; return row': "ax",
    "return row": "",
    "return None": "",
    "pass": "",
    'return {**row, "x": row["a"]}': "ax",
    'return {"x": 1, **row}': "x",
    'return row | {"x": row["a"]}': "ax",
    'return row if row["a"] else None': "a",
    'return [row, {**row, "x": 1}]': "x",
    'return [{**row, "x": n} for n in row["list"]]': ("list", "x"),
    'return ({**row, "x": n} for n in range(3))': "x",
    "yield row": "",
    'for n in range(3): yield {**row, "x": n}': "x",
    'row["a"] += 1; return row': "a",
    'row["list"].append(1); return row': ("list",),
    'row["a"]["b"] = 1; return row': "a",
    'del row["a"]; return row': "a",
    'row.pop("a"); return row': "a",
    'row["x"] = row.pop("a", None); return row': "ax",
    'row["x"] = row.get("a", row["b"]); return row': "abx",
    'row.setdefault("a", 1); return row': "a",
    'row.update(x=row["a"], b=1); return row': "axb",
    'row.update({"x": 1}, b=2); return row': "xb",
    'row |= {"x": row["a"], "b": 2}; return row': "axb",
    'if "a" in row: row["x"] = 1\n        return row': "ax",
    'if "a" not in row: return None\n        return row': "a",
    'row["x"] = f"{row[\'a\']}!"; return row': "ax",
    'row["x"] = [row["a"] for _ in range(2)]; return row': "ax",
    'row["x"] = (lambda: row["a"])(); return row': "ax",
    'self.row = row["a"]; return row': "a",
    "return row  # row": "",
    'row["x"] = dict(row=row["a"]); return row': "ax",
    'try: row["x"] = 1 / row["a"]\n        except TypeError: return None\n        return row': "ax",
}

UNKNOWN = [
    "return dict(row)",
    "return row.copy()",
    'return {"x": row["a"]}',
    'return {**row, **{"x": 1}}',
    "return {**row, helper: 1}",
    'return {"x": row, **row}',
    'return row | {**row, "x": 1}',
    "return helper(row)",
    'helper(row); row["x"] = 1; return row',
    "self.kept.append(row); return row",
    "self.row = row; return row",
    'key = "a"; row["x"] = row[key]; return row',
    'key = "x"; row[key] = 1; return row',
    "row[0] = 1; return row",
    "row.clear(); return row",
    'row.update([("b", 1)]); return row',
    'row.update({"x": 1, **{}}); return row',
    "row.update(**{}); return row",
    'row.pop(*["a"]); return row',
    'row.get("a", default=1) if 0 else 0; return row',
    'row |= {"x": 1, **row}; return row',
    'row |= helper("x"); return row',
    'row &= {"x": 1}; return row',
    'row = {"x": 1}; return row',
    'other = row; other["x"] = 1; return other',
    "if len(row) > 1: return row",
    "for key in row: pass\n        return row",
    'row["x"] = list(row.values()); return row',
    'row["x"] = row; return row',
    'row["x"] = str(row); return row',
    'row["x"] = f"{row}"; return row',
    'row["x"] = row == {}; return row',
    'row["x"] = row.get; return row',
    'row["x"] = [row for row in [{"a": 1}]][0]["a"]; return row',
    'row["x"] = (lambda row: row["a"])({"a": 1}); return row',
    "def inner(): return row\n        helper(inner()); return row",
    'def inner(row): return row["a"]\n        return row',
    'row["x"] = locals(); return row',
    'row["x"] = eval("row"); return row',
    'import sys; row["x"] = sys._getframe().f_locals; return row',
    "breakpoint(); return row",
    "IPython.embed(); return row",
    "code.interact(); return row",
    'row["x"] = str(inspect.getargvalues(helper)); return row',
    'match row:\n            case {"a": a}: row["x"] = a\n        return row',
    "match 1:\n            case row: pass\n        return row",
    'try: helper(1)\n        except Exception as row: pass\n        return {"x": 1}',
    "with open(__file__) as row: pass\n        return None",
    "import os as row\n        return None",
    "yield from [row]",
    'yield from [{"x": row["a"]}]',
    "return (row, helper)[0]",
    "return row and row",
    "return (x := row)",
    'del row; return {"x": 1}',
    "yield (lambda: (yield row))",
    """row["x"] = helper("a == @row['b']"); return row""",
    """row["x"] = helper(f"{row['a']} == @row['b']"); return row""",
    "self.transform_row = self.before_action; return row",
]


@pytest.mark.parametrize("code", KNOWN)
def test_keys_that_are_written_in_the_code_are_known(code, etl_of):
    assert touched_keys(etl_of(code)) == frozenset(KNOWN[code])


@pytest.mark.parametrize("code", UNKNOWN)
def test_any_other_mention_of_the_row_may_touch_every_key(code, etl_of):
    assert touched_keys(etl_of(code)) is None


@pytest.mark.parametrize(
    "header",
    [
        "def transform_row(self, row, other=None):",
        "def transform_row(self, row, *rest):",
        "def transform_row(self, row, **rest):",
        "def transform_row(self, row, *, other=1):",
        "def transform_row(self, row={}):",
        "def transform_row(*args):",
        "@staticmethod\n    def transform_row(row):",
        "@classmethod\n    def transform_row(self, row):",
        "@functools.lru_cache\n    def transform_row(self, row):",
        "@(lambda hook: lambda self, row: hook(self, {**row}))\n    def transform_row(self, row):",
    ],
)
def test_a_hook_of_another_form_may_touch_every_key(header, etl_of):
    assert touched_keys(etl_of("return None", header=header)) is None


def test_hooks_may_be_async_or_carry_a_mark(etl_of):
    """`typing.override` and its kind return the function itself."""
    code = 'row["x"] = await row["a"]; return row', 'row["x"] = row["a"]; return row'
    assert touched_keys(etl_of(code[0], header="async def transform_row(self, row):")) == {*"ax"}
    header = "@(lambda hook: hook)\n    def transform_row(self, row):"
    assert touched_keys(etl_of(code[1], header=header)) == {*"ax"}


@pytest.mark.parametrize(
    "lines",
    [
        "def before_action(self): self.transform_row = helper",
        "def before_action(self): setattr(self, 'transform_row', helper)",
        "def after_action(self): [self.transform_row for _ in '1']",
        "def __getattribute__(self, name): return object.__getattribute__(self, name)",
        "@classmethod\n    def change(cls): cls.transform_row = helper",
    ],
)
def test_a_class_that_may_change_its_hook_may_touch_every_key(lines, etl_of):
    assert touched_keys(etl_of("return row", head=f"{HEAD}\n    {lines}\n")) is None


@pytest.mark.parametrize(
    "change",
    [
        "replace(self)",
        "setattr(self, '_'.join(['transform', 'row']), helper)",
        "self.__class__ = Other",
        "vars(self).update(transform_row=helper)",
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_an_instance_with_another_hook_gets_no_rows(change, is_async, etl_of):
    """It would miss the columns that the hook of its class does not touch."""
    prefix = "async " if is_async else ""
    head = f"""
from etlkit import EtlBase

async def helper(row):
    return {{"length": len(row)}}

def replace(etl):
    etl.transform_row = helper

class Base(EtlBase, abstract=True):
    {prefix}def before_action(self):
        {change}

class Other(Base):
    {prefix}def transform_row(self, row):
        return {{"length": len(row)}}

class Etl(Base):
"""
    kind = etl_of("return row", header=f"{prefix}def transform_row(self, row):", head=head)
    assert touched_keys(kind) == frozenset()
    error, message, _ = outcome(kind, 10)
    assert error is JobError
    assert "has another transform_row than its class Etl" in message
    assert "attribute `columns`" in message


def test_a_factory_may_not_change_its_mind(etl_of):
    """What it made first says which columns are needed."""
    kinds = iter([etl_of("return row"), etl_of("return dict(row)")])

    def factory():
        return next(kinds)()

    assert outcome(factory, 10)[0] is JobError


@pytest.mark.parametrize(
    "client",
    [
        "type('Keys', (dict,), {'__getattr__': dict.__getitem__})()",
        "type('Lazy', (), {'__getattr__': lambda self, name: 1 / 0})()",
        "type('Lazy', (), {'__class__': property(lambda self: 1 / 0)})()",
    ],
)
def test_a_client_that_raises_at_any_attribute_is_left_alone(client, etl_of):
    kind = etl_of('row["x"] = 1; return row', head=f"{HEAD}\n    client = {client}\n")
    assert touched_keys(kind) == {"x"}


def test_code_that_is_too_long_or_too_deep_says_nothing(etl_of):
    long = f"""DATA = "{"x" * 250_000}"\n{HEAD}"""
    assert touched_keys(etl_of("return row", head=long)) is None
    chain = " ".join(f'row if row["a"] == {n} else' for n in range(950))
    touched_keys(etl_of(f"return {chain} None"))  # does not raise


def test_what_python_says_of_the_file_is_not_said_again(etl_of, recwarn):
    kind = etl_of(r'row["x"] = "\d"; return row')
    recwarn.clear()
    assert touched_keys(kind) == {"x"}
    assert not recwarn.list


def test_code_that_is_not_in_its_file_says_nothing(etl_of):
    """The file was edited, is gone, or never was."""
    kind = etl_of('row["x"] = row["a"]; return row')
    path = Path(kind.transform_row.__code__.co_filename)
    text = path.read_text()
    for change in ('row["b"]', None):
        touched_keys.__globals__["_keys_in"].cache_clear()
        if change:
            path.write_text(text.replace('row["a"]', change))
        else:
            path.unlink()
        linecache.checkcache()
        assert touched_keys(kind) is None
    scope = {"EtlBase": EtlBase}
    code = "class Etl(EtlBase):\n    def transform_row(self, row):\n        return row"
    exec(code, scope)  # noqa: S102 - as in a shell of Python
    assert touched_keys(scope["Etl"]) is None


def test_code_is_known_by_its_file_though_the_same_code_elsewhere_is_not(etl_of):
    """To Python, the two codes are equal."""
    kinds = [etl_of('row["x"] = row["same"]; return row') for _ in range(2)]
    gone, there = (kind.transform_row.__code__ for kind in kinds)
    assert gone == there
    Path(gone.co_filename).unlink()
    linecache.checkcache()
    assert [touched_keys(kind) for kind in kinds] == [None, {"x", "same"}]


def test_whoever_debugs_sees_whole_rows(etl_of):
    kind = etl_of("return row")
    before = sys.gettrace()
    sys.settrace(lambda *_: None)
    try:
        assert touched_keys(kind) is None
    finally:
        sys.settrace(before)


SCHEMA = {
    "a": "INT64",
    "b": "STRING",
    "c": "FLOAT64",
    "d": "TIMESTAMP",
    "e": "ARRAY<STRUCT<name STRING, score FLOAT64>>",
    "f": "JSON",
}


def source_rows(num):
    return [
        {
            "a": n if n % 11 else None,
            "b": f"text {n % 13}" if n % 9 else None,
            "c": n / 7,
            "d": datetime(2026, 1, 1 + n % 28, tzinfo=UTC),
            "e": [{"name": f"n{k}", "score": k / 3} for k in range(n % 3)],
            "f": {"deep": [n, None]} if n % 5 else [1, "two"],
        }
        for n in range(num)
    ]


def outcome(kind, num_rows, columns=(), *, messages=True, **options):
    """What anybody can see of a run: rows with the order of their keys, rejects, counts, an error."""
    sink = MemorySink()
    sink.columns = parse_schema(columns) if columns else ()
    source = MemorySource(source_rows(num_rows), SCHEMA)
    job = TransferJob(source=source, transform=kind, sink=sink, **options)
    try:
        report = run_transfer(job, RunRequest("touched"))
    except EtlkitError as error:
        return type(error), messages and str(error), getattr(error, "row_id", None)
    counts = report.read, report.written, report.skipped, report.rejected
    rejects = sorted((r.row_id, r.source_row, messages and r.message) for r in sink.rejects)
    return counts, [list(row.items()) for row in sink.rows], sink.columns, rejects


def both(monkeypatch, kind, num_rows=60, **options):
    """The outcome with the columns that the code touches, and with whole rows."""
    found = outcome(kind, num_rows, **options)
    with monkeypatch.context() as patched:
        patched.setattr("etlkit.engine.transform_spec.touched_keys", lambda _kind: None)
        return found, outcome(kind, num_rows, **options)


class RandomHook:
    """The lines of a random hook that touches keys which its code shows."""

    def __init__(self, seed):
        self.dice = random.Random(seed)  # noqa: S311 - for tests

    def value(self):
        key = self.dice.choice("abcdf")
        return self.dice.choice(
            [
                f'row["{key}"]',
                f'row.get("{key}")',
                f'row.get("g{key}", 7)',
                f'str(row["{key}"])',
                '(row["a"] or 0) + 1',
                '[each["name"] for each in row["e"]]',
                f'"{key}" in row',
                "3",
            ]
        )

    def statement(self):
        key = self.dice.choice([*"abcdef", "x", "y", "x", "y"])
        return self.dice.choice(
            [
                f'row["{key}"] = {self.value()}',
                f'row["{key}"] = {self.value()}',
                f"row.update({key}={self.value()})",
                f'row |= {{"{key}": {self.value()}, "y": 1}}',
                f'row.setdefault("{key}", {self.value()})',
                f'row.pop("{key}", None)',
                'row["e"].append({"name": "last", "score": 1.0})',
                'if row["a"] and row["a"] % 10 == 3: return None',
                'if row["a"] and row["a"] % 10 == 7: raise ValueError(row["b"])',
                'if "a" in row and row["a"] == 5: del row["c"]',
                'if row.get("a") == 8: row["B"] = 1',
                'if row.get("a") == 40: row["late"] = row["a"]',
            ]
        )

    def result(self):
        return self.dice.choice(
            [
                *["return row"] * 4,
                'return {**row, "z": 1}',
                'return {"b": "first", **row}',
                'return row | {"z": None, "c": 0.5}',
                'return [row, {**row, "part": 2}]',
                'for part in range(2): yield {**row, "part": part}',
                'return row if row.get("a") else None',
            ]
        )

    def lines(self):
        statements = [self.statement() for _ in range(self.dice.randrange(4))]
        return [*statements, self.result()]

    def options(self):
        chosen = {
            "on_row_error": self.dice.choice(["reject", "skip", "fail"]),
            "max_rejected": None,
        }
        if chosen["on_row_error"] == "fail":
            del chosen["max_rejected"]
        return chosen | {
            "on_schema_change": self.dice.choice(["add_columns", "fail", "drop_columns"]),
            "max_concurrency": self.dice.choice([1, 1, 3]),
            "columns": self.dice.choice(
                [
                    {},
                    {},
                    {"a": "INT64 NOT NULL", "b": "STRING(6)", "x": "STRING"},
                    {**SCHEMA, "c": "FLOAT64 NOT NULL", "x": "INT64", "z": "INT64"},
                    {"a": "STRING", "late": "INT64"},
                ]
            ),
        }


def test_random_hooks_make_the_same_with_whole_rows(etl_of, monkeypatch):
    """Rows, the order of columns, rejects with their source rows, counts, and the row that ends a run.

    Of a row with several errors, another one may be told.
    """
    num_narrow = 0
    for seed in range(SEED * 100_000, SEED * 100_000 + ROUNDS):
        hook = RandomHook(seed)
        lines, options = hook.lines(), hook.options()
        if options["max_concurrency"] > 1 and options["on_row_error"] == "fail":
            options["on_row_error"], options["max_rejected"] = "reject", None
        kind = etl_of(*lines)
        assert touched_keys(kind) is not None, lines
        narrow, whole = both(monkeypatch, kind, messages=False, **options)
        assert narrow == whole, (seed, lines, options)
        num_narrow += len(touched_keys(kind) & set(SCHEMA)) < len(SCHEMA)
    assert num_narrow > ROUNDS / 2


@pytest.mark.parametrize(
    "declared",
    [
        {**SCHEMA, "x": "INT64"},
        {"a": "INT64", "x": "INT64"},
        {**SCHEMA, "c": "NUMERIC", "x": "INT64"},
        {"x": "INT64", **SCHEMA, "b": "STRING(4)"},
        {**SCHEMA, "b": "STRING NOT NULL"},
    ],
    ids=["all", "columns left out", "another type", "a length", "no x"],
)
def test_declared_columns_are_what_they_are_with_whole_rows(declared, etl_of, monkeypatch):
    """A column that is left out is a row error, one of another type is converted."""
    head = f"{HEAD}\n    output_schema = {declared!r}\n"
    kind = etl_of('row["x"] = 1', "return row", head=head)
    assert touched_keys(kind) == {"x"}
    narrow, whole = both(monkeypatch, kind, on_row_error="reject", max_rejected=None)
    assert narrow == whole


@pytest.mark.parametrize("policy", ["add_columns", "fail", "drop_columns"])
@pytest.mark.parametrize("num_rows", [60, 1100])
def test_first_rows_that_all_fail_decide_no_columns(num_rows, policy, etl_of, monkeypatch):
    """Later rows do: the columns that pass by are no more there than the others."""
    kind = etl_of(
        "self.found += 1", 'row["x"] = object() if self.found <= 1000 else 1', "return row"
    )
    options = {"on_row_error": "reject", "max_rejected": None, "on_schema_change": policy}
    narrow, whole = both(monkeypatch, kind, num_rows, **options)
    assert narrow == whole
    counts, rows, columns, _ = narrow
    assert counts == (num_rows, max(0, num_rows - 1000), 0, min(num_rows, 1000))
    assert [column.name for column in columns] == [*SCHEMA, *(["x"] if rows else [])]


def decoded(kind, **options):
    job = TransferJob(source=MemorySource([], SCHEMA), transform=kind, sink=MemorySink(), **options)
    return [column.name for column in TransformSpec(job).decoded_columns(parse_schema(SCHEMA))]


def test_only_columns_that_are_touched_become_values(etl_of):
    """A row has at least one; declared ones are those that are declared; batches are whole."""
    assert decoded(etl_of('row["x"] = row["c"]; return row')) == ["c"]
    assert decoded(etl_of('row["b"] = row["c"]; return row')) == ["b", "c"]
    assert decoded(etl_of('row["x"] = 1; return row')) == ["a"]
    assert decoded(etl_of("return dict(row)")) == list(SCHEMA)
    named = etl_of('row["x"] = 1; return row', head=f'{HEAD}\n    columns = ("b", "c")\n')
    assert decoded(named) == ["b", "c"]
    batched = f"{HEAD}\n    def transform_batch(self, rows): return rows\n"
    assert decoded(etl_of("return row", head=batched)) == list(SCHEMA)


def test_a_factory_may_give_an_instance_its_own_hook(etl_of):
    kind = etl_of('row["x"] = row["c"]; return row')
    assert decoded(functools.partial(kind)) == ["c"]

    def factory():
        made = kind()
        made.transform_row = lambda row: {"all": len(row)}
        return made

    assert decoded(factory) == list(SCHEMA)
