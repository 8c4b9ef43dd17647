"""The trunk of the error tree: the base, and what concerns one row or the whole run. See `errors`."""

from __future__ import annotations

from typing import Any, ClassVar


class EtlkitError(Exception):
    """Base of everything etlkit raises on purpose.

    Attributes:
        message: What happened and what to do next.
        exit_code: What `python -m etlkit.run` ends with.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, **values: Any) -> None:
        super().__init__(message)
        self.message = message
        self._values = values
        for name, value in values.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep keyword values across processes; plain exceptions lose them when pickled."""
        return _rebuild, (type(self), self.message, self._values)

    def __str__(self) -> str:
        return self.message


def _rebuild(cls: type[EtlkitError], message: str, values: dict[str, Any]) -> EtlkitError:
    return cls(message, **values)


class RowError(EtlkitError):
    """One row could not be settled. `on_row_error` of the job says what happens to it.

    Attributes:
        row_number: Position among the rows read in this run, 1 = first; None = not known yet.
        row_id: The row's id in the snapshot; None = not known yet.
        column: The column concerned; None = the row as a whole.
    """

    def __init__(
        self,
        message: str,
        *,
        row_number: int | None = None,
        row_id: str | None = None,
        column: str | None = None,
    ) -> None:
        super().__init__(message, row_number=row_number, row_id=row_id, column=column)
        self.row_number = row_number
        self.row_id = row_id
        self.column = column

    def at_row(self, row_number: int, row_id: str) -> RowError:
        """Say which row it was, once the engine knows; keeps what is already known."""
        if self.row_number is None:
            self.row_number = self._values["row_number"] = row_number
        if self.row_id is None:
            self.row_id = self._values["row_id"] = row_id
        return self

    def __str__(self) -> str:
        """`row 7 (id …), column 'uri': message`."""
        where = []
        if self.row_number is not None:
            where.append(f"row {self.row_number}" + (f" (id {self.row_id})" if self.row_id else ""))
        if self.column is not None:
            where.append(f"column {self.column!r}")
        return f"{', '.join(where)}: {self.message}" if where else self.message


class JobError(EtlkitError):
    """The run ends here and nothing is published.

    Attributes:
        stage: Where it happened (`snapshot`, `read`, `transform`, `stage`, `audit`, `publish`); None
            = not in a stage of a run.
    """

    def __init__(self, message: str, *, stage: str | None = None, **values: Any) -> None:
        super().__init__(message, stage=stage, **values)
        self.stage = stage
