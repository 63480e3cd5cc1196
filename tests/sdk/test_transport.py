"""The default transport against a real server: kept alive, bounded, on time, never elsewhere."""

import asyncio
import datetime as dt
import ipaddress
import select
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from doorstep import (
    AsyncClient,
    Client,
    ConnectFailed,
    ConnectionLost,
    HTTPTransport,
    HTTPXTransport,
    NoTrustStore,
    Redirected,
    Request,
    Response,
    Retry,
    ThreadedTransport,
    TimedOut,
    Timeout,
    UnexpectedAnswer,
    UntrustedServer,
)
from doorstep._http import MAX_ANSWER_BYTES
from sdk.scripted import ACCEPTED, TOKEN, a_fix, answer, page, raw, reply, serve
from sdk.test_errors import SECRETS, said

ONCE = Retry(attempts=1)
AT_ONCE = Retry(base_s=0)
SOON = Timeout(connect=0.3, total=0.3)
OK = answer(ACCEPTED)


async def awaited(url, times, options):
    async with AsyncClient(url, token=TOKEN, **options) as client:
        for _ in range(times):
            check_in = await client.check_ins.create(purpose="visit", fix=a_fix())
        return check_in


async def awaited_natively(url, times, options):
    transport = HTTPXTransport()
    try:
        return await awaited(url, times, {**options, "transport": transport})
    finally:
        await transport.close()


def check_in(kind, url, *, times=1, **options):
    if kind == "httpx":
        return asyncio.run(awaited_natively(url, times, options))
    if kind == "async":
        return asyncio.run(awaited(url, times, options))
    with Client(url, token=TOKEN, **options) as client:
        for _ in range(times):
            check_in = client.check_ins.create(purpose="visit", fix=a_fix())
        return check_in


@pytest.fixture(params=["sync", "async", "httpx"])
def kind(request):
    return request.param


def test_a_check_in_over_the_wire(kind):
    with serve(reply(OK)) as server:
        assert check_in(kind, server.url + "/prefix/").outcome == "accepted"
    ((method, path, headers, body),) = server.requests
    assert (method, path) == ("POST", "/prefix/v1/check-ins")
    assert headers["host"] == server.url.removeprefix("http://")
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["content-length"] == str(len(body))
    assert headers["user-agent"].startswith("doorstep-python/")


def test_a_connection_is_kept_alive(kind):
    with serve(*[reply(OK)] * 3) as server:
        check_in(kind, server.url, times=3)
    assert server.connections == 1


def test_a_connection_that_the_server_ends_is_not_kept(kind):
    closing = Response(status=201, headers={**OK.headers, "Connection": "close"}, body=OK.body)
    with serve(reply(closing, close=True), reply(OK)) as server:
        check_in(kind, server.url, times=2, retry=ONCE)
    assert server.connections == 2


def test_a_stale_connection_costs_no_attempt(kind):
    """The server closes the kept-alive connection just as the second request comes in."""
    with serve(reply(OK), raw(), reply(OK)) as server:
        check_in(kind, server.url, times=2, retry=ONCE)
    assert server.connections == 2


def test_a_connection_closed_meanwhile_is_not_used():
    with (
        serve(reply(OK, close=True), reply(OK)) as server,
        Client(server.url, token=TOKEN) as client,
    ):
        client.check_ins.create(purpose="visit", fix=a_fix())
        (idle,) = client._own._pool._idle
        while not idle.stream.is_stale():
            time.sleep(0)
        client.check_ins.create(purpose="visit", fix=a_fix())
    assert server.connections == 2


def test_a_connection_on_which_the_server_spoke_out_of_turn_is_not_used():
    """Its words would be taken for the answer to the next request."""

    def talkative(request):
        reply(OK)(request)
        read.wait(10)
        request.wfile.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")

    read = threading.Event()
    transport = HTTPTransport()
    with serve(talkative, reply(OK)) as server:
        transport.send(get(server.url), timeout=Timeout())
        (idle,) = transport._pool._idle
        read.set()
        select.select([idle.stream._socket], [], [], 10)
        assert transport.send(get(server.url), timeout=Timeout()).status == 201
        transport.close()
    assert server.connections == 2


