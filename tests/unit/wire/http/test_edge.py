"""What HTTP alone can refuse, and what reaches the pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.model.decision import Refusal
from gateway.model.wire import Headers
from gateway.wire.http import edge as edges
from gateway.wire.http.edge import Edge, Handlers
from gateway.wire.http.exchange import Answer, Exchange, Stream
from gateway.wire.protocol.replies import RefusalForm, Reply, render
from tests.requirements import requirement
from tests.unit.wire.http.channels import RecordedChannel, request

HOST = (b"host", b"127.0.0.1:8080")
JSON = (b"content-type", b"application/json")


def configured(text: str = "") -> config.Configuration:
    return config.parse(f"limits: {{request_bytes: 64B, in_flight: 2}}\n{text}", base=Path())


@dataclass
class Client:
    """One HTTP request, driven through the edge as a server would drive it."""

    edge: Edge
    channel: RecordedChannel = field(default_factory=lambda: RecordedChannel(request("GET", "/")))
    version: str = "1.1"

    @property
    def incoming(self) -> asyncio.Queue[dict[str, Any]]:
        return self.channel.incoming

    @property
    def sent(self) -> list[dict[str, Any]]:
        return self.channel.sent

    async def ask(self, method: str, path: str, *headers: tuple[bytes, bytes], body: bytes = b"") -> int:
        self.incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})
        await self.send(method, path, *headers)
        return self.status

    async def send(self, method: str, path: str, *headers: tuple[bytes, bytes]) -> None:
        self.channel.request = request(method, path, headers, version=self.version)
        await self.edge(self.channel)

    def leave(self) -> None:
        self.incoming.put_nowait({"type": "http.disconnect"})
        self.channel.leave()

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def complete(self) -> bool:
        return not self.sent[-1].get("more_body", False)


class Recorder:
    """In the pipeline's place: reads the body, and answers with what it is told to."""

    def __init__(self, answer: Answer | Stream | None = None) -> None:
        self.answer = answer or Reply(200, (JSON,), b"{}")
        self.exchanges: list[Exchange] = []
        self.bodies: list[bytes | Refusal] = []

    async def __call__(self, exchange: Exchange) -> Answer | Stream:
        self.exchanges.append(exchange)
        if exchange.method == "POST":
            content = await exchange.body()
            self.bodies.append(content)
            if isinstance(content, Refusal):
                return rendered(content)
        return self.answer


def rendered(refusal: Refusal) -> Reply:
    return render(refusal, None, decision_id=None, form=RefusalForm())


async def refuse(refusal: Refusal, _client: edges.RefusedClient) -> Reply:
    return rendered(refusal)


async def pages(scope: Any, _receive: Any, send: Any) -> None:
    """Stand in for the pages: name the path, and say whether the whole page may be shown."""
    shown = b"page of " if scope["opagate.own_host"] else b"bare "
    await send({"type": "http.response.start", "status": 200, "headers": ()})
    await send({"type": "http.response.body", "body": shown + scope["path"].encode()})


def client(recorder: Recorder | None = None, text: str = "") -> Client:
    return Client(Edge(configured(text), handlers(recorder or Recorder())))


def handlers(mcp: Any, pages: Any = pages) -> Handlers:
    return Handlers(mcp=mcp, pages=pages, probes={"/probe": True, "/figures": False}, refuse=refuse)


def code_of(body: bytes) -> str:
    return body.decode().split('"code":"')[1].split('"')[0]


