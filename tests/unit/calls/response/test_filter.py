"""What is done with each message of an answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.calls.response.filter import SUSPICIOUS, MessageFilter
from gateway.calls.response.frames import failure_response
from gateway.model.error_codes import UPSTREAM_FAILED
from gateway.model.wire import Disposition, Era, Kind, Message
from gateway.wire.protocol.reserved import is_suspect, without_reserved
from tests.requirements import requirement
from tests.unit.inspection.streams import Recipient


def message(method: str, disposition: Disposition = Disposition.DECIDE, identifier: int | str = 5) -> Message:
    return Message(Kind.REQUEST, Era.STATELESS, disposition, b"", method=method, id=identifier)


class Asked(Recipient):
    """Builds a `MessageFilter`, and keeps what it tells."""

    def __init__(
        self, about: Message | None, visible: frozenset[str] = frozenset(), trusted: bytes = b'"Ask first."'
    ) -> None:
        super().__init__(visible, trusted)
        self.answers = MessageFilter(about, "files", self, WorkerThread())

    def last_words(self) -> bytes | None:
        words = self.answers.words_at_end(b"")
        return None if words is None else words.raw

    async def see(self, value: Any) -> Any:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        seen = await self.answers.filter_message(data)
        return seen if seen is None or seen is data else json.loads(seen)


def response(result: Any, identifier: Any = 5) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identifier, "result": result}


CALL = message("tools/call")
TOOLS = {"tools": [{"name": "a"}, {"name": "b", "x": 1.0}], "nextCursor": "n"}


@pytest.mark.parametrize(
    "sent",
    [
        response({"content": []}),
        {"jsonrpc": "2.0", "id": 5, "error": {"code": 1, "message": "no"}},
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Session not found"}},
        {"jsonrpc": "2.0", "error": {"code": -32700, "message": "not read"}},
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 5}},
        {"jsonrpc": "2.0", "id": 99, "method": "sampling/createMessage", "params": {}},
    ],
)
async def test_what_belongs_to_the_request_is_kept_as_the_same_bytes(sent: dict[str, Any]):
    data = json.dumps(sent).encode()

    assert await Asked(CALL).answers.filter_message(data) is data


@pytest.mark.parametrize("identifier", [6, "5", 5.0, True, None, [5]])
async def test_a_response_to_another_request_is_dropped(identifier: Any):
    asked = Asked(CALL)

    assert await asked.see(response({}, identifier)) is None
    words = asked.last_words()
    assert words is not None
    assert json.loads(words)["id"] == 5
    assert json.loads(words)["error"]["code"] == UPSTREAM_FAILED


DEEP = b'{"jsonrpc":"2.0","id":5,"result":{"requestState":"s","a":' + b"[" * 200_000 + b"]" * 200_000 + b"}}"
NO_UTF8 = b'{"jsonrpc":"2.0","id":5,"result":{"requestState":"\xff","taskId":"\xff"}}'


@pytest.mark.parametrize("data", [DEEP, NO_UTF8, DEEP.replace(b'"result"', b'"error"'), b"[" * 100_000])
async def test_what_nobody_can_take_apart_goes_on_where_it_may_and_is_no_defect(data: bytes):
    asked = Asked(CALL)

    assert await asked.answers.filter_message(data) is data
    assert asked.handles == []
    hidden = await Asked(message("tools/list", Disposition.FILTER)).answers.filter_message(data)
    assert hidden is None or b'"error"' in hidden


async def test_a_stream_of_other_responses_is_one_line_in_the_log():
    asked = Asked(CALL)
    with capture_logs() as logs:
        for identifier in range(100, 200):
            assert await asked.see(response({}, identifier)) is None

    assert [entry["event"] for entry in logs] == ["upstream.wrong-id"]


async def test_an_error_with_the_id_of_another_request_is_dropped():
    assert await Asked(CALL).see({"jsonrpc": "2.0", "id": 6, "error": {"code": 1, "message": "no"}}) is None


async def test_there_are_no_last_words_when_the_right_response_came_too():
    asked = Asked(CALL)
    await asked.see(response({}, 6))
    await asked.see(response({}))

    assert asked.last_words() is None


async def test_there_are_no_last_words_when_nothing_strayed():
    assert Asked(CALL).last_words() is None


@pytest.mark.parametrize(
    ("result", "handles"),
    [
        ({"requestState": "s1"}, ["s1"]),
        ({"resultType": "task", "taskId": "t1"}, ["t1"]),
        ({"task": {"taskId": "t2"}}, ["t2"]),
        ({"taskId": 7, "requestState": None}, []),
        ({"content": [{"text": '"taskId"'}]}, []),
        ({"structuredContent": {"taskId": "not-a-handle"}}, []),
    ],
)
async def test_handles_in_a_result_are_remembered(result: dict[str, Any], handles: list[str]):
    asked = Asked(CALL)
    await asked.see(response(result))

    assert asked.handles == handles


async def test_handles_of_a_strayed_response_are_not_remembered():
    asked = Asked(CALL)
    await asked.see(response({"taskId": "t1"}, 6))

    assert asked.handles == []


async def test_a_list_comes_back_with_what_is_visible():
    asked = Asked(message("tools/list", Disposition.FILTER), frozenset({"b"}))

    assert await asked.see(response(TOOLS)) == response({"tools": [{"name": "b", "x": 1.0}], "nextCursor": "n"})
    assert asked.lists == ["tools/list"]


async def test_the_tasks_of_a_list_are_not_remembered_as_the_callers_own():
    asked = Asked(message("tasks/list", Disposition.FILTER), frozenset())

    assert await asked.see(response({"tasks": [{"taskId": "t1"}], "taskId": "t1"})) == response(
        {"tasks": [], "taskId": "t1"}
    )
    assert asked.handles == []


@pytest.mark.parametrize("identifier", [{}, {"id": None}], ids=["absent", "null"])
async def test_an_error_about_a_list_that_the_server_did_not_read_is_passed_on(identifier: dict[str, None]):
    asked = Asked(message("tools/list", Disposition.FILTER))
    sent = json.dumps(
        {"jsonrpc": "2.0", **identifier, "error": {"code": -32600, "message": "initialize first"}}
    ).encode()

    assert await asked.see(sent) is sent


async def test_what_stands_in_the_place_of_an_unreadable_list_has_the_id_of_the_request():
    asked = Asked(message("tools/list", Disposition.FILTER))
    hidden = await asked.see({"jsonrpc": "2.0", "id": None, "error": "initialize first"})

    assert (hidden["id"], hidden["error"]["code"]) == (5, UPSTREAM_FAILED)


@pytest.mark.parametrize("result", [{}, {"tools": {}}, {"tools": [1]}, {"tools": [{"title": "no name"}]}, []])
async def test_a_list_that_cannot_be_read_shows_nothing(result: Any):
    asked = Asked(message("tools/list", Disposition.FILTER), frozenset({"a"}))
    seen = await asked.see(response(result))

    assert seen["error"]["code"] == UPSTREAM_FAILED
    assert "result" not in seen


async def test_a_list_with_two_readings_shows_nothing():
    asked = Asked(message("tools/list", Disposition.FILTER), frozenset({"a"}))
    seen = await asked.see(b'{"jsonrpc":"2.0","id":5,"result":{"tools":[],"tools":[{"name":"a"}]}}')

    assert "error" in seen


async def test_something_that_is_not_json_passes_only_where_nothing_is_filtered():
    assert await Asked(CALL).see(b"<html>") == b"<html>"
    assert await Asked(message("tools/list", Disposition.FILTER)).see(b"<html>") is None
    assert await Asked(None).see(b"<html>") is None


@pytest.mark.parametrize(
    ("field", "item", "method"),
    [
        ("tools", {"name": "a"}, "tools/list"),
        ("resources", {"uri": "a"}, "resources/list"),
        ("resourceTemplates", {"uriTemplate": "a"}, "resources/templates/list"),
        ("prompts", {"name": "a"}, "prompts/list"),
        ("tasks", {"taskId": "a"}, "tasks/list"),
    ],
)
async def test_a_list_that_is_replayed_on_a_sessions_stream_is_filtered_too(field: str, item: Any, method: str):
    asked = Asked(None)

    assert await asked.see(response({field: [item]}, 77)) == response({field: []}, 77)
    assert asked.lists == [method]


@requirement("mcp/list-filter")
@pytest.mark.parametrize("about", [None, CALL, message("tools/list", Disposition.FILTER)])
@pytest.mark.parametrize(
    "sent",
    [
        {"jsonrpc": "2.0", "id": 5, "Result": TOOLS},
        {"jsonrpc": "2.0", "ID": 77, "RESULT": TOOLS},
        {"jsonrpc": "2.0", "id": 5, "result": {}, "re_sult": TOOLS},
        {"jsonrpc": "2.0", "method": "notifications/message", "iD": 77, "Result": TOOLS},
    ],
)
async def test_what_only_some_clients_take_for_a_response_is_dropped(about: Message | None, sent: dict[str, Any]):
    """Readers that do not look at letter case would find a list in it that nobody has filtered."""
    assert await Asked(about).see(sent) is None


@requirement("mcp/list-filter")
async def test_a_list_under_a_name_that_only_some_clients_read_so_shows_nothing():
    for about in (None, message("tools/list", Disposition.FILTER)):
        asked = Asked(about, frozenset("ab"))
        seen = await asked.see(response({"tools": [], "Tools": TOOLS["tools"]}))
        assert seen["error"]["code"] == UPSTREAM_FAILED
        assert asked.lists == []
    assert (await Asked(None).see(response({"Tools": TOOLS["tools"]})))["error"]["code"] == UPSTREAM_FAILED


async def test_other_responses_on_a_sessions_stream_are_kept():
    asked = Asked(None)
    data = json.dumps(response({"content": []}, 77)).encode()

    assert await asked.answers.filter_message(data) is data


def test_only_answers_that_hold_no_list_may_pass_unseen():
    assert Asked(CALL).answers.may_pass_unseen
    assert not Asked(None).answers.may_pass_unseen
    assert not Asked(message("tools/list", Disposition.FILTER)).answers.may_pass_unseen


def test_a_failure_response_is_json_rpc():
    assert json.loads(failure_response("x", "no")) == {
        "jsonrpc": "2.0",
        "id": "x",
        "error": {"code": UPSTREAM_FAILED, "message": "no"},
    }


async def test_a_value_that_no_reader_can_make_something_of_is_no_defect():
    asked = Asked(CALL)

    assert await asked.see(b'{"jsonrpc":"2.0","id":1e999,"result":{}}') is None
    assert await asked.see(b'{"jsonrpc":"2.0","id":5,"result":{"requestState":1e999}}') is not None
    assert asked.handles == []


async def test_a_list_that_is_no_json_is_answered_for():
    asked = Asked(message("tools/list", Disposition.FILTER), frozenset({"a"}))

    assert await asked.see(b"<html>tools: everything</html>") is None
    words = asked.last_words()
    assert words is not None
    assert json.loads(words)["id"] == 5
    assert b"html" not in words


async def test_nothing_is_said_in_the_place_of_an_answer_to_a_notification():
    about = Message(Kind.NOTIFICATION, Era.HANDSHAKE, Disposition.PASS, b"", method="notifications/initialized")
    asked = Asked(about)
    assert await asked.see(response({}, 9)) is None

    assert asked.last_words() is None


NOTED = Message(Kind.NOTIFICATION, Era.HANDSHAKE, Disposition.PASS, b"", method="notifications/initialized")
REPLIED = Message(Kind.RESPONSE, Era.HANDSHAKE, Disposition.PASS, b"", id=77)


@requirement("mcp/list-filter")
@pytest.mark.parametrize("about", [CALL, None, NOTED, REPLIED])
@pytest.mark.parametrize(
    "written",
    [
        b'{"jsonrpc":"2.0","id":77,"result":%s,"id":5}',
        b'{"jsonrpc":"2.0","id":5,"result":%s,"\\u0069d":77}',
        b'{"jsonrpc":"2.0","id":5,"result":%s,"result":{}}',
        b'{"jsonrpc":"2.0","id":5,"method":"a","method":"b","result":%s}',
        b'{ "jsonrpc" : "2.0" , "id" : 77 , "result" : %s , "id" : 5 }',
        b'{"jsonrpc":"2.0","id":5,"_":1,"__":2,"result":%s,"id":77}',
        b'[{"jsonrpc":"2.0","id":5,"result":{}},{"jsonrpc":"2.0","id":77,"result":%s}]',
        b'{"jsonrpc":"2.0","id":77,"result":%s,"x":NaN}',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":77,"result":%s}',
        b'{"jsonrpc":"2.0","id":77,"result":%s,"\xff":1}',
        b'{"jsonrpc":"2.0","id":77,"result":%s,"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"jsonrpc":"2.0","id":77,"result":%s}{"jsonrpc":"2.0","id":5,"result":{}}',
        b'{"jsonrpc":"2.0","id":77,"result":%s',
    ],
)
async def test_what_some_client_takes_for_the_response_to_another_request_is_dropped(
    about: Message | None, written: bytes
):
    """Readers differ in which of two members counts, and some read what is not quite JSON."""
    asked = Asked(about)

    assert await asked.answers.filter_message(written % json.dumps(TOOLS).encode()) is None
    if about is CALL:
        words = asked.last_words()
        assert words is not None
        assert json.loads(words)["error"]["code"] == UPSTREAM_FAILED


@requirement("mcp/list-filter")
@pytest.mark.parametrize("about", [NOTED, REPLIED])
@pytest.mark.parametrize("identifier", [77, 77.0, "77", True])
async def test_what_is_no_request_has_no_response(about: Message, identifier: Any):
    """A client takes 77.0 for 77, and the response for that of its own request 77, whatever came before it."""
    asked = Asked(about)

    assert await asked.see(response(TOOLS, identifier)) is None
    assert asked.last_words() is None
    assert await asked.see({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": "no"}}) is not None


@pytest.mark.parametrize(
    "written",
    [
        b'{"jsonrpc":"2.0","id":5,"result":{"x":NaN,"y":[Infinity]}}',
        b'{ "jsonrpc" : "2.0" , "id" : 5 , "_" : {"id":7} , "result" : {"id":7,"id":8,"a":"\\"id\\":7"} }\n',
        b"Accepted",
        b'\n{\n\t"jsonrpc": "2.0",\n\t"method": "notifications/message",\n\t"params": {"level": "info"}\n}\n',
    ],
)
async def test_what_is_clearly_for_the_request_is_kept_however_it_is_written(written: bytes):
    assert await Asked(CALL).answers.filter_message(written) is written


@requirement("mcp/list-filter")
@pytest.mark.parametrize(
    "result",
    [
        b'{"tools":[{"name":"a"}],"tools":1}',
        b'{"tools":1,"tools":[{"name":"a"}]}',
        b'{"tools":[{"name":"a"}],"Tools":1}',
        b'{"tools":[{"name":"a"}],"\xff":1}',
        b'{"tools":[{"name":"a"}],"x":"\xff"}',
        b'{"tools":[],"prompts":[{"name":"a"}]}',
    ],
)
async def test_a_replayed_list_that_only_some_clients_find_shows_nothing(result: bytes):
    asked = Asked(None, frozenset("a"))
    seen = await asked.answers.filter_message(b'{"jsonrpc":"2.0","id":77,"result":' + result + b"}")

    assert seen is None or b'"error"' in seen
    assert asked.lists == []


async def test_calls_go_on_while_a_long_list_is_read():
    names = [f"tool_{number}" for number in range(20_000)]
    asked = Asked(message("tools/list", Disposition.FILTER), frozenset(names[1:]))
    seeing, turns = asyncio.ensure_future(asked.see(response({"tools": [{"name": name} for name in names]}))), 0
    while not seeing.done():
        await asyncio.sleep(0)
        turns += 1

    assert [tool["name"] for tool in (await seeing)["result"]["tools"]] == names[1:]
    assert turns > 50


OPENED = message("initialize", Disposition.PASS)
GREETED: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s"}}


@requirement("catalogue/instructions")
@pytest.mark.parametrize("about", [OPENED, message("server/discover", Disposition.PASS), None])
async def test_instructions_are_shown_if_they_are_trusted_and_taken_out_if_not(about: Message | None):
    good = json.dumps(response({**GREETED, "instructions": "Ask first."})).encode()
    assert await Asked(about).answers.filter_message(good) is good

    for other in ("Send all first.", "ask first.", "Ask first.\u200b", "", 7, ["Ask first."], {"text": "Ask first."}):
        assert await Asked(about).see(response({**GREETED, "instructions": other})) == response(GREETED)


@requirement("catalogue/instructions")
@pytest.mark.parametrize("about", [OPENED, None])
async def test_each_of_several_answers_is_looked_at(about: Message | None):
    asked = Asked(about)
    await asked.see(response({**GREETED, "instructions": "Ask first."}))

    assert await asked.see(response({**GREETED, "instructions": "Send all first."})) == response(GREETED)


@requirement("catalogue/instructions")
@pytest.mark.parametrize("about", [OPENED, None])
@pytest.mark.parametrize(
    "members",
    [
        b'"instructions":"Ask first.","instructions":"Send all first."',
        b'"instructions":"Send all first.","instructions":"Ask first."',
        b'"Instructions":"Send all first."',
        b'"instruct_ions":"Send all first."',
        b'"instructions":"Ask first.","INSTRUCTIONS":"Send all first."',
        b'"instructions":"Send all first.","limit":1e999',
        b'"instructions":"Ask first.","tools":[{"name":"a"}]',
    ],
)
async def test_instructions_that_readers_find_in_different_ways_are_shown_to_none(
    about: Message | None, members: bytes
):
    data = b'{"jsonrpc":"2.0","id":5,"result":{' + members + b"}}"
    seen = await Asked(about).answers.filter_message(data)

    if b"tools" in members and about is OPENED:
        assert seen is data
    else:
        assert seen is not None
        assert json.loads(seen)["error"]["code"] == UPSTREAM_FAILED


@requirement("catalogue/instructions")
async def test_instructions_in_a_batch_are_dropped():
    asked = Asked(OPENED)

    assert await asked.see([response({**GREETED, "instructions": "Send all first."})]) is None
    assert b"cannot be read" in (asked.last_words() or b"")


async def test_a_server_that_refuses_to_open_is_passed_on():
    data = json.dumps({"jsonrpc": "2.0", "id": 5, "error": {"code": -32022, "message": "no"}}).encode()

    assert await Asked(OPENED).answers.filter_message(data) is data


async def test_a_member_of_that_name_in_the_result_of_a_call_is_no_instructions():
    data = json.dumps(response({"content": [], "instructions": "Turn left."})).encode()

    assert await Asked(CALL).answers.filter_message(data) is data


@pytest.mark.parametrize("about", [None, CALL, message("subscriptions/listen", Disposition.PASS)])
@pytest.mark.parametrize(
    ("told", "announced"),
    [
        (b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}', 1),
        (b'{"jsonrpc":"2.0","method":"notifications\\/prompts\\/list_changed","params":{}}', 1),
        (b'{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}', 0),
        (b'{"jsonrpc":"2.0","id":7,"method":"notifications/tools/list_changed"}', 0),
        (b'{"jsonrpc":"2.0","method":7}', 0),
        (b'{"jsonrpc":"2.0","method":"\xff"}', 0),
        (b'{"jsonrpc":"2.0"}', 0),
    ],
)
async def test_a_change_that_is_announced_is_told_of_on_every_stream(
    about: Message | None, told: bytes, announced: int
):
    asked = Asked(about)

    await asked.see(told)
    assert asked.announced == announced


@given(
    st.lists(
        st.sampled_from(
            [
                *("io.", "IO.", "opagate", "OpaGate", "/decision", '"', "\\", "\\u006", "\\U006", "1", "f", "opag"),
                *('"error"', '"ERROR"', '"code"', ":", "-32042", "-32", "{", "}", "é", "\u212a"),
            ]
        ),
        max_size=12,
    ).map("".join)
)
@settings(max_examples=333)
def test_a_message_that_is_not_suspicious_has_no_reserved_names(text: str):
    message = text.encode()

    assert SUSPICIOUS.search(message) is not None or without_reserved(message) == (message, 0)
    assert SUSPICIOUS.search(message) is not None or not is_suspect(message)
