"""Addresses: nothing of them is dropped, none leads to a metadata server, and names have a deadline.

A query or a user in `base_url` was dropped, and every call was refused; Azure's and Oracle's metadata
servers counted as the public internet; and a name server that is silent held a download for as long as
the system's resolver liked.
"""

import re
import socket
import threading
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlkit import ConfigError, RetryableError
from etlkit.calls.connections import HttpPool
from etlkit.calls.http import HttpClient
from etlkit.calls.name_lookup import addresses_of
from etlkit.vision.download import Downloader, DownloadError
from etlkit.vision.public_addresses import is_metadata, is_public
from tests.loopback import answering


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("https://me:s3cret@h", "user or a password in it.*BasicAuth", marks=
            pytest.mark.edge_case("`https://me:pw@host` as `base_url`", "`HttpClient`",
            "`ConfigError`, with the way to send them")),
        ("https://s3cret@h", "user or a password"),
        pytest.param("https://h/v1?key=s3cret", r"has a query.*params=", marks=
            pytest.mark.edge_case("`https://host?api-version=3` as `base_url`", "`HttpClient`",
            "`ConfigError`, with the way to send it")),
        ("https://h/#s3cret", "what follows # is never sent"),
        ("https://h:s3cret", "write https://host"),
        ("https://[s3cret", "write https://host"),
        ("h/v1", "write https://host"),
    ],
)  # fmt: skip
def test_no_part_of_a_base_url_is_dropped(url, message):
    """What would not be sent is refused, and the message does not show it."""
    with pytest.raises(ConfigError, match=message) as caught:
        HttpClient(url, service="crm")
    assert "s3cret" not in str(caught.value)


def test_a_path_in_a_base_url_is_put_before_every_calls(tmp_path):
    """With a slash at its end or without."""
    with answering(lambda asked: (200, {}, b"{}")) as server:
        for path in ("/v1", "/v1/"):
            with HttpClient(server.url + path, service="crm") as client:
                client.get_json("/a")
    assert [asked.path for asked in server.asked] == ["/v1/a"] * 2


NAT64 = ip_network("64:ff9b::/96")
METADATA = {
    "169.254.169.254": "most clouds", "169.254.170.2": "AWS, for containers",
    "169.254.0.23": "Tencent", "169.254.42.42": "Scaleway", "100.100.100.200": "Alibaba",
    "168.63.129.16": "Azure", "192.0.0.192": "Oracle", "192.80.8.124": "Equinix",
    "fd00:ec2::254": "AWS", "fd00:ec2::23": "AWS, for pods", "fd20:ce::254": "Google",
    "fd00:c1::a9fe:a9fe": "Oracle", "fd00:42::42": "Scaleway", "fd00:a9fe:a9fe::1": "Linode",
    "fe80::a9fe:a9fe": "OpenStack", "fe80::1%eth0": "with a zone",
    "::ffff:169.254.169.254": "mapped", "::169.254.169.254": "compatible",
    "::ffff:0:169.254.169.254": "translated", "64:ff9b::a9fe:a9fe": "NAT64",
    "64:ff9b::a83f:8110": "NAT64, Azure", "64:ff9b:1::a9fe:a9fe": "NAT64 of one network",
    "2002:a9fe:a9fe::": "6to4", "2002:a83f:8110::1": "6to4, Azure",
    "2001:0:4136:e378:8000:63bf:5601:5601": "Teredo",
}  # fmt: skip


@pytest.mark.edge_case(
    "`168.63.129.16` (Azure), `192.0.0.192` (Oracle), `fd00:ec2::254` (AWS) and others",
    "downloads of images", "refused as metadata servers, in every spelling",
)  # fmt: skip
@pytest.mark.edge_case(
    "`169.254.0.0/16`, `fe80::/10`", "downloads with `allow_private=True`", "refused all the same"
)
@pytest.mark.parametrize("address", METADATA)
def test_no_download_comes_from_a_metadata_server(address):
    """Whoever writes an address into a table would get the machine's credentials."""
    assert not is_public(address)
    assert is_metadata(address)

    def resolve(_name, port, **_options):
        return [(0, 0, 0, "", (address, port))]

    with pytest.raises(DownloadError, match="where a cloud's metadata server may be") as caught:
        Downloader(allow_private=True, resolve=resolve).fetch("http://photos.example/cat.jpg")
    assert not caught.value.is_transient


@pytest.mark.parametrize(
    "address",
    ["192.88.99.1", "192.0.0.9", "3fff::1", "5f00::1", "100:0:0:1::1", "2001:20::1", "4000::1"],
)
def test_what_python_calls_global_may_not_be_public(address):
    """Its table differs from version to version; the registries of IANA decide."""
    assert not is_public(address)
    assert not is_metadata(address)