async def test_a_post_with_json_reaches_the_pipeline_with_its_bytes():
    recorder = Recorder()
    there = client(recorder)

    assert await there.ask("POST", "/mcp/files", HOST, JSON, body=b'{"a": 1}') == 200
    assert recorder.bodies == [b'{"a": 1}']
    assert recorder.exchanges[0].upstream == "files"
    assert recorder.exchanges[0].url == "http://127.0.0.1:8080/mcp/files"
    assert recorder.exchanges[0].client_ip == "127.0.0.1"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ((), "request/host"),
        (((b"host", b"evil.example"),), "request/host"),
        (((b"host", b"127.0.0.1:8080"), (b"host", b"evil.example")), "request/host"),
        (((b"host", b"127.0.0.1"),), "request/host"),
        ((HOST, (b"origin", b"https://evil.example")), "request/origin"),
        ((HOST, (b"origin", b"null")), "request/origin"),
        ((HOST, (b"origin", b"http://127.0.0.1:8080"), (b"origin", b"https://evil.example")), "request/origin"),
    ],
)
async def test_a_foreign_host_or_origin_is_refused_before_the_pipeline(headers: Headers, code: str):
    recorder = Recorder()
    there = client(recorder)

    assert await there.ask("POST", "/mcp/files", *headers, JSON) == 403
    assert code_of(there.body) == code
    assert recorder.exchanges == []


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/tasks"), ("GET", "/tasks/t"), ("DELETE", "/tasks/t"), ("GET", "/page")]
)
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        (((b"host", b"evil.example"),), "request/host"),
        ((HOST, (b"origin", b"https://evil.example")), "request/origin"),
    ],
)
async def test_so_it_is_at_every_other_path(method: str, path: str, headers: Headers, code: str):
    there = client()

    assert await there.ask(method, path, *headers, JSON) == 403
    assert code_of(there.body) == code


@pytest.mark.parametrize("host", [b"127.0.0.1:8080", b"LOCALHOST:8080", b"[::1]:8080", b"gw.example", b"other:9"])
async def test_the_gateways_own_names_are_accepted(host: bytes):
    names = "listen: '[::1]:8080'\npublic_url: https://GW.example\nallowed_hosts: [Other:9]"

    assert await client(text=names).ask("POST", "/mcp/files", (b"host", host), JSON) == 200
    for scheme in (b"http://", b"https://"):
        assert await client(text=names).ask("POST", "/mcp/files", HOST, JSON, (b"origin", scheme + host)) == 200


@pytest.mark.parametrize(
    ("host", "status"), [(b"10.1.2.3:8080", 200), (b"localhost:8080", 403), (b"127.0.0.1:8080", 403)]
)
async def test_this_machine_is_no_name_of_a_gateway_that_others_reach(host: bytes, status: int):
    there = client(text="listen: 10.1.2.3:8080\npublic_url: https://gw.example")

    assert await there.ask("POST", "/mcp/files", (b"host", host), JSON) == status


async def test_a_configured_origin_is_accepted():
    there = client(text="allowed_origins: [https://App.example]")

    assert await there.ask("POST", "/mcp/files", HOST, JSON, (b"origin", b"https://app.example")) == 200


SITE = b"sec-fetch-site"
OWN = (b"origin", b"http://127.0.0.1:8080")


@requirement("mcp/host-origin")
@pytest.mark.parametrize(
    "headers",
    [
        ((SITE, b"cross-site"),),
        ((SITE, b"same-site"),),
        ((SITE, b"Cross-Site "),),
        ((SITE, b""),),
        ((SITE, b"anything"),),
        ((SITE, b"same-origin"), (SITE, b"cross-site")),
        ((SITE, b"same-origin, cross-site"),),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/mcp/files"), ("POST", "/mcp/files"), ("DELETE", "/mcp/files"), ("GET", "/tasks/t")]
)
async def test_a_web_page_of_another_site_reaches_nothing_without_an_origin(method: str, path: str, headers: Headers):
    """A browser gives GET requests of pages no Origin, unless the page wants to read the answer."""
    recorder = Recorder()
    there = client(recorder)

    assert await there.ask(method, path, HOST, JSON, *headers) == 403
    assert code_of(there.body) == "request/origin"
    assert recorder.exchanges == []


@pytest.mark.parametrize(
    "headers",
    [(), ((SITE, b"same-origin"),), ((SITE, b"none"),), ((SITE, b"same-origin"), OWN), ((SITE, b"cross-site"), OWN)],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_own_pages_accepted_origins_and_other_programs_are_served(method: str, headers: Headers):
    assert await client().ask(method, "/mcp/files", HOST, JSON, *headers) == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ((), "request/content-type"),
        (((b"content-type", b"text/plain"),), "request/content-type"),
        ((JSON, (b"content-type", b"text/plain")), "request/content-type"),
        ((JSON, (b"content-encoding", b"gzip")), "request/compressed"),
        (((b"content-type", b"application/json; charset=utf-7"),), "request/content-type"),
        (((b"content-type", b"application/json; charset=utf-8; charset=utf-7"),), "request/content-type"),
        (((b"content-type", b'application/json; Charset = "GBK"'),), "request/content-type"),
    ],
)
async def test_a_body_that_is_not_plain_json_is_refused(headers: Headers, code: str):
    there = client()

    assert await there.ask("POST", "/mcp/files", HOST, *headers) == 415
    assert code_of(there.body) == code


