"""Proxies: the environment names them as for `requests`, with users, without schemes, for all schemes.

An `ALL_PROXY` had no effect, a proxy without a scheme was a bare error of a library below, and
`NO_PROXY` knew neither networks nor ports.
"""

import base64
from urllib.parse import urlsplit

import pytest
from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy

from etlkit import ConfigError, RetryPolicy
from etlkit.calls.http import HttpClient
from etlkit.calls.proxies import proxy_for
from tests.loopback import answering, over_tls, proxying, self_signed
from tests.run_of_calls import run_of_calls

PASSWORD = "p@ss/w:rd"
QUOTED = "p%40ss%2Fw%3Ard"
USER = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
ONCE = RetryPolicy(max_attempts=1, max_outage_s=2)


@pytest.fixture(autouse=True)
def environ(monkeypatch):
    """Only the proxies that a test sets."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with run_of_calls():
        yield monkeypatch


@pytest.fixture(scope="module")
def service():
    with answering(lambda asked: (200, {}, b"{}")) as server:
        yield server


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param("HTTP_PROXY", "http://me:{pw}@{at}", marks=pytest.mark.edge_case(
            "`HTTP_PROXY=http://me:p%40ss@host:3128`", "calls over HTTP",
            "user and password are sent to the proxy, unquoted")),
        pytest.param("http_proxy", "{at}", marks=pytest.mark.edge_case(
            "`HTTP_PROXY=host:3128`, without a scheme", "calls over HTTP",
            "a proxy over `http://`")),
        pytest.param("HTTP_PROXY", "me:{pw}@{at}", marks=pytest.mark.edge_case(
            "`HTTP_PROXY=me:pw@host:3128`, without a scheme", "calls over HTTP", "the same")),
        pytest.param("ALL_PROXY", "http://me:{pw}@{at}/", marks=pytest.mark.edge_case(
            "`ALL_PROXY`", "calls over HTTP",
            "used where the scheme has no variable of its own")),
        ("all_proxy", "//{at}"),
    ],
)  # fmt: skip
def test_a_proxy_of_the_environment_is_used(environ, service, variable, value):
    """The request arrives through it, with the credentials that the proxy wants."""
    wants = USER if "me:" in value else None
    with proxying(service, wants) as proxy:
        at = proxy.url.removeprefix("http://")
        environ.setenv(variable, value.format(at=at, pw=QUOTED))
        with HttpClient("http://api.invalid:81/v1", service="crm", retry=ONCE) as client:
            assert client.get_json("/a", params={"q": 1}) == {}
    assert proxy.asked == [("GET", "http://api.invalid:81/v1/a?q=1", wants)]
    assert service.asked[-1].path == "/v1/a?q=1"
    assert "Proxy-Authorization" not in service.asked[-1].headers


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
def test_a_proxy_is_tunnelled_through_to_a_service_over_tls(environ, tmp_path, variable):
    """The proxy sees the host and its own credentials, and nothing of the call."""
    file = self_signed(tmp_path / "ca.pem", "api.invalid")
    environ.setenv("SSL_CERT_FILE", str(file))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        environ.delenv(name, raising=False)
    with answering(lambda asked: (200, {}, b"[1]")) as server:
        over_tls(server, file)
        with proxying(server, USER) as proxy:
            at = proxy.url.removeprefix("http://")
            environ.setenv(variable, f"me:{QUOTED}@{at}")
            with HttpClient("https://api.invalid", service="crm", retry=ONCE) as client:
                assert [client.get_json("/a"), client.get_json("/b")] == [[1], [1]]
            assert proxy.asked == [("CONNECT", "api.invalid:443", USER)]
        assert "Proxy-Authorization" not in server.asked[0].headers


@pytest.mark.edge_case(
    "`NO_PROXY=127.0.0.0/8`, `host:port`, `.domain`", "calls over HTTP",
    "these hosts are called directly",
)  # fmt: skip
def test_hosts_in_no_proxy_are_called_directly(environ, service):
    """Networks, and names with a port."""
    environ.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    for entry in ("10.0.0.0/8, 127.0.0.0/8", f"127.0.0.1:{service.server_port}", "*"):
        environ.setenv("NO_PROXY", entry)
        with HttpClient(service.url, service="crm", retry=ONCE) as client:
            assert client.get_json("/a") == {}


PROXIES = [
    {"http_proxy": "http://p:1"}, {"HTTP_PROXY": "http://p:1"}, {"HTTPS_PROXY": "https://p:2"},
    {"ALL_PROXY": "http://p:3"}, {"all_proxy": "proxy.example:3", "https_proxy": "http://p:2"},
    {"http_proxy": "http://p:1", "HTTP_PROXY": "http://q:1"},
    {"http_proxy": "", "ALL_PROXY": "proxy.example:4"},
]  # fmt: skip
BYPASSES = [
    None, "", "api.example", ".example", "example", "other.example,api.example", "pi.example",
    "api.example:81", "api.example:82", "10.1.2.3", "10.1.0.0/16", "10.2.0.0/16", "*", "localhost",
    "API.example",
]  # fmt: skip
URLS = [
    "http://api.example/x",
    "https://api.example:81/x",
    "http://10.1.2.3/",
    "http://localhost:5/",
]


@pytest.mark.parametrize("proxies", PROXIES, ids=str)
def test_the_choice_is_that_of_requests(environ, proxies):
    """For each address and each `NO_PROXY`."""
    for name, value in proxies.items():
        environ.setenv(name, value)
    for bypass in BYPASSES:
        environ.delenv("NO_PROXY", raising=False)
        if bypass is not None:
            environ.setenv("NO_PROXY", bypass)
        for url in URLS:
            theirs = select_proxy(url, get_environ_proxies(url))
            ours = proxy_for(urlsplit(url))
            expected = prepend_scheme_if_needed(theirs, "http") if theirs else None
            assert (None if ours is None else ours.url) == expected, (bypass, url)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param("socks5://p:1", r"HTTP_PROXY names a proxy for socks5://", marks=
            pytest.mark.edge_case("`HTTP_PROXY=socks5://…`", "calls over HTTP",
            "`ConfigError`: it is not silently left out")),
        ("http://me:s3cret#x@p:1", "HTTP_PROXY is not the address of a proxy"),
        ("http://p:port", "HTTP_PROXY is not the address of a proxy"),
        ("http://", "HTTP_PROXY is not the address of a proxy"),
    ],
)  # fmt: skip
def test_what_is_no_proxy_for_http_is_said_without_its_password(environ, value, message):
    """Before any call, with what to write instead."""
    environ.setenv("HTTP_PROXY", value)
    with pytest.raises(ConfigError, match=message) as caught:
        HttpClient("http://api.invalid", service="crm")
    assert "s3cret" not in str(caught.value)
