"""The client against servers that speak just so much HTTP as to be wrong in one way. A real OPA: tests/interaction."""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import time
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.calls.pipeline.completion import run_for_result
from gateway.config import OpaEngine
from gateway.model.errors import PolicyBroken, PolicyLate, PolicyMalformed, PolicyUnavailable, PolicyUndefined
from gateway.policy.folder.data_files import GRANTS
from gateway.policy.opa import client as servers
from gateway.policy.opa.client import Held, OpaClient
from gateway.policy.opa.contents import OpaLabels, Pushed, Report
from gateway.policy.opa.remote import RemotePolicy
from gateway.wire.http.dial import AnswerTimeout
from tests.e2e.certificates import server as server_pair
from tests.e2e.certificates import written
from tests.unit.identity.tokens import Authority
from tests.unit.policy.opa_peer import Peer, client_of, http, peer_answering, request_of, result
from tests.unit.wire.http.peer import serving


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "opa.sock"


async def test_the_document_is_sent_as_it_is_and_the_result_comes_back(socket: Path):
    async with (
        peer_answering(socket, result({"a": 1}), result([])) as peer,
        client_of(socket, token="s3cret") as client,
    ):
        assert await client.evaluate("decision", b'{"x":1}') == {"a": 1}
        assert await client.evaluate("visibility", b"{}") == []

    first, second = peer.requests
    head, _, body = first.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/data/gateway/decision/result?strict-builtin-errors=true HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer s3cret" in head or b"\r\nauthorization: Bearer s3cret" in head
    assert body == b'{"input":{"x":1}}'
    assert second.startswith(b"POST /v1/data/gateway/visibility/result?")
    assert peer.connections == 1


async def test_without_a_token_there_is_no_authorization(socket: Path):
    async with peer_answering(socket, result(1)) as peer, client_of(socket) as client:
        await client.evaluate("decision", b"{}")

    assert b"authorization" not in peer.requests[0].lower()


@pytest.mark.parametrize("body", [b"{}", b'{"decision_id": "x", "provenance": {}}'])
async def test_a_success_without_a_result_is_undefined(socket: Path, body: bytes):
    async with peer_answering(socket, http(body)), client_of(socket) as client:
        with pytest.raises(PolicyUndefined, match="no answer at gateway/decision/result"):
            await client.evaluate("decision", b"{}")


async def test_a_result_of_null_is_passed_on_for_strict_reading(socket: Path):
    async with peer_answering(socket, result(None)), client_of(socket) as client:
        assert await client.evaluate("decision", b"{}") is None


@pytest.mark.parametrize(
    "answer",
    [
        http(b"[1]"),
        http(b'"allow"'),
        http(b'{"result": tru'),
        http(b""),
        http(b'{"result": "\xff"}'),
        http(b"[" * 100_000),
        http(b'{"result": true}', kind="text/html"),
        http(b'{"result": true}', kind="application/jsonp"),
        http(b'{"result": true}', extra="content-encoding: gzip\r\n"),
        http(b'{"result": true}', extra="content-type: text/html\r\n"),
        b'HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{"result": true}',
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: nonsense\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"\x00\xff" * 100,
    ],
)
async def test_rubbish_is_malformed(socket: Path, answer: bytes):
    async with peer_answering(socket, answer), client_of(socket) as client:
        with pytest.raises(PolicyMalformed):
            await client.evaluate("decision", b"{}")


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (
            "500 Internal Server Error",
            b'{"code": "internal_error", "message": "hunter2"}',
            "status 500, internal_error",
        ),
        ("500 Internal Server Error", b"oops", "status 500)"),
        ("500 Internal Server Error", b'{"code": "<script>"}', "status 500)"),
        ("500 Internal Server Error", b'{"code": 7}', "status 500)"),
        ("500 Internal Server Error", b'{"code": "%b"}' % (b"x" * 65), "status 500)"),
        ("401 Unauthorized", b'{"result": true}', "status 401)"),
        ("404 Not Found", b"{}", "status 404)"),
        ("204 No Content", b"", "status 204)"),
        ("201 Created", b'{"result": true}', "status 201)"),
    ],
)
async def test_any_other_status_is_unavailable_and_quotes_nothing(socket: Path, status: str, body: bytes, told: str):
    answer = http(body, status=status) if body else f"HTTP/1.1 {status}\r\n\r\n".encode()
    async with peer_answering(socket, answer), client_of(socket) as client:
        with pytest.raises(PolicyUnavailable) as raised:
            await client.evaluate("decision", b"{}")

    assert told in raised.value.message
    assert "hunter2" not in raised.value.message


