"""A small TensorFlow Lite model, written table by table: `image` (1, 2, 2, 3) -> `twice`, the double.

`flatbuffers` comes with onnxruntime.
Source: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/schema/schema.fbs
"""

import flatbuffers

ADD_OPTIONS = 11


def twice():
    builder = flatbuffers.Builder(0)

    def numbers(values):
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependInt32(value)
        return builder.EndVector()

    def objects(values):
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependUOffsetTRelative(value)
        return builder.EndVector()

    def table(num_slots, offsets=(), **numbers_by_slot):
        builder.StartObject(num_slots)
        for slot, offset in offsets:
            builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
        for slot, (prepend, value) in numbers_by_slot.items():
            getattr(builder, prepend)(int(slot[1:]), value, 0)
        return builder.EndObject()

    def tensor(name):
        text, shape = builder.CreateString(name), numbers([1, 2, 2, 3])
        return table(8, [(0, shape), (3, text)])

    tensors = objects([tensor("image"), tensor("twice")])
    options, inputs, outputs = table(2), numbers([0, 0]), numbers([1])
    add = table(9, [(1, inputs), (2, outputs), (4, options)], s3=("PrependUint8Slot", ADD_OPTIONS))
    operators, inputs, outputs = objects([add]), numbers([0]), numbers([1])
    graph = table(5, [(0, tensors), (1, inputs), (2, outputs), (3, operators)])
    codes = objects([table(4, s2=("PrependInt32Slot", 1))])
    graphs, buffers = objects([graph]), objects([table(1)])
    model = table(8, [(1, codes), (2, graphs), (4, buffers)], s0=("PrependUint32Slot", 3))
    builder.Finish(model, b"TFL3")
    return bytes(builder.Output())
