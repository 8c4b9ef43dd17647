"""Takes keys, passwords and tokens out of texts that people and tables get to see."""

from __future__ import annotations

import re
from typing import Final

_IN_QUERY: Final = (
    r"key|api[_-]?key|(?:access_|id_|refresh_|auth_)?token|sig|signature|"
    r"x-(?:goog|amz)-(?:signature|credential|security-token)|(?:client_)?secret|password|pwd"
)
"""Parameters of addresses. The value ends where the next parameter begins."""

_ANYWHERE: Final = (
    r"(?:[a-z]{1,20}[_-]){0,3}api[_-]?key|apikey|"
    r"(?:aws[_-])?(?:secret[_-])?access[_-]?key(?:[_-]id)?|account[_-]?key|"
    r"private[_-]?key(?:[_-]id)?|client[_-]?secret|secret[_-]?key|"
    r"(?:access|refresh|id|auth|bearer|private|session|security|bot|x-[a-z-]{1,30})[_-]?token|"
    r"password|passwd|authorization|proxy-authorization|(?:set-)?cookie"
)
"""Names whose value is a secret wherever they stand: `client_secret=…`, `'X-Api-Key': '…'`."""

_QUOTED_ONLY: Final = r"token|secret|pwd|credential|credentials"
"""Words of plain sentences, too: only a quoted value of theirs is taken for a secret."""

_QUOTE: Final = r"\\?[\"']"
_QUOTED: Final = r"(?:[\"'](?:\\.|[^\"'\\])*[\"']|\\\"(?:[^\"\\]|\\(?!\"))*\\\")"
_PLAIN: Final = r"(?:(?:bearer|basic|token)\s+)?[^\s,;&\"'<>(){}\[\]\\]+"
_EXAMPLE: Final = (
    r"(?!\s*(?:None\b|null\b|Secret\(|\.\.\.|…|(?:(?:bearer|basic)\s+)?(?:\$\{|…)|"
    r"[\"'][^\"']*(?:\$\{|…)))"
)
"""What stands in the place of a secret where somebody says how to write it."""

_NAMED: Final = rf"(?:[a-z0-9]{{1,20}}[_-]){{0,3}}(?:{_ANYWHERE})"
_WORDS: Final = ("key", "token", "secret", "pass", "pwd", "auth", "cookie", "credential")


def _pattern(text: str, flags: re.RegexFlag = re.IGNORECASE) -> re.Pattern[str]:
    return re.compile(text, flags)


