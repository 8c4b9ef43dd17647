"""Models without SQL: their files, runtimes and signatures."""

from pathlib import Path

import numpy as np
import pytest

from etlkit.errors import ConfigError
from etlkit.local.buckets import Buckets
from etlkit.local.ml import model_files, runtimes
from etlkit.local.ml.model_files import ModelFiles
from etlkit.local.ml.tensors import Signature
from tests import onnx_bytes, savedmodel_bytes, tflite_bytes

MODELS = Path(model_files.__file__).parents[1] / "models"


@pytest.fixture
def buckets(tmp_path):
    return Buckets(tmp_path / "buckets")


@pytest.fixture
def put(buckets, tmp_path):
    """Put bytes into a bucket."""

    def put_bytes(name, data):
        path = buckets.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return put_bytes


@pytest.fixture
def files(tmp_path):
    return ModelFiles(tmp_path / "models")


def test_an_onnx_model_has_a_signature(files, buckets, put):
    """The signature has names, element types and shapes, the batch first."""
    put("mod/mean.onnx", onnx_bytes.mean_color())
    signature = files.load(files.freeze("ONNX", "gs://mod/*", buckets)).signature
    assert signature.describe_inputs() == "image (float32, shape [?, 2, 2, 3])"
    assert [output.bigquery_type for output in signature.outputs] == ["ARRAY<FLOAT64>"]
    assert Signature.from_json(signature.to_json()) == signature


def test_a_saved_model_runs_without_tensorflow(files, buckets):
    """A SavedModel runs without TensorFlow."""
    folder = MODELS / "savedmodel_resnet_stand_in"
    buckets.put(sorted(folder.iterdir()), "gs://mod/resnet/", recursive=True)
    runtime = files.load(files.freeze("TENSORFLOW", "gs://mod/resnet/*", buckets))
    assert runtime.signature.describe_inputs() == "input_1 (float32, shape [?, 224, 224, 3])"
    (scores,) = runtime.run({"input_1": np.full((2, 224, 224, 3), 0.5, np.float32)})
    assert scores.shape == (2, 1001)
    assert scores.sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_a_small_saved_model_runs(files, buckets, put):
    """A SavedModel takes and returns one number per row."""
    kind = savedmodel_bytes.FLOAT
    put("mod/saved_model.pb", savedmodel_bytes.one_operation("Neg", kind, kind, generic=True))
    runtime = files.load(files.freeze("TENSORFLOW", "gs://mod/*", buckets))
    assert [tensor.name for tensor in runtime.signature.outputs] == ["out"]
    (answer,) = runtime.run({"x": np.array([1, -2], np.float32)})
    assert answer.tolist() == [-1, 2]


def test_a_tensorflow_lite_model_runs(files, buckets, put):
    """A TensorFlow Lite model with a batch of one runs."""
    put("mod/twice.tflite", tflite_bytes.twice())
    runtime = files.load(files.freeze("TENSORFLOW_LITE", "gs://mod/twice.tflite", buckets))
    assert runtime.signature.describe_inputs() == "image (float32, shape [1, 2, 2, 3])"
    (answer,) = runtime.run({"image": np.full((1, 2, 2, 3), 0.25, np.float32)})
    assert (answer == 0.5).all()


def test_a_model_is_frozen(files, buckets, put, tmp_path):
    """Later changes in the bucket and a restart have no effect on a model."""
    put("mod/line.onnx", onnx_bytes.line())
    version = files.freeze("ONNX", "gs://mod/line.onnx", buckets)
    put("mod/line.onnx", b"gone bad")
    later = ModelFiles(tmp_path / "models")
    assert later.versions() == [version]
    y, is_big = later.load(version).run({"x": np.array([1, 5], np.float32)})
    assert (y.tolist(), is_big.tolist()) == ([3, 11], [False, True])


def test_a_removed_model_says_what_to_do(files, buckets, put):
    """A model whose files were deleted has an error that says what to do."""
    put("mod/line.onnx", onnx_bytes.line())
    version = files.freeze("ONNX", "gs://mod/line.onnx", buckets)
    files.remove(version)
    with pytest.raises(ConfigError, match="CREATE OR REPLACE MODEL"):
        files.load(version)