async def test_a_redirect_is_not_followed(socket: Path):
    answer = http(b"", status="307 Temporary Redirect", extra="location: /v1/data/yes\r\n")
    async with peer_answering(socket, answer, result({"effect": "allow"})) as peer, client_of(socket) as client:
        with pytest.raises(PolicyUnavailable, match="307"):
            await client.evaluate("decision", b"{}")

    assert len(peer.requests) == 1


@pytest.mark.parametrize(
    "length", ["content-length: 3000\r\n", "connection: close\r\n", "transfer-encoding: chunked\r\n"]
)
async def test_an_answer_beyond_the_bound_is_not_read_to_its_end(
    socket: Path, length: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(servers, "MAX_ANSWER", 1000)
    content = b"7d0\r\n" + b" " * 2000 if "chunked" in length else b" " * 2000
    answer = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{length}\r\n".encode() + content
    async with peer_answering(socket, answer) as peer, client_of(socket) as client:
        with pytest.raises(PolicyMalformed, match="larger than"):
            await client.evaluate("decision", b"{}")
        async with asyncio.timeout(300):
            await peer.left.wait()


async def test_an_answer_that_breaks_off_is_unavailable(socket: Path):
    cut = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx: connection: close\r\ncontent-length: 50\r\n\r\n{"
    async with peer_answering(socket, cut), client_of(socket) as client:
        with pytest.raises(PolicyUnavailable, match="cannot be reached"):
            await client.evaluate("decision", b"{}")


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"]
)
async def test_silence_before_or_within_an_answer_is_late(socket: Path, answer: bytes):
    async with peer_answering(socket, answer), client_of(socket, deadline=0.05) as client:
        with pytest.raises(PolicyLate, match="within 50 ms"):
            await client.evaluate("decision", b"{}")


DRIP = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"


@pytest.mark.parametrize("before", [(), (result(1),)])
@pytest.mark.parametrize("answer", [b"", DRIP])
async def test_a_question_that_goes_on_in_another_task_than_it_began_in_has_the_same_deadline(
    socket: Path, before: tuple[bytes, ...], answer: bytes
):
    """So does one over a connection that must first be made, and one over a kept connection."""
    async with peer_answering(socket, *before, answer, result(2)), client_of(socket, deadline=0.2) as client:
        for _ in before:
            assert await run_for_result(client.evaluate("decision", b"{}")) == (1, None)
        with pytest.raises(PolicyLate, match="within 200 ms"):
            await run_for_result(client.evaluate("decision", b"{}"))
        assert await run_for_result(client.evaluate("decision", b"{}")) == (2, None)


async def test_no_task_is_made_for_a_question_over_a_kept_connection(socket: Path):
    made: list[str] = []

    def note(loop: Any, work: Any, **more: Any) -> Any:
        made.append(work.__qualname__)
        return asyncio.Task(work, loop=loop, **more)

    async with peer_answering(socket, result(1), result(2)), client_of(socket) as client:
        remote = RemotePolicy(client, stale_after=math.inf, monotonic=time.monotonic)
        assert await remote.evaluate("decision", {}) == 1
        asyncio.get_running_loop().set_task_factory(note)
        assert await remote.evaluate("decision", {}) == 2

    assert made == []


async def test_a_question_without_room_waits_its_turn_until_the_deadline(socket: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(servers, "_CONNECTIONS", 1)
    async with peer_answering(socket, b"", result(2), result(3)) as peer, client_of(socket, deadline=0.2) as client:
        first, second = (asyncio.ensure_future(client.evaluate("decision", b"{}")) for _ in range(2))
        await peer.asked.wait()
        await asyncio.wait([first, second])
        assert [type(asked.exception()) for asked in (first, second)] == [PolicyLate, PolicyLate]
        assert len(peer.requests) == 1

        asked = [asyncio.ensure_future(client.evaluate("decision", b"{}")) for _ in range(2)]
        assert await asyncio.gather(*asked) == [2, 3]


async def test_a_question_that_is_cancelled_while_it_waits_takes_no_room(socket: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(servers, "_CONNECTIONS", 1)
    async with peer_answering(socket, b"", result(2)) as peer, client_of(socket) as client:
        first, second, third = (asyncio.ensure_future(client.evaluate("decision", b"{}")) for _ in range(3))
        await peer.asked.wait()
        second.cancel()
        first.cancel()

        assert await third == 2
        assert second.cancelled()


async def test_who_finds_no_room_in_time_is_late_and_takes_none_also_when_it_goes_at_that_moment():
    places, loop = servers._QuestionPlaces(0), asyncio.get_running_loop()
    async with asyncio.timeout(300):
        with pytest.raises(AnswerTimeout):
            await places.take(loop.time())
    going = asyncio.ensure_future(places.take(loop.time() + 60))
    await asyncio.sleep(0)
    servers._late(places._waiting[-1])
    going.cancel()

    await asyncio.wait([going], timeout=5)
    assert (going.cancelled(), places._free) == (True, 0)


async def test_room_that_was_given_to_a_question_which_is_gone_goes_to_the_next():
    places, deadline = servers._QuestionPlaces(1), asyncio.get_running_loop().time() + 60
    await places.take(deadline)
    second, third = (asyncio.ensure_future(places.take(deadline)) for _ in range(2))
    await asyncio.sleep(0)
    places.leave()
    # It was let in, and has not come to it yet.
    second.cancel()

    await asyncio.wait([third], timeout=5)
    assert (second.cancelled(), third.done()) == (True, True)


async def test_a_kept_connection_that_was_closed_is_opened_again_once(socket: Path):
    async with peer_answering(socket, result(1), None, result(2)) as peer, client_of(socket) as client:
        assert await client.evaluate("decision", b"{}") == 1
        assert await client.evaluate("decision", b"{}") == 2

    assert peer.connections == 2


async def test_a_server_that_keeps_closing_is_asked_twice_and_no_more(socket: Path):
    async with peer_answering(socket, result(1), None, None, result(2)) as peer, client_of(socket) as client:
        await client.evaluate("decision", b"{}")
        with pytest.raises(PolicyUnavailable, match="cannot be reached"):
            await client.evaluate("decision", b"{}")

    assert len(peer.requests) == 3


async def test_a_user_in_the_address_is_refused():
    with pytest.raises(PolicyBroken, match=r"policy\.engine\.url cannot be used: it names a user"):
        OpaClient(OpaEngine(kind="opa", url="https://user:secret@opa.example"))


async def test_a_path_in_the_address_comes_before_opas_own():
    peer = Peer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.requests.append(await request_of(reader))
        writer.write(result(1))
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/opa/"
    client = OpaClient(OpaEngine(kind="opa", url=url))
    assert await client.evaluate("decision", b"{}") == 1
    await client.aclose()
    listening.close()

    assert peer.requests[0].startswith(
        b"POST /opa/v1/data/gateway/decision/result?strict-builtin-errors=true HTTP/1.1\r\n"
    )


async def test_an_opa_over_tls_is_one_that_the_configured_authorities_vouch_for(tmp_path: Path):
    authority = Authority(now=time.time())
    pair = server_pair(authority, tmp_path)
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(pair.certificate, pair.key)
    ca = written(authority, tmp_path, "ca")
    async with serving(result(1), tls=theirs) as peer:
        for authorities, told in ((ca, None), (None, "cannot be reached")):
            client = OpaClient(OpaEngine(kind="opa", url=peer.url, ca=authorities, deadline=timedelta(seconds=20)))
            with nullcontext() if told is None else pytest.raises(PolicyUnavailable, match=told):
                assert await client.evaluate("decision", b"{}") == 1
            await client.aclose()


async def test_no_server_is_unavailable(socket: Path):
    async with client_of(socket) as client:
        with pytest.raises(PolicyUnavailable) as raised:
            await client.evaluate("decision", b"{}")

    assert str(socket) not in raised.value.message
    assert raised.value.remedy


async def test_readiness_is_opas_word_on_bundles_and_plugins(socket: Path):
    failing = http(b"{}", status="500 Internal Server Error")
    async with peer_answering(socket, http(b"{}"), failing) as peer, client_of(socket) as client:
        await client.require_ready()
        with pytest.raises(PolicyUnavailable, match="not ready"):
            await client.require_ready()

    assert peer.requests[0].startswith(b"GET /health?bundles&plugins ") or peer.requests[0].startswith(
        b"GET /health?bundles=&plugins= "
    )


@pytest.mark.parametrize(
    ("body", "revision"),
    [
        ({"provenance": {"version": "1", "bundles": {"b": {"revision": "2"}, "a": {"revision": "1"}}}}, "1+2"),
        ({"provenance": {"version": "1", "bundles": {"b": {}}}}, ""),
        ({"provenance": {"version": "1", "bundles": {"b": {"revision": "2"}, "a": {}}}}, "2"),
        ({"provenance": {"version": "1", "revision": "old"}}, "old"),
        ({"provenance": {"version": "1"}}, ""),
        ({"provenance": {"version": "1", "bundles": {"b": {"revision": "2"}}}, "result": {"revision": "p"}}, "2"),
        ({"provenance": {"version": "1"}, "result": {"revision": "p", "more": 1}}, "p"),
    ],
)
async def test_the_revision_is_that_of_the_bundles_else_of_the_last_push(socket: Path, body: Any, revision: str):
    async with peer_answering(socket, http(json.dumps(body).encode())), client_of(socket) as client:
        held = await client.held()

    pushed = Pushed(body.get("result", {}).get("revision", ""))
    assert held == Held(revision, frozenset(body["provenance"].get("bundles", ())), pushed)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"provenance": []},
        {"provenance": {"bundles": {"a": {"revision": 1}}}},
        {"provenance": {}, "result": {"revision": 1}},
        {"provenance": {}, "result": []},
    ],
)
async def test_a_revision_that_is_not_told_is_malformed(socket: Path, body: object):
    async with peer_answering(socket, http(json.dumps(body).encode())), client_of(socket) as client:
        with pytest.raises(PolicyMalformed, match="which bundles"):
            await client.held()