@pytest.mark.parametrize(
    "broken",
    [
        raw(),
        raw(b"HTTP/1.1 201 Created\r\nContent-Le"),
        raw(b"HTTP/1.1 201 Created\r\nContent-Length: 50\r\n\r\n{"),
        raw(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"),
        raw(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{"),
        raw(b"\x16\x03\x01 what?\r\n\r\n"),
    ],
)
def test_a_broken_answer_is_a_lost_connection_and_sent_again(kind, broken):
    with serve(broken, reply(OK)) as server:
        assert check_in(kind, server.url, retry=AT_ONCE).outcome == "accepted"
    first, second = (body for _, _, _, body in server.requests)
    assert first[:50] == second[:50]
    with serve(broken) as server, pytest.raises(ConnectionLost) as raised:
        check_in(kind, server.url, retry=ONCE)
    assert raised.value.__context__ is None
    for secret in SECRETS:
        assert secret not in said(raised.value)


def test_a_chunked_answer_is_read():
    size = f"{len(OK.body):x}".encode()
    head = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"
    chunked = raw(
        head, b"Transfer-Encoding: chunked\r\n\r\n", size, b"\r\n", OK.body, b"\r\n0\r\n\r\n"
    )
    with serve(chunked) as server:
        assert check_in("sync", server.url).outcome == "accepted"


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_body_that_ends_with_the_connection_is_read(kind, version):
    """The headers come alone, so that the body is read after `http.client` dropped the socket."""
    seen = threading.Event()
    head = b"HTTP/" + version + b" 201 Created\r\nContent-Type: application/json\r\n"
    closing = raw(head + b"Connection: close\r\n\r\n", OK.body, wait=lambda: seen.wait(0.05))
    with serve(closing) as server:
        assert check_in(kind, server.url, retry=ONCE).outcome == "accepted"


def test_an_endless_answer_is_not_read_to_its_end(kind):
    endless = Response(status=201, headers=OK.headers, body=OK.body + b" " * MAX_ANSWER_BYTES)
    with serve(reply(endless)) as server, pytest.raises(UnexpectedAnswer):
        check_in(kind, server.url)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 201 Created\r\nContent-Length: 99999\r\n\r\n"])
def test_a_dripping_server_meets_the_deadline(kind, head):
    """Every byte comes well within a socket's timeout; only the total tells."""
    over = threading.Event()
    dripping = raw(head, *[b"H"] * 1000, wait=lambda: over.wait(0.02))
    began = time.monotonic()
    with serve(dripping) as server:
        with pytest.raises(TimedOut):
            check_in(kind, server.url, timeout=SOON)
        over.set()
    assert 0.25 < time.monotonic() - began < 2


def test_a_closed_port_is_a_failed_connection(kind):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ConnectFailed, match="nothing was sent") as raised:
        check_in(kind, url, retry=ONCE)
    assert raised.value.__context__ is None


def test_an_unknown_host_is_a_failed_connection(kind):
    with pytest.raises(ConnectFailed):
        check_in(kind, "https://doorstep.invalid", retry=ONCE)


def test_a_redirect_is_not_followed(kind):
    with serve() as elsewhere, serve() as server:
        target = Response(status=307, headers={"Location": elsewhere.url}, body=b"")
        server.script.append(reply(target))
        with pytest.raises(Redirected):
            check_in(kind, server.url)
    assert elsewhere.requests == []


def test_a_captive_portal_over_the_wire(kind):
    with serve(reply(page(200))) as server, pytest.raises(UnexpectedAnswer):
        check_in(kind, server.url)


def get(url):
    return Request(method="GET", url=url + "/", headers={}, body=None)


def test_connections_are_bounded():
    transport = HTTPTransport(max_connections=2)
    with serve(*[reply(OK)] * 30) as server, ThreadPoolExecutor(10) as threads:
        sent = [
            threads.submit(transport.send, get(server.url), timeout=Timeout()) for _ in range(30)
        ]
        assert {one.result().status for one in sent} == {201}
        transport.close()
    assert server.connections <= 2


def test_the_wait_for_a_connection_ends_with_the_deadline():
    transport = HTTPTransport(max_connections=1)
    asked, release = threading.Event(), threading.Event()

    def held(request):
        asked.set()
        release.wait(10)
        reply(OK)(request)

    with serve(held) as server, ThreadPoolExecutor(1) as threads:
        first = threads.submit(transport.send, get(server.url), timeout=Timeout())
        assert asked.wait(10)
        with pytest.raises(TimedOut):
            transport.send(get(server.url), timeout=Timeout(connect=0.05, total=0.05))
        release.set()
        assert first.result().status == 201
        transport.close()
    assert len(server.requests) == 1


def test_a_forked_child_shares_no_connection():
    transport = HTTPTransport()
    with serve(reply(OK), reply(OK)) as server:
        transport.send(get(server.url), timeout=Timeout())
        parents = list(transport._pool._idle)
        transport._pool._process = -1
        transport.send(get(server.url), timeout=Timeout())
        transport.close()
        for connection in parents:
            connection.close()
    assert server.connections == 2


def test_a_closed_client_says_so():
    client = Client("http://127.0.0.1:9", token=TOKEN)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.check_ins.create(purpose="visit", fix=a_fix())


def test_a_transport_that_is_passed_in_stays_open():
    transport = HTTPTransport()
    with serve(reply(OK), reply(OK)) as server:
        for _ in range(2):
            with Client(server.url, token=TOKEN, transport=transport) as client:
                client.check_ins.create(purpose="visit", fix=a_fix())
        transport.close()
    assert server.connections == 1


class Gate:
    """A blocking transport that waits until it is let go."""

    def __init__(self):
        self.sent = 0
        self.opened = threading.Event()

    def send(self, request, *, timeout):
        self.sent += 1
        self.opened.wait(10)
        return OK


def test_a_request_that_is_cancelled_in_the_queue_is_never_sent():
    gate = Gate()

    async def scene():
        transport = ThreadedTransport(gate, threads=1)
        first = asyncio.create_task(transport.send(get("http://x"), timeout=Timeout()))
        second = asyncio.create_task(transport.send(get("http://x"), timeout=Timeout()))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        gate.opened.set()
        assert (await first).status == 201
        await transport.close()
        return second.cancelled()

    assert asyncio.run(scene())
    assert gate.sent == 1


def test_the_wait_for_a_thread_counts_as_time():
    gate = Gate()

    async def scene():
        transport = ThreadedTransport(gate, threads=1)
        first = asyncio.create_task(transport.send(get("http://x"), timeout=Timeout()))
        await asyncio.sleep(0)
        with pytest.raises(TimedOut):
            await transport.send(get("http://x"), timeout=Timeout(connect=0.02, total=0.02))
        gate.opened.set()
        await first
        await transport.close()

    asyncio.run(scene())
    assert gate.sent == 1


def test_a_slow_thread_does_not_hold_up_the_event_loop():
    with serve(*[reply(OK)] * 20) as server:

        async def scene():
            async with AsyncClient(server.url, token=TOKEN) as client:
                calls = (client.check_ins.create(purpose="visit", fix=a_fix()) for _ in range(20))
                return await asyncio.gather(*calls)

        assert {one.outcome for one in asyncio.run(scene())} == {"accepted"}
    assert server.connections <= 8


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that only its own file vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "doorstep test")])
    now = dt.datetime.now(dt.UTC)
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(host, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def no_authorities(monkeypatch):
    """As in an app on a phone: no variable, no certifi, an empty system store."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setitem(sys.modules, "certifi", None)
    empty = ssl.get_default_verify_paths()._replace(cafile=None, capath=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: empty)
    monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", lambda self: None)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda self, purpose=None: None)


def test_a_server_is_trusted_by_ssl_cert_file(kind, certificate, no_authorities, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    if kind == "httpx":  # which has certifi, and cannot be without
        monkeypatch.setitem(sys.modules, "certifi", certifi)
    with serve(*[reply(OK)] * 2, tls=certificate) as server:
        check_in(kind, server.url, times=2)
    assert server.url.startswith("https://")
    assert server.connections == 1


def test_a_server_is_trusted_by_an_explicit_context(certificate, no_authorities):
    transport = HTTPTransport(ssl_context=ssl.create_default_context(cafile=certificate))
    with serve(reply(OK), tls=certificate) as server:
        check_in("sync", server.url, transport=transport)
        transport.close()


def test_a_server_is_trusted_by_certifi(certificate, no_authorities, monkeypatch):
    monkeypatch.setitem(sys.modules, "certifi", certifi)
    monkeypatch.setattr(certifi, "where", lambda: str(certificate))
    with serve(reply(OK), tls=certificate) as server:
        check_in("sync", server.url)


def test_an_untrusted_server_gets_nothing_and_is_asked_once(kind, certificate):
    with serve(tls=certificate) as server, pytest.raises(UntrustedServer) as raised:
        check_in(kind, server.url)
    assert type(raised.value) is UntrustedServer
    assert server.requests == []
    assert server.connections == 1


def test_a_phone_without_authorities_says_so(kind, no_authorities):
    with pytest.raises(NoTrustStore, match="certifi"):
        check_in(kind, "https://127.0.0.1:9")


@pytest.mark.parametrize("content", [None, "", "not a certificate"])
def test_a_useless_ssl_cert_file_is_named(tmp_path, monkeypatch, content):
    path = tmp_path / "authorities.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(NoTrustStore, match="SSL_CERT_FILE"):
        check_in("sync", "https://127.0.0.1:9")


def test_a_directory_of_authorities_is_enough(tmp_path, no_authorities, monkeypatch):
    """OpenSSL counts none of them before it needs one."""
    (tmp_path / "0a1b2c3d.0").write_text("")
    paths = ssl.get_default_verify_paths()._replace(capath=str(tmp_path))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    with pytest.raises(ConnectFailed):
        check_in("sync", "https://127.0.0.1:9", retry=ONCE)
