"""Mermaid diagrams as pictures in the page, drawn while the site is built."""

import json
import re
import subprocess
import sys

DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def drawn(markdown):
    """The page with a picture in the place of each diagram.

    Raises:
        ValueError: Mermaid cannot read a diagram. GitHub would show an error in its place.
    """
    sources = DIAGRAM.findall(markdown)
    if not sources:
        return markdown
    # Another process: when mermaidx ends, one of its libraries prints a page about references.
    command = [sys.executable, __file__]
    answer = subprocess.run(
        command, input=json.dumps(sources), capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise ValueError(answer.stderr)
    pictures = iter(json.loads(answer.stdout))
    numbers = iter(range(1, len(sources) + 1))
    return DIAGRAM.sub(lambda block: _picture(block[1], next(pictures), next(numbers)), markdown)


def _picture(source, svg, number):
    svg = svg.replace("my-svg", f"diagram-{number}")
    svg = re.sub(r">\s*\n\s*<", "><", svg).replace("\n", " ")
    return f'<div class="diagram" role="img" aria-label="{_label(source)}">{svg}</div>\n'


def _label(source):
    kind = {"flowchart": "Flow chart", "sequenceDiagram": "Sequence diagram"}
    names = re.findall(r"<b>(\w+)</b>|participant \w+ as (\w+)", source)
    return f"{kind[source.split()[0]]} of {', '.join(dict.fromkeys(a or b for a, b in names))}"


if __name__ == "__main__":
    import mermaidx

    sources = json.load(sys.stdin)
    json.dump([str(mermaidx.render(each, theme="neutral").svg()) for each in sources], sys.stdout)
