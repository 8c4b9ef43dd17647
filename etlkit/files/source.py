"""File sources: what a job declares about the files that it reads."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Literal, Self, get_args
from urllib.parse import urlsplit

from etlkit.errors import ConfigError
from etlkit.rows.columns import parse_schema

if TYPE_CHECKING:
    from etlkit.api.job_options import JobOptions
    from etlkit.api.run import Run
    from etlkit.files.reader import FileReader, Format
    from etlkit.variables.definitions import Value

Compression = Literal["infer", "gzip", "bz2", "zstd"]


@dataclass(frozen=True)
class _FileSource:
    """What all file sources have in common.

    Attributes:
        path: One or more of: a path on this machine, `gs://bucket/name`, `https://host/name`. `*`, `?`
            and `[…]` match names inside one folder and `**` crosses folders, but not in addresses
            of web servers. Files are read in the order of `path`, those of a pattern in the order
            of their names. With `--local`, `gs://` is the local bucket. `$name$` is a custom
            variable of the job.
        types: Column name to BigQuery type, as in `EtlBase.output_schema`; columns that are not in
            it get their type from the file.
        headers: Sent to web servers, e.g. `{"Authorization": …}`. They appear in no message and are
            not sent to another host that the first one redirects to.
        timeout_s: Seconds until a web server's answer begins, and for each further 64 KiB of it.
    """

    path: str | Sequence[str]
    types: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what is wrong for certain, without any I/O."""
        if not self.paths or not all(isinstance(each, str) and each for each in self.paths):
            raise ConfigError(
                f"{type(self).__name__} needs a path, or a list of them: a file, "
                "gs://bucket/name or https://host/name"
            )
        for each in self.paths:
            scheme = each.partition("://")[0] if "://" in each else ""
            if scheme not in {"", "gs", "http", "https"}:
                raise ConfigError(
                    f"{type(self).__name__}: {scheme}:// is not supported; allowed are gs://, "
                    "https://, http:// and paths on this machine"
                )
            if scheme in {"http", "https"}:
                _check_address(each)
        parse_schema(self.types)
        if self.timeout_s <= 0:
            raise ConfigError(f"timeout_s={self.timeout_s}: it must be above 0")

    @property
    def paths(self) -> tuple[str, ...]:
        """`path` as a tuple."""
        return (self.path,) if isinstance(self.path, str) else tuple(self.path)

    @property
    def fingerprint(self) -> str:
        """See `etlkit.api.source.Source.fingerprint`; headers, which hold secrets, are not in it."""
        described = [
            each.name for each in fields(self) if each.name not in {"headers", "timeout_s"}
        ]
        return repr((type(self).__name__, [(name, getattr(self, name)) for name in described]))

    def expand(self, values: Mapping[str, Value]) -> tuple[Self, frozenset[str]]:
        """Expand custom variables in `path`.

        Returns:
            The source, and the variables that `path` uses.

        Raises:
            ConfigError: A variable is unknown, or its value is more than a part of a name.
        """
        from etlkit.variables.substitution import expand_name

        found = [expand_name(each, values) for each in self.paths]
        used = frozenset[str]().union(*(names for _, names in found))
        return (replace(self, path=tuple(text for text, _ in found)) if used else self), used

    def open(self, job: JobOptions, run: Run) -> FileReader:  # noqa: ARG002
        """See `etlkit.api.source.Source.open`."""
        from etlkit.files.find_files import find_files
        from etlkit.files.reader import FileReader

        files = find_files(
            self.paths, run.settings.environ, headers=self.headers, timeout_s=self.timeout_s
        )
        return FileReader(files, self._format(), run)

    def _format(self) -> Format:
        raise NotImplementedError


