import json
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest
from PIL import Image

from etlkit.bigquery.result_rows import ResultColumn, ResultRows
from etlkit.cli.pages import results, results_grid
from etlkit.cli.pages.results import write_rows
from etlkit.cli.pages.results_columns import Given
from etlkit.cli.pages.results_grid import grid_script, make_grid
from tests.page_checks import contrast, faults, parse, text_of

HOSTILE = (
    "</script></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&<!--\x01{{ 7*7 }}"
)
COLUMNS = ("model", "uri", "label", "score", "rank", "x_min", "y_min", "x_max", "y_max")
TYPES = ("STRING", "STRING", "STRING", "FLOAT64", "INT64", *["FLOAT64"] * 4)


def rows_of(rows, names=COLUMNS, types=TYPES, **options):
    columns = tuple(map(ResultColumn, names, types))
    return ResultRows(columns, rows, options.pop("num_there", len(rows)), **options)


@pytest.fixture
def write(tmp_path):
    """Write rows as a page; gives the report, the text and the tree. Photos 1 and 3 are there."""
    folder = tmp_path / "buckets" / "photos"
    folder.mkdir(parents=True)
    Image.new("RGB", (40, 20), "red").save(folder / "1.png")
    Image.new("RGB", (20, 40), "blue").save(folder / "3.png")

    def written(result, **options):
        path = tmp_path / "results.html"
        environ = {"ETLKIT_BUCKETS": str(tmp_path / "buckets")}
        report = write_rows(result, path, environ=environ, **{"title": "Results", **options})
        html = path.read_text(encoding="utf-8")
        return report, html, parse(html)

    return written


def data_of(page, name):
    (element,) = (each for each in page.iter("script") if each.get("id") == name)
    return json.loads(element.text)


TWO = [
    ("resnet", "gs://photos/1.png", "Egyptian cat", 0.9, 1, None, None, None, None),
    ("resnet", "gs://photos/1.png", "lynx", 0.05, 2, None, None, None, None),
    ("objects", "gs://photos/1.png", "Cat", 0.8, 1, 0.1, 0.2, 0.5, 0.6),
    ("resnet", "gs://photos/2.png", "bobsled", 0.3, 1, None, None, None, None),
    ("objects", "gs://photos/2.png", "Person", 0.7, 1, 0.1, 0.2, 0.5, 0.6),
]


def test_a_page_of_pictures(write):
    """Pictures, boxes, answers and agreement are in the page, in blocks that its script reads."""
    report, html, page = write(rows_of(TWO))
    assert faults(html) == []
    data = data_of(page, "pictures-data")
    assert data["models"] == ["resnet", "objects"]
    assert data["labels"] == ["Egyptian cat", "lynx", "Cat", "bobsled", "Person"]
    first, second = data["pictures"]
    assert (first["a"], first["g"], first["p"]) == ("gs://photos/1.png", 1, [1, 1])
    assert (first["i"], first["w"], first["h"]) == (0, 40, 20)
    assert first["n"] == [[0, 0, 0.9, None], [0, 1, 0.05, None], [1, 2, 0.8, [0.1, 0.2, 0.5, 0.6]]]
    assert (second["g"], second["p"], data["reasons"][second["r"]]) == (
        0, [0, 1], "no object in the local buckets",
    )  # fmt: skip
    assert [uri[:23] for uri in data_of(page, "images-0")] == ["data:image/webp;base64,"]
    headings = [text_of(each) for each in page.iter("h3")]
    assert headings[:3] == ["Agreement", "Scores", "Labels"]
    assert "objects and resnet: 1 of 2" in text_of(page)
    assert (report.num_pictures, report.num_pictures_shown) == (2, 1)
    assert report.models == ("resnet", "objects")
    assert report.left_out == ("1 picture(s) not shown: no object in the local buckets.",)
    assert report.left_out[0] in text_of(page)
    orders = [each.get("value") for each in page.iter("option")]
    assert orders.index("agreement") < orders.index("sure")


def test_pictures_are_found_in_their_blocks(write, monkeypatch):
    """A picture that is missing takes no place; each block is an element of its own."""
    monkeypatch.setattr(results, "IMAGES_PER_BLOCK", 1)
    rows = [(f"gs://photos/{number}.png",) for number in (2, 1, 3)]
    _, html, page = write(rows_of(rows, ("uri",), ("STRING",)))
    assert faults(html) == []
    pictures = data_of(page, "pictures-data")["pictures"]
    assert [picture.get("i") for picture in pictures] == [None, 0, 1]
    assert [picture.get("w") for picture in pictures] == [None, 40, 20]
    (first,), (second,) = data_of(page, "images-0"), data_of(page, "images-1")
    assert first != second
    assert [each for each in page.iter("script") if each.get("id") == "images-2"] == []


def test_hostile_values_are_text(write):
    """Whatever a row, a name, a title or a query holds is text, also in the data of scripts."""
    names = tuple(f"{name}{HOSTILE[:60]}" for name in COLUMNS)
    row = (HOSTILE, f"gs://photos/{HOSTILE}", HOSTILE, 0.9, 1, 0.1, 0.2, 0.5, 0.6)
    given = Given(**dict(zip(("model", "image", "label", "score"), names, strict=False)))
    _, html, page = write(
        rows_of([row, (f"{HOSTILE}2", *row[1:])], names), title=HOSTILE.replace("\x01", ""),
        sql="SELECT '</script><script>alert(1)</script>'", given=given,
    )  # fmt: skip
    assert faults(html) == []
    assert data_of(page, "pictures-data")["labels"] == [HOSTILE]
    assert data_of(page, "grid-data")["rows"][0][:2] == [HOSTILE, row[1]]
    assert names[0] in {text_of(each) for each in page.iter("th")}
    assert list(page.iter("img")) == []
    scripts = [each for each in page.iter("script") if each.get("type") is None]
    assert len(scripts) == 3  # of the base, of the grid, of this page
    inside = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert len(inside) == 2
    assert all("<" not in text for text in inside)