@pytest.mark.parametrize("parameters", ["; charset=utf-8", " ;CHARSET=UTF8", '; charset="UTF-8";', "; profile=mcp"])
async def test_a_content_type_may_have_parameters(parameters: str):
    there = client()
    declared = (b"content-type", f"Application/JSON{parameters}".encode())

    assert await there.ask("POST", "/mcp/files", HOST, declared) == 200
    assert await client().ask("POST", "/mcp/files", HOST, declared, (b"content-encoding", b"Identity")) == 200


async def test_a_declared_length_over_the_limit_is_refused_without_reading():
    recorder = Recorder()
    there = client(recorder)
    await there.send("POST", "/mcp/files", HOST, JSON, (b"content-length", b"65"))

    assert there.status == 413
    assert code_of(there.body) == "request/too-large"


async def test_a_declared_length_may_have_more_zeros_before_it_than_python_reads():
    length = (b"content-length", b"0" * 5000 + b"2")

    assert await client().ask("POST", "/mcp/files", HOST, JSON, length, body=b"ab") == 200
    assert await client().ask("POST", "/mcp/files", HOST, JSON, (b"content-length", b"9" * 5000)) == 413


async def test_a_body_over_the_limit_is_refused_as_it_grows():
    there = client()
    for _ in range(3):
        there.incoming.put_nowait({"type": "http.request", "body": b"x" * 30, "more_body": True})
    await there.send("POST", "/mcp/files", HOST, JSON)

    assert there.status == 413
    assert there.incoming.empty()


async def test_a_body_in_pieces_is_read_whole():
    recorder = Recorder()
    there = client(recorder)
    there.incoming.put_nowait({"type": "http.request", "body": b"ab", "more_body": True})
    there.incoming.put_nowait({"type": "http.request", "body": b"c", "more_body": False})
    await there.send("POST", "/mcp/files", HOST, JSON)

    assert recorder.bodies == [b"abc"]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "HEAD", "TRACE"])
async def test_other_methods_are_refused(method: str):
    there = client()

    assert await there.ask(method, "/mcp/files", HOST) == 405
    assert code_of(there.body) == "request/http-method"
    assert dict(there.sent[0]["headers"])[b"allow"] == b"DELETE, GET, POST"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_streams_are_opened_and_sessions_ended(method: str):
    recorder = Recorder()

    assert await client(recorder).ask(method, "/mcp/files", HOST) == 200
    assert [exchange.method for exchange in recorder.exchanges] == [method]


@pytest.mark.parametrize(("path", "upstream"), [("/mcp/files", "files"), ("/mcp/files/", "files"), ("/mcp//", "")])
async def test_a_slash_at_the_end_of_an_endpoint_changes_nothing(path: str, upstream: str):
    recorder = Recorder()

    assert await client(recorder).ask("GET", path, HOST) == 200
    assert [exchange.upstream for exchange in recorder.exchanges] == [upstream]


