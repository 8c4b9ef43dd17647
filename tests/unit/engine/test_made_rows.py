"""Encoded rows, put together again: each value stays with its source row, whoever was first."""

from itertools import permutations

import pyarrow as pa
import pytest

from etlkit.api.source import ROW_ID
from etlkit.engine.chunk import Chunk
from etlkit.engine.made_rows import int_range, make_rows, merged, take_made
from etlkit.engine.output_schema import OutputSchema
from etlkit.rows.batches import RowDecoder
from etlkit.rows.columns import parse_schema

COLUMNS = parse_schema({"n": "INT64", "text": "STRING"})
NUM_ROWS = 9


def chunk_of_numbers():
    numbers = pa.array(range(NUM_ROWS), pa.int64())
    ids = pa.array([f"id-{n}" for n in range(NUM_ROWS)])
    batch = pa.RecordBatch.from_arrays([ids, numbers], [ROW_ID, "n"])
    decoder = RowDecoder(parse_schema({"n": "INT64"}))
    return Chunk(batch, decoder, 1, decoder)


def doubled(chunk, schema, start, stop):
    """The encoded rows of one worker: a text of each number, and the numbers as they were."""
    rows = [{"n": n, "text": f"text {n}"} for n in range(start, stop)]
    part = next(chunk.parts(start, stop))
    return make_rows(schema, chunk, start, rows, part)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_workers_may_end_in_any_order(order):
    """Three tasks that stand together: the first and the last say nothing about the one between."""
    chunk, schema = chunk_of_numbers(), OutputSchema(COLUMNS, {})
    bounds = [(0, 3), (3, 6), (6, 9)]
    for number in order:
        chunk.made.append(doubled(chunk, schema, *bounds[number]))
    batch = merged(take_made(chunk, 0, NUM_ROWS), chunk).batch(chunk)
    rows = batch.select([ROW_ID, "n", "text"]).to_pylist()
    assert rows == [{ROW_ID: f"id-{n}", "n": n, "text": f"text {n}"} for n in range(NUM_ROWS)]
    assert chunk.made == []


def test_rows_of_a_part_of_a_task_are_taken_before_the_rest():
    chunk, schema = chunk_of_numbers(), OutputSchema(COLUMNS, {})
    chunk.made.append(doubled(chunk, schema, 4, 9))
    chunk.made.append(doubled(chunk, schema, 0, 4))
    first = merged(take_made(chunk, 0, 6), chunk).batch(chunk)
    rest = merged(take_made(chunk, 6, NUM_ROWS), chunk).batch(chunk)
    assert [*first["text"].to_pylist(), *rest["text"].to_pylist()] == [
        f"text {n}" for n in range(NUM_ROWS)
    ]
    assert first[ROW_ID].to_pylist() + rest[ROW_ID].to_pylist() == [f"id-{n}" for n in range(9)]


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (16_383, 16_384), (16_380, 16_390), (5, 5)])
def test_consecutive_integers_are_nobody_elses(start, stop):
    """Whoever has them may take some out."""
    for _ in range(2):
        made = int_range(start, stop)
        assert list(made) == list(range(start, stop))
        made.append(7)
