"""The pytest plugin of etlkit: fixtures for tests of transforms and jobs.

pytest finds it by itself where etlkit is installed. It imports nothing else until a test asks for a
fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from etlkit.rows.row import Row
    from etlkit.testing import FakeVision, FaultServer
    from etlkit.testing.datamart_cases import DatamartCase
    from etlkit.testing.row_snapshot import RowSnapshot, SnapshotUse

_USES: pytest.StashKey[list[SnapshotUse]] = pytest.StashKey()
"""What the session has used of snapshots; empty = there are none."""

_PARTIAL: pytest.StashKey[list[bool]] = pytest.StashKey()
"""Not empty = only some tests of a module have run."""

SNAPSHOT_FOLDER = "row_snapshots"
"""Beside the test modules, with a folder for each."""

_CHOOSING = (
    "keyword",
    "markexpr",
    "deselect",
    "lf",
    "stepwise",
    "collectonly",
    "setuponly",
    "setupplan",
)
"""Options with which not every test of a module runs to its end."""


@pytest.fixture(scope="session")
def local_bigquery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A local BigQuery of its own for this session; Google's clients in the tests go there.

    With pytest-xdist each worker has one.

    Yields:
        The environment variables for other programs that a test starts.
    """
    with _local_world(tmp_path_factory.mktemp("etlkit") / ".etlkit") as environ:
        yield environ


@contextmanager
def _local_world(folder: Path) -> Iterator[dict[str, str]]:
    from etlkit.errors import ConfigError
    from etlkit.runner import local_world

    with ExitStack() as stack:
        try:
            environ = stack.enter_context(local_world(folder))
        except (
            ConfigError
        ) as error:  # e.g. the extra is missing: nobody needs etlkit's lines for that
            pytest.fail(str(error), pytrace=False)
        yield environ


@pytest.fixture
def etl_run() -> Callable[..., list[Row]]:
    """`etlkit.testing.run_transform` whose calls do not wait: the clock of retries jumps."""
    from etlkit.testing import no_sleep, run_transform

    def run(etl: object, rows: list[Row], **options: object) -> list[Row]:
        with no_sleep():
            return run_transform(etl, rows, **options)  # type: ignore[arg-type]

    return run


@pytest.fixture
def fake_vision(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVision]:
    """Cloud Vision on this machine; a test sets its `images`, and etlkit's Vision clients go there."""
    from etlkit.testing import FakeVision

    with FakeVision() as vision:
        for name, value in vision.environ.items():
            monkeypatch.setenv(name, value)
        yield vision


@pytest.fixture
def fault_server(request: pytest.FixtureRequest) -> Iterator[FaultServer]:
    """A server that fails as planned; its arguments come from `@pytest.mark.fault_server(...)`."""
    from etlkit.testing import FaultServer

    marked = request.node.get_closest_marker("fault_server")
    arguments = marked.args if marked else ()
    options = marked.kwargs if marked else {}
    with FaultServer(*arguments, **options) as server:
        yield server


