from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.model.errors import UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.model.wire import Era, Kind
from gateway.upstreams.catalogue.lister import CAPABILITIES, CONTROL, HANDSHAKE, ListingBounds, inventory
from tests.requirements import requirement
from tests.unit.upstreams.catalogue.scripted import Answer, Scripted, error, method, page, result, stateless, tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.wire import UpstreamReply, UpstreamRequest

READ = tool("read_file", vendor={"kept": True}, annotations={"readOnlyHint": True})


def handshake(
    probe: Callable[[UpstreamRequest], Answer | UpstreamError], version: str = "2025-11-25", session: str | None = "s1"
) -> Scripted:
    def answer(request: UpstreamRequest) -> Answer | UpstreamError:
        match method(request):
            case "server/discover":
                return probe(request)
            case "initialize":
                return result(request, protocolVersion=version, capabilities={"tools": {}})
            case "tools/list":
                return page(request, [READ])
            case _:
                return 202, "text/plain", b""

    return Scripted(answer, session=session)


async def test_a_stateless_upstream_is_asked_with_the_headers_and_meta_of_its_era():
    port = stateless(lambda: [READ])

    found = await inventory("files", port)

    assert found.tools == (READ,)
    assert found.revision == "2026-07-28"
    assert port.methods == ["server/discover", "tools/list"]
    request = port.requests[1]
    assert request.principal == CONTROL
    assert dict(request.headers) == {
        b"content-type": b"application/json",
        b"accept": b"application/json, text/event-stream",
        b"mcp-protocol-version": b"2026-07-28",
        b"mcp-method": b"tools/list",
    }
    assert request.message is not None
    assert request.message.era is Era.STATELESS
    body = json.loads(request.message.body)
    assert body["params"]["_meta"] == {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "opagate", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": CAPABILITIES,
    }
    assert request.message.params == body["params"]
    assert port.closed == 2


HANDSHAKE_ANSWERS: list[Callable[[UpstreamRequest], Answer | UpstreamError]] = [
    lambda request: (400, "text/plain", b"Bad Request: no session"),
    lambda request: (404, "text/html", b"<html>"),
    lambda request: (400, "application/json", b""),
    lambda request: error(request, -32601, status=404),
    lambda request: error(request, -32601, status=200),
    lambda request: error(request, -32602, status=200),
    lambda request: error(request, -32000),
    lambda request: error(request, -32022, data={"supported": ["2025-11-25"]}),
    lambda request: result(request, supportedVersions=["2025-06-18"]),
    lambda request: result(request, anything="else"),
    lambda request: (500, "text/plain", b"oops"),
    lambda request: UpstreamTimeout("silent"),
    lambda request: UpstreamBroken("broke off"),
]


@pytest.mark.parametrize("probe", HANDSHAKE_ANSWERS)
async def test_an_upstream_of_the_handshake_era_is_asked_in_its_way(
    probe: Callable[[UpstreamRequest], Answer | UpstreamError],
):
    port = handshake(probe)

    found = await inventory("files", port)

    assert found.tools == (READ,)
    assert found.revision == "2025-11-25"
    assert port.methods == ["server/discover", "initialize", "notifications/initialized", "tools/list", "DELETE"]
    assert [request.session for request in port.requests] == [None, None, "s1", "s1", "s1"]
    assert [dict(request.headers).get(b"mcp-protocol-version") for request in port.requests[1:]] == [
        None,
        *[b"2025-11-25"] * 3,
    ]
    assert all(b"mcp-method" not in dict(request.headers) for request in port.requests[1:])
    assert "_meta" not in json.loads(port.requests[3].body or b"")["params"]


async def test_a_probe_that_is_never_answered_falls_back_in_time():
    port = handshake(lambda request: error(request, -32601))
    send = port.send

    async def silent(request: UpstreamRequest) -> UpstreamReply:
        if method(request) == "server/discover":
            await asyncio.Event().wait()
        return await send(request)

    port.send = silent

    assert (await inventory("files", port, ListingBounds(probe=0.01))).tools == (READ,)


async def test_a_slow_upstream_of_the_stateless_era_is_not_taken_for_another():
    """It answers what it was asked first once it has started, as a process that reads its input does."""
    port, started = stateless(lambda: [READ]), asyncio.Event()
    send = port.send

    async def slow(request: UpstreamRequest) -> UpstreamReply:
        if method(request) == "initialize":
            started.set()
            await asyncio.Event().wait()
        await started.wait()
        return await send(request)

    port.send = slow

    found = await inventory("files", port, ListingBounds(probe=0.01))

    assert (found.revision, found.tools) == ("2026-07-28", (READ,))
    assert port.methods == ["server/discover", "tools/list"]