_SECRETS: Final = (
    # Behind `?`, `&` and `#`, where OAuth's implicit flow puts a token.
    ((*_WORDS, "sig"), _pattern(rf"(?P<kept>[?&#](?:{_IN_QUERY})=)[^&\s'\"<>)\]]+")),
    # The user and the password of an address. A user without a password is a token only on the web.
    (
        ("://",),
        _pattern(
            r"(?P<kept>\b[a-z][a-z0-9+.-]{0,20}://)(?!user:password@)"
            r"[^\s/?#@:'\"<>]*:[^\s/?#@'\"<>]+(?=@)"
        ),
    ),
    (("://",), _pattern(r"(?P<kept>\bhttps?://)[^\s/?#@:'\"<>]+(?=@)")),
    # `name=value` and `name: value`.
    (
        _WORDS,
        _pattern(
            rf"(?P<kept>(?<![\w-]){_NAMED}\s*(?:=|:|=>)\s*(?:b(?=[\"']))?){_EXAMPLE}"
            rf"(?:{_QUOTED}|(?!{_NAMED}\s*[=:]){_PLAIN})"
        ),
    ),
    # `'name': 'value'`, `('name', 'value')`, and JSON inside of JSON.
    (
        _WORDS,
        _pattern(rf"(?P<kept>{_QUOTE}{_NAMED}{_QUOTE}\s*(?:=>|[:,=])\s*b?){_EXAMPLE}{_QUOTED}"),
    ),
    (
        _WORDS,
        _pattern(
            rf"(?P<kept>(?<![\w-])(?:{_QUOTED_ONLY})(?:{_QUOTE})?\s*[=:]\s*b?)"
            rf"{_QUOTE}[^\s\"'\\]{{6,}}{_QUOTE}"
        ),
    ),
    # What http.client, requests and httpx say of a header that no request can have.
    (
        ("header",),
        _pattern(
            r"(?P<kept>\bheader(?: part| value)?\b[^'\"]{0,90}?b?)"
            r"(?:'(?=[^']{0,300}?(?:\\[rnt0x]|[\r\n]))[^']*'"
            r'|"(?=[^"]{0,300}?(?:\\[rnt0x]|[\r\n]))[^"]*")'
        ),
    ),
    (("bearer", "basic"), _pattern(r"(?P<kept>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}")),
    # Keys that are known by how they begin. Every key of Google's APIs begins with AIza.
    (("aiza",), _pattern(r"(?P<kept>\bAIza)[\w-]{30,}", re.ASCII)),
    (("ya29", "gocspx"), _pattern(r"(?P<kept>\b(?:ya29\.|GOCSPX-))[\w.-]{10,}", re.ASCII)),
    (  # OpenAI and others, Stripe
        ("sk-", "sk_", "pk_", "rk_"),
        _pattern(r"(?P<kept>\b(?:sk|pk|rk)[-_])(?=[\w-]{0,60}\d)[\w-]{12,}", re.ASCII),
    ),
    (("akia", "asia"), _pattern(r"(?P<kept>\b(?:AKIA|ASIA))[A-Z0-9]{12,}", re.ASCII)),  # AWS
    (  # GitHub, GitLab, Hugging Face, npm
        ("gh", "glpat", "hf_", "npm_"),
        _pattern(r"(?P<kept>\b(?:gh[pousr]|github_pat|glpat|hf|npm)[_-])\w{16,}", re.ASCII),
    ),
    (("xox",), _pattern(r"(?P<kept>\bxox[a-z]-)[\w-]{8,}", re.ASCII)),  # Slack
    (("hooks.",), _pattern(r"(?P<kept>hooks\.slack\.com/services/)[\w/]+", re.ASCII)),
    (  # JSON web tokens
        ("eyj",),
        _pattern(r"(?P<kept>\beyJ)[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?", re.ASCII),
    ),
    (
        ("private key",),
        _pattern(r"(?P<kept>-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----)(?:(?!-----END).)*", re.DOTALL),
    ),
    # The token in the address of the local server, and in the path alone, as urllib3 shows it.
    (
        ("127.0.0.1", "localhost", "::1"),
        _pattern(r"(?P<kept>(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?/)[0-9a-f]{32}\b"),
    ),
    (
        ("bigquery/", "/v1/"),
        _pattern(r"(?P<kept>/)[0-9a-f]{32}(?=/(?:upload/bigquery|bigquery|v1)/)"),
    ),
)
"""What a pattern needs at least, in small letters, to save looking at every text with each; and the
pattern. Its `kept` stays."""

HIDDEN: Final = "…"
"""What stands where a secret stood."""

_NEEDED: Final = tuple(dict.fromkeys(each for needed, _ in _SECRETS for each in needed))
"""What some pattern needs, each once: most texts have none of it."""


class CleanText(str):
    """A text that has been through `without_keys`: it need not go through it again."""

    __slots__ = ()


def without_keys(text: str) -> str:
    """Replace keys, passwords and tokens by `…`: what looks like one, or stands where one stands.

    A key of an unknown shape in the middle of a sentence cannot be recognised. `CleanText` is not
    looked at again.
    """
    if type(text) is CleanText:
        return str(text)
    small = text.lower()
    found = {each for each in _NEEDED if each in small}
    if found:
        for needed, pattern in _SECRETS:
            if not found.isdisjoint(needed):
                text = pattern.sub(rf"\g<kept>{HIDDEN}", text)
    return text
