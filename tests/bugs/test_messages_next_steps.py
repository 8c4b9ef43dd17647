"""What to do next: a failure says what became of the rows, and which way leads out.

Also arguments that were swallowed or mistaken: each is taken, or it is said what is wrong.
"""

import warnings

import pytest

from etlkit import (
    ApiError,
    BigQuerySink,
    ConfigError,
    Datamart,
    EtlBase,
    OutageError,
    RowSchemaError,
    SinkError,
    TransferJob,
    TransformError,
    local_world,
    run_datamart,
    run_job,
    run_workflow,
)
from etlkit.api.run import RunRequest
from etlkit.bigquery.modes import MODES
from etlkit.cli.next_steps import interruption, next_step
from etlkit.cli.run import main
from etlkit.engine.transfer import run_transfer
from etlkit.rows.columns import parse_schema
from etlkit.testing import MemorySink, MemorySource


class Direct(MemorySink):
    """A sink that keeps nothing for a resume, as `append_direct`."""

    def open(self, job, run, reader):
        writer = super().open(job, run, reader)
        writer.keeps_rows = False
        return writer


def failed(error, sink=None, at=5):
    """What is said of a run that ends with this error at a row."""

    class Etl(EtlBase):
        def transform_row(self, row):
            if row["n"] == at:
                raise error
            return row

    source = MemorySource([{"n": n} for n in range(1, 11)])
    job = TransferJob(source=source, transform=Etl, sink=sink or MemorySink())
    with pytest.raises(Exception) as caught:
        run_transfer(job, RunRequest("j"))
    return caught.value


def test_the_rows_that_are_kept_are_counted():
    """With `--resume`, and what it needs after the code has changed."""
    text = next_step(failed(ValueError("x")))
    assert "Nothing was published. 4 rows have their results, which are kept" in text
    assert "continue with --resume, after a change of the code with --resume --allow-code" in text
    assert 'on_row_error="skip" or "reject"' in text


@pytest.mark.parametrize("sink", [MemorySink(), Direct()])
def test_resume_is_not_offered_where_nothing_is_kept(sink):
    """The first row failed; or the sink has staged nothing."""
    error = failed(ValueError("x"), sink, at=1 if type(sink) is MemorySink else 5)
    assert "--resume" not in next_step(error)
    assert next_step(error).endswith("Nothing was published.")


@pytest.mark.edge_case(
    "a 4xx that ends a run",
    "message",
    "the row, the service's reason, and two ways out: mend the call, or make it the row's error",
)
def test_a_refused_call_names_its_row_and_two_ways_out(capsys):
    """Either every row would be refused, or this one."""
    error = failed(ApiError("geo refused: no such place", service="geo", status=422))
    assert str(error) == "row 5 (id row-5): geo refused: no such place"
    text = next_step(error)
    assert "If it refuses every row: correct the key" in text
    assert "If it is this row alone: make it a row's error" in text
    assert "errors_as_row={422}" in text
    assert "4 rows have their results" in text


@pytest.mark.parametrize("status", [500, None])
def test_other_refusals_have_no_advice_about_rows(status):
    """A 500 says nothing of the row."""
    assert "row alone" not in next_step(failed(ApiError("x", service="geo", status=status)))


def test_an_outage_says_when_to_continue():
    """And not before."""
    text = next_step(failed(OutageError("geo has failed for 300 s")))
    assert text.endswith("which are kept: when the service is back, continue with --resume")


def test_a_message_that_names_resume_is_not_told_twice():
    """`max_calls` and code errors say it themselves."""
    text = next_step(failed(NameError("name 'x' is not defined")))
    assert "4 rows have their results, which are kept" in text
    assert "--resume" not in text


def test_an_interrupted_run_says_what_is_kept():
    """Ctrl-C is no reason to pay twice."""
    error = KeyboardInterrupt()
    error.report = failed(ValueError("x")).report
    assert interruption(error) == (
        "interrupted; nothing was published, 4 rows have their results, which are kept. Continue "
        "with --resume"
    )


@pytest.mark.parametrize(
    ("first", "schema", "origin"),
    [
        ([], None, "The first rows with a value made v INT64; output_schema can say another type"),
        ([{"n": 0, "v": 1}], None, "The target's column v is INT64"),
        ([], {"n": "INT64", "v": "INT64"}, "output_schema says v INT64"),
    ],
)
def test_a_clash_of_types_says_where_the_other_type_comes_from(first, schema, origin):
    """Target, declaration or first rows: each is mended elsewhere."""

    class Etl(EtlBase):
        output_schema = schema

        def transform_row(self, row):
            return {"n": row["n"], "v": row["n"] if row["n"] < 4000 else "text"}

    sink = MemorySink()
    if first:
        sink.rows, sink.columns = first, ()
        run_transfer(job_of(Plain, first, sink), RunRequest("j"))
    with pytest.raises(RowSchemaError, match=r"column 'v': expected INT64 .*, got str") as caught:
        run_transfer(job_of(Etl, [{"n": n} for n in range(4100)], sink), RunRequest("j"))
    assert str(caught.value).endswith(f". {origin}")