async def test_an_upstream_that_was_of_the_stateless_era_is_not_asked_for_a_handshake_however_slow_it_is():
    port, late = stateless(lambda: [READ]), asyncio.Event()
    send = port.send

    async def slow(request: UpstreamRequest) -> UpstreamReply:
        await late.wait()
        return await send(request)

    port.send = slow
    asking = asyncio.ensure_future(inventory("files", port, ListingBounds(probe=0.0), known="2026-07-28"))
    for _ in range(20):
        await asyncio.sleep(0)
    late.set()

    assert (await asking).revision == "2026-07-28"
    assert port.methods == ["server/discover", "tools/list"]


async def test_a_slow_upstream_that_refuses_the_handshake_is_waited_for():
    port, refused = stateless(lambda: [READ]), asyncio.Event()
    send = port.send

    async def slow(request: UpstreamRequest) -> UpstreamReply:
        if method(request) == "initialize":
            refused.set()
            raise UpstreamBroken("broke off")
        await refused.wait()
        await asyncio.sleep(0)
        return await send(request)

    port.send = slow

    assert (await inventory("files", port, ListingBounds(probe=0.01))).revision == "2026-07-28"


async def test_an_upstream_that_answers_nothing_is_told_in_time():
    port = handshake(lambda request: error(request, -32601))

    async def silent(request: UpstreamRequest) -> UpstreamReply:
        await asyncio.Event().wait()
        raise AssertionError

    port.send = silent

    with pytest.raises(UpstreamTimeout, match="did not list its tools within"):
        await inventory("files", port, ListingBounds(seconds=0.05, probe=0.01))


@pytest.mark.parametrize("version", HANDSHAKE)
async def test_the_revision_that_the_upstream_chooses_is_used(version: str):
    port = handshake(lambda request: error(request, -32601), version=version, session=None)

    assert (await inventory("files", port)).revision == version
    assert port.methods[-1] == "tools/list"


STATELESS_ANSWERS: list[tuple[Callable[[UpstreamRequest], Answer], str]] = [
    (lambda request: error(request, -32020), "refuses server/discover"),
    (lambda request: error(request, -32021), "refuses server/discover"),
    (lambda request: error(request, -32022, data={"supported": ["2027-01-01"]}), "no protocol revision"),
    (lambda request: error(request, -32022), "no protocol revision"),
    (lambda request: result(request, supportedVersions=["2027-01-01"]), "no protocol revision"),
    (lambda request: (401, "text/plain", b""), "refuses the gateway"),
    (lambda request: (403, "text/plain", b""), "refuses the gateway"),
]


@pytest.mark.parametrize(("probe", "problem"), STATELESS_ANSWERS)
async def test_an_upstream_of_the_stateless_era_is_not_asked_in_the_other_way(
    probe: Callable[[UpstreamRequest], Answer], problem: str
):
    port = handshake(probe)

    with pytest.raises(UpstreamBroken, match=problem):
        await inventory("files", port)

    assert port.methods == ["server/discover"]


async def test_an_upstream_that_cannot_be_reached_is_not_asked_twice():
    port = handshake(lambda request: UpstreamUnreachable("refused"))

    with pytest.raises(UpstreamUnreachable):
        await inventory("files", port)

    assert port.methods == ["server/discover"]


NEITHER: list[Callable[[UpstreamRequest], Answer]] = [
    lambda request: (404, "text/plain", b""),
    lambda request: error(request, -32602),
    lambda request: result(request, protocolVersion="1999-01-01", capabilities={}),
    lambda request: result(request, protocolVersion=7, capabilities={}),
]


@pytest.mark.parametrize("answer", NEITHER)
async def test_an_upstream_that_speaks_neither_era_is_broken(answer: Callable[[UpstreamRequest], Answer]):
    with pytest.raises(UpstreamBroken):
        await inventory("files", Scripted(answer))


async def test_pages_are_followed_to_the_end():
    def answer(request: UpstreamRequest) -> Answer:
        if method(request) == "server/discover":
            return result(request, supportedVersions=["2026-07-28"], capabilities={"tools": {}})
        assert request.message is not None
        cursor = request.message.params.get("cursor")
        return page(request, [tool(f"after_{cursor}")], {None: "a", "a": "b"}.get(cursor))  # pyright: ignore[reportArgumentType, reportCallIssue] - a cursor is any JSON value

    found = await inventory("files", Scripted(answer))

    assert [json.loads(item)["name"] for item in found.tools] == ["after_None", "after_a", "after_b"]


