"""The graph as SVG."""

import re
from xml.etree import ElementTree as ET

import pytest

from etlkit.api.workflow_report import TaskReport
from etlkit.cli.pages.task_graph import NODE_HEIGHT, graph_file, graph_svg
from tests.workflow_reports import HOSTILE, article, hostile, large

SVG = "{http://www.w3.org/2000/svg}"


def parts(text):
    """The size of the picture, corner and width of each node, and the paths of the edges."""
    root = ET.fromstring(text)  # noqa: S314 - our own
    size = float(root.get("width")), float(root.get("height"))
    nodes = {}
    for each in root.iter():
        if "node" in (each.get("class") or "").split():
            corner = re.match(r"translate\(([\d.]+),([\d.]+)\)", each.get("transform"))
            width = each.find(f"{SVG}rect[@class='frame']").get("width")
            name = each.findtext(f"{SVG}title").split(",")[0]
            nodes[name] = (*map(float, corner.groups()), float(width))
    edges = [e for e in root.iter(f"{SVG}path") if "edge" in (e.get("class") or "").split()]
    return size, nodes, edges


@pytest.mark.parametrize(
    "report", [article(), large(40), large(150, width=30)], ids=lambda each: each.job
)
def test_nodes_stand_apart_inside_of_the_picture(report):
    """No node covers another one or leaves the picture, and each edge is drawn once."""
    (width, height), nodes, edges = parts(graph_svg(report.tasks))
    assert len(nodes) == len(report.tasks)
    assert len(edges) == sum(len(task.after) for task in report.tasks)
    corners = sorted(nodes.values())
    assert all(0 <= x <= width - own and 0 <= y <= height - NODE_HEIGHT for x, y, own in corners)
    for i, (x, y, own) in enumerate(corners):  # sorted: the others begin at x or to its right
        for other_x, other_y, _ in corners[i + 1 :]:
            assert other_x - x >= own or abs(y - other_y) >= NODE_HEIGHT


def test_edges_lead_down_from_node_to_node():
    """A task stands below all tasks before it, and an edge begins and ends at their frames."""
    report = article()
    _, nodes, edges = parts(graph_svg(report.tasks))
    wanted = {(before, task.name) for task in report.tasks for before in task.after}
    assert all(nodes[before][1] + NODE_HEIGHT < nodes[after][1] for before, after in wanted)

    def node_at(x, y):
        (name,) = [
            name
            for name, (left, top, width) in nodes.items()
            if left - 2 <= x <= left + width + 2 and top - 2 <= y <= top + NODE_HEIGHT + 2
        ]
        return name

    drawn = set()
    for each in edges:
        numbers = [float(number) for number in re.findall(r"-?\d+", each.get("d"))]
        drawn.add((node_at(*numbers[:2]), node_at(*numbers[-2:])))
    assert drawn == wanted


def test_the_way_not_taken_is_dotted():
    """The edges of a branch have its words; those of the other branch look different."""
    text = graph_svg(article().tasks)
    assert re.findall(r'class="edge-label"[^>]*>(\w+)<', text).count("then") == 2
    assert text.count('class="edge not-taken"') == 1


def test_a_file_of_its_own_has_its_colours_and_no_links():
    """It can be opened by itself, light and dark, and names are only text in it."""
    text = graph_file(HOSTILE, [TaskReport(name=HOSTILE, kind="python")])
    root = ET.fromstring(text)  # noqa: S314 - our own
    assert root.findtext(f"{SVG}title") == HOSTILE
    assert root.find(f".//{SVG}g/{SVG}title").text == f"{HOSTILE}, waiting, python"
    assert "light-dark(" in root.findtext(f"{SVG}style")
    assert not list(root.iter(f"{SVG}a"))
    assert not [name for each in root.iter() for name in each.attrib if "href" in name]


def test_graphviz_sees_no_name(monkeypatch):
    """Names of a user never reach the layout: they could be its syntax."""
    import pygraphviz

    seen = []
    real = pygraphviz.AGraph.draw

    def draw(self, *arguments, **options):
        seen.append(self.to_string())
        return real(self, *arguments, **options)

    monkeypatch.setattr(pygraphviz.AGraph, "draw", draw)
    graph_svg(hostile().tasks)
    assert len(seen) == 1
    assert "alert" not in seen[0]


def test_a_node_is_as_wide_as_its_name():
    """Names of usual length are not cut; very long ones are, with the whole name in the label."""
    names = ["every_photo_has_a_class", "x" * 90]
    text = graph_svg([TaskReport(name=name, kind="check") for name in names])
    assert re.findall(r'class="name"[^>]*>([^<]*)<', text) == [names[0], f"{'x' * 31}…"]
    _, nodes, _ = parts(text)
    assert nodes[names[0]][2] > len(names[0]) * 8
    assert nodes[names[1]][2] < 330
