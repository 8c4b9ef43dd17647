"""Each chart is drawn once: most tests look at something else of the same pages."""

import json

import pytest


@pytest.fixture(scope="session", autouse=True)
def _charts_drawn_once():
    import vl_convert

    draw, drawn = vl_convert.vegalite_to_svg, {}

    def draw_once(spec):
        key = json.dumps(spec)
        if key not in drawn:
            drawn[key] = draw(spec)
        return drawn[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vl_convert, "vegalite_to_svg", draw_once)
        yield