ENDLESS: list[tuple[ListingBounds, Callable[[int], str], str]] = [
    (ListingBounds(pages=5), str, "more than 5 pages"),
    (ListingBounds(), lambda _: "same", "again and again"),
    (ListingBounds(bytes=2000), str, "more than 2000 bytes"),
]


@pytest.mark.parametrize(("bounds", "cursor", "problem"), ENDLESS)
async def test_a_list_without_end_is_refused(bounds: ListingBounds, cursor: Callable[[int], str], problem: str):
    port = stateless(list)
    listed = port.answer

    def answer(request: UpstreamRequest) -> Answer | UpstreamError:
        if method(request) == "tools/list":
            return page(request, [READ], cursor(len(port.requests)))
        return listed(request)

    port.answer = answer

    with pytest.raises(UpstreamBroken, match=problem):
        await inventory("files", port, bounds)

    assert port.closed == len(port.requests)


async def test_an_answer_without_end_is_refused_before_it_fills_the_memory():
    port = stateless(lambda: [tool("big", "x" * 100_000)])

    with pytest.raises(UpstreamBroken, match="more than 5000 bytes"):
        await inventory("files", port, ListingBounds(bytes=5000))


async def test_a_slow_upstream_is_given_up_and_its_session_ended():
    port = handshake(lambda request: error(request, -32601))
    send = port.send

    async def slow(request: UpstreamRequest) -> UpstreamReply:
        if method(request) == "tools/list":
            await asyncio.Event().wait()
        return await send(request)

    port.send = slow

    with pytest.raises(UpstreamTimeout, match=r"within 0\.05 s"):
        await inventory("files", port, ListingBounds(seconds=0.05))

    assert port.methods[-1] == "DELETE"


def stream(*messages: Any) -> bytes:
    return b": hello\r\n\r\n" + b"".join(b"event: message\r\ndata: " + message + b"\r\n\r\n" for message in messages)


async def test_an_answer_in_an_event_stream_is_found_among_other_messages():
    noise = b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}'
    question = b'{"jsonrpc":"2.0","id":2,"method":"roots/list"}'
    other = b'{"jsonrpc":"2.0","id":99,"result":{"tools":[]}}'

    def answer(request: UpstreamRequest) -> Answer:
        if method(request) == "server/discover":
            return result(request, supportedVersions=["2026-07-28"], capabilities={"tools": {}})
        return 200, "text/event-stream; charset=utf-8", stream(noise, question, other, page(request, [READ])[2], noise)

    port = Scripted(answer)
    assert (await inventory("files", port)).tools == (READ,)
    assert port.methods == ["server/discover", "tools/list"]


async def test_an_upstream_is_told_of_all_that_a_client_can_do_so_that_it_lists_what_depends_on_it():
    port = handshake(HANDSHAKE_ANSWERS[0])

    await inventory("files", port)

    declared = json.loads(port.requests[1].body or b"")["params"]["capabilities"]
    assert declared == CAPABILITIES
    assert {"roots", "sampling", "elicitation"} <= declared.keys()


@requirement("mcp/tasks")
async def test_what_is_listed_only_to_clients_that_take_tasks_is_listed():
    """A tool that always makes one is of no use to others (SEP-2663, "Capability Negotiation")."""
    long = tool("long_job")

    def answer(request: UpstreamRequest) -> Answer:
        if method(request) == "server/discover":
            return result(request, supportedVersions=["2026-07-28"], capabilities={"tools": {}})
        params = json.loads(request.body or b"")["params"]
        declared = params["_meta"]["io.modelcontextprotocol/clientCapabilities"]["extensions"]
        return page(request, [READ, long] if "io.modelcontextprotocol/tasks" in declared else [READ])

    assert (await inventory("files", Scripted(answer))).tools == (READ, long)


ASKED_MEANWHILE: list[tuple[str, dict[str, Any]]] = [
    ("roots/list", {"result": {"roots": []}}),
    ("ping", {"result": {}}),
    ("sampling/createMessage", {"error": {"code": -32601, "message": "the gateway only lists what there is"}}),
]