@given(st.ip_addresses())
def test_nothing_is_public_that_python_calls_private(address):
    """Python's table is not stricter anywhere, except for 6to4 in some of its versions."""
    if is_public(str(address)) and getattr(address, "sixtofour", None) is None:
        wrapped = ip_address(address.packed[-4:]) if address in NAT64 else address
        assert wrapped.is_global
        assert not wrapped.is_multicast
        assert not wrapped.is_reserved


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:10.0.0.1", "fd00::1"])
def test_private_networks_are_no_metadata_servers(address):
    """`allow_private` is for these."""
    assert not is_public(address)
    assert not is_metadata(address)


@pytest.fixture
def silent_resolver():
    """A resolver that answers only when the test lets it."""
    answers = threading.Event()
    asked = []

    def resolve(name, port, **_options):
        asked.append(name)
        answers.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    resolve.answers, resolve.asked = answers, asked
    yield resolve
    answers.set()


@pytest.mark.edge_case(
    "a name server that does not answer", "calls and downloads",
    "given up at the deadline, and tried again later",
)  # fmt: skip
def test_a_download_ends_at_its_deadline_while_its_name_is_looked_up(silent_resolver):
    """The resolver still waits when the download has failed."""
    downloader = Downloader(resolve=silent_resolver, timeout_s=0.2)
    with pytest.raises(DownloadError, match=r"no answer within 0\.2 s") as caught:
        downloader.fetch("http://photos.example/cat.jpg")
    assert caught.value.is_transient
    assert not silent_resolver.answers.is_set()


def test_a_call_ends_at_its_deadline_while_its_name_is_looked_up(silent_resolver, monkeypatch):
    """The same for every call: the look-up is a part of connecting."""
    monkeypatch.setattr(socket, "getaddrinfo", silent_resolver)
    pool = HttpPool("http://crm.example", service="crm")
    with pytest.raises(RetryableError, match=r"crm: (no connection|timeout) while calling /a"):
        pool.send("GET", "/a", {}, timeout_s=0.2)
    assert not silent_resolver.answers.is_set()
    pool.close()


def test_one_question_is_asked_for_all_that_wait_for_a_name(silent_resolver):
    """A dead name server does not hold a thread for each row."""
    errors = []

    def look_up():
        try:
            addresses_of("photos.example", 80, timeout_s=0.2, resolve=silent_resolver)
        except TimeoutError as error:
            errors.append(error)

    threads = [threading.Thread(target=look_up) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(errors), silent_resolver.asked) == (20, ["photos.example"])
    silent_resolver.answers.set()
    found = addresses_of("photos.example", 80, timeout_s=20, resolve=silent_resolver)
    assert found == ["127.0.0.1"]


def test_more_names_than_threads_wait_for_their_turn(silent_resolver, monkeypatch):
    """And no longer than they may."""
    monkeypatch.setattr("etlkit.calls.name_lookup._MAX_THREADS", 2)
    for name in ("a.example", "b.example", "c.example"):
        with pytest.raises(TimeoutError):
            addresses_of(name, 80, timeout_s=0.05, resolve=silent_resolver)
    assert silent_resolver.asked == ["a.example", "b.example"]
    silent_resolver.answers.set()
    assert addresses_of("c.example", 80, timeout_s=20, resolve=silent_resolver) == ["127.0.0.1"]


def test_errors_of_the_resolver_stay_what_they_are():
    """An unknown name is not a timeout, and each that waits gets an error of its own."""

    def resolve(_name, _port, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    caught = []
    for _ in range(2):
        with pytest.raises(socket.gaierror) as error:
            addresses_of("no.example", 80, timeout_s=20, resolve=resolve)
        caught.append(error.value)
    assert [each.errno for each in caught] == [socket.EAI_NONAME] * 2
    assert caught[0] is not caught[1]


@pytest.mark.parametrize(
    "addresses", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.2"] * 2]
)
def test_the_next_address_of_a_name_is_tried(monkeypatch, addresses):
    """A name has a dead address and one that answers; a connection that works is not made again."""
    with answering(lambda asked: (200, {}, b"{}")) as server:

        def resolve(_name, port, **_options):
            # Nobody listens on the first: loopback has more addresses than one.
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in addresses]

        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo",
            lambda host, port, *args, **options: resolve(host, port) if host == "crm.example"
            else real(host, port, *args, **options),
        )  # fmt: skip
        pool = HttpPool(f"http://crm.example:{server.server_port}", service="crm")
        if "127.0.0.1" not in addresses:
            with pytest.raises(RetryableError, match="no connection"):
                pool.send("GET", "/a", {}, timeout_s=20)
            return
        status, _, body = pool.send("GET", "/a", {}, timeout_s=20)
        pool.close()
    assert (status, body) == (200, b"{}")
    assert re.fullmatch(r"crm\.example:\d+", server.asked[0].headers["Host"])
