"""`async def` hooks: the promises of threads, on an event loop."""

import asyncio
import threading

import pytest

from etlkit import (
    ApiError,
    CapReachedError,
    ConfigError,
    EtlBase,
    JobError,
    RetryableError,
    RetryPolicy,
    RowTimeoutError,
    TransferJob,
    TransformCodeError,
    TransformError,
)
from etlkit.api.run import Interrupted, RunRequest
from etlkit.calls.run_calls import caller
from etlkit.engine.preview import preview_transfer
from etlkit.engine.transfer import run_transfer
from etlkit.testing import MemorySink, MemorySource, no_sleep, run_transform


def numbers(num_rows):
    return [{"n": n} for n in range(num_rows)]


def transfer(etl, num_rows, **options):
    sink = options.pop("sink", None) or MemorySink("replace")
    job = TransferJob(source=MemorySource(numbers(num_rows)), transform=etl, sink=sink, **options)
    return run_transfer(job, RunRequest("test"))


def test_rows_are_at_work_at_the_same_time_and_keep_their_order():
    """All of them wait for the last one; one instance works on them, on one thread."""
    instances, threads = set(), set()

    class Etl(EtlBase):
        max_concurrency = 300

        async def before_action(self):
            self.begun, self.all_begun = 0, asyncio.Event()

        async def transform_row(self, row):
            instances.add(id(self))
            threads.add(threading.current_thread().name)
            self.begun += 1
            if self.begun == 300:
                self.all_begun.set()
            await self.all_begun.wait()
            return {"n": row["n"] * 2}

    assert run_transform(Etl, numbers(300)) == [{"n": n * 2} for n in range(300)]
    assert (len(instances), threads) == (1, {"etlkit-worker-1"})


def test_no_more_rows_are_at_work_than_max_concurrency():
    """As with threads, whatever waits behind them."""
    at_work, most = 0, 0

    class Etl(EtlBase):
        max_concurrency = 7

        async def transform_row(self, row):
            nonlocal at_work, most
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0)
            at_work -= 1
            return row

    assert len(run_transform(Etl, numbers(500))) == 500
    assert most == 7


def test_every_kind_of_result_is_one_of_an_async_hook():
    """A dict, nothing, several rows at once or one after the other, and an error."""

    class Etl(EtlBase):
        max_concurrency = 3

        def before_action(self):  # it need not be async
            self.factor = 10

        async def transform_row(self, row):
            await asyncio.sleep(0)
            if row["n"] == 1:
                return None
            if row["n"] == 2:
                return [{"n": 20}, {"n": 21}]
            if row["n"] == 3:
                raise ValueError("bad")
            return {"n": row["n"] * self.factor}

    rows = run_transform(Etl, numbers(5), on_row_error="skip")
    assert [row["n"] for row in rows] == [0, 20, 21, 40]


def test_an_async_generator_is_a_fan_out():
    """It may yield the same dict again and again; an error in it is the row's."""

    class Etl(EtlBase):
        async def transform_row(self, row):
            for part in range(row["n"]):
                await asyncio.sleep(0)
                row["part"] = part
                if part == 2:
                    raise ValueError("too many")
                yield row

    rows = run_transform(Etl, numbers(4), on_row_error="skip")
    assert [(row["n"], row["part"]) for row in rows] == [(1, 0), (2, 0), (2, 1)]


def test_batches_may_be_async():
    """One result for each row in order; an exception object settles its row."""

    class Etl(EtlBase):
        batch_size = 4
        max_concurrency = 3

        async def transform_batch(self, rows):
            await asyncio.sleep(0)
            return [ValueError("bad") if row["n"] == 5 else row for row in rows]

    kept = run_transform(Etl, numbers(10), on_row_error="skip")
    assert [row["n"] for row in kept] == [0, 1, 2, 3, 4, 6, 7, 8, 9]

    class Short(Etl):
        async def transform_batch(self, rows):
            return rows[1:]

    with pytest.raises(JobError, match=r"Short\.transform_batch returned 3 results for 4 rows"):
        run_transform(Short, numbers(4))


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ({"transform_row": "async", "transform_batch": "sync"}, "transform_row is async, but tran"),
        (
            {"transform_row": "sync", "transform_batch": "async"},
            "is async, but transform_row is no",
        ),
        ({"transform_row": "sync", "before_action": "async"}, "before_action is async, but transf"),
        ({"transform_row": "sync", "after_action": "async"}, "after_action is async, but transfor"),
        ({"transform_batch": "generator"}, "transform_batch is an async generator: return a list"),
        ({"transform_row": "async", "before_action": "generator"}, "before_action is an async gen"),
    ],
)
def test_hooks_of_two_kinds_are_refused_before_anything_is_read(hooks, message):
    """A coroutine that nobody awaits would do nothing."""

    def sync(self, *_):
        return None

    async def awaited(self, *_):
        return None

    async def generator(self, *_):
        yield None

    kinds = {"sync": sync, "async": awaited, "generator": generator}
    made = {hook: kinds[kind] for hook, kind in hooks.items()}
    with pytest.raises(ConfigError, match=message):
        run_transform(type("Etl", (EtlBase,), made), numbers(1))


