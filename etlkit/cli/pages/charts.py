"""Charts as SVG that fits a page: colours of its style sheet, links inside of it, names for readers.

Vega-Lite draws; vl-convert brings it with it, so that no browser and no network is needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET  # Vega wrote what it parses  # nosec B405

if TYPE_CHECKING:
    from markupsafe import Markup

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"

_NUMERIC = {"d", "transform", "x", "y", "x2", "y2", "width", "height"}
_LONG = re.compile(r"-?\d+\.\d{2,}")
"""Vega writes up to fifteen digits; a tenth of a pixel is enough."""

_FONT = "system-ui, 'Segoe UI', 'Liberation Sans', sans-serif"

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--text)",
        "labelFontSize": 12,
        "labelLimit": 0,
        "titleColor": "var(--muted)",
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": "var(--line)",
        "domainColor": "var(--line-strong)",
        "tickColor": "var(--line-strong)",
    },
    "legend": {"labelColor": "var(--text)", "titleColor": "var(--muted)", "labelFontSize": 12},
    "header": {"labelColor": "var(--text)", "titleColor": "var(--muted)"},
    "text": {"color": "var(--text)", "fontSize": 12},
}
"""The look of every chart. Colours are variables of `base.css`, so one chart is light and dark."""


def chart_svg(spec: Mapping[str, Any], *, title: str, is_interactive: bool = False) -> Markup:
    """Draw a chart.

    Args:
        spec: A specification of Vega-Lite (https://vega.github.io/vega-lite/docs/spec.html) with its
            data; colours are `var(--…)` of `base.css`. A mark with `href` `#id` becomes a link, one
            with `description` gets it as its tool tip.
        title: What a screen reader calls the chart.
        is_interactive: Whether links can be reached with the keyboard. Not where a table beside the
            chart has the same ones: nobody goes through hundreds of marks with it.

    Returns:
        An SVG element.
    """
    import vl_convert
    from markupsafe import Markup

    full = {"config": CONFIG, **spec}
    root = ET.fromstring(vl_convert.vegalite_to_svg(full))  # noqa: S314 - Vega wrote it  # nosec B314
    root.set("role", "group")
    root.set("aria-label", title)
    root.set("class", "chart")
    _tidy(root, is_interactive=is_interactive)
    ET.register_namespace("", _SVG[1:-1])
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - a serialized tree  # nosec B704


def _tidy(element: ET.Element, *, is_interactive: bool) -> None:
    for child in list(element):
        if child.get("opacity") == "0" or child.get("display") == "none":
            element.remove(child)  # e.g. labels that Vega hides because they overlap
            continue
        link = child.attrib.pop(_LINK, None)
        if link is not None:  # Vega makes every address absolute
            child.set("href", f"#{link.partition('#')[2]}")
            if not is_interactive:
                child.set("tabindex", "-1")
        for name in ("pointer-events", "aria-roledescription", "stroke-miterlimit"):
            child.attrib.pop(name, None)
        for name in _NUMERIC & child.attrib.keys():
            child.set(name, _LONG.sub(lambda match: f"{float(match[0]):.1f}", child.attrib[name]))
        if child.get("role") == "graphics-symbol" and len(child) == 0 and child.get("aria-label"):
            child.set("role", "img")
            ET.SubElement(child, f"{_SVG}title").text = child.get("aria-label")
        _tidy(child, is_interactive=is_interactive)
