"""CREATE MODEL, DROP MODEL and the REST resource of imported models.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-onnx
"""

from datetime import UTC, datetime, timedelta

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.cloud import bigquery

from etlkit.local.buckets import Buckets
from tests import onnx_bytes


@pytest.fixture
def put(local_server):
    """Put bytes into a bucket of the shared server."""

    def put_bytes(uri, data):
        path = Buckets(local_server.local_dir / "buckets").path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return put_bytes


@pytest.fixture
def line(put):
    """A model in a bucket."""
    put("gs://some-models/line/line.onnx", onnx_bytes.line())
    return "OPTIONS(model_type = 'ONNX', model_path = 'gs://some-models/line/*')"


def copies(server):
    folder = server.local_dir / "data" / "models"
    return sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []


def test_a_model_is_a_resource(bq, dataset, run, line):
    """models.get and models.list return the type, the inputs and the outputs of a model."""
    before = datetime.now(UTC)
    run(f"CREATE MODEL {dataset}.line {line}")
    model = bq.get_model(f"{dataset}.line")
    assert (model.model_type, model.location) == ("ONNX", "US")
    assert before - timedelta(seconds=1) <= model.created <= datetime.now(UTC)
    assert [(each.name, each.type.type_kind.name) for each in model.feature_columns] == [
        ("x", "FLOAT64")
    ]
    assert [(each.name, each.type.type_kind.name) for each in model.label_columns] == [
        ("y", "FLOAT64"),
        ("is_big", "BOOL"),
    ]
    assert [each.model_id for each in bq.list_models(dataset)] == ["line"]


def test_the_job_has_the_ddl_operation(bq, dataset, line):
    """The statistics say CREATE, SKIP and REPLACE, as for tables."""
    statements = {
        f"CREATE MODEL {dataset}.m {line}": "CREATE",
        f"CREATE MODEL IF NOT EXISTS {dataset}.m {line}": "SKIP",
        f"CREATE OR REPLACE MODEL {dataset}.m {line}": "REPLACE",
        f"DROP MODEL {dataset}.m": "DROP",
        f"DROP MODEL IF EXISTS {dataset}.m": "SKIP",
    }
    for sql, operation in statements.items():
        job = bq.query(sql)
        job.result()
        assert job.ddl_operation_performed == operation, sql
        assert job.statement_type == sql.split(" ", maxsplit=1)[0] + "_MODEL"


def test_a_name_is_unique(bq, dataset, run, line):
    """A name that a model or a table has is 409; names are case-sensitive."""
    run(f"CREATE MODEL {dataset}.m {line}")
    with pytest.raises(Conflict, match=rf"Already Exists: Model local:{dataset}\.m"):
        run(f"CREATE MODEL {dataset}.m {line}")
    run(f"CREATE MODEL {dataset}.M {line}")
    run(f"CREATE TABLE {dataset}.t (x INT64)")
    with pytest.raises(Conflict, match=rf"Already Exists: Table local:{dataset}\.t"):
        run(f"CREATE MODEL {dataset}.t {line}")


def test_missing_datasets_and_models_are_404(dataset, run, line):
    """A missing dataset or model is 404."""
    with pytest.raises(NotFound, match=rf"Not found: Model local:{dataset}\.gone"):
        run(f"DROP MODEL {dataset}.gone")
    with pytest.raises(NotFound, match="Not found: Dataset local:gone"):
        run(f"CREATE MODEL gone.m {line}")


def test_dropped_models_are_gone_however_they_are_dropped(bq, dataset, run, line, local_server):
    """Models go by SQL, over REST or with their dataset, and their files go too."""
    before = copies(local_server)
    for name in ("a", "b", "c"):
        run(f"CREATE MODEL {dataset}.{name} {line}")
    run(f"DROP MODEL {dataset}.a")
    bq.delete_model(f"{dataset}.b")
    with pytest.raises(NotFound):
        bq.get_model(f"{dataset}.b")
    run(f"DROP SCHEMA {dataset} CASCADE")
    run(f"CREATE SCHEMA {dataset}")
    assert list(bq.list_models(dataset)) == []
    run(f"CREATE MODEL {dataset}.last {line}")
    assert len(copies(local_server)) <= len(before) + 1


