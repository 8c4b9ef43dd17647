"""A random sample of any source: the same rows for a seed, and the number of all rows."""

from etlkit import EtlBase, TransferJob
from etlkit.api.run import Run, RunRequest
from etlkit.api.source import Sampling
from etlkit.engine.sample import SampledRows
from etlkit.rows.batches import RowDecoder
from etlkit.testing import MemorySink, MemorySource


def sample(num_rows, seed, of=1000, batch_rows=90):
    rows = [{"n": n} for n in range(of)]
    sampling = Sampling(num_rows, seed)
    source = SampledRows(MemorySource(rows, {"n": "INT64"}, batch_rows=batch_rows), sampling)
    job = TransferJob(source=source, transform=EtlBase, sink=MemorySink())
    with Run(RunRequest("test")) as run:
        reader = source.open(job, run)
        reader.freeze()
        decoder = RowDecoder(reader.columns)
        found = [row["n"] for batch in reader.batches() for row in decoder.decode(batch).rows]
        assert reader.num_rows == len(found)
        reader.close(succeeded=True)
    return found, sampling.num_source_rows


def test_a_sample_is_random_in_order_and_repeatable():
    """Rows come from everywhere, each once, in the source's order; another seed gives others."""
    first, total = sample(50, 0)
    assert total == 1000
    assert first == sorted(set(first))
    assert len(first) == 50
    assert first[0] < 200
    assert first[-1] > 800
    assert sample(50, 0)[0] == first
    assert sample(50, 1)[0] != first
    assert sample(50, 0, batch_rows=7)[0] == first


def test_a_small_source_is_taken_whole():
    """More rows than there are, and none at all."""
    assert sample(50, 0, of=3) == ([0, 1, 2], 3)
    assert sample(50, 0, of=0) == ([], 0)