def test_a_hook_that_says_async_and_gives_something_else_ends_the_run():
    """Such as one with a decorator around it, put on the instance."""

    class Etl(EtlBase):
        async def transform_row(self, row):
            return row

        def before_action(self):
            self.transform_row = lambda row: row

    with pytest.raises(JobError, match="transform_row is async, but a call of it gave a dict"):
        run_transform(Etl, numbers(1))


@pytest.mark.parametrize(
    ("is_async", "value", "message"),
    [
        (True, 10_001, "max_concurrency = 10,001: 10,000 is the most"),
        (False, 1_001, "1,000 is the most for hooks that are not async"),
    ],
)
def test_an_absurd_max_concurrency_is_refused(is_async, value, message):
    """Before anything is read."""

    class Sync(EtlBase):
        max_concurrency = value

        def transform_row(self, row):
            return row

    class Async(EtlBase):
        max_concurrency = value

        async def transform_row(self, row):
            return row

    with pytest.raises(ConfigError, match=message):
        run_transform(Async if is_async else Sync, numbers(1))


def test_the_first_error_in_order_ends_the_run_and_after_action_runs():
    """Rows behind it are not begun, and those before it are finished."""
    begun, ended = [], []

    class Etl(EtlBase):
        max_concurrency = 4

        async def transform_row(self, row):
            begun.append(row["n"])
            await asyncio.sleep(0)
            if row["n"] >= 5:
                raise ValueError("no good")
            return row

        async def after_action(self):
            await asyncio.sleep(0)
            ended.append(True)

    with pytest.raises(TransformError, match=r"row 6 \(id row-6\): ValueError: no good"):
        transfer(Etl, 100)
    assert ended == [True]
    assert max(begun) <= 9


@pytest.mark.parametrize("hook", ["before_action", "after_action"])
def test_an_error_of_another_hook_ends_the_run(hook):
    """With its line, as for threads."""

    async def fails(self):
        raise ValueError("no network")

    async def transform_row(self, row):
        return row

    etl = type("Etl", (EtlBase,), {"transform_row": transform_row, hook: fails})
    with pytest.raises(JobError, match=rf"{hook} failed: ValueError: no network \(tests/unit/eng"):
        run_transform(etl, numbers(3))


def test_mistakes_in_the_code_and_outages_are_no_row_errors():
    """They end the run, although `on_row_error` skips."""

    class Mistaken(EtlBase):
        async def transform_row(self, row):
            return undefined  # noqa: F821 - the mistake

    class Refused(EtlBase):
        async def transform_row(self, row):
            raise ApiError("no key", service="geo", status=401)

    with pytest.raises(TransformCodeError, match="row 1 "):
        run_transform(Mistaken, numbers(3), on_row_error="skip")
    with pytest.raises(ApiError, match="no key"):
        run_transform(Refused, numbers(3), on_row_error="skip")


def test_a_cancellation_within_a_row_is_that_rows_error():
    """The transform's own task was cancelled, not the run."""

    class Etl(EtlBase):
        max_concurrency = 2

        async def transform_row(self, row):
            if row["n"] == 1:
                raise asyncio.CancelledError
            return row

    assert run_transform(Etl, numbers(3), on_row_error="skip") == [{"n": 0}, {"n": 2}]


def test_rows_that_are_told_to_wait_do_not_stop_the_others():
    """They are parked, in order, until all others were answered."""
    told, answered = set(range(3, 19)), []

    class Etl(EtlBase):
        max_concurrency = 4

        def before_action(self):
            self.api = caller("api", RetryPolicy(max_attempts=10_000))

        async def attempt(self, n):
            if n in told and len(answered) < 484:
                raise RetryableError("come back", status=429, retry_after_s=0.3)
            answered.append(n)
            return n

        async def transform_row(self, row):
            return {"n": await self.api.call_async(lambda _timeout_s: self.attempt(row["n"]))}

    assert run_transform(Etl, numbers(500)) == numbers(500)
    assert set(answered[-16:]) == told


def test_retries_and_counts_are_those_of_threads():
    """The second attempt works; both are counted."""
    tried = set()

    class Etl(EtlBase):
        max_concurrency = 50

        async def attempt(self, n):
            await asyncio.sleep(0)
            if n not in tried:
                tried.add(n)
                raise RetryableError("busy", status=503)
            return n

        async def transform_row(self, row):
            return {"n": await caller("api").call_async(lambda _: self.attempt(row["n"]))}

    with no_sleep():
        report = transfer(Etl, 100)
    assert (report.written, report.calls, report.retries) == (100, 200, 100)


