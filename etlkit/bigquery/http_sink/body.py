"""Bodies of requests: the rows as JSON, a template, or what the user's function makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from etlkit.api.outcomes import classify
from etlkit.bigquery.http_sink.url import PLACEHOLDER
from etlkit.errors import ConfigError, JobError, RowError, RowSchemaError, without_keys
from etlkit.rows.json_rows import row_from_json, value_to_json
from etlkit.rows.json_values import check_keys
from etlkit.rows.refused import RefusedError

if TYPE_CHECKING:
    from etlkit.bigquery.http_sink.bundle import Item
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row

Request: TypeAlias = "Mapping[str, Any] | Sequence[Any] | str | Callable[[list[Row]], Any] | None"
"""A template, a function of the rows, or None: the rows as they are."""

ROWS = "rows"
"""The placeholder that stands for all rows of a request."""


class Body:
    """Makes the body of each request.

    Args:
        request: See `Request`.
        is_batch: Whether a request may have several rows.
        is_optional: Whether a request without `request` has no body.

    Attributes:
        columns: Names of the columns that a template names.

    Raises:
        ConfigError: The template cannot be one of several rows.
    """

    def __init__(self, request: Request, *, is_batch: bool, is_optional: bool = False) -> None:
        self._request = request
        self._is_optional = is_optional
        self._is_batch = is_batch
        names = () if request is None or callable(request) else tuple(_placeholders(request))
        self.columns: tuple[str, ...] = tuple(dict.fromkeys(name for name in names if name != ROWS))
        if is_batch and request is not None and not callable(request):
            if self.columns:
                raise ConfigError(
                    f"HttpSink(request=…): {{{self.columns[0]}}} is a column, and a request has "
                    'several rows: write {"records": "{rows}"}, or a function of the rows'
                )
            if ROWS not in names:
                raise ConfigError(
                    'HttpSink(request=…): the rows stand nowhere in it; write "{rows}"'
                )

    def bytes_of(self, items: Sequence[Item], columns: Sequence[Column]) -> bytes | None:
        """The body of one request; None = it has none.

        Args:
            items: What is sent.
            columns: Of the rows, for a function of them.

        Raises:
            RowError: The user's function fails for its only row, or what it gives is not JSON.
            JobError: It fails for several rows, or for any.
        """
        if self._request is None:
            if self._is_optional:
                return None
            texts = [item.text for item in items]
            return (f"[{','.join(texts)}]" if self._is_batch else texts[0]).encode()
        if not callable(self._request):
            rows = [json.loads(item.text) for item in items]
            return _to_bytes(_filled(self._request, rows))
        return self.made_of(rows_of(items, columns))

    def made_of(self, rows: list[Row]) -> bytes | None:
        """What the user's function makes of rows.

        Raises:
            RowError: It fails for its only row, or what it gives is not JSON.
            JobError: It fails for several rows, or for any.
        """
        if not callable(self._request):
            raise TypeError("the body is no function's")
        try:
            return _to_bytes(self._request(rows))
        except Exception as error:
            raise _as_error("request", error, len(rows)) from error


def rows_of(items: Sequence[Item], columns: Sequence[Column]) -> list[Row]:
    """The rows of items with native values."""
    rows = []
    for item in items:
        values = json.loads(item.text)
        rows.append(row_from_json(values, tuple(c for c in columns if c.name in values)))
    return rows


def _as_error(option: str, error: Exception, num_rows: int) -> Exception:
    """The error of a user's function: of the row if there is only one, else of the run."""
    if isinstance(error, RowError):
        return error
    if num_rows == 1:
        return getattr(classify(error), "error", None) or error  # raises for mistakes in the code
    return JobError(
        f"HttpSink({option}=…) failed for {num_rows} rows at once: {type(error).__name__}: "
        f"{without_keys(str(error))}. Do what may fail for a row in the transform, where "
        "on_row_error decides about it",
        stage="transform",
    )


def _to_bytes(body: Any) -> bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    try:
        text = json.dumps(value_to_json(body), ensure_ascii=False, allow_nan=False)
        check_keys(body)
    except (TypeError, ValueError, RefusedError) as error:
        raise RowSchemaError(f"the body is not JSON: {error}") from error
    return text.encode()


def _placeholders(template: Any) -> list[str]:
    if isinstance(template, str):
        return PLACEHOLDER.findall(template)
    inner = template.values() if isinstance(template, Mapping) else template
    if isinstance(template, (Mapping, list, tuple)):
        return [name for each in inner for name in _placeholders(each)]
    return []


def _filled(template: Any, rows: list[dict[str, Any]]) -> Any:
    if isinstance(template, Mapping):
        return {key: _filled(value, rows) for key, value in template.items()}
    if isinstance(template, (list, tuple)):
        return [_filled(value, rows) for value in template]
    if not isinstance(template, str):
        return template
    whole = PLACEHOLDER.fullmatch(template)
    if whole:
        return _value(whole[1], rows)
    return PLACEHOLDER.sub(lambda found: _text(_value(found[1], rows)), template)


def _value(name: str, rows: list[dict[str, Any]]) -> Any:
    return rows if name == ROWS else rows[0].get(name)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
