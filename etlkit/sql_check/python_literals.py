"""Where a text stands as a literal in a Python module, character by character.

Found are plain literals, those in parts (`"a" "b"`), f-strings, and what `dedent` or `strip` made of
one.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache

_GAP = re.compile(r"(?:\s|\\\r?\n|#[^\n]*)+")
_OPENING = re.compile(r"(?P<prefix>[rRbBuUfFtT]{0,2})(?P<quote>'''|\"\"\"|'|\")")
# https://docs.python.org/3/reference/lexical_analysis.html#escape-sequences; others stay as they are.
_ESCAPE = re.compile(
    r"\\(?:\r?\n|[\\'\"abfnrtv]|[0-7]{1,3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\})"
)

_Chars = list[tuple[str, int]]
"""Each character of a value with its position in the module; an empty one stands for any text."""


def literal_offsets(module: str, value: str) -> list[int] | None:
    """Find the literal that gives a text.

    Args:
        module: The source of a Python module.
        value: The text.

    Returns:
        The position in the module of each character of the text, and of its end; None = no literal
        of the module gives it.
    """
    candidates = _literals(module)
    for match in (_exact, _shifted):
        for chars in candidates:
            if (offsets := match(chars, value)) is not None:
                return offsets
    return None


def parse_module(module: str) -> ast.Module | None:
    """The tree of a module's source; None = it is no Python. Nothing is printed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import says it
        try:
            return ast.parse(module)
        except (SyntaxError, ValueError):
            return None


@lru_cache(maxsize=64)
def _literals(module: str) -> tuple[_Chars, ...]:
    """The values of all literals of a module that are texts."""
    tree = parse_module(module)
    if tree is None:
        return ()
    starts = [0, *(newline.end() for newline in re.finditer("\n", module)), len(module)]
    inner = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    found = []
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if id(node) in inner or not isinstance(node, ast.expr):
            continue
        if not is_text and not isinstance(node, ast.JoinedStr):
            continue
        start, end = _span(node, module, starts)
        if (chars := _characters(module, start, end)) is not None:
            found.append(chars)
    return tuple(found)


def _span(node: ast.expr, module: str, starts: list[int]) -> tuple[int, int]:
    """Where an expression begins and ends; `ast` counts columns in bytes of UTF-8."""

    def offset(line: int, column: int) -> int:
        text = module[starts[line - 1] : starts[line]]
        return starts[line - 1] + len(text.encode()[:column].decode(errors="ignore"))

    end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
    return offset(node.lineno, node.col_offset), offset(end_line, end_column)


def _characters(module: str, position: int, end: int) -> _Chars | None:
    """The characters of the literals between two positions; None = they cannot be read."""
    chars: _Chars = []
    while position < end:
        if gap := _GAP.match(module, position, end):
            position = gap.end()
            continue
        opening = _OPENING.match(module, position, end)
        if opening is None:
            return None
        prefix, quote = opening["prefix"].lower(), opening["quote"]
        body = opening.end()
        closing = _closing(module, body, end, quote)
        if closing is None or "b" in prefix:
            return None
        chars += _body(module, body, closing, is_raw="r" in prefix, has_fields="f" in prefix)
        position = closing + len(quote)
    chars.append(("", end))
    return chars


def _closing(module: str, position: int, end: int, quote: str) -> int | None:
    while position < end:
        if module[position] == "\\":
            position += 2
        elif module.startswith(quote, position):
            return position
        else:
            position += 1
    return None


def _body(
    module: str, position: int, end: int, *, is_raw: bool, has_fields: bool
) -> Iterator[tuple[str, int]]:
    while position < end:
        char = module[position]
        if has_fields and char in "{}":
            if module[position : position + 2] == char * 2:
                yield char, position
                position += 2
                continue
            yield "", position
            position = _end_of_field(module, position, end)
            continue
        escape = _ESCAPE.match(module, position, end) if char == "\\" and not is_raw else None
        if escape is None:
            yield char, position
            position += 1
            continue
        for each in ast.literal_eval(f'"{escape[0]}"'):
            yield each, position
        position = escape.end()


def _end_of_field(module: str, position: int, end: int) -> int:
    depth = 0
    for at in range(position, end):
        depth += {"{": 1, "}": -1}.get(module[at], 0)
        if depth == 0:
            return at + 1
    return end


def _exact(chars: _Chars, value: str) -> list[int] | None:
    """The positions if the literal gives this text, with any text in its fields."""
    last = chars[-1][1]
    if all(text for text, _ in chars[:-1]):
        same = len(chars) == len(value) + 1 and "".join(text for text, _ in chars) == value
        return [offset for _, offset in chars] if same else None
    pieces, offsets = [""], [list[int]()]
    fields = []
    for text, offset in chars[:-1]:
        if text:
            pieces[-1] += text
            offsets[-1].append(offset)
        else:
            fields.append(offset)
            pieces.append("")
            offsets.append([])
    if not any(piece.strip() for piece in pieces):
        return None  # it would give every text
    pattern = "(.*?)".join(map(re.escape, pieces))
    match = re.fullmatch(pattern, value, re.DOTALL)
    if match is None:
        return None
    found = list(offsets[0])
    for number, field in enumerate(fields, 1):
        found += [field] * len(match[number])
        found += offsets[number]
    return [*found, last]


def _shifted(chars: _Chars, value: str) -> list[int] | None:
    """The positions if the text is the literal without its indentation or its outer space."""
    if not all(text for text, _ in chars[:-1]) or not value.strip():
        return None
    text = "".join(each for each, _ in chars)
    theirs, ours = text.split("\n"), value.split("\n")
    first = next((n for n, line in enumerate(theirs) if line.strip()), 0)
    skipped = next((n for n, line in enumerate(ours) if line.strip()), 0)
    lines = theirs[first - skipped if first >= skipped else first :]
    if [each.strip() for each in lines[: len(ours)]] != [each.strip() for each in ours]:
        return None
    if any(each.strip() for each in lines[len(ours) :]):
        return None
    start = sum(len(line) + 1 for line in theirs[: len(theirs) - len(lines)])
    found = []
    for mine, line in zip(ours, lines, strict=False):
        indent = (len(line) - len(line.lstrip())) - (len(mine) - len(mine.lstrip()))
        last = start + len(line)
        found += [chars[min(max(start + indent + at, start), last)][1] for at in range(len(mine))]
        found.append(chars[last][1])
        start = last + 1
    return [*found[: len(value)], found[-1]]