async def test_what_opa_reports_of_its_bundles_is_read(socket: Path):
    async with peer_answering(socket, result({"labels": {"id": "x"}})) as peer, client_of(socket) as client:
        assert await client.report() == Report(OpaLabels("x"))

    assert peer.requests[0].startswith(b"GET /v1/status ")


async def test_an_opa_that_reports_no_status_is_told_what_to_do(socket: Path):
    answer = http(
        b'{"code": "internal_error", "message": "status plugin not enabled"}', status="500 Internal Server Error"
    )
    async with peer_answering(socket, answer), client_of(socket) as client:
        with pytest.raises(PolicyUnavailable, match=r"how old its bundles are \(status 500\)") as raised:
            await client.report()

    assert "`status: {prometheus: true}`" in raised.value.remedy


async def test_problems_of_data_are_what_the_policy_says_and_no_answer_is_not_none(socket: Path):
    failed = http(b'{"code": "internal_error"}', status="500 Internal Server Error")
    problem = {"upstream": "mail", "index": 0, "problem": "it is broken"}
    async with (
        peer_answering(socket, result([problem]), http(b"{}"), failed, failed) as peer,
        client_of(socket) as client,
    ):
        assert await client.problems(GRANTS) == ["upstream 'mail', grant 1: it is broken"]
        assert await client.problems(GRANTS) == []
        with pytest.raises(PolicyUnavailable, match="status 500, internal_error"):
            await client.problems(GRANTS)
        with pytest.raises(PolicyUnavailable, match="status 500, internal_error"):
            await client.held()

    assert peer.requests[0].startswith(b"GET /v1/data/gateway/grants/")


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_authorities_that_cannot_be_read_are_named(tmp_path: Path, content: str | None):
    ca = tmp_path / "ca.pem"
    if content is not None:
        ca.write_text(content, encoding="utf-8")

    with pytest.raises(PolicyBroken, match=r"ca\.pem"):
        OpaClient(OpaEngine(kind="opa", url="https://opa.invalid", ca=ca))


async def test_a_client_can_be_closed_twice(socket: Path):
    async with peer_answering(socket, result(1)), client_of(socket) as client:
        await client.evaluate("decision", b"{}")
        await client.aclose()


async def test_a_client_that_is_closed_leaves_no_connection(socket: Path):
    async with peer_answering(socket, result(1)) as peer, client_of(socket) as client:
        await client.evaluate("decision", b"{}")
        await client.aclose()
        async with asyncio.timeout(300):
            await peer.left.wait()


async def test_what_the_caller_cancels_is_cancelled(socket: Path):
    async with peer_answering(socket) as peer, client_of(socket, deadline=60) as client:
        asking = asyncio.ensure_future(client.evaluate("decision", b"{}"))
        await peer.asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