def test_our_script_makes_no_markup_of_data(write):
    """The script sets texts as properties; the one cell that is markup is escaped before."""
    _, html, _ = write(rows_of(TWO))
    script = html.rpartition("<script>")[2]
    assert "Pictures and rows of a page of results" in script
    for forbidden in ("innerHTML", "insertAdjacentHTML", "outerHTML", "document.write", "eval("):
        assert forbidden not in script
    assert script.count("`<div") == 2
    assert script.count("${text}</div>") == 2
    assert "const text = escape(value)" in script


def test_rows_without_pictures(write):
    """Any other table has a grid and charts of its columns."""
    names, types = ("day", "kind", "size", "id"), ("DATE", "STRING", "NUMERIC", "STRING")
    rows = [(date(2026, 1, i), "ab"[i % 2], Decimal(i), f"id {i}") for i in range(1, 20)]
    report, html, page = write(rows_of([*rows, (None, None, None, None)], names, types))
    assert faults(html) == []
    assert [text_of(each) for each in page.iter("h3")] == ["day", "kind", "size"]
    assert "STRING, 2 different values, 1 NULL" in text_of(page)
    assert (report.num_pictures, report.meanings) == (0, {})
    assert "pictures-data" not in html.split("<script>")[0]
    assert len(data_of(page, "grid-data")["rows"]) == 20


def test_no_rows(write):
    """An empty result is a page that says so."""
    _, html, page = write(rows_of([]))
    assert faults(html) == []
    assert "There are no rows." in text_of(page)


@pytest.mark.parametrize(("num_there", "words"), [(7, "5 of 7 rows"), (None, "5 of more rows")])
def test_rows_that_were_not_read(write, num_there, words):
    """The page says that it does not show everything."""
    report, _, page = write(rows_of(TWO, num_there=num_there))
    assert words in text_of(page)
    assert any(words in text for text in report.left_out)


def test_the_grid_is_bounded(write, monkeypatch):
    """Rows beyond the bounds are left out of the grid, and long cells are cut; both is said."""
    monkeypatch.setattr(results_grid, "MAX_GRID_ROWS", 2)
    rows = [("x" * 400, "y"), ("a", "b"), ("c", "d")]
    report, _, page = write(rows_of(rows, ("a", "b"), ("STRING", "STRING")))
    assert [len(row[0]) for row in data_of(page, "grid-data")["rows"]] == [300 + 18, 1]
    assert report.left_out == ("The grid has the first 2 of 3 rows that were read.",)
    assert "1 long cells are cut." in text_of(page)
    monkeypatch.setattr(results_grid, "MAX_GRID_BYTES", 330)
    assert len(make_grid(rows_of(rows, ("a", "b"), ("STRING", "STRING"))).rows) == 1


@pytest.mark.parametrize(
    ("kind", "value", "cell"),
    [
        ("STRING", None, None),
        ("STRING", "", ""),
        ("INT64", 7, 7),
        ("INT64", 2**53 + 1, "9007199254740993"),
        ("FLOAT64", 0.25, 0.25),
        ("FLOAT64", float("nan"), "NaN"),
        ("NUMERIC", Decimal("1.50"), "1.50"),
        ("BOOL", True, "true"),
        ("BYTES", b"abc", "3 bytes: YWJj"),
        ("TIMESTAMP", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        ("TIME", time(1, 2, 3), "01:02:03"),
        ("JSON", "text", '"text"'),
        ("JSON", {"a": [1, None]}, '{"a": [1, null]}'),
        ("STRUCT", {"a": Decimal(1), "b": [b"x"]}, '{"a": "1", "b": ["eA=="]}'),
    ],
)
def test_cells(kind, value, cell):
    """Each type has a form that people can read; numbers that JavaScript would change are text."""
    assert make_grid(rows_of([(value,)], ("a",), (kind,))).rows == [[cell]]


def test_the_grid_is_a_library_in_one_script():
    """DataTables comes from itables as a module; here it is a script that sets one name."""
    script = grid_script()
    assert script.startswith('(()=>{"use strict";')
    assert re.search(r"window\.DataTable=\w+;", script)
    assert "export{" not in script
    assert re.search(r"[\x00-\x08\x0b-\x1f]", script) is None


def test_another_form_of_the_library_is_noticed(monkeypatch):
    """If itables ships something else, one sentence says what to do."""
    monkeypatch.setattr(results_grid, "_file", lambda _name: "var a = 1;")
    with pytest.raises(RuntimeError, match="install itables<3"):
        grid_script.__wrapped__()


def test_colours_of_models_can_be_read(write):
    """Labels on boxes and names of models have enough contrast, light and dark."""
    _, html, _ = write(rows_of(TWO))
    colours = re.findall(r"--(model-\d|page): light-dark\((#\w{6}), (#\w{6})\)", html)
    page = next(each for each in colours if each[0] == "page")
    models = [each for each in colours if each[0] != "page"]
    assert len(models) == 8
    for _, light, dark in models:
        assert contrast(light, page[1]) >= 4.5
        assert contrast(dark, page[2]) >= 4.5