def test_a_cap_ends_the_run_although_the_transform_catches_everything():
    """The row of the refused call, and not one that shares the loop with it."""

    class Etl(EtlBase):
        max_concurrency = 10

        async def attempt(self, _timeout_s):
            await asyncio.sleep(0)

        async def transform_row(self, row):
            try:
                await caller("api").call_async(self.attempt)
            except Exception:
                row["n"] = None
            return row

    sink = MemorySink("replace")
    with pytest.raises(CapReachedError) as caught:
        transfer(Etl, 100, sink=sink, max_calls=30)
    assert (caught.value.report.calls, caught.value.report.kept) == (30, 30)


def test_calls_that_one_row_makes_at_the_same_time_share_its_slot():
    """A row is parked only when none of its calls is in flight."""
    at_work, most = 0, 0

    class Etl(EtlBase):
        max_concurrency = 2

        async def attempt(self, key):
            nonlocal at_work, most
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0)
            at_work -= 1
            if key not in self.tried:
                self.tried.add(key)
                raise RetryableError("busy", status=503)

        async def transform_row(self, row):
            api, n = caller("api"), row["n"]
            await asyncio.gather(
                *(api.call_async(lambda _, k=k: self.attempt((n, k))) for k in range(3))
            )
            return row

        def before_action(self):
            self.tried = set()

    with no_sleep():
        assert len(run_transform(Etl, numbers(40))) == 40
    assert most <= 2 * 3


def test_ctrl_c_lets_calls_in_flight_end_and_keeps_their_rows():
    """Rows that wait for a retry have no outcome, and those in flight have one."""
    runs = []

    class Etl(EtlBase):
        max_concurrency = 2

        async def attempt(self, n):
            if n == 0:
                raise RetryableError("later", status=429, retry_after_s=300)
            if n == 1:
                runs[0].request_stop(2)
            return n

        async def transform_row(self, row):
            return {"n": await caller("api").call_async(lambda _: self.attempt(row["n"]))}

    sink = MemorySink("replace")
    job = TransferJob(source=MemorySource(numbers(50)), transform=Etl, sink=sink)
    with pytest.raises(Interrupted) as caught:
        run_transfer(job, RunRequest("test"), on_start=runs.append)
    assert caught.value.report.kept >= 1
    resumed = run_transfer(
        TransferJob(source=job.source, transform=Unchanged, sink=sink),
        RunRequest("test", resume=caught.value.report.run_id, allow_code_change=True),
    )
    assert (resumed.written, resumed.resumed) == (50, caught.value.report.kept)


class Unchanged(EtlBase):
    async def transform_row(self, row):
        return row


def test_a_row_that_hangs_is_named_with_its_line_and_cancelled():
    """Nobody waits for it: the run ends when the others have."""
    cancelled = []

    class Etl(EtlBase):
        max_concurrency = 3

        async def transform_row(self, row):
            if row["n"] == 7:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled.append(row["n"])
                    raise
            return row

    with pytest.raises(RowTimeoutError) as caught:
        transfer(Etl, 20, row_timeout_s=0.3)
    text = str(caught.value)
    assert text.startswith("row 8 (id row-8): the transform has not returned within row_timeout_s")
    assert "tests/unit/engine/test_async_hooks.py:" in text
    assert "It is cancelled, and the run ends" in text
    assert cancelled == [7]


def test_a_blocked_event_loop_is_told_once_with_the_users_line(caplog):
    """`time.sleep` and `requests.get` stop all other rows."""
    blocked = threading.Event()

    class Etl(EtlBase):
        max_concurrency = 2

        async def transform_row(self, row):
            if row["n"] < 2:
                blocked.wait(1.0)
            return row

    assert len(run_transform(Etl, numbers(4))) == 4
    told = [each for each in caplog.messages if "event loop has been blocked" in each]
    assert len(told) == 1
    assert "tests/unit/engine/test_async_hooks.py:" in told[0]


def test_a_preview_runs_async_hooks():
    """Rows before and after, nothing written."""

    class Etl(EtlBase):
        async def transform_row(self, row):
            return {"n": row["n"] * 3}

    job = TransferJob(source=MemorySource(numbers(3)), transform=Etl, sink=MemorySink())
    shown = preview_transfer(job, RunRequest("test", limit=3))
    assert [each.after for each in shown.rows] == [({"n": 0},), ({"n": 3},), ({"n": 6},)]


def test_an_instance_may_be_async():
    """`run_transform` takes one with fakes in it."""
    etl = Unchanged()
    assert run_transform(etl, numbers(3)) == numbers(3)
