"""Small TensorFlow SavedModels, written byte by byte: one operation each, and no TensorFlow.

Source: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/protobuf/meta_graph.proto
"""

from tests.onnx_bytes import field

FLOAT, INT32, STRING = 1, 3, 7
_UNKNOWN = (1 << 64) - 1


def _entry(number, key, value):
    """One entry of a map field."""
    return field(number, field(1, key) + field(2, value))


def _node(name, op, inputs, *attributes):
    body = field(1, name) + field(2, op) + b"".join(field(3, each) for each in inputs)
    return field(1, body + b"".join(attributes))


def _tensor(name, kind):
    shape = field(2, field(1, _UNKNOWN))
    return field(1, f"{name}:0") + field(2, kind) + field(3, shape)


def one_operation(op, kind_in, kind_out, *, generic=False):
    """A model `out` = op(`x`), over batches of single values.

    Args:
        op: TensorFlow's name of it.
        kind_in: Of `x`.
        kind_out: Of `out`.
        generic: Whether the operation has the attribute `T`, the type of what it takes.
    """
    shape = field(7, field(2, field(1, _UNKNOWN)))
    graph = _node(
        "x", "Placeholder", [], _entry(5, "dtype", field(6, kind_in)), _entry(5, "shape", shape)
    )
    graph += _node("out", op, ["x"], *([_entry(5, "T", field(6, kind_in))] if generic else []))
    signature = field(1, field(1, "x") + field(2, _tensor("x", kind_in)))
    signature += field(2, field(1, "out") + field(2, _tensor("out", kind_out)))
    signature += field(3, "tensorflow/serving/predict")
    graphs = field(1, field(4, "serve")) + field(2, graph) + _entry(5, "serving_default", signature)
    return field(1, 1) + field(2, graphs)
