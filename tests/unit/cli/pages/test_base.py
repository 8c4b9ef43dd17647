import stat

import pytest

from etlkit.cli.pages import base
from etlkit.cli.pages.base import check_page, render_page, write_page
from etlkit.errors import ConfigError
from tests.page_checks import contrast, faults, parse, text_of

HOSTILE = "</script></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&<!--"


@pytest.fixture
def templates(tmp_path, monkeypatch):
    """A template of this test beside the real base."""
    folder = tmp_path / "templates"
    folder.mkdir()
    for file in base.TEMPLATES.iterdir():
        (folder / file.name).write_text(file.read_text("utf-8"), "utf-8")
    (folder / "test.html").write_text(
        '{% extends "base.html" %}{% block main %}<h2 title="{{ value }}">{{ value }}</h2>'
        '<script type="application/json" id="data">{{ value | tojson }}</script>{% endblock %}'
    )
    monkeypatch.setattr(base, "TEMPLATES", folder)
    base.environment.cache_clear()
    yield folder
    base.environment.cache_clear()


def test_a_page_keeps_the_rules(templates):
    """The base passes every check that its pages must pass."""
    assert faults(render_page("test.html", {"value": "x"}, title="A run")) == []


def test_values_are_text(templates):
    """Whatever a value holds, in the title too, is shown and does nothing."""
    page = parse(render_page("test.html", {"value": HOSTILE}, title=HOSTILE))
    assert text_of(page.find("body/main/h2")) == HOSTILE
    assert page.find("body/main/h2").get("title") == HOSTILE
    assert page.findtext("head/title") == HOSTILE
    assert [each.get("src") for each in page.iter("img")] == []
    assert len(list(page.iter("script"))) == 2


def test_scripts_and_styles_are_allowed_by_hash(templates):
    """A script of a library is in the page as it is, and the policy has its hash."""
    library = "const a = '</script><!--<script>', b = /<\\/script>/;\r\nif (a < b) alert(a)"
    html = render_page(
        "test.html", {"value": "x"}, title="t", scripts=[library], styles=["p { color: red }"]
    )
    assert faults(html) == []
    script = list(parse(html).iter("script"))[-1].text
    assert script == library.replace("<!--<s", "\\x3c!--\\x3cs").replace(
        "'</s", "'\\x3c/s"
    ).replace("\r", "")


def test_a_changed_script_is_noticed(templates):
    """The check of this file sees a script that the policy does not know."""
    html = render_page("test.html", {"value": "x"}, title="t")
    (fault,) = faults(html.replace("isDark()", "isDark( )", 1))
    assert "hash is not in the policy" in fault


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("<h2", "<h4>x</h4><h2"), "h4 follows h1"),
        (("<h2", '<h2 style="color:red"'), "forbidden by the policy"),
        (("<h2", '<a href="https://example.com">x</a><h2'), "outside of the page"),
        (("<h2", '<a href="#nowhere">x</a><h2'), "not there"),
        (("<h2", '<img src="data:,"><h2'), "without alt"),
        (("<h2", '<svg viewBox="0 0 1 1"></svg><h2'), "without role"),
        (("<h2", '<b id="main"></b><h2'), "two elements"),
        (("--muted: light-dark(#56616c", "--muted: light-dark(#aaaaaa"), "--muted on --page"),
        ((' lang="en"', ""), "no lang"),
    ],
)
def test_the_checks_see_faults(templates, change, fault):
    """Each rule of `tests.page_checks` fails for a page that breaks it."""
    old, new = change
    html = render_page("test.html", {"value": "x"}, title="t")
    broken = html.replace(old, new, 1)
    assert any(fault in each for each in faults(broken)), faults(broken)


def test_contrast_is_that_of_wcag():
    """Black on white is 21, the well-known grey #767676 just enough."""
    assert contrast("#000000", "#ffffff") == 21
    assert round(contrast("#767676", "#ffffff"), 2) == 4.54


def test_a_page_is_replaced_as_a_whole(templates, tmp_path):
    """A page that cannot be made leaves the old file, and no other one."""
    path = tmp_path / "pages" / "run.html"
    path.parent.mkdir()
    path.write_text("old")
    with pytest.raises(Exception, match="value"):
        write_page(path, "test.html", {}, title="t")
    assert path.read_text() == "old"
    write_page(path, "test.html", {"value": "ü"}, title="t")
    assert "ü" in path.read_text(encoding="utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["run.html"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444


def test_a_page_without_a_place_is_refused(tmp_path):
    """The folder must be there before a run begins; a folder is no file."""
    with pytest.raises(ConfigError, match=r"no folder .*nowhere for the page run\.html"):
        check_page(tmp_path / "nowhere" / "run.html")
    with pytest.raises(ConfigError, match="name a file for the page"):
        check_page(tmp_path)


def test_missing_packages_are_named(monkeypatch, tmp_path):
    """Without the extra one sentence says what is missing and how to get it."""
    monkeypatch.setattr(base, "_MODULES", ("jinja2", "no_such_module"))
    with pytest.raises(
        ConfigError, match=r"needs no_such_module\. .*pip install -e '\.\[report\]'"
    ):
        check_page(tmp_path / "run.html")
