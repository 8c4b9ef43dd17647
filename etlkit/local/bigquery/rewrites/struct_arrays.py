"""Arrays of structs whose first element alone has names or types: `[STRUCT(1 AS a), (2)]`.

Real BigQuery: the other elements, which may be tuples, take the names and types of the first. The
emulator: it only did so for elements with STRUCT, and within UNNEST.
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from etlkit.local.bigquery.rewrites.names import Names


def rewrite(tree: exp.Expr, names: Names) -> bool:
    """Give all elements of such arrays the names or the type of the first."""
    del names
    arrays = list(tree.find_all(exp.Array))
    changed = [_name_elements(array) for array in arrays]
    return any(changed)


def _name_elements(array: exp.Array) -> bool:
    first, *others = array.expressions or [None]
    unnamed = [each for each in others if _values(each) is not None]
    if first is None or not unnamed:
        return False
    if isinstance(first, exp.Cast) and first.to.is_type(exp.DType.STRUCT):
        for each in unnamed:
            values: Any = _values(each)
            each.replace(exp.cast(exp.Struct(expressions=list(values)), first.to.copy()))
        return True
    fields = first.expressions if isinstance(first, exp.Struct) else []
    if not fields or not all(isinstance(field, exp.PropertyEQ) for field in fields):
        return False
    fitting = [each for each in unnamed if len(_values(each) or ()) == len(fields)]
    for each in fitting:
        named = [
            exp.PropertyEQ(this=field.this.copy(), expression=value)
            for field, value in zip(fields, _values(each) or (), strict=True)
        ]
        each.replace(exp.Struct(expressions=named))
    return bool(fitting)


def _values(element: Any) -> list[exp.Expr] | None:
    """The values of a tuple, or of a struct without names; None = it is something else."""
    if isinstance(element, exp.Tuple):
        return list(element.expressions)
    if isinstance(element, exp.Struct) and not any(
        isinstance(each, exp.PropertyEQ) for each in element.expressions
    ):
        return list(element.expressions)
    return None
