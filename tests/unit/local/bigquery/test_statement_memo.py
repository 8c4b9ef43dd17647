"""A result is taken for a statement with other ids only where two runs have shown that it may be."""

import os
import sqlite3
import time
from contextlib import closing

import pytest

from etlkit.local.bigquery.statement_memo import StatementMemo, Template
from etlkit.local.bigquery.user_cache import KeptTexts

RUNS = [f"20261130_01440{n}507_f90e323{n}" for n in range(4)]
TOKEN = "774c72ae3501dc7"


def told(memo, text, work):
    """The answer of a memo for a text, and whether it had to be worked out."""
    template = Template(text)
    known = memo.find(template)
    if known is None:
        memo.keep(template, work(text))
    return known


def test_a_text_without_ids_is_worked_out_once():
    memo = StatementMemo()
    assert told(memo, "SELECT 1", str.lower) is None
    assert told(memo, "SELECT 1", str.lower) == "select 1"
    assert told(memo, "SELECT 2", str.lower) is None


def test_ids_are_replaced_from_the_third_run_on():
    memo = StatementMemo()
    texts = [f'FROM t_{run} JOIN u_{run}_1_1 ON x = "{TOKEN}{n}"' for n, run in enumerate(RUNS)]
    answers = [told(memo, text, lambda text: f"<{text}>") for text in texts]
    assert answers == [None, None, f"<{texts[2]}>", f"<{texts[3]}>"]
    assert told(memo, texts[0], str.lower) == f"<{texts[0]}>"


@pytest.mark.parametrize(
    "work",
    [
        lambda text: text.encode().hex(),
        lambda text: f"{text} {int(text[-1]) % 2}",
        lambda text: f"{text} {text.replace('f90', 'F90')}",
    ],
    ids=["hidden in the result", "computed from the id", "written in another way"],
)
def test_a_result_that_depends_on_an_id_holds_for_its_text_only(work):
    memo = StatementMemo()
    texts = [f"t_{run}" for run in RUNS]
    for _ in range(3):
        for text in texts:
            assert told(memo, text, work) in (None, work(text))
    assert told(memo, texts[3], work) == work(texts[3])


def test_the_order_of_ids_is_part_of_the_text():
    """What sorts names would sort these differently."""
    memo = StatementMemo()
    work = lambda text: " ".join(sorted(text.split()))  # noqa: E731
    for a, b in ((0, 1), (2, 3), (1, 2)):
        told(memo, f"t_{RUNS[a]} t_{RUNS[b]}", work)
    backwards = f"t_{RUNS[3]} t_{RUNS[0]}"
    assert told(memo, backwards, work) is None
    assert told(memo, f"t_{RUNS[0]} t_{RUNS[3]}", work) == f"t_{RUNS[0]} t_{RUNS[3]}"


@pytest.mark.parametrize(
    "text",
    [
        'SELECT "1234567890123456"',
        'SELECT "123456789012e456"',
        f'SELECT "{TOKEN}0 and more"',
        f'SELECT b"{TOKEN}0"',
        rf'SELECT "a\"{TOKEN}0"',
        f"SELECT a{RUNS[0]}",
        f"SELECT {RUNS[0]}b",
    ],
)
def test_what_may_be_no_id_stays(text):
    assert Template(text).ids == ()


def test_marks_in_a_text_are_no_marks_of_ours():
    memo = StatementMemo()
    for run in RUNS:
        told(memo, f"t_{run}", str.upper)
    assert told(memo, "t_\x000\x00", str.upper) is None
    assert told(memo, "t_\x000\x00", str.upper) is None


def test_old_entries_and_long_texts_go():
    memo = StatementMemo(max_entries=2, max_chars=20)
    for text in ("a", "b", "a", "c"):
        told(memo, text, str.upper)
    assert [told(memo, text, str.upper) for text in ("a", "b")] == ["A", None]
    assert [told(memo, "x" * 30, str.upper) for _ in range(2)] == [None, None]


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """Make what a new process would have: an empty memory, and what is kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    opened = []

    def new_process(name="translated", version="1"):
        memo = StatementMemo(name)
        memo.kept = KeptTexts("texts", version)
        opened.append(memo.kept)
        return memo

    yield new_process
    for each in opened:
        each.close()


def test_another_process_knows_what_is_kept_and_how_sure_it_is(keep):
    def work(text):
        return text.replace("t_", "T_")

    tables = [f"t_{run}" for run in RUNS]
    assert told(keep(), tables[0], work) is None
    assert told(keep(), tables[0], work) == work(tables[0])
    assert told(keep(), tables[1], work) is None  # the second run: only now it is sure
    assert told(keep(), tables[2], work) == work(tables[2])
    depending = [f"SELECT '{run}'" for run in RUNS]
    for text in (*depending, *depending):
        assert told(keep(), text, lambda text: text[-2]) in (None, text[-2])
    assert told(keep(), depending[3], str.upper) == "3"


@pytest.mark.parametrize("change", [{"name": "qualified"}, {"version": "2"}])
def test_nothing_is_kept_for_other_functions_and_versions(keep, change):
    told(keep(), "a", str.upper)
    assert told(keep(**change), "a", str.upper) is None
    assert told(keep(), "a", str.lower) == "A"


def test_a_broken_file_keeps_nothing_and_old_files_of_other_versions_go(keep, tmp_path):
    folder = tmp_path / "etlkit"
    told(keep(version="old"), "a", str.upper)
    told(keep(version="new"), "a", str.upper)
    long_ago = time.time() - 31 * 86400
    os.utime(folder / "texts-old.sqlite", (long_ago, long_ago))
    (folder / "texts-broken.sqlite").write_bytes(b"no database" * 100)
    memo = keep(version="broken")
    assert [told(memo, "a", str.upper) for _ in range(2)] == [None, "A"]
    told(keep(version="newest"), "a", str.upper)
    assert not list(folder.glob("texts-old*"))
    assert (folder / "texts-new.sqlite").exists()
    with closing(sqlite3.connect(folder / "texts-new.sqlite")) as other:
        other.execute("BEGIN EXCLUSIVE")
        memo = keep(version="new")  # another process holds it
        assert [told(memo, "b", str.upper) for _ in range(2)] == [None, "B"]
        other.rollback()
