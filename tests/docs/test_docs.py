"""The documentation matches the code: its examples run, and no option and no name is missing.

On each page the blocks run from top to bottom in one project folder. A `python` block that begins
with `# path/to/file.py` is written there and imported; `test_*` functions and `Test*` classes are
run. Every line of a `sh` block is run, as a command of etlkit; `# exit status N` says what to expect.
`<!-- not run: why -->` on the line before a block exempts it, for one of the reasons below.
"""

import dataclasses
import importlib
import importlib.util
import re
import shlex
import shutil
import sys
from pathlib import Path

import click
import pytest

import etlkit
from etlkit import EtlkitError, RunReport, errors, testing
from etlkit.cli import check, deploy, local, report, root, run, runs, serve
from etlkit.local import join_or_start
from tests.docs import pictures

ROOT = Path(__file__).parents[2]
PAGES = {
    str(page.relative_to(ROOT)): page.read_text(encoding="utf-8")
    for page in [
        *(ROOT / name for name in ("README.md", "README.ja.md", "CONTRIBUTING.md", "SECURITY.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
}
CLI_PAGE = PAGES["docs/reference/cli.md"]

# Fences inside of list items or quotes are not used in these pages.
BLOCK = re.compile(
    r"^(?P<exempt><!-- not run: [^\n]+ -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
REASONS = {
    "installs packages",
    "needs a run that stopped",
    "needs a second environment",
    "needs an account",
    "needs another service",
    "needs the id of a run",
    "runs the tests themselves",
    "stays up",
    "takes minutes",
    "tests/emulator/test_article_workflow.py runs the workflow",
}
"""Why a block may be left out."""
ELSEWHERE = {"docs/guides/testing.md", "docs/guides/tools.md"}
"""Pages with `py` blocks: for pytest, and for other people's tools (`tests/tools/test_guide.py`)."""
IN_A_CLONE = {"README.md", "docs/guides/schedule.md"}
"""Pages whose commands use the jobs of the repository."""
JAPANESE = re.compile(r"docs/ja/|README\.ja\.md")
PRINTED = {"docs/quickstart.md": 6, "docs/guides/check.md": 2}
"""Pages that show what their commands print, and how many times at least."""
DEPLOYED = ("cloud-run", "kubernetes", "slurm")
OFFLINE = {"check", "completion", "deploy", "doctor", "init", "local", "new"}
"""Commands that need no `--local` to stay on this machine."""


def blocks(text):
    return [match for match in BLOCK.finditer(text) if match["language"] in {"python", "sh"}]


def outputs(text):
    """Each `text` block that follows a `sh` block directly, or after one sentence: commands, lines."""
    found = []
    before = None
    for match in BLOCK.finditer(text):
        if match["language"] == "text" and before is not None:
            between = text[before.end() : match.start()].strip()
            if between.count("\n") <= 1:
                found.append((before["code"], match["code"].splitlines()))
        before = match if match["language"] == "sh" and not match["exempt"] else None
    return found


def as_pattern(line):
    """A documented line of output as a pattern: numbers and ids differ, `…` leaves something out."""
    pattern = re.escape(line)
    pattern = re.sub(r"[0-9a-f]{8}\\-…|20\d{6}_\d+_[0-9a-f]{8}", "\\\\S+", pattern)
    pattern = re.sub(r"\d+\\\.\d+", "[\\\\d.]+", pattern)
    return pattern.replace("…", ".*")


def slug(heading):
    """The anchor of a heading, as GitHub makes it."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def anchors(text):
    return {slug(line.lstrip("#")) for line in text.splitlines() if line.startswith("#")}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One local server for all pages."""
    with join_or_start(tmp_path_factory.mktemp("docs") / ".etlkit") as server:
        yield server


@pytest.fixture
def project(server, tmp_path, monkeypatch):
    """A user's folder as the working directory, with the repository's photos and the shared server."""
    (tmp_path / ".etlkit").symlink_to(server.local_dir)
    (tmp_path / "photos").symlink_to(ROOT / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def run_python(code, page, namespace):
    """Run a block, or write and import it if its first line names a file; then run its tests.

    A block that begins with `# needs x` is only run where the package x is installed.
    """
    needed = re.match(r"# needs (\w+)\n", code)
    if needed is not None and importlib.util.find_spec(needed[1]) is None:
        return
    path = re.match(r"# (\S+\.py)\n", code)
    if path is None:
        known = dict(namespace)
        exec(compile(code, page, "exec"), namespace)  # noqa: S102 - it is our own page
        made = {name: each for name, each in namespace.items() if known.get(name) is not each}
    else:
        file = Path(path[1])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code, encoding="utf-8")
        name = ".".join(file.with_suffix("").parts)
        if name.startswith("scripts."):
            made = {}  # scripts are run by etlkit.run, which gives them `etl_base`
        elif name.startswith("tests."):
            made = {}
            exec(compile(code, page, "exec"), made)  # noqa: S102 - as above; `tests` is taken
        else:
            sys.modules.pop(name, None)
            importlib.invalidate_caches()
            made = vars(importlib.import_module(name))
        namespace.update(made)
    for name, each in made.items():
        if name.startswith("test_"):
            each()
        elif name.startswith("Test"):
            for method in dir(each):
                if method.startswith("test_"):
                    instance = each()
                    instance.setup_method()
                    getattr(instance, method)()


def run_shell(line, page):
    """Run one line of a `sh` block: a command of etlkit that stays on this machine."""
    command, _, remark = line.partition("  # ")
    words = []
    for word in shlex.split(command):
        words += [str(path) for path in sorted(Path().glob(word))] if "/*." in word else [word]
    if not words:
        return
    if words[0] == "etlkit":
        main, rest = root.main, words[1:]
        stays = words[1] in OFFLINE or "--local" in words
    else:
        mains = {"etlkit.run": run.main, "etlkit.runs": runs.main, "etlkit.local": local.main}
        main, rest = mains.get(words[2] if words[:2] == ["python", "-m"] else None), words[3:]
        stays = "etlkit.local" in words or "--local" in words
    assert main is not None, f"{page}: {line}: not a command of etlkit; say `<!-- not run: why -->`"
    assert stays, f"{page}: {line}: add --local, or say `<!-- not run: why -->` before the block"
    expected = re.fullmatch(r"exit status (\d+)", remark)
    assert main(rest) == int(expected[1] if expected else 0), f"{page}: {line}"


@pytest.mark.parametrize(
    "page",
    [page for page, text in PAGES.items() if blocks(text) and not JAPANESE.match(page)],
)
def test_blocks_run(page, project, capsys):
    """Every block of a page runs, from top to bottom, as a reader would do it.

    It prints what the page shows. Blocks and output of the Japanese pages are those of the English
    ones (`test_japanese.py`).
    """
    if page in IN_A_CLONE:
        for folder in ("jobs", "transforms"):
            shutil.copytree(ROOT / folder, project / folder)
        shutil.copy(ROOT / "pyproject.toml", project)
    shown = dict(outputs(PAGES[page])) if page in PRINTED else {}
    assert len(shown) >= PRINTED.get(page, 0)
    namespace = {"__name__": "docs"}
    for block in blocks(PAGES[page]):
        if block["exempt"]:
            continue
        if block["language"] == "python":
            run_python(block["code"], page, namespace)
            continue
        capsys.readouterr()
        for line in block["code"].splitlines():
            run_shell(line, page)
        printed = [line.rstrip() for line in "".join(capsys.readouterr()).splitlines()]
        for line in shown.get(block["code"], ()):
            pattern = as_pattern(line)
            assert any(re.fullmatch(pattern, each) for each in printed), (line, printed)


def test_blocks_are_left_out_for_known_reasons():
    """A block that is not run says why, in the words of the list above; `py` is for few pages."""
    exempt = [block["exempt"] for text in PAGES.values() for block in blocks(text)]
    reasons = {
        each.removeprefix("<!-- not run: ").removesuffix(" -->\n") for each in exempt if each
    }
    assert reasons == REASONS
    assert {
        page for page, text in PAGES.items() if re.search("^```py$", text, re.MULTILINE)
    } <= ELSEWHERE


@pytest.mark.parametrize("language", ["python", "sh"])
def test_every_fence_is_found(language):
    """Every fence is written so that the pattern above finds it."""
    for page, text in PAGES.items():
        found = [block for block in blocks(text) if block["language"] == language]
        assert len(re.findall(rf"```{language}\b", text)) == len(found), page


@pytest.mark.parametrize(
    ("module", "command"),
    [
        (None, root.command),
        ("run", run.command),
        ("runs", runs.command),
        ("check", check.command),
        ("report", report.command),
        ("deploy cloud-run", deploy.cloud_run),
        ("deploy kubernetes", deploy.kubernetes),
        ("deploy slurm", deploy.slurm),
        ("serve", serve.command),
        ("local", local.command),
        *(("local", command) for command in local.command.commands.values()),
    ],
)
def test_every_option_is_documented(module, command):
    """Each option of each command line is documented in each spelling, and each command by name."""
    headings = {None: "etlkit"}
    headings |= {name: f"etlkit {name}" for name in ("check", "report", "serve")}
    headings |= {name: f"etlkit {name}" for name in map("deploy {}".format, DEPLOYED)}
    heading = headings.get(module, f"python -m etlkit.{module}")
    section = CLI_PAGE.split(f"## `{heading}`\n")[1].split("\n## ")[0]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            for option in parameter.opts:
                assert re.search(rf"`{re.escape(option)}[` ]", section), option
    if module == "local" and command is not local.command:
        assert re.search(rf"^\| `{command.name}[` ]", section, re.MULTILINE)


def test_every_report_key_is_documented():
    """Each key of the run report is documented."""
    keys = CLI_PAGE.split("### The run report")[1].split("## ")[0]
    for field in dataclasses.fields(RunReport):
        assert f"| `{field.name}` |" in keys


def test_every_public_name_is_documented():
    """The page of names lists once what `etlkit` and `etlkit.testing` export, and nothing else."""
    page = PAGES["docs/reference/api.md"]
    for module in (etlkit, testing):
        section = page.split(f"## `{module.__name__}`\n")[1].split("\n## ")[0]
        assert sorted(re.findall(r"^\| `(\w+)", section, re.MULTILINE)) == sorted(module.__all__)


def test_names_for_plug_ins_can_be_imported():
    """Each name that authors of sources and sinks are told to use is there."""
    section = PAGES["docs/reference/api.md"].split("## For authors of sources and sinks")[1]
    modules = re.findall(r"^\| `(etlkit[\w.]+)`: (.*?) \|", section, re.MULTILINE)
    assert len(modules) > 3
    for module, names in modules:
        for name in re.findall(r"`(\w+)", names):
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


def test_every_error_is_documented():
    """Each error class has its row, and is in the tree."""
    page = PAGES["docs/reference/errors.md"]
    tree = page.split("```")[1]
    classes = [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, EtlkitError)
    ]
    assert len(classes) > 1
    for each in classes:
        assert f"| `{each.__name__}` |" in page
        assert re.search(rf"\b{each.__name__}\b", tree)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """Relative links name existing files, and headings that are in them."""
    text = re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)
    text = re.sub(r"(`+)[^`].*?\1", "", text)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_every_page_is_listed():
    """The index of its language leads to every page."""
    for page in PAGES:
        if page.startswith("docs/") and not page.endswith("/index.md"):
            folder = "docs/ja/" if page.startswith("docs/ja/") else "docs/"
            assert f"({page.removeprefix(folder)})" in PAGES[f"{folder}index.md"], page


PATH = re.compile(r"`([\w.*-]+(?:/[\w.*-]*)+|[\w-]+\.(?:py|md|toml|sql))(?: [^`]*)?`")
GENERATED = {".etlkit/", ".venv/", "build/site"}


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_named_files_exist(page):
    """Every file and folder that the pages for contributors name is in the repository."""
    named = set(PATH.findall(PAGES[page])) - GENERATED
    named = {name for name in named if not name.startswith(".venv/")}
    assert len(named) > 10
    missing = [name for name in named if not list(ROOT.glob(name.rstrip("/")))]
    assert missing == []


def test_the_picture_of_rooms_shows_all_imports():
    """Along the arrows of the picture, each room reaches every room that it imports."""
    picture = PAGES["docs/architecture.md"].split("flowchart TD")[1].split("```")[0]
    arrows = re.findall(r"^    (\w+)(?:\[.*?\])? (?:-->|-\..*?\.->) (.+)$", picture, re.MULTILINE)
    drawn = {}
    for room, others in arrows:
        drawn.setdefault(room, set()).update(others.split(" & "))

    def reach(room):
        return {room}.union(*(reach(other) for other in drawn.get(room, ())))

    package = Path(etlkit.__file__).parent
    for file in package.rglob("*.py"):
        room = file.relative_to(package).parts[0].removesuffix(".py")
        if room in {"__init__", "run", "runs", "pytest_plugin"} or file.name == "__main__.py":
            continue  # entry points
        for name in re.findall(
            r"^ *(?:from|import) etlkit\.(\w+)", file.read_text("utf-8"), re.MULTILINE
        ):
            assert name in reach(room) | {"_version"}, f"{file}: {name}"


def test_a_change_touches_three_files_at_most():
    """The table of changes names at most three files for each of them."""
    table = PAGES["docs/architecture.md"].split("## Where to change what")[1].split("\n\n")[2]
    rows = [row.split("|") for row in table.splitlines()[2:]]
    assert len(rows) >= 12
    for _, change, files, _ in rows:
        assert len(PATH.findall(files)) <= 3, change


def test_every_field_is_documented():
    """The page of names lists every option of the public classes that describe something."""
    described = (etlkit.TransferJob, etlkit.Datamart, etlkit.BigQuerySource, etlkit.BigQuerySink,
                 etlkit.HttpSink,
                 etlkit.Definition, etlkit.Check, etlkit.Lookback, etlkit.RetryPolicy,
                 etlkit.TimePartitioning, etlkit.RangePartitioning, etlkit.RateLimit,
                 etlkit.Workflow, etlkit.Task, etlkit.DataCheck, etlkit.HttpRequest, etlkit.Webhook,
                 etlkit.IfElse, etlkit.Loop, etlkit.Period, etlkit.Alert)  # fmt: skip
    page = PAGES["docs/reference/api.md"]
    for each in described:
        (row,) = re.findall(rf"^\| `{each.__name__}` \|.*$", page, re.MULTILINE)
        for field in (field for field in dataclasses.fields(each) if field.init):
            if field.name.startswith("_"):
                continue
            assert f"`{field.name}`" in row, f"{each.__name__}.{field.name}"


def test_no_page_contains_a_path_of_a_machine():
    """Pages hold no path of the machine they were written on."""
    for page, text in PAGES.items():
        assert not re.search(r"/(home|root|work|Users|tmp)/", text), page


def test_pictures_are_small_and_can_be_made_again():
    """Each embedded picture is there, is small and is made by `make pictures`; no other one is."""
    embedded = set()
    for page, text in PAGES.items():
        pattern = r"!\[[^\]]+\]\(([^)]+)\)|<img src=\"([^\"]+)\"[^>]* alt=\"[^\"]+\""
        for name in re.findall(pattern, text):
            embedded.add(((ROOT / page).parent / "".join(name)).resolve())
        assert not re.search(r"!\[\]\(", text), f"{page}: a picture needs a text"
    made = {f"{each[0]}.svg" for each in pictures.TERMINALS}
    made |= {f"{each[0]}.png" for each in pictures.PAGES}
    assert {path.name for path in embedded} == made
    images = {path for path in pictures.IMAGES.iterdir() if path.name != "icon.svg"}
    assert images == embedded
    for path in images:
        assert path.stat().st_size < 300_000, path
        if path.suffix == ".svg":
            assert not re.search(r"(href=|url\()[\"']?https?:", path.read_text("utf-8")), path
