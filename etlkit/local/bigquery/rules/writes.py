"""Run a statement that writes, let the rules look at its rows, and undo it if one is broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bqemulator.domain.errors import DomainError
from bqemulator.jobs import executor
from bqemulator.storage.sql_identifiers import quoted_table_ref
from sqlglot import exp

from etlkit.local.bigquery.extensions import grammar
from etlkit.local.bigquery.patches.transaction import Transaction
from etlkit.local.bigquery.rules.registry import Asked, ask

if TYPE_CHECKING:
    from bqemulator.catalog.models import TableMeta

    from etlkit.local.bigquery.rules.concurrency import Name


@dataclass(frozen=True)
class Written:
    """A table that a statement or a load has just written, in an open transaction.

    Attributes:
        meta: The table.
        engine: The emulator's.
        is_new: True = all of its rows are this statement's; False = only those that are not committed.
    """

    meta: TableMeta
    engine: Any
    is_new: bool = False

    @property
    def table(self) -> str:
        """Its quoted name in DuckDB."""
        meta = self.meta
        return quoted_table_ref(meta.project_id, meta.dataset_id, meta.table_id)

    def has(self, condition: str) -> bool:
        """Whether a row fulfils a condition in DuckDB's SQL."""
        found = self.engine.execute(f"SELECT 1 FROM {self.table} WHERE {condition} LIMIT 1")
        return found.fetchone() is not None


@contextmanager
def checked(tree: Any, project: str, ctx: Any) -> Iterator[None]:
    """Run a statement within; if a rule is broken, nothing of it stays.

    Args:
        tree: The statement; None = a script, whose statements come one by one.
        project: Of names that have none.
        ctx: The emulator's `AppContext`.

    Raises:
        DomainError: A rule is broken. A transaction of the user is lost then.
    """
    name = None if ctx.engine.is_dry else _written_by(tree, project, ctx)
    if name is None:
        yield
        return
    outer = ctx.engine.transaction
    transaction = outer or Transaction(ctx, is_implicit=True)
    try:
        yield
        _ask(name, tree, ctx, outer)
    except BaseException:
        if outer is None:
            transaction.rollback()
        raise
    if outer is None:
        transaction.commit()


def _ask(name: Name, tree: Any, ctx: Any, outer: Transaction | None) -> None:
    meta = ctx.catalog.get_table(*name)
    if meta is None or meta.table_type != "TABLE" or isinstance(tree, exp.Alter):
        return
    try:
        ask(Asked.WRITTEN, Written(meta, ctx.engine, isinstance(tree, exp.Create)))
    except DomainError:
        if outer is not None:
            outer.lose()
        raise


def _written_by(tree: Any, project: str, ctx: Any) -> Name | None:
    """The table that a statement writes or defines, if a rule can be about it."""
    if isinstance(tree, exp.Create | exp.Alter):
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        is_table = (tree.args.get("kind") or "").upper() == "TABLE"
        if not is_table or not isinstance(target, exp.Table) or not target.db:
            return None
        return grammar.name_of(target, project)
    if not isinstance(tree, exp.Insert | exp.Update | exp.Merge):
        return None
    for project_id, dataset, table in executor._dml_target_tables(tree, project):  # noqa: SLF001
        meta = ctx.catalog.get_table(project_id, dataset, table)
        return (project_id, dataset, table) if meta is not None and _is_limited(meta) else None
    return None


def _is_limited(meta: TableMeta) -> bool:
    """Whether a rule is about the rows of a table; most tables need no transaction of their own."""
    if meta.time_partitioning is not None or meta.range_partitioning is not None:
        return True
    return any(_is_limited_field(field) for field in meta.schema_.fields)


def _is_limited_field(field: Any) -> bool:
    return (
        field.mode == "REPEATED"
        or field.max_length is not None
        or any(_is_limited_field(child) for child in field.fields)
    )
