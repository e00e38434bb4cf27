"""The search among many tools: what it finds, in which order, and what it says of itself."""

from __future__ import annotations

import json

import pytest

from gateway.calls.endpoint.search import (
    ListedTool,
    ToolSearch,
    describe_own_tools,
    find_pinned,
    read_question,
    render_found,
    split_words,
    unwrap_call,
)
from gateway.model.wire import Message
from gateway.wire.protocol.classify import classify


def tool(upstream: str, name: str, description: str = "", **arguments: str) -> ListedTool:
    properties = {argument: {"type": "string", "description": text} for argument, text in arguments.items()}
    return ListedTool(
        upstream,
        name,
        f"{upstream}{name}",
        {"name": name, "description": description, "inputSchema": {"properties": properties}},
    )


TOOLS = [
    tool("crm", "closeTicket", "Closes a ticket.", ticket_id="The number of the ticket."),
    tool("crm", "list_customers", "Lists all customers of a company."),
    tool("mail", "send", "Sends a message to an address.", subject="What the mail is about."),
    *[tool("files", f"read_{number}", "Reads part of a document.") for number in range(30)],
]


def call(name: str, /, **arguments: object) -> Message:
    params = {"name": name, "arguments": arguments, "_meta": {"progressToken": 1}}
    message = classify(json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}).encode(), {})
    assert isinstance(message, Message)
    return message


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("close the ticket", "closeTicket"),
        ("closing tickets", "closeTicket"),
        ("customer companies", "list_customers"),
        ("subject", "send"),
        ("mail", "send"),
        ("CLOSE_TICKET", "closeTicket"),
    ],
)
def test_a_tool_is_found_by_its_name_its_words_and_its_arguments(query: str, found: str):
    assert ToolSearch().find(query, TOOLS, 1)[0].name == found


def test_a_query_without_a_known_word_finds_nothing():
    search = ToolSearch()
    assert search.find("", TOOLS, 5) == []
    assert search.find("the of and", TOOLS, 5) == []
    assert search.find("xylophone", TOOLS, 5) == []
    assert search.find("ticket", [], 5) == []
    assert len(search.find("read " * 100_000, TOOLS, 5)) == 5


def test_only_the_tools_of_the_caller_change_a_rank():
    search = ToolSearch()
    own = TOOLS[:3]
    before = search.find("close a message", own, 3)
    search.find("close a message", TOOLS, 3)
    assert search.find("close a message", own, 3) == before


def test_a_changed_definition_is_found_by_its_new_words():
    search = ToolSearch()
    search.find("ticket", TOOLS, 1)
    changed = ListedTool("crm", "closeTicket", "other", {"name": "closeTicket", "description": "Archives."})
    assert search.find("archive", [changed], 1) == [changed]


def test_names_of_each_style_have_the_same_words():
    assert [*split_words("closeTicket")] == [*split_words("close_ticket")] == [*split_words("Closes tickets")]
    assert [*split_words("HTTPServer2")] == [*split_words("http server 2")]


def test_the_search_names_the_systems_and_stays_small():
    many = [tool(f"system-{number % 100}", f"t{number}") for number in range(500)]
    described = json.dumps(describe_own_tools(many))
    assert "500 tools" in described
    assert "system-0, system-1" in described
    assert "and 40 more" in described
    # A token has about four characters.
    assert len(described) / 4 <= 2_000


def test_pinned_tools_stay_by_upstream_and_name():
    assert [item["name"] for item in find_pinned(TOOLS, ["crm/*", "mail/other"])] == [
        "crm__closeTicket",
        "crm__list_customers",
    ]


def test_a_result_has_the_definitions_and_the_names_beside_them():
    shown = render_found(TOOLS[:1], TOOLS)
    text = json.loads(shown["content"][0]["text"])  # type: ignore[index,call-overload]
    assert text["tools"][0]["name"] == "crm__closeTicket"
    assert text["tools"][0]["inputSchema"]
    assert text["others"] == ["crm__list_customers"]


@pytest.mark.parametrize(
    "arguments", [{}, {"query": 1}, {"query": None}, {"query": "x", "limit": "5"}, {"query": "x", "limit": True}]
)
def test_a_search_with_other_arguments_is_none(arguments: dict[str, object]):
    assert read_question(call("search_tools", **arguments)) is None


def test_the_number_of_found_tools_is_bounded():
    for limit, most in ((1, 1), (0, 1), (-5, 1), (1_000_000, 20)):
        question = read_question(call("search_tools", query="x", limit=limit))
        assert question is not None
        assert question.limit == most


def test_the_call_in_a_call_keeps_its_bytes_and_what_is_beside_it():
    body = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"call_tool","arguments":{"name":"a__x","arguments":{"n":1.0e2}},"_meta":{"progressToken":1}}}'
    message = classify(body, {})
    assert isinstance(message, Message)
    inner = unwrap_call(message)
    assert inner is not None
    assert (
        inner.body
        == b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a__x","arguments":{"n":1.0e2},"_meta":{"progressToken":1}}}'
    )
    assert (inner.name, inner.params["arguments"]) == ("a__x", {"n": 100.0})
    assert classify(inner.body, {}) == inner


@pytest.mark.parametrize(
    "arguments", [{}, {"name": ""}, {"name": 1}, {"name": "x", "arguments": []}, {"name": "x", "arguments": "{}"}]
)
def test_a_call_in_a_call_without_a_name_is_none(arguments: dict[str, object]):
    assert unwrap_call(call("call_tool", **arguments)) is None