async def test_more_requests_at_once_than_configured_are_refused():
    held = asyncio.Event()

    class Held(Recorder):
        async def __call__(self, exchange: Exchange) -> Answer | Stream:
            await held.wait()
            return self.answer

    edge = Edge(configured(), handlers(Held()))
    arrived = [Client(edge, RecordedChannel(request("POST", "/mcp/files", (HOST, JSON), b"{}"))) for _ in range(5)]
    # A server reads the requests of many connections in one turn, before the work on any of them begins.
    begun = [asyncio.create_task(work) for work in [edge(one.channel) for one in arrived]]
    await asyncio.sleep(0.01)

    assert [code_of(one.body) for one in arrived if one.sent] == ["limit/in-flight"] * 3
    held.set()
    await asyncio.gather(*begun)
    held.clear()
    working = [asyncio.create_task(Client(edge).ask("POST", "/mcp/files", HOST, JSON)) for _ in range(2)]
    await asyncio.sleep(0)
    third = Client(edge)

    assert await third.ask("POST", "/mcp/files", HOST, JSON) == 503
    assert code_of(third.body) == "limit/in-flight"
    held.set()
    assert await asyncio.gather(*working) == [200, 200]
    assert edge.in_flight == 0
    assert await Client(edge).ask("POST", "/mcp/files", HOST, JSON) == 200


class Chunks:
    """An answer that streams what is put into it, until `None`."""

    def __init__(self, *, idle: bool = False, headers: Headers = ((b"content-type", b"text/event-stream"),)) -> None:
        self.status = 200
        self.headers = headers
        self.is_events = bool(headers)
        self.idle = idle
        self.whole = False
        self.announcement = b""
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.closed = asyncio.Event()

    def listen(self, _say: Callable[[bytes], None]) -> Callable[[], None]:
        return lambda: None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.queue.get()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def close(self) -> None:
        self.closed.set()


async def test_a_stream_is_passed_on_chunk_by_chunk_and_closed():
    stream = Chunks()
    there = client(Recorder(stream))
    for chunk in (b"data: 1\n\n", b"data: 2\n\n", None):
        stream.queue.put_nowait(chunk)
    await there.ask("POST", "/mcp/files", HOST, JSON)

    assert [message["body"] for message in there.sent[1:]] == [b"data: 1\n\n", b"data: 2\n\n", b""]
    assert there.complete
    assert stream.closed.is_set()


async def test_a_client_that_leaves_ends_the_work_and_closes_the_stream():
    stream = Chunks()
    there = client(Recorder(stream))
    working = asyncio.create_task(there.ask("POST", "/mcp/files", HOST, JSON))
    stream.queue.put_nowait(b"data: 1\n\n")
    while len(there.sent) < 2:
        await asyncio.sleep(0)
    there.leave()
    await working

    assert stream.closed.is_set()
    assert there.edge.in_flight == 0


async def test_a_client_that_leaves_before_its_body_is_complete_reaches_nothing():
    recorder = Recorder()
    there = client(recorder)
    there.incoming.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
    there.leave()
    await there.send("POST", "/mcp/files", HOST, JSON)

    assert recorder.bodies == []
    assert there.sent == []


async def test_draining_ends_streams_that_wait_for_news_and_lets_calls_end():
    news, call = Chunks(idle=True), Chunks()
    recorder = Recorder(news)
    edge = Edge(configured(), handlers(recorder))
    waiting = Client(edge)
    listening = asyncio.create_task(waiting.ask("GET", "/mcp/files", HOST))
    while not waiting.sent:
        await asyncio.sleep(0)
    recorder.answer = call
    calling = Client(edge)
    working = asyncio.create_task(calling.ask("POST", "/mcp/files", HOST, JSON))
    while not calling.sent:
        await asyncio.sleep(0)
    edge.drain()
    await listening

    assert waiting.complete
    assert news.closed.is_set()
    assert not working.done()
    call.queue.put_nowait(b"data: result\n\n")
    call.queue.put_nowait(None)
    await working
    assert calling.complete
    assert b"result" in calling.body


async def test_a_stream_for_news_that_is_opened_while_draining_is_not_begun():
    news = Chunks(idle=True)
    there = client(Recorder(news))
    there.edge.drain()

    assert await there.ask("GET", "/mcp/files", HOST) == 503
    assert news.closed.is_set()


async def test_a_defect_in_the_pipeline_reaches_the_server_and_gives_its_place_back():
    class Broken(Recorder):
        async def __call__(self, exchange: Exchange) -> Answer | Stream:
            raise ZeroDivisionError

    there = client(Broken())
    with pytest.raises(ZeroDivisionError):
        await there.ask("POST", "/mcp/files", HOST, JSON)

    assert there.edge.in_flight == 0
