import duckdb
import pyarrow as pa
import pytest

from etlkit.local.bigquery.patches.arrow_types import read_field
from etlkit.local.bigquery.patches.types import BIGNUMERIC, to_column, to_field, to_table_fields
from etlkit.local.bigquery.rules.appends import AppendRefusedError, check
from etlkit.rows.types import ALIASES, REST_NAMES, STRUCT, TYPES

CHILD = {"name": "x", "type": "BOOLEAN", "mode": "NULLABLE"}


def stored(name: str):
    """The DuckDB type of a column that a client declares with this type name."""
    return duckdb.type(
        BIGNUMERIC if name == "BIGNUMERIC" else to_column({"name": "c", "type": name})
    )


# DuckDB knows GEOGRAPHY only with its spatial extension; the emulator's tests have it.
@pytest.mark.parametrize("name", sorted(set(TYPES) - {"GEOGRAPHY"}))
def test_a_stored_type_is_the_declared_type(name):
    """Each type of the registry comes back by its REST name and in its own Arrow type."""
    assert to_field("c", stored(name))["type"] == REST_NAMES[name]
    assert read_field("c", stored(name)).type == TYPES[name].arrow(pa)


@pytest.mark.parametrize("name", ["STRUCT", "RECORD"])
def test_a_struct_has_the_same_fields_by_both_names(name):
    """Clients declare a STRUCT by its standard name or by that of the REST API."""
    kind = duckdb.type(to_column({"name": "c", "type": name, "fields": [CHILD]}))
    assert to_field("c", kind) == {
        "name": "c",
        "type": REST_NAMES[STRUCT],
        "mode": "NULLABLE",
        "fields": [CHILD],
    }


@pytest.mark.parametrize("name", ["INT64", "FLOAT64", "BOOL", *sorted(set(ALIASES) - {"RECORD"})])
def test_an_append_is_checked_by_every_name_of_a_type(name):
    """An alias of a type accepts and refuses what the type does."""
    fields = to_table_fields([{"name": "c", "type": name, "mode": "NULLABLE"}])
    check(pa.table({"c": pa.array([], TYPES[ALIASES.get(name, name)].arrow(pa))}), fields)
    with pytest.raises(AppendRefusedError, match=r"field 'c' is .* in the table and date32"):
        check(pa.table({"c": pa.array([], pa.date32())}), fields)