@pytest.mark.parametrize(("asked", "expected"), ASKED_MEANWHILE)
@pytest.mark.parametrize("deaf", [False, True])
async def test_an_upstream_that_asks_before_it_lists_is_answered(asked: str, expected: dict[str, Any], *, deaf: bool):
    question = json.dumps({"jsonrpc": "2.0", "id": "q", "method": asked}).encode()

    def answer(request: UpstreamRequest) -> Answer | UpstreamError:
        match method(request):
            case "initialize":
                return result(request, protocolVersion="2025-11-25", capabilities={"tools": {}})
            case "tools/list":
                return 200, "text/event-stream", stream(question, page(request, [READ])[2])
            case "" if deaf:
                return UpstreamUnreachable("gone")
            case _:
                return 202, "text/plain", b""

    port = Scripted(answer, session="s1")

    assert (await inventory("files", port)).tools == (READ,)
    sent = port.requests[4]
    assert json.loads(sent.body or b"") == {"jsonrpc": "2.0", "id": "q", **expected}
    assert (sent.session, sent.message and sent.message.kind) == ("s1", Kind.RESPONSE)
    assert dict(sent.headers)[b"mcp-protocol-version"] == b"2025-11-25"


UNREADABLE: list[Callable[[UpstreamRequest], Answer]] = [
    lambda request: (200, "text/event-stream", stream(b"{}")),
    lambda request: (200, "application/json", b"not json"),
    lambda request: (200, "application/json", b'{"jsonrpc":"2.0","id":7,"result":{"tools":[]}}'),
    lambda request: (200, "application/json", b'{"jsonrpc":"2.0","id":2,"result":{"tools":[],"tools":[]}}'),
    lambda request: (200, "application/json", b'{"jsonrpc":"2.0","id":2,"result":{"tools":{}}}'),
    lambda request: (200, "application/json", b'{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":1}]}}'),
    lambda request: (500, *page(request, [READ])[1:]),
    lambda request: error(request, -32603, status=200),
]


@pytest.mark.parametrize("answer", UNREADABLE)
async def test_a_list_that_cannot_be_read_is_no_empty_list(answer: Callable[[UpstreamRequest], Answer]):
    def answers(request: UpstreamRequest) -> Answer:
        if method(request) == "server/discover":
            return result(request, supportedVersions=["2026-07-28"], capabilities={"tools": {}})
        return answer(request)

    with pytest.raises(UpstreamBroken, match="gave no tool list"):
        await inventory("files", Scripted(answers))


@pytest.mark.parametrize("offered", [{}, {"resources": {}}, {"tools": None, "prompts": None}])
async def test_an_upstream_without_tools_and_prompts_is_not_asked_for_them(offered: dict[str, Any]):
    port = Scripted(lambda request: result(request, supportedVersions=["2026-07-28"], capabilities=offered))

    found = await inventory("files", port)
    assert (found.tools, found.prompts, found.unlisted) == ((), (), None)
    assert port.methods == ["server/discover"]


async def test_an_upstream_of_the_handshake_era_without_tools_has_none():
    def answer(request: UpstreamRequest) -> Answer:
        if method(request) == "initialize":
            return result(request, protocolVersion="2025-06-18", capabilities={})
        return error(request, -32601)

    assert (await inventory("files", Scripted(answer))).tools == ()


async def test_an_upstream_that_promised_tools_and_does_not_know_the_method_has_none():
    def answer(request: UpstreamRequest) -> Answer:
        if method(request) == "server/discover":
            return result(request, supportedVersions=["2026-07-28"], capabilities={"tools": {}})
        return error(request, -32601, status=404)

    assert (await inventory("files", Scripted(answer))).tools == ()


async def test_a_farewell_that_fails_does_not_spoil_the_listing():
    port = handshake(lambda request: error(request, -32601))
    listed = port.answer

    def answer(request: UpstreamRequest) -> Answer | UpstreamError:
        return UpstreamUnreachable("gone") if request.method == "DELETE" else listed(request)

    port.answer = answer

    assert (await inventory("files", port)).tools == (READ,)


@pytest.mark.parametrize("era", ["server/discover", "initialize"])
async def test_of_the_capabilities_only_lists_whose_changes_are_told_are_kept(era: str):
    offered: dict[str, Any] = {
        "prompts": {"listChanged": False},
        "resources": {"listChanged": True},
        "tools": {"listChanged": "yes"},
        "x" * 10_000: {"listChanged": True},
    }

    def answers(request: UpstreamRequest) -> Answer:
        if method(request) == era:
            versions = {"supportedVersions": ["2026-07-28"], "protocolVersion": "2025-11-25"}
            return result(request, **versions, capabilities=offered)
        if not method(request).endswith("/list"):
            return error(request, -32601)
        return result(request, **{method(request).partition("/")[0]: []})

    assert (await inventory("files", Scripted(answers))).announces == {"resources"}
