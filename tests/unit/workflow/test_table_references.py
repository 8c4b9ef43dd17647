import importlib
import itertools
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    Check,
    CsvSource,
    Datamart,
    EtlBase,
    HttpSink,
    String,
    Timestamp,
    TransferJob,
)
from etlkit.testing import MemorySink, MemorySource
from etlkit.workflow.job_tasks import as_runnable
from etlkit.workflow.table_references import same_table


def task_tables(run, variables=None):
    """What the task of a workflow would say."""
    return as_runnable(run).tables(variables)


ROOT = Path(__file__).parents[3]

ARTICLE = {
    "object_table": ("", "object_table"),
    "resnet_model": ("", "resnet"),
    "resnet_predict": ("resnet object_table", "resnet_predictions"),
    "labels": ("", "label"),
    "resnet_ranking": ("resnet_predictions label", "resnet_ranking"),
    "vision_objects": ("object_table", "vision_objects"),
    "vision_long": ("vision_objects", "vision_objects_long"),
    "vision_labels": ("object_table", "vision_labels"),
    "vision_wide": ("object_table", "vision_labels_wide"),
}


@pytest.mark.parametrize("name", ARTICLE)
def test_the_jobs_of_the_pipeline(name, monkeypatch):
    """Of each job of the photos, exactly the tables that it reads and writes are found."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    for module in [each for each in sys.modules if each.partition(".")[0] == "jobs"]:
        monkeypatch.delitem(sys.modules, module)  # of another test's project
    tables = task_tables(importlib.import_module(f"jobs.{name}").job)
    reads, writes = ({f"bqml_vision.{each}" for each in names.split()} for names in ARTICLE[name])
    assert (tables.reads, tables.writes, tables.unclear) == (reads, writes, ())


class Etl(EtlBase):
    def transform_row(self, row):
        return row


def transfer(source="SELECT x FROM d.a", **options):
    sink = BigQuerySink("d.t", mode="append", **options.pop("sink", {}))
    return TransferJob(source=BigQuerySource(source), transform=Etl, sink=sink, **options)


def test_a_transfer_writes_its_rejects_too():
    """The table of rejected rows has a reader, for example a check."""
    assert task_tables(transfer()).writes == {"d.t"}
    assert task_tables(transfer(on_row_error="reject")).writes == {"d.t", "d.t_rejects"}


def test_before_load_and_checks_belong_to_a_transfer():
    """DML before the rows writes, and a check reads other tables than the staged rows."""
    job = transfer(
        sink={"before_load": "DELETE d.t WHERE x IN (SELECT x FROM d.b)"},
        checks=["SELECT x FROM {staged} JOIN d.c USING (x)", Check("SELECT 1 FROM {staged}, d.e")],
    )
    assert task_tables(job).reads == {"d.a", "d.b", "d.c", "d.e"}
    assert task_tables(job).writes == {"d.t"}


def test_other_sources_and_sinks_have_no_tables():
    """Files and memory are no tables."""
    job = TransferJob(source=CsvSource("x.csv"), transform=Etl, sink=BigQuerySink("d.t"))
    assert (task_tables(job).reads, task_tables(job).writes) == (set(), {"d.t"})
    job = TransferJob(source=MemorySource([]), transform=Etl, sink=MemorySink())
    assert task_tables(job) == task_tables(lambda: None)


def test_a_transfer_to_an_api_fills_tables_too():
    """Answers and rejected rows are kept in tables; the API is none."""
    sink = HttpSink("https://x.example/rows", "crm.contacts", responses="crm.answers")
    job = TransferJob(source=BigQuerySource("SELECT x FROM d.a"), transform=Etl, sink=sink)
    assert task_tables(job).reads == {"d.a"}
    assert task_tables(job).writes == {"crm.answers"}
    rejecting = replace(job, on_row_error="reject")
    assert task_tables(rejecting).writes == {"crm.answers", "crm.contacts_rejects"}


def test_an_insert_writes_its_destination():
    """What a datamart selects is read; its destination, checks and before_load count too."""
    job = Datamart(
        sql="SELECT * FROM d.a",
        query_mode="insert",
        destination="`p-1.d.t`",
        write_disposition="append",
        before_load="DELETE d.t WHERE x IN (SELECT x FROM d.b)",
        checks=["SELECT 1 FROM {staged} JOIN d.c USING (x)"],
    )
    assert task_tables(job).reads == {"d.a", "d.b", "d.c"}
    assert task_tables(job).writes == {"p-1.d.t", "d.t"}


def test_a_missing_file_of_sql_is_unclear(tmp_path):
    """The graph can be made; why no table is known is said."""
    (sentence,) = task_tables(Datamart(file=tmp_path / "x.sql")).unclear
    assert "x.sql" in sentence


def test_variables_come_from_the_job_and_from_who_runs_it():
    """A known text stands in the name, and a time of the run stays open."""
    job = Datamart(
        sql="CREATE TABLE $dataset$.t_$day$ AS SELECT * FROM `$dataset$.a_$kind$`",
        variables={"$dataset$": String("d", text=True), "day": Timestamp(), "kind": "x"},
    )
    assert task_tables(job).writes == {"d.t_$day$"}
    assert task_tables(job).reads == {"d.a_x"}
    assert task_tables(job, {"dataset": "e", "kind": Timestamp()}).reads == {"e.a_$kind$"}
    job = transfer("SELECT * FROM `$x$.a`", variables={"x": String("d", text=True)})
    assert task_tables(job).reads == {"d.a"}
    assert task_tables(job, {"x": "e"}).reads == {"e.a"}


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("d.t", "p.d.t", True),
        ("q.d.t", "p.d.t", False),
        ("d.t", "d.T", False),
        ("d.t", "e.t", False),
        ("example.com:p.d.t", "d.t", True),
        ("d.events_*", "p.d.events_20240101", True),
        ("d.events_*", "d.other_20240101", False),
        ("d.events_*", "d.events_$day$", True),
        ("d.events_$day$", "d.events_$date$", True),
        ("$dataset$.t", "d.t", True),
        ("$dataset$.t", "d.u", False),
        ("d.$x$_new", "d.events_$y$", True),
        ("d.$x$_new", "d.events_$y$_old", False),
    ],
)
def test_names_of_one_table(one, other, is_same):
    """A missing project, a wildcard and a variable fit; case and everything else must be equal."""
    assert same_table(one, other) is is_same
    assert same_table(other, one) is is_same


def test_patterns_meet_exactly_if_some_text_fits_both():
    """Compared with all short texts, for all short patterns."""
    texts = ["".join(each) for n in range(1, 7) for each in itertools.product("ab", repeat=n)]
    patterns = ["".join(each) for n in (1, 2, 3) for each in itertools.product("ab*", repeat=n)]
    fits = {p: {t for t in texts if re.fullmatch(p.replace("*", ".*"), t)} for p in patterns}
    for one, other in itertools.product(patterns, repeat=2):
        expected = bool(fits[one] & fits[other])
        assert same_table(f"d.{one}", f"d.{other}") is expected, (one, other)
