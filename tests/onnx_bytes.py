"""Small ONNX models, written byte by byte: no package for it is needed.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import struct

FLOAT, UINT8, INT64, STRING, BOOL = 1, 2, 7, 8, 9
OPSET = 13
IR_VERSION = 8


def varint(number):
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def field(number, value):
    """One protobuf field: an int, or bytes and text with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def node(op_type, inputs, outputs, **attributes):
    body = b"".join(field(1, name) for name in inputs)
    body += b"".join(field(2, name) for name in outputs) + field(4, op_type)
    for name, value in attributes.items():
        if isinstance(value, bytes):  # a graph
            coded = field(6, value) + field(20, 5)
        elif isinstance(value, int):
            coded = field(3, value) + field(20, 2)
        else:
            coded = b"".join(field(8, each) for each in value) + field(20, 7)
        body += field(5, field(1, name) + coded)
    return field(1, body)


def constant(name, values):
    raw = struct.pack(f"<{len(values)}f", *values)
    return field(5, field(1, len(values)) + field(2, FLOAT) + field(8, name) + field(9, raw))


def tensor(name, kind, shape):
    """A ValueInfoProto; a text in the shape is a size that is not known."""
    sizes = b"".join(
        field(1, field(1, size) if isinstance(size, int) else field(2, size)) for size in shape
    )
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, sizes)))


def graph(nodes, inputs, outputs, constants=()):
    body = b"".join(nodes) + field(2, "g") + b"".join(constants)
    body += b"".join(field(11, tensor(*each)) for each in inputs)
    return body + b"".join(field(12, tensor(*each)) for each in outputs)


def model(nodes, inputs, outputs, constants=()):
    body = graph(nodes, inputs, outputs, constants)
    return field(1, IR_VERSION) + field(7, body) + field(8, field(2, OPSET))


def mean_color(height=2, width=2, batch="n"):
    """`image` (batch, height, width, 3) -> `mean` (batch, 3)."""
    return model(
        [node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0)],
        [("image", FLOAT, [batch, height, width, 3])],
        [("mean", FLOAT, [batch, 3])],
    )


def channels_first():
    """As `mean_color`, with the channels before the pixels, as PyTorch has them."""
    return model(
        [node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0)],
        [("image", FLOAT, ["n", 3, 2, 2])],
        [("mean", FLOAT, ["n", 3])],
    )


def mean_of_bytes():
    """As `mean_color`, for a model that takes whole numbers."""
    return model(
        [
            node("Cast", ["image"], ["real"], to=FLOAT),
            node("ReduceMean", ["real"], ["mean"], axes=[1, 2], keepdims=0),
        ],
        [("image", UINT8, ["n", 2, 2, 3])],
        [("mean", FLOAT, ["n", 3])],
    )


def line():
    """`x` (batch) -> `y` = 2 x + 1 (batch), and `is_big` = y > 5 (batch)."""
    return model(
        [
            node("Mul", ["x", "two"], ["twice"]),
            node("Add", ["twice", "one"], ["y"]),
            node("Greater", ["y", "five"], ["is_big"]),
        ],
        [("x", FLOAT, ["n"])],
        [("y", FLOAT, ["n"]), ("is_big", BOOL, ["n"])],
        [constant("two", [2.0]), constant("one", [1.0]), constant("five", [5.0])],
    )


def total(batch="n"):
    """`v` (batch, 4) and `w` (batch, 1) -> `sum` (batch, 1)."""
    return model(
        [
            node("ReduceMean", ["v"], ["m"], axes=[1], keepdims=1),
            node("Mul", ["m", "four"], ["s"]),
            node("Add", ["s", "w"], ["sum"]),
        ],
        [("v", FLOAT, [batch, 4]), ("w", FLOAT, [batch, 1])],
        [("sum", FLOAT, [batch, 1])],
        [constant("four", [4.0])],
    )


def text():
    """A model that works with strings."""
    return model(
        [node("Identity", ["words"], ["same"])],
        [("words", STRING, ["n"])],
        [("same", STRING, ["n"])],
    )


def endless():
    """`x` (batch) -> `y` (batch), after a loop that never ends."""
    body = graph(
        [node("Identity", ["goes_on"], ["still"]), node("Identity", ["before"], ["after"])],
        [("number", INT64, []), ("goes_on", BOOL, []), ("before", FLOAT, ["n"])],
        [("still", BOOL, []), ("after", FLOAT, ["n"])],
    )
    true = field(5, field(2, BOOL) + field(8, "true") + field(9, b"\x01"))
    return model(
        [node("Loop", ["", "true", "x"], ["y"], body=body)],
        [("x", FLOAT, ["n"])],
        [("y", FLOAT, ["n"])],
        [true],
    )