@dataclass(frozen=True)
class CsvSource(_FileSource):
    """The rows of CSV files.

    A column that is not in `types` gets its type from the first 1,000 rows: INT64, FLOAT64, BOOL,
    DATE, DATETIME, TIMESTAMP, else STRING. A number with leading zeros is text. An empty cell
    without quotes is NULL.

    Attributes:
        header: Whether the first row of each file holds the names.
        column_names: Names to use instead of the header's. None without a header = BigQuery's own
            names, `int64_field_0`, `string_field_1` and so on.
        delimiter: One character.
        quote: One character; None = quotes have no meaning.
        encoding: One of Python's codecs, e.g. `cp932`.
        compression: `infer` = by the ending of the name: .gz, .bz2 or .zst.
        null_values: Cells that mean NULL when they are not quoted.
    """

    header: bool = True
    column_names: Sequence[str] | None = None
    delimiter: str = ","
    quote: str | None = '"'
    encoding: str = "utf-8"
    compression: Compression = "infer"
    null_values: Sequence[str] = ("",)

    def __post_init__(self) -> None:
        """Refuse what is wrong for certain, without any I/O."""
        super().__post_init__()
        _check_text(self.encoding, self.compression)
        for name in ("delimiter", "quote"):
            value = getattr(self, name)
            if (value is not None or name == "delimiter") and (
                not isinstance(value, str) or len(value) != 1 or value in "\r\n"
            ):
                raise ConfigError(f"CsvSource({name}={value!r}): it must be one character")
        for name in ("column_names", "null_values"):
            if isinstance(getattr(self, name), str):
                raise ConfigError(f"CsvSource({name}=…) is a str; write a list of names")

    def _format(self) -> Format:
        from etlkit.files.csv import CsvFormat

        return CsvFormat(
            types=self.types,
            header=self.header,
            column_names=self.column_names,
            delimiter=self.delimiter,
            quote=self.quote,
            encoding=self.encoding,
            compression=self.compression,
            null_values=self.null_values,
        )


@dataclass(frozen=True)
class JsonlSource(_FileSource):
    """The rows of files with one JSON object per line.

    Columns that are not in `types` come from the first 1,000 rows, by the rules for new columns. A
    nested object is a JSON column, unless `types` says STRUCT. DATE, TIMESTAMP and the like, NUMERIC
    and BYTES (base64) are read from text where `types` names them.

    Attributes:
        encoding: One of Python's codecs.
        compression: `infer` = by the ending of the name: .gz, .bz2 or .zst.
        ignore_unknown: Whether to leave out keys that have no column; else such a row ends the run.
    """

    encoding: str = "utf-8"
    compression: Compression = "infer"
    ignore_unknown: bool = False

    def __post_init__(self) -> None:
        """Refuse what is wrong for certain, without any I/O."""
        super().__post_init__()
        _check_text(self.encoding, self.compression)

    def _format(self) -> Format:
        from etlkit.files.jsonl import JsonlFormat

        return JsonlFormat(
            types=self.types,
            encoding=self.encoding,
            compression=self.compression,
            ignore_unknown=self.ignore_unknown,
        )


@dataclass(frozen=True)
class ParquetSource(_FileSource):
    """The rows of Parquet files, in the files' own types; `types` casts, without loss."""

    def _format(self) -> Format:
        from etlkit.files.parquet import ParquetFormat

        return ParquetFormat(self.types)


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    try:
        is_whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_whole = False
    if not is_whole:
        raise ConfigError("an address of a web server looks like https://host/name")
    if parts.username is not None:
        raise ConfigError(
            f"the address at {parts.hostname} has a user name in it; send credentials with "
            "headers={'Authorization': …}, which no message shows"
        )


def _check_text(encoding: str, compression: str) -> None:
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise ConfigError(
            f"encoding={encoding!r} is unknown; use one of Python's, e.g. utf-8, cp932, latin-1"
        ) from None
    if compression not in get_args(Compression):
        raise ConfigError(
            f"compression={compression!r}: it must be one of "
            + ", ".join(repr(each) for each in get_args(Compression))
        )
