"""Make the pictures of the documentation: `make pictures`, or some: `make pictures ARGS="shout"`.

Pictures of a terminal are SVG: the commands of a page are run in a terminal of their own, and rich
draws what stands there at the end. Pictures of pages are PNG, from Chromium. What differs from run
to run (ids, durations) is replaced, so that a picture changes when what it shows has changed.
"""

import fcntl
import io
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from itertools import groupby
from pathlib import Path

import click
import pyte
from PIL import Image
from rich.color import ColorParseError
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from etlkit.local import join_or_start
from tests.bench.browser import Browser, find_browser
from tests.bench.pages import DESK, PHONE, make_pages

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
COLUMNS, LINES = 96, 400
NUM_COLOURS = 128
"""Of a picture of a page: enough, and a third of the bytes."""

BLOCK = re.compile(r"^(<!-- not run: [^\n]*\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TERMINALS = (
    ("shout", "docs/index.md", ("jobs.shout", "demo.shouted")),
    ("rows-that-fail", "docs/quickstart.md", ("jobs.inverse --local  #", "forgiving_job")),
)
"""Name, the page whose code is written and whose commands are run, and what the commands contain."""
ARTICLE = {
    "gs://bqml-vision/": sorted((ROOT / "photos").glob("*.jpg")),
    "gs://resnet-model/": sorted(
        (ROOT / "etlkit/local/models/savedmodel_resnet_stand_in").iterdir()
    ),
}
"""What `make article` puts into the local buckets."""
PAGES = (
    ("results", "photos", 1_300, 1_480, False),
    ("workflow", "workflow", 1_300, 1_240, False),
    ("run-page", "article", DESK, 1_500, False),
    ("run-page-phone", "article", PHONE, 844, True),
    ("runs-page", "runs", 1_000, 740, False),
)
"""Name, page, width, height, and whether the browser is dark."""
CHANGING = (
    (r"\bin \d+(\.\d)? s\b", "in 0.6 s"),
    (r"\bid [0-9a-f]{8}-[0-9a-f-]+", "id 7cd94e2c-52c4-4a53-8f0c-3e2a1b9d6c71"),
    (r"\b20\d{6}_\d{9}_[0-9a-f]{8}\b", "20261123_051245120_a566a66d"),
)
"""What differs from run to run, and what the pictures show."""
THEME = TerminalTheme(
    (23, 27, 34), (222, 226, 230),
    [(72, 79, 88), (248, 113, 113), (74, 222, 128), (250, 204, 21), (96, 165, 250), (192, 132, 252),
     (45, 212, 191), (222, 226, 230)],
)  # fmt: skip
SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-family: system-ui, sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""
"""rich's own form without the font, which would come from the web."""


def main():
    """Make all pictures."""
    browser = find_browser()
    if browser is None:
        sys.exit(
            "There is no Chromium, which takes the pictures of pages: apt-get install chromium"
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in ("jobs", "transforms"):
            shutil.copytree(ROOT / each, folder / each)
        with join_or_start(folder / ".etlkit"):
            for picture in _chosen(TERMINALS):
                _terminal_picture(*picture, folder)
            chosen = _chosen(PAGES)
            pages = {**make_pages(folder), **_article_pages(folder)} if chosen else {}
            for picture in chosen:
                _page_picture(browser, pages, *picture)


def _chosen(pictures):
    return [each for each in pictures if each[0] in sys.argv[1:] or len(sys.argv) == 1]


def _environment():
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "TERM": "xterm-256color"}


def _article_pages(folder):
    """What `make article` does; its two pages."""
    pages = {name: folder / f"{name}.html" for name in ("photos", "workflow")}
    for bucket, files in ARTICLE.items():
        _command(["etlkit.local", "put", "-r", *map(str, files), bucket], folder)
    words = ["--var", f"page={pages['photos']}", "--html", str(pages["workflow"])]
    _command(["etlkit.run", "jobs.workflow", "--local", *words], folder)
    return pages


def _command(words, folder):
    command = [sys.executable, "-m", *words]
    subprocess.run(command, cwd=folder, env=_environment(), check=True, capture_output=True)


def _terminal_picture(name, page, wanted, folder):
    """Write the code of a page, run those of its commands, and draw the terminal."""
    blocks = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    lines = []
    for left_out, language, code in blocks:
        file = re.match(r"# (\S+\.py)\n", code)
        if language == "python" and file:
            (folder / file[1]).write_text(code, encoding="utf-8")
        if language == "sh" and not left_out:
            lines += [line for line in code.splitlines() if any(each in line for each in wanted)]
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.Stream(screen)
    for line in lines:
        command = line.partition("  # ")[0]
        stream.feed(f"\x1b[1;36m$\x1b[0m \x1b[1m{command}\x1b[0m\r\n")
        _run(shlex.split(command), folder, stream)
    text = _text(screen)
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(text, end="", soft_wrap=True)
    svg = console.export_svg(title=" ", theme=THEME, code_format=SVG, unique_id=name)
    _write(IMAGES / f"{name}.svg", svg.encode())


def _run(words, folder, stream):
    """Run a command in a terminal, and feed what it writes to the screen."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    process = subprocess.Popen(
        words, cwd=folder, env=_environment(), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    decoder = io.TextIOWrapper(io.FileIO(ours, closefd=False), encoding="utf-8", newline="")
    try:
        while piece := decoder.read(1):
            stream.feed(piece)
    except OSError:  # the command has ended, and with it the terminal
        pass
    process.wait()
    os.close(ours)


def _text(screen):
    """The screen as rich's text, without the empty lines at its end."""
    lines = [_line(screen, number) for number in range(LINES)]
    while lines and not lines[-1].plain:
        lines.pop()
    return Text("\n").join(lines)


def _line(screen, number):
    cells = [screen.buffer[number][column] for column in range(COLUMNS)]
    line = Text()
    for style, run in groupby(cells, key=_style):
        line.append("".join(cell.data for cell in run), style)
    line.rstrip()
    for pattern, shown in CHANGING:
        line = _replaced(line, pattern, shown)
    return line


def _replaced(line, pattern, shown):
    for found in reversed(list(re.finditer(pattern, line.plain))):
        before, middle, after = line.divide([found.start(), found.end()])
        style = middle.spans[0].style if middle.spans else ""
        line = Text.assemble(before, (shown, style), after)
    return line


def _style(cell):
    names = {"brown": "yellow"}  # pyte's name of that colour
    color = names.get(cell.fg, cell.fg)
    if re.fullmatch(r"[0-9a-f]{6}", color):
        color = f"#{color}"
    try:
        return Style(
            color=None if color == "default" else color.replace("bright", "bright_"), bold=cell.bold
        )
    except ColorParseError:
        return Style(bold=cell.bold)


def _page_picture(executable, pages, name, page, width, height, dark):
    path = IMAGES / f"{name}.png"
    with Browser(executable, width=width, height=height, dark=dark) as browser:
        browser.open(pages[page])
        browser.run("new Promise(done => setTimeout(done, 500))")
        browser.screenshot(path)
    picture = Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
    written = io.BytesIO()
    picture.quantize(NUM_COLOURS, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    _write(path, written.getvalue())


def _write(path, content):
    path.write_bytes(content)
    click.echo(f"{path.relative_to(ROOT)}: {len(content) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
