"""Lists with items taken out."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.wire import RequestId
from gateway.wire.protocol.listing import Listing, read_list

PAGE = (
    b'{ "jsonrpc":"2.0", "id":1, "result":{"ttlMs":5,"tools":['
    b'{"name":"a","inputSchema":{"maximum":18446744073709551616, "x" : 1.50}}, {"name":"b","icons":[ ]},{"z":"\\u00e9","name":"c"}'
    b'],"nextCursor":"\\u0031","cacheScope":"private","vendor":{"k":1e2}}}'
)


def page(body: bytes = PAGE, method: str = "tools/list", id: RequestId = 1) -> Listing:  # noqa: A002 - the field's own name
    listing = read_list(body, method, id)
    assert listing is not None
    return listing


def result(**members: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": members}).encode()


def test_the_items_are_read_with_their_bytes():
    items = page().items
    assert [item.name for item in items] == ["a", "b", "c"]
    assert items[1].raw == b'{"name":"b","icons":[ ]}'
    assert page().cursor == "1"


def test_a_page_that_keeps_everything_is_the_same_bytes():
    assert page().only(frozenset("abc")) is PAGE


def test_items_are_taken_out_and_every_other_value_is_as_it_was():
    assert page().only(frozenset("ac")) == (
        b'{"jsonrpc":"2.0","id":1,"result":{"ttlMs":5,"tools":['
        b'{"name":"a","inputSchema":{"maximum":18446744073709551616, "x" : 1.50}},{"z":"\\u00e9","name":"c"}'
        b'],"nextCursor":"\\u0031","cacheScope":"private","vendor":{"k":1e2}}}'
    )


def test_an_empty_page_keeps_its_cursor():
    left = json.loads(page().only(frozenset()))["result"]
    assert (left["tools"], left["nextCursor"]) == ([], "1")


@pytest.mark.parametrize(
    ("method", "field", "name"),
    [
        ("tools/list", "tools", "name"),
        ("resources/list", "resources", "uri"),
        ("resources/templates/list", "resourceTemplates", "uriTemplate"),
        ("prompts/list", "prompts", "name"),
        ("tasks/list", "tasks", "taskId"),
    ],
)
def test_each_list_has_its_own_member_and_name(method: str, field: str, name: str):
    body = result(**{field: [{name: "a"}, {name: "b"}]})
    assert json.loads(page(body, method).only(frozenset("b")))["result"] == {field: [{name: "b"}]}


@pytest.mark.parametrize("keep", [frozenset("a"), frozenset[str]()])
def test_a_page_cacheable_for_everybody_becomes_private_even_if_it_is_whole(keep: frozenset[str]):
    body = result(tools=[{"name": "a"}], cacheScope="public", ttlMs=1)
    left = json.loads(page(body).only(keep))["result"]
    assert (left["cacheScope"], left["ttlMs"]) == ("private", 1)


def test_an_error_is_passed_as_it_is():
    body = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}'
    assert page(body).items == ()
    assert page(body).only(frozenset()) is body


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b"\xff", result(tools=None), result(tools={}), result(), result(Tools=[]), result(tools=[1]), b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{}]}}',
        result(tools=[{"name": 1}]), result(tools=[{"name": "a"}, {"Name": "b"}]), b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":1,"result":[]}', b'{"jsonrpc":"2.0","id":1,"result":{"tools":[]},"error":{}}',
        b'{"jsonrpc":"2.0","id":1,"error":1}', b'{"jsonrpc":"1.0","id":1,"result":{"tools":[]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":[]},"result":{"tools":[]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":[],"tools":[{"name":"a"}]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","name":"b"}]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":[]},"Result":{"tools":[{"name":"a"}]}}',
        result(tools=[], Tools=[{"name": "a"}]), result(tools=[{"name": "a", "Name": "b"}]),
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"\\ud800"}]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","x":NaN}]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":' + b"[" * 100 + b"]" * 100 + b"}}",
    ],
)  # fmt: skip
def test_what_is_not_clearly_a_list_is_none(body: bytes):
    assert read_list(body, "tools/list", 1) is None


@pytest.mark.parametrize(
    ("sent", "answered"), [(1, "2"), (1, '"1"'), ("1", "1"), (1, "true"), (1, "1.0"), (0, "null"), (0, "false")]
)
def test_an_answer_with_another_id_is_none(sent: RequestId, answered: str):
    body = b'{"jsonrpc":"2.0","id":' + answered.encode() + b',"result":{"tools":[]}}'
    assert read_list(body, "tools/list", sent) is None


def test_a_method_that_lists_nothing_is_a_mistake_of_the_caller():
    with pytest.raises(KeyError):
        read_list(PAGE, "tools/call", 1)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["title", "é", "x"]), st.text(max_size=4) | st.integers() | st.none(), max_size=3
        ),
        max_size=5,
    ),
    st.sets(st.integers(0, 4)),
)
def test_what_is_left_is_what_was_kept(extras: list[dict[str, object]], kept: set[int]):
    tools = [{"name": str(number), **extra} for number, extra in enumerate(extras)]
    left = page(result(tools=tools, nextCursor="n")).only(frozenset(map(str, kept)))
    expected = [tool for tool in tools if int(str(tool["name"])) in kept]
    assert json.loads(left) == {"jsonrpc": "2.0", "id": 1, "result": {"tools": expected, "nextCursor": "n"}}


@given(st.text(alphabet='{}[]:,"\\\\ud8nametools019.-+eE', max_size=40))
def test_odd_items_never_raise(text: str):
    body = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","x":' + text.encode() + b"}]}}"
    listing = read_list(body, "tools/list", 1)
    if listing is not None:
        assert msgspec.json.decode(listing.only(frozenset()))["result"]["tools"] == []
