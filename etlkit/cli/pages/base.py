"""The base of every page: one file without outside addresses, escaped, with a content security policy.

A page is a Jinja template in `templates/` that begins with `{% extends "base.html" %}` and fills the
blocks `nav` and `main`. Autoescape is on: a value reaches the page as text, whatever it contains.
"""

from __future__ import annotations

import os
import re
import tempfile
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etlkit._version import __version__
from etlkit.cli.output_files import check_output
from etlkit.errors import missing_packages

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"

_MODULES = ("jinja2", "vl_convert", "pygraphviz", "itables", "PIL")

_ENDS_SCRIPT = re.compile(r"<(?=/?script|!--)", re.IGNORECASE)
"""What the parser of HTML takes for markup inside of a script."""


def check_page(path: Path) -> None:
    """Check that a page can be written, before anything is run or paid for it.

    Args:
        path: Where the page will be written.

    Raises:
        ConfigError: The packages of the extra are missing, or the file cannot be written.
    """
    check_packages()
    check_output(path, "the page", replaces=True)


def check_packages() -> None:
    """Check that the packages of the `report` extra are installed.

    Raises:
        ConfigError: One is not.
    """
    missing = [name for name in _MODULES if find_spec(name) is None]
    if missing:
        raise missing_packages(f"a page needs {', '.join(missing)}", "report")


def write_page(
    path: Path,
    template: str,
    values: Mapping[str, Any],
    *,
    title: str,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
) -> None:
    """Make a page and write it in one step: readers see the old file or the new one.

    Args:
        path: The file; an existing one is replaced.
        template: As in `render_page`; likewise the next four.
        values: See there.
        title: See there.
        styles: See there.
        scripts: See there.

    Raises:
        ConfigError: See `check_page`.
        OSError: The file cannot be written.
    """
    check_page(path)
    html = render_page(template, values, title=title, styles=styles, scripts=scripts)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(html)
        Path(name).chmod(_new_file_mode())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def render_page(
    template: str,
    values: Mapping[str, Any],
    *,
    title: str,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
) -> str:
    """Make a page.

    Args:
        template: A file of `templates/` that extends `base.html`.
        values: What the template shows. Strings are escaped; data for a script is written with the
            filter `tojson` in a `<script type="application/json" id=…>`.
        title: Title and first heading of the page.
        styles: CSS after that of `base.css`. A `style` attribute in the markup has no effect: the
            policy of the page forbids it.
        scripts: JavaScript, each in an element of its own at the end of the body, after the
            page's own; libraries first.

    Returns:
        The whole text of the HTML file.
    """
    css = [read_template("base.css"), *styles]
    javascript = [_script(text) for text in (read_template("theme.js"), *scripts)]
    return (
        environment()
        .get_template(template)
        .render(
            **values,
            title=title,
            version=__version__,
            policy=_policy(css, javascript),
            styles=[_markup(text) for text in css],
            scripts=[_markup(text) for text in javascript],
        )
    )


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """The content security policy: nothing from anywhere, and only these scripts and styles.

    See https://www.w3.org/TR/CSP3/#grammardef-hash-source
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {' '.join(map(_hash, styles))}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _script(text: str) -> str:
    """JavaScript as it may stand in a page, with another spelling of `<` in strings and patterns."""
    return _ENDS_SCRIPT.sub(r"\\x3c", text.replace("\r\n", "\n"))


def read_template(name: str) -> str:
    """The text of a file in `templates/`."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _markup(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - our own files and those of libraries, never data  # nosec B704


@cache
def environment() -> Environment:
    """The one set-up of Jinja: a template that forgets to escape, or misspells a name, cannot be."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _new_file_mode() -> int:
    """The mode of a file that this process makes; a temporary one is for its owner only."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