def test_models_of_another_project_keep_their_files(bq, dataset, run, line):
    """Models of another project keep their files when a model is dropped."""
    bq.create_dataset(bigquery.DatasetReference("another", dataset))
    run(f"CREATE MODEL another.{dataset}.m {line}")
    run(f"CREATE MODEL {dataset}.m {line}; DROP MODEL {dataset}.m")
    ask = f"SELECT y FROM ML.PREDICT(MODEL `another.{dataset}.m`, (SELECT 1 AS x))"
    assert run(ask)[0][0] == 3.0


def test_labels_and_descriptions_can_be_set(bq, dataset, run, line):
    """models.patch changes a model, which still runs."""
    run(f"CREATE MODEL {dataset}.m {line}")
    model = bq.get_model(f"{dataset}.m")
    model.description, model.labels = "a line", {"kind": "test"}
    bq.update_model(model, ["description", "labels"])
    assert bq.get_model(f"{dataset}.m").description == "a line"
    assert run(f"SELECT y FROM ML.PREDICT(MODEL {dataset}.m, (SELECT 1 AS x))") == [(3.0,)]


def test_a_model_is_frozen_at_its_creation(dataset, run, line, put):
    """A change in the bucket has no effect until the model is replaced."""
    run(f"CREATE MODEL {dataset}.m {line}")
    put("gs://some-models/line/line.onnx", onnx_bytes.total())
    ask = f"SELECT * FROM ML.PREDICT(MODEL {dataset}.m, (SELECT 1 AS x))"
    assert run(ask)[0][0] == 3.0
    run(f"CREATE OR REPLACE MODEL {dataset}.m {line}")
    with pytest.raises(BadRequest, match="'v' is not found"):
        run(ask)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("model_type = 'ONNX'", "'model_path' is required"),
        ("model_path = 'gs://some-models/line/*'", "one of TENSORFLOW, TENSORFLOW_LITE, ONNX"),
        ("model_type = 'XGBOOST', model_path = 'gs://a/*'", "'XGBOOST'. With model_path"),
        ("model_type = 'ONNX', model_path = 'gs://no-such/*'", "no bucket gs://no-such"),
        ("model_type = 'ONNX', model_path = 'gs://some-models/none/*'", "no object at gs://some-models"),
        ("model_type = 'ONNX', model_path = 'gs://some-models/text/*'", "no file \\*.onnx"),
        ("model_type = 'ONNX', model_path = 'gs://some-models/two/*'", "2 files \\*.onnx"),
        ("model_type = 'ONNX', model_path = 'gs://some-models/words/*'", "not with strings"),
        ("model_type = 'ONNX', model_path = 'gs://some-models/text.txt'", "no file \\*.onnx"),
        ("model_type = 'TENSORFLOW', model_path = 'gs://some-models/text/*'", "no saved_model.pb"),
        ("model_type = 'ONNX', model_path = 'gs://some-models/line/*', speed = 1", "option: speed"),
        ("model_type = 'ONNX', model_path = @path", "Query parameter 'path' not found"),
    ],
)  # fmt: skip
def test_a_wrong_statement_makes_no_model(bq, dataset, run, line, put, options, message):
    """The message says what is wrong and what was found."""
    put("gs://some-models/text/readme.txt", b"hello")
    put("gs://some-models/text.txt", b"hello")
    put("gs://some-models/two/a.onnx", onnx_bytes.line())
    put("gs://some-models/two/b.onnx", onnx_bytes.line())
    put("gs://some-models/words/text.onnx", onnx_bytes.text())
    with pytest.raises(BadRequest, match=message):
        run(f"CREATE MODEL {dataset}.m OPTIONS({options})")
    assert list(bq.list_models(dataset)) == []


def test_a_dry_run_checks_and_keeps_nothing(bq, dataset, line, local_server):
    """A dry run succeeds and leaves neither a model nor a copy of its files."""
    before = copies(local_server)
    config = bigquery.QueryJobConfig(dry_run=True)
    bq.query(f"CREATE MODEL {dataset}.m {line}", job_config=config)
    assert list(bq.list_models(dataset)) == []
    assert copies(local_server) == before


def test_model_statements_in_a_script(bq, dataset, run, line):
    """Model statements run in scripts, also inside IF."""
    sql = f"""
        DECLARE wanted BOOL DEFAULT TRUE;
        CREATE MODEL {dataset}.m {line};
        IF wanted THEN
          EXECUTE IMMEDIATE "DROP MODEL {dataset}.m";
        END IF;
        SELECT 1;
    """
    assert run(sql) == [(1,)]
    assert list(bq.list_models(dataset)) == []
