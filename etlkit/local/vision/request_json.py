"""Reads the JSON form of `BatchAnnotateImagesRequest`.

The names of fields come from the message's own descriptor and values are converted by
`google.protobuf.json_format`, so the JSON mapping is the real one. `json_format` stops at the first
fault and words it for programmers, so this module walks the message itself: it collects all faults
and words them as Google's APIs do.

Source: https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final

from google.cloud.vision_v1.types import BatchAnnotateImagesRequest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.json_format import ParseDict, ParseError

from etlkit.local.vision.bad_request import BadRequestError, Violation

# A refused value is quoted in the answer; a whole image would be too much.
_MAX_QUOTED: Final = 60

_URL_SAFE_ALPHABET: Final = str.maketrans("-_", "+/")


def read_batch(body: bytes) -> Any:
    """Read the body of `images:annotate`.

    Args:
        body: JSON. An empty body is an empty message.

    Returns:
        The protobuf message `BatchAnnotateImagesRequest`.

    Raises:
        BadRequestError: The body is not JSON, or does not fit the message. It has all faults.
    """
    batch = BatchAnnotateImagesRequest.pb()()
    reader = _Reader()
    reader.read(batch, _load(body), "")
    if reader.violations:
        text = "\n".join(violation.description for violation in reader.violations)
        raise BadRequestError(text, tuple(reader.violations))
    return batch


def _load(body: bytes) -> Any:
    if not body.strip():
        return {}
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        # json's message has the position of the fault and nothing of the content.
        raise BadRequestError(f"Invalid JSON payload received. {exc}") from exc


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"Unexpected token: {name}")


class _Reader:
    """Fills messages and collects the faults that it finds on the way."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def read(self, message: Any, value: Any, path: str) -> None:
        """Fill `message` from a parsed JSON object; `path` leads to it from the root."""
        if not isinstance(value, dict):
            self._refuse_value(path, _type_url(message.DESCRIPTOR), value)
            return
        fields = _fields_by_key(message.DESCRIPTOR)
        for key, item in value.items():
            field = fields.get(key)
            if field is None:
                self._refuse_name(key, path)
            elif item is not None:  # null stands for the default
                self._read_field(message, field, item, f"{path}.{_proto_name(field)}".lstrip("."))

    def _read_field(self, message: Any, field: FieldDescriptor, value: Any, path: str) -> None:
        if _is_map(field):
            self._convert(message, field, value, path)
        elif not _is_repeated(field) and isinstance(value, list):
            parent, _, name = path.rpartition(".")
            self._refuse_name(name, parent, "Proto field is not repeating, cannot start list.")
        elif _is_repeated(field) and not isinstance(value, list):
            self._refuse_value(path, "repeated field", value)
        elif field.message_type is None:
            self._convert(message, field, value, path)
        elif _is_repeated(field):
            for index, item in enumerate(value):
                self.read(getattr(message, field.name).add(), item, f"{path}[{index}]")
        else:
            child = getattr(message, field.name)
            child.SetInParent()
            self.read(child, value, path)

    def _convert(self, message: Any, field: FieldDescriptor, value: Any, path: str) -> None:
        """Set a field that is not a message, or a map or list of such values."""
        if field.type == FieldDescriptor.TYPE_BYTES:
            self._convert_bytes(message, field, value, path)
            return
        is_list = isinstance(value, list)
        for index, item in enumerate(value) if is_list else [(0, value)]:
            one = _converted(type(message), field, [item] if is_list else item)
            if one is not None:
                message.MergeFrom(one)
            else:
                self._refuse_value(f"{path}[{index}]" if is_list else path, _type_name(field), item)

    def _convert_bytes(self, message: Any, field: FieldDescriptor, value: Any, path: str) -> None:
        """Set bytes here, because `json_format` ignores characters that are not base64."""
        try:
            text = value.translate(_URL_SAFE_ALPHABET).rstrip("=")
            content = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (AttributeError, ValueError, binascii.Error):
            self._refuse_value(path, _type_name(field), value)
        else:
            setattr(message, field.name, content)

    def _refuse_value(self, path: str, type_name: str, value: Any) -> None:
        shown = f'"{value}"' if isinstance(value, str) else json.dumps(value)
        if len(shown) > _MAX_QUOTED:
            shown = shown[:_MAX_QUOTED] + "..."
        if type_name == "TYPE_BYTES" and isinstance(value, str):
            shown = f"Base64 decoding failed for {shown}"
        where = path or "(root)"
        self.violations.append(
            Violation(path, f"Invalid value at '{where}' ({type_name}), {shown}")
        )

    def _refuse_name(self, name: str, parent: str, why: str = "Cannot find field.") -> None:
        at = f" at '{parent}'" if parent else ""
        text = f'Invalid JSON payload received. Unknown name "{name[:_MAX_QUOTED]}"{at}: {why}'
        self.violations.append(Violation(parent, text))


def _fields_by_key(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """The fields of a message by both of their names, `maxResults` and `max_results`."""
    fields = {_proto_name(field): field for field in descriptor.fields}
    return fields | {field.json_name: field for field in descriptor.fields}


def _proto_name(field: FieldDescriptor) -> str:
    """The name in the .proto file. Google's Python package calls the field `type` `type_`."""
    return field.name.removesuffix("_")


def _converted(kind: Any, field: FieldDescriptor, value: Any) -> Any:
    """A message with only this field set; None = the value does not fit."""
    # `json_format` would also take `true` and 4.5 as numbers of an enum.
    if field.enum_type is not None and not _is_enum_value(value):
        return None
    try:
        return ParseDict({field.json_name: value}, kind())
    except ParseError:
        return None


def _is_repeated(field: FieldDescriptor) -> bool:
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    # Before protobuf 6.31; later releases warn of `label`.
    return bool(field.label == FieldDescriptor.LABEL_REPEATED)  # type: ignore[attr-defined]


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _is_enum_value(value: Any) -> bool:
    """Whether a value is a name or a whole number. In Python `True` is an int too."""
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def _type_name(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        return _type_url(field.message_type)
    if field.enum_type is not None:
        return f"type.googleapis.com/{field.enum_type.full_name}"
    return FieldDescriptorProto.Type.Name(field.type)  # type: ignore[arg-type]


def _type_url(descriptor: Descriptor) -> str:
    return f"type.googleapis.com/{descriptor.full_name}"