class Plain(EtlBase):
    def transform_row(self, row):
        return row


def job_of(etl, rows, sink):
    """A job over rows in memory."""
    return TransferJob(source=MemorySource(rows), transform=etl, sink=sink)


def test_the_sources_type_is_named_too():
    """A column of the source keeps its type unless it is declared."""

    class Etl(EtlBase):
        def transform_row(self, row):
            return {"n": "text"}

    with pytest.raises(RowSchemaError, match="The source's column n is INT64, and keeps that type"):
        run_transfer(job_of(Etl, [{"n": 1}], MemorySink()), RunRequest("j"))


def test_a_wrong_merge_key_lists_the_columns():
    """Those of the rows, and before that those of the table."""
    sink = BigQuerySink("d.t", mode="merge", merge_keys=("idd",))
    with pytest.raises(SinkError, match="merge_keys: idd is not in the rows; they have id, name"):
        MODES["merge"].check_columns(sink, parse_schema({"id": "INT64", "name": "STRING"}))


@pytest.mark.parametrize("option", ["--preview", "--resume"])
def test_an_option_that_took_the_jobs_name_gives_it_back(option, capsys):
    """`--preview jobs.x` means the job, as everybody who writes it does."""
    assert main([option, "jobs.no_such_job"]) == 2
    assert "no module 'jobs.no_such_job'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["jobs.a", "--resume", "jobs.b"],
            "--resume got jobs.b, which looks like the name of a job",
        ),
        (["jobs.a", "--preview", "jobs/b.py"], "--preview got jobs/b.py, which looks like"),
        (["--preview", "many", "jobs.a"], "'many' is not a valid integer"),
        (["--resume", "20240131_120000123_1a2b3c4d"], "name a job"),
    ],
)
def test_a_value_that_cannot_be_meant_is_explained(arguments, message, capsys):
    """Two jobs, or a word that is neither."""
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.edge_case(
    "a script of TROCCO given as TARGET", "command line", "says to run it with `--script`"
)
def test_a_script_as_target_is_told_apart_from_a_job(tmp_path, capsys):
    """It has a class `Etl` and no job."""
    script = tmp_path / "shout.py"
    script.write_text(
        "from etl_base import EtlBase\n\n\nclass Etl(EtlBase):\n"
        "    def transform_row(self, row):\n        return row\n"
    )
    assert main([str(script)]) == 2
    seen = capsys.readouterr().err
    assert f"is a script: it has a class Etl and no job. Run it with --script {script}" in seen


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            lambda: run_job("jobs.x"),
            r"only the command line takes names. Import jobs\.x, .*jobs\.x\.job",
        ),
        (lambda: run_job("jobs.x:big"), r"jobs\.x\.big"),
        (lambda: run_datamart("jobs.x"), "the Datamart itself"),
        (lambda: run_workflow("jobs.x"), "the Workflow itself"),
        (
            lambda: run_job(Datamart(sql="SELECT 1")),
            "this takes a TransferJob; run_datamart runs it",
        ),
        (lambda: run_job(None), "got an object of type NoneType: this takes a TransferJob"),
        (
            lambda: MemorySink(mode="upsert"),
            "MemorySink.mode='upsert'.: it is 'append' or 'replace'",
        ),
        (lambda: local_world(3), r"local_world\(3\): it takes the path of a folder"),
    ],
)
def test_a_wrong_argument_is_explained(run, message):
    """With a sentence of etlkit's, not an AttributeError from within."""
    with pytest.raises(ConfigError, match=message):
        run()


def test_a_local_world_that_is_not_entered_warns():
    """`local_world(".etlkit")` alone does nothing: the next job would run on Google Cloud."""
    with pytest.warns(RuntimeWarning, match="does nothing until it is entered: write with local"):
        local_world(".etlkit").__del__()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        local_world(".etlkit")


def test_every_failure_of_the_command_line_says_it_once(tmp_path, capsys):
    """The reason of a row error stands once on the terminal, beside the report for programs."""
    error = failed(ValueError("a very special reason"))
    assert isinstance(error, TransformError)
    assert str(error).count("a very special reason") == 1
    assert "a very special reason" not in next_step(error)