@pytest.mark.parametrize(
    ("model_type", "path", "message"),
    [
        ("ONNX", "gs://gone/*", "no bucket gs://gone"),
        ("ONNX", "gs://mod/empty/*", "no object at gs://mod/empty/"),
        ("ONNX", "gs://mod/gone.onnx", "no object gs://mod/gone.onnx"),
        ("ONNX", "gs://mod/text/*", r"no file \*.onnx at gs://mod/text/\*; it has readme.txt"),
        ("ONNX", "gs://mod/two/*", "2 files .*a.onnx, b.onnx"),
        ("ONNX", "gs://mod/*/x", "one '\\*', at its end"),
        ("ONNX", "mod/x.onnx", "not an address"),
        ("ONNX", "gs://mod/bad/*", "cannot be loaded"),
        ("ONNX", "gs://mod/words/*", r"words is of type tensor\(string\)"),
        ("ONNX", "gs://mod/eight/*", r"image \(float32, shape \[8, 2, 2, 3\]\) .* batch"),
        ("TENSORFLOW", "gs://mod/text/*", "no saved_model.pb directly in gs://mod/text/"),
        ("TENSORFLOW", "gs://mod/strings/*", "x is of type string"),
        (
            "TENSORFLOW",
            "gs://mod/length/*",
            "OpenVINO does not support its operations: StringLength",
        ),
        ("TENSORFLOW", "gs://mod/print/*", "OpenVINO does not support its operations: AsString"),
        ("TENSORFLOW", "gs://mod/deep/*", "there is gs://mod/deep/er/saved_model.pb"),
        ("TENSORFLOW", "gs://mod/badpb/*", "cannot be loaded"),
        ("TENSORFLOW_LITE", "gs://mod/text/*", r"no file \*.tflite"),
        ("TENSORFLOW_LITE", "gs://mod/badlite/*", "cannot be loaded"),
    ],
)
def test_what_cannot_be_imported_leaves_nothing_behind(
    files, buckets, put, model_type, path, message
):
    """Each message says what was found or what to do, and no copy stays behind."""
    put("mod/text/readme.txt", b"hello")
    put("mod/two/a.onnx", onnx_bytes.line())
    put("mod/two/b.onnx", onnx_bytes.line())
    put("mod/bad/x.onnx", b"not a model")
    put("mod/words/x.onnx", onnx_bytes.text())
    put("mod/eight/x.onnx", onnx_bytes.mean_color(batch=8))
    put("mod/deep/er/saved_model.pb", b"x")
    strings = savedmodel_bytes.STRING
    identity = savedmodel_bytes.one_operation("Identity", strings, strings, generic=True)
    put("mod/strings/saved_model.pb", identity)
    length = savedmodel_bytes.one_operation("StringLength", strings, savedmodel_bytes.INT32)
    put("mod/length/saved_model.pb", length)
    text = savedmodel_bytes.one_operation("AsString", savedmodel_bytes.FLOAT, strings, generic=True)
    put("mod/print/saved_model.pb", text)
    put("mod/badpb/saved_model.pb", b"not a model")
    put("mod/badlite/x.tflite", b"not a model")
    with pytest.raises(ConfigError, match=message):
        files.freeze(model_type, path, buckets)
    assert files.versions() == []


def test_a_model_above_450_mb_is_refused(files, buckets, put):
    """BigQuery's limit applies to all files of a model together."""
    put("mod/x.onnx", onnx_bytes.line())
    with (buckets.root / "mod" / "weights.bin").open("wb") as stream:
        stream.truncate(450_000_000)  # a hole: no disk is used
    with pytest.raises(ConfigError, match="at most 450000000"):
        files.freeze("ONNX", "gs://mod/*", buckets)


def test_without_openvino_the_extra_is_named(monkeypatch, tmp_path):
    """The message says which extra has the missing package."""
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="extra `local-tensorflow`"):
        runtimes.load("TENSORFLOW", tmp_path)