@pytest.fixture
def row_snapshot(request: pytest.FixtureRequest) -> RowSnapshot:
    """Compares rows with those in a file beside the test; `--update-snapshots` writes it."""
    from etlkit.testing.row_snapshot import RowSnapshot

    use = _snapshot_use(request.config)
    folder = _snapshot_folder(request.path)
    return RowSnapshot(folder, request.node.name, request.node.nodeid, use)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the tests of datamarts in files whose names end in `.etlkit.yml`."""
    if file_path.name.endswith((".etlkit.yml", ".etlkit.yaml")):
        made: pytest.Collector = DatamartFile.from_parent(parent, path=file_path)
        return made
    return None


class DatamartFile(pytest.Module):
    """A file of YAML with tests of datamarts; to pytest each of them is a test function."""

    def _getobj(self) -> ModuleType:
        return ModuleType(self.path.name)

    def collect(self) -> Iterator[pytest.Function]:
        """Give a test function for each entry of `unit_tests`."""
        from etlkit.errors import ConfigError
        from etlkit.testing.datamart_cases import DatamartCase, read_cases

        try:
            cases = read_cases(self.path)
        except ConfigError as error:
            raise self.CollectError(str(error)) from None
        for name, case in cases:
            made = _function(case) if isinstance(case, DatamartCase) else _failing(str(case))
            yield pytest.Function.from_parent(self, name=name, callobj=made)


def _failing(message: str) -> Callable[[], None]:
    """A test that cannot be read: it fails alone, and the other ones of its file run."""

    def check() -> None:
        pytest.fail(message, pytrace=False)

    return check


def _function(case: DatamartCase) -> Callable[[object], None]:
    def check(local_bigquery: object) -> None:  # noqa: ARG001 - pytest starts it for the test
        __tracebackhide__ = True
        if mistake := _run_case(case):
            pytest.fail(mistake, pytrace=False)

    return check


def _run_case(case: DatamartCase) -> str:
    """Run a test; gives what is wrong with the test itself, empty = nothing."""
    __tracebackhide__ = True
    from etlkit.api.datamart import Datamart
    from etlkit.cli.job_loader import load_job
    from etlkit.errors import ConfigError

    try:
        _, job = load_job(case.datamart)
    except ConfigError as error:
        return f"{case.where}: {error}"
    if not isinstance(job, Datamart):
        return f"{case.where}: {case.datamart} is a {type(job).__name__}, not a Datamart"
    try:
        case.check(job)
    except ConfigError as error:
        return str(error)
    return ""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option of snapshots."""
    parser.getgroup("etlkit").addoption(
        "--update-snapshots",
        action="store_true",
        help="Write the snapshots of the fixture row_snapshot, and remove those that no test uses.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        "fault_server(plan, **options): arguments of the FaultServer of the fixture fault_server",
    )
    config.stash[_USES] = []
    config.stash[_PARTIAL] = []


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Note that only some tests run, whichever plugin has chosen them."""
    if items:
        items[0].config.stash[_PARTIAL].append(True)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Find the snapshots of the collected modules, also of those whose tests use none any more."""
    for folder in {_snapshot_folder(item.path) for item in session.items}:
        if folder.is_dir():
            _snapshot_use(session.config).folders.add(str(folder))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of pytest-xdist, tell the controller which snapshots were used."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        stash = session.config.stash
        output["etlkit_partial"] = bool(stash[_PARTIAL])
        output["etlkit_snapshots"] = [(sorted(u.used), sorted(u.folders)) for u in stash[_USES]]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what a worker of pytest-xdist has used."""
    output = getattr(node, "workeroutput", {})
    node.config.stash[_PARTIAL] += [True] if output.get("etlkit_partial") else []
    for used, folders in output.get("etlkit_snapshots", ()):
        use = _snapshot_use(node.config)
        use.used |= set(used)
        use.folders |= set(folders)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """Report snapshots that no test has used, if all tests of their modules have run."""
    chosen = any(getattr(config.option, name, None) for name in _CHOOSING)
    chosen = chosen or bool(config.stash[_PARTIAL]) or any("::" in each for each in config.args)
    if exitstatus or chosen:
        return
    reports = [*terminalreporter.getreports("skipped"), *terminalreporter.getreports("xfailed")]
    skipped = {_test_of(report, config) for report in reports if "::" in report.nodeid}
    for use in config.stash[_USES]:
        for file in use.unused(skipped):
            terminalreporter.write_line(_unused(use, file), yellow=not use.update)


def _unused(use: SnapshotUse, file: Path) -> str:
    """What becomes of a snapshot that no test uses."""
    if not use.update:
        return f"no test uses the snapshot {file}; --update-snapshots removes it"
    try:
        use.remove(file)
    except OSError as error:
        return f"no test uses the snapshot {file}, and it cannot be removed: {error.strerror}"
    return f"removed the snapshot {file}: no test uses it"


def _test_of(report: Any, config: pytest.Config) -> tuple[str, str]:
    """Module and name of a test."""
    path, _, rest = report.nodeid.partition("::")
    head, bracket, parameters = rest.partition("[")
    return str(config.rootpath / path), head.rpartition("::")[2] + bracket + parameters


def _snapshot_folder(module: Path) -> Path:
    return module.parent / SNAPSHOT_FOLDER / module.stem


def _snapshot_use(config: pytest.Config) -> SnapshotUse:
    from etlkit.testing.row_snapshot import SnapshotUse

    uses = config.stash[_USES]
    if not uses:
        uses.append(SnapshotUse(update=config.getoption("--update-snapshots")))
    return uses[0]
