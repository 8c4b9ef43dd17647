"""What every page of etlkit must keep: checked on the text of the page, without a browser."""

import re
from base64 import b64encode
from collections import Counter
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise

import html5lib

_ADDRESSES = {"src", "href", "action", "data", "poster", "srcset", "formaction", "ping"}
_LOADS = re.compile(r"@import|url\(\s*['\"]?(?!data:|#)", re.IGNORECASE)
_VOID_OF_MEANING = {"script", "style", "template"}
MIN_CONTRAST = 4.5
"""Of text, https://www.w3.org/TR/WCAG22/#contrast-minimum"""


@lru_cache(maxsize=8)
def parse(html):
    """The page as a tree that nobody changes; raises on whatever HTML5 calls a parse error."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return parser.parse(html)


def text_of(element):
    """The text that a reader sees in an element."""
    return "".join(_texts(element))


def words_of(element):
    """The text of an element with one space between its parts, as it reads on the page."""
    return " ".join(" ".join(_texts(element)).split())


def _texts(element):
    if not isinstance(element.tag, str) or element.tag in _VOID_OF_MEANING:
        return  # a comment, or nothing that is read
    yield element.text or ""
    for child in element:
        yield from _texts(child)
        yield child.tail or ""


def faults(html):
    """Everything that is wrong with a page, as sentences; empty = nothing."""
    root = parse(html)
    elements = [each for each in root.iter() if isinstance(each.tag, str)]
    return [
        *_document_faults(root),
        *_policy_faults(root),
        *_address_faults(elements),
        *_heading_faults(elements),
        *_name_faults(root, elements),
        *_contrast_faults(root),
    ]


def _local(tag):
    return tag.rpartition("}")[2]


def _document_faults(root):
    if root.get("lang") is None:
        yield "no lang"
    if not (root.findtext("head/title") or "").strip():
        yield "no title"
    if not root.findall("head/meta[@name='viewport']"):
        yield "no viewport"
    if len(list(root.iter("main"))) != 1:
        yield "not one main"


def _policy_faults(root):
    (policy,) = [
        each.get("content")
        for each in root.iter("meta")
        if each.get("http-equiv") == "Content-Security-Policy"
    ]
    if not policy.startswith("default-src 'none';"):
        yield "the policy allows by default"
    if "unsafe" in policy or "http" in policy or "*" in policy:
        yield f"the policy is open: {policy}"
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        for each in root.iter():
            if not isinstance(each.tag, str) or _local(each.tag) != tag:
                continue
            if each.get("type") == "application/json":
                continue
            digest = b64encode(sha256((each.text or "").encode()).digest()).decode()
            if f"'sha256-{digest}'" not in rules[rule].split():
                yield f"a {tag} whose hash is not in the policy: {(each.text or '')[:60]!r}"


def _address_faults(elements):
    ids = Counter(each.get("id") for each in elements if each.get("id") is not None)
    for double in (each for each, number in ids.items() if number > 1):
        yield f"two elements with the id {double}"
    for each in elements:
        for name, value in each.attrib.items():
            if name == "style" or name.startswith("on"):
                yield f"<{each.tag} {name}> is forbidden by the policy"
            if not {name, _local(name)} & _ADDRESSES or value.startswith("data:"):
                continue
            if not value.startswith("#"):
                yield f"an address outside of the page: {name}={value[:80]}"
            elif value[1:] not in ids:
                yield f"a link to {value}, which is not there"
        if _local(each.tag) == "style" and _LOADS.search(each.text or ""):
            yield "CSS that loads something"


def _heading_faults(elements):
    levels = [int(each.tag[1]) for each in elements if re.fullmatch(r"h[1-6]", each.tag)]
    if levels.count(1) != 1 or levels[:1] != [1]:
        yield f"the headings begin with {levels[:1]}, and {levels.count(1)} are h1"
    for before, after in pairwise(levels):
        if after > before + 1:
            yield f"h{after} follows h{before}"
    for each in elements:
        if re.fullmatch(r"h[1-6]", each.tag) and not text_of(each).strip():
            yield "a heading without text"


def _name_faults(root, elements):
    """Whatever a screen reader would have no name for, or a keyboard no way to."""
    parents = {child: parent for parent in root.iter() for child in parent}
    labels = {each.get("for") for each in root.iter("label")}
    ids = {each.get("id"): each for each in elements}
    for each in elements:
        names = (each.get("aria-labelledby") or "").split()
        named = each.get("aria-label") or any(name in ids for name in names)
        labelled = named or each.get("id") in labels or parents.get(each, root).tag == "label"
        for tags, wrong, fault in (
            ({"img"}, each.get("alt") is None, "without alt"),
            ({"svg"}, not _is_silent(each) and not (named and each.get("role")), "without role"),
            ({"a", "button", "summary"}, not named and not text_of(each).strip(), "without text"),
            ({"input", "select", "textarea"}, not labelled, "without label"),
            ({"table"}, not list(each.iter("th")), "without headings"),
            ({"nav"}, not named, "without name"),
            ({each.tag}, int(each.get("tabindex") or 0) > 0, "whose tabindex changes the order"),
            ({each.tag}, _scrolls(each) and each.get("tabindex") != "0", "without a keyboard"),
        ):
            if _local(each.tag) in {*map(_local, tags)} and wrong:
                yield f"<{_local(each.tag)}> {fault}"


def _is_silent(element):
    return element.get("aria-hidden") == "true"


def _scrolls(element):
    return "scroll" in (element.get("class") or "").split()


def _contrast_faults(root):
    """Text colours of the variables against the grounds that they stand on, light and dark."""
    css = "\n".join(each.text or "" for each in root.iter("style"))
    colours = {
        name: (light, dark)
        for name, light, dark in re.findall(
            r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", css
        )
    }
    pairs = [(name, ground) for name in ("text", "muted", "link") for ground in ("page", "panel")]
    for tone in ("good", "bad", "warn", "active", "idle", "aside"):
        pairs += [(tone, f"{tone}-panel"), (tone, "page"), ("text", f"{tone}-panel")]
    for name, ground in pairs:
        for scheme in (0, 1):
            ratio = contrast(colours[name][scheme], colours[ground][scheme])
            if ratio < MIN_CONTRAST:
                yield f"--{name} on --{ground}, {('light', 'dark')[scheme]}: {ratio:.2f}"


def contrast(one, other):
    """The contrast of two colours, see https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
