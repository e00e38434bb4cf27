"""Every trick that makes two JSON readers read two things, and the size of hostile documents."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.base.json import strict
from gateway.base.json.strict import MAX_DEPTH, MAX_VALUES, UnreadableJson, read, read_reply
from gateway.model import reasons
from tests import effort


def code(body: bytes) -> str:
    outcome = read(body)
    assert isinstance(outcome, UnreadableJson), outcome
    return outcome.text.code


CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}'


def test_an_ordinary_call_is_read():
    assert read(CALL) == json.loads(CALL)


@pytest.mark.parametrize("space", [b" ", b"\t", b"\r\n", b" \n "])
def test_json_white_space_around_and_inside_is_accepted(space: bytes):
    assert read(space + b"{" + space + b'"a"' + space + b":" + space + b"1" + space + b"}" + space) == {"a": 1}


# --- encoding --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig"]
)
def test_another_encoding_than_plain_utf_8_is_refused(encoding: str):
    assert code(CALL.decode().encode(encoding)) == "request/encoding"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\xff", id="a byte that UTF-8 never has"),
        pytest.param(b"\xc0\xaf", id="an overlong slash"),
        pytest.param(b"\xed\xa0\x80", id="a raw surrogate"),
        pytest.param(b"\xed\xa0\xbd\xed\xb8\x80", id="a surrogate pair in CESU-8"),
        pytest.param(b"\xe2\x82", id="a cut character"),
        pytest.param(b"\xf4\x90\x80\x80", id="beyond Unicode"),
        pytest.param(b"caf\xe9", id="Latin-1"),
    ],
)
def test_a_string_that_is_not_utf_8_is_refused(raw: bytes):
    assert code(b'{"a":"' + raw + b'"}') == "request/encoding"


@pytest.mark.parametrize(
    "escape",
    [
        r"\ud800",
        r"\uDC00",
        r"\ud800\ud800",
        r"\udc00\ud800",
        r"\ud800x\udc00",
        r"\ud83d\ude00\uDBFF",
        r"\\\ud800",
        r"\uDbFf",
    ],
)
@pytest.mark.parametrize(
    "place", ['{{"a":"{0}"}}', '{{"{0}":1}}', '{{"a":["{0}"]}}', '{{"a":{{"b":["x",{{"{0}":1}}]}}}}']
)
def test_half_of_a_surrogate_pair_is_refused_wherever_it_stands(escape: str, place: str):
    assert code(place.format(escape).encode()) == "request/encoding"


def test_a_whole_surrogate_pair_is_one_character():
    assert read(rb'{"a":"\ud83d\ude00"}') == {"a": "😀"}


def test_an_escaped_backslash_before_ud800_is_text():
    assert read(rb'{"a":"\\ud800"}') == {"a": r"\ud800"}


# --- syntax ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b"}", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{'a':1}", b"{a:1}", b'{"a":1}{"a":2}', b'{"a":1} x',
        b'{"a":01}', b'{"a":+1}', b'{"a":.5}', b'{"a":1.}', b'{"a":1e}', b'{"a":0x1}', b'{"a":-}', b'{"a":1_0}',
        b'{"a":"\n"}', b'{"a":"\x00"}', b'{"a":"\x1f"}', b'{"a":"\\x41"}', b'{"a":"\\u12"}', b'{"a":"\\u 123"}',
        b'{"a":"\\u+123"}', b'{"a":"\\u00g0"}', b'{"a":tru}', b'{"a":True}', b'{"a":undefined}', b'/**/{"a":1}',
        b'{"a":1}//', b'{"a":1}\x00', b"\x0b{}", b"\xc2\xa0{}", '{"a":１}'.encode(), b'{"a":"b" "c"}', b'{"a":[1,]}',
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused(body: bytes):
    assert code(body) == "request/json"


def test_where_a_body_stops_being_json_is_told():
    assert read('{"ä" 1}'.encode()) == UnreadableJson(
        reasons.REQUEST_JSON, "the body is not JSON, from its character 6 on"
    )


@pytest.mark.parametrize("body", [b"[]", b"[" + CALL + b"]", b" [1]", b'["a"]'])
def test_a_batch_is_refused(body: bytes):
    assert code(body) == "request/batch"


@pytest.mark.parametrize("body", [b"1", b'"a"', b"null", b"true"])
def test_a_document_that_is_no_object_is_refused(body: bytes):
    assert code(body) == "request/envelope"


# --- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":1}',
        rb'{"method":"ping","meth\u006fd":"tools/call"}',
        rb'{"\/":1,"/":2}',
        b'{"params":{"name":"a","name":"b"}}',
        b'{"params":{"arguments":{"x":[{"y":{"z":1,"z":2}}]}}}',
        rb'{"params":{"arguments":{"\ud83d\ude00":1,"' + "😀".encode() + b'":2}}}',
        b'{"":1,"":2}',
    ],
)
def test_a_duplicate_key_is_refused_at_every_depth(body: bytes):
    assert code(body) == "request/duplicate-key"


def test_the_same_key_in_two_objects_is_no_duplicate():
    assert read(b'{"a":{"x":1},"b":{"x":1}}') == {"a": {"x": 1}, "b": {"x": 1}}


@pytest.mark.parametrize(
    "key",
    [
        "Method",
        "METHOD",
        "PARAMS",
        "Id",
        "jsonRPC",
        "param\u017f",
        "re\u017fult",
        "\u0130d",
        "\u0131d",
        "para_ms",
        "json-rpc",
    ],
)
def test_a_look_alike_of_an_envelope_member_is_refused(key: str):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", key: "x"}).encode()
    assert code(body) == "request/ambiguous-key"


@pytest.mark.parametrize(
    "key",
    [
        "Name", "ARGUMENTS", "argument\u017f", "_Meta", "meta", "Meta", "request_state", "RequestState", "task_id",
        "taskid", "TaskID", "ta\u017fkId", "tas\u212aId", "input_responses", "URI", "\u0075ri_", "Cursor", "protocol_version",
    ],
)  # fmt: skip
def test_a_look_alike_of_a_parameter_is_refused(key: str):
    """pydantic models with aliases (the Python SDK's) accept `request_state` for `requestState`, and `meta` for `_meta`."""
    body = json.dumps({"method": "tools/call", "params": {"name": "a", key: "x"}}).encode()
    assert code(body) == "request/ambiguous-key"


def test_the_python_sdk_does_read_such_a_look_alike():
    """The reason for the rule above, against the real reader."""
    from mcp_types import CallToolRequestParams  # noqa: PLC0415 - only this test needs it

    read_as = CallToolRequestParams.model_validate({"name": "x", "request_state": "stolen"})
    assert read_as.request_state == "stolen"


@pytest.mark.parametrize(
    "key",
    [
        "io.modelcontextprotocol/ProtocolVersion",
        "IO.modelcontextprotocol/protocolVersion",
        "progress_token",
        "Traceparent",
    ],
)
def test_a_look_alike_of_a_meta_member_is_refused(key: str):
    assert code(json.dumps({"params": {"_meta": {key: "x"}}}).encode()) == "request/ambiguous-key"


@pytest.mark.parametrize(
    "params",
    [
        {"notifications": {"task_ids": ["t"]}},
        {"notifications": {"TaskIds": ["t"]}},
        {"ref": {"type": "ref/prompt", "name": "a", "Name": "b"}},
        {"argument": {"name": "a", "value": "b", "VALUE": "c"}},
        {"context": {"Arguments": {}}},
        {"_meta": {"io.modelcontextprotocol/related-task": {"task_id": "t"}}},
        {"Name": "a", "_meta": {"com.example/x": 1}},
    ],
)
def test_a_look_alike_of_a_nested_member_is_refused(params: object):
    assert code(json.dumps({"params": params}).encode()) == "request/ambiguous-key"


def test_arguments_and_vendor_members_may_be_called_anything():
    document = {
        "jsonrpc": "2.0",
        "method": "tools/call",
        "params": {
            "name": "a",
            "arguments": {"Name": 1, "name": 2, "task_id": 3},
            "_meta": {"com.example/X": 1},
            "vendor": 1,
        },
    }
    assert read(json.dumps(document).encode()) == document


@pytest.mark.parametrize("params", [None, [], "x", 1, {"_meta": None}, {"_meta": []}, {"notifications": []}])
def test_members_of_other_types_are_left_to_the_envelope(params: object):
    assert read(json.dumps({"params": params}).encode()) == {"params": params}


def test_the_known_names_differ_from_one_another_by_more_than_writing():
    for names in (strict.ENVELOPE, strict.PARAMS, strict.META, strict.RELATED, *strict.NESTED.values()):
        assert len({strict.fold(name) for name in names}) == len(names)


# --- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number",
    [
        b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1e99999999999", b"9223372036854775808",
        b"9007199254740992", b"-9007199254740992", b"9223372036854775807", b"18446744073709551615", b"1" * 5000, b"-" + b"9" * 400, b"1e-400", b"-0.00001E-9999",
        b"0." + b"0" * 500 + b"1", b"1." + b"0" * 500,
    ],
)  # fmt: skip
def test_a_number_that_readers_read_differently_is_refused(number: bytes):
    assert code(b'{"a":[' + number + b"]}") == "request/number"


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (b"9007199254740991", 2**53 - 1), (b"-9007199254740991", 1 - 2**53), (b"0", 0), (b"-0", 0), (b"-0.0", 0.0),
        (b"0e5", 0.0), (b"0.0E-999", 0.0), (b"1e308", 1e308), (b"5e-324", 5e-324), (b"1.5", 1.5),
    ],
)  # fmt: skip
def test_a_number_of_a_double_or_64_bits_is_read(number: bytes, value: float):
    assert read(b'{"a":' + number + b"}") == {"a": value}


def test_a_wide_integer_in_a_reply_is_read_exactly():
    assert read_reply(b'{"a":18446744073709551616}') == {"a": 2**64}


def test_a_wide_integer_beside_an_escaped_surrogate_in_a_reply_is_read():
    assert read_reply(rb'{"a":18446744073709551616,"b":"\ud83d\ude00"}') == {"a": 2**64, "b": "😀"}


def test_an_absurd_integer_in_a_reply_is_refused():
    outcome = read_reply(b'{"a":' + b"1" * 5000 + b"}")
    assert isinstance(outcome, UnreadableJson)
    assert outcome.text.code == "request/json"


@pytest.mark.parametrize("body", [b'{"Result":{}}', b'{"result":{},"result":{}}', b"[]", b'{"result":NaN}'])
def test_a_reply_with_two_readings_is_refused(body: bytes):
    assert isinstance(read_reply(body), UnreadableJson)


# --- size ------------------------------------------------------------------------------------------


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """An object with `depth` levels in all."""
    return b'{"a":' + opening * (depth - 1) + closing * (depth - 1) + b"}"


def test_the_deepest_document_that_is_allowed_is_read():
    deepest = nested(MAX_DEPTH)
    assert not isinstance(read(deepest), UnreadableJson)
    assert not isinstance(read(deepest[:-1] + b',"b":[]}'), UnreadableJson)


def test_one_level_more_is_refused():
    assert code(nested(MAX_DEPTH + 1)) == "request/depth"


def test_depth_through_objects_is_counted_too():
    assert code(b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1)) == "request/depth"


def test_brackets_inside_strings_are_no_depth():
    text = "[{" * 500 + '\\" [' + "\\" * 7
    assert read(json.dumps({"a": text}).encode()) == {"a": text}


def test_depth_hidden_behind_escaped_quotes_is_found():
    assert code(rb'{"a\\":"\"","b":' + b"[" * 100 + b"]" * 100 + b"}") == "request/depth"


def test_many_shallow_objects_are_no_depth():
    document = {"a": [{"b": [1]}] * 500}
    assert read(json.dumps(document).encode()) == document


def test_the_number_of_values_is_bounded():
    assert code(b'{"a":[' + b"1," * MAX_VALUES + b"1]}") == "request/size"
    assert not isinstance(read(b'{"a":[' + b"1," * (MAX_VALUES - 4) + b"1]}"), UnreadableJson)
    assert code(b'{"a":[' + b"1," * (MAX_VALUES - 3) + b"1]}") == "request/size"


HOSTILE: dict[str, Callable[[], bytes]] = {
    "100,000 levels": lambda: b"[" * 100_000 + b"]" * 100_000,
    "4 MiB of opening brackets": lambda: b"[" * 2**22,
    "4 MiB of closing brackets": lambda: b"}" * 2**22,
    "a million keys": lambda: b"{" + b",".join(b'"%d":1' % number for number in range(10**6)) + b"}",
    "two million empty arrays": lambda: b"[" + b"[]," * (2**22 // 3) + b"[]]",
    "4 MiB of backslashes": lambda: b'{"a":"' + b"\\" * 2**22 + b'"}',
    "an odd number of backslashes": lambda: b'{"a":"' + b"\\" * (2**22 - 1) + b'"}',
    "4 MiB of quotes": lambda: b'"' * 2**22,
    "escaped quotes without an end": lambda: b'{"a":"' + b'\\"' * 2**21,
    "surrogate escapes": lambda: b'{"a":"' + rb"\ud83d\ude00" * (2**22 // 12) + b'"}',
    "an integer of 4 MiB": lambda: b'{"a":' + b"1" * 2**22 + b"}",
    "a fraction of 4 MiB": lambda: b'{"a":0.' + b"1" * 2**22 + b"}",
    "4 MiB of spaces": lambda: b" " * 2**22,
    "4 MiB of NUL": lambda: b"\0" * 2**22,
}


LONG_TEXT = {"4 MiB of backslashes", "surrogate escapes"}
"""Odd, and still no more than one long string."""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_refused_quickly_and_in_little_memory(name: str):
    """Measured at 1 to 25 ms; the bound is for a busy machine, and far below anything quadratic."""
    body = HOSTILE[name]()
    with effort.at_most(1):
        outcome = read(body)
    assert isinstance(outcome, UnreadableJson) == (name not in LONG_TEXT)
    del outcome

    tracemalloc.start()
    try:
        read(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(body)


# --- properties ------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf{}")
def test_reading_never_raises(body: bytes):
    assert isinstance(read(body), dict | UnreadableJson)
    assert isinstance(read_reply(body), dict | UnreadableJson)


@given(st.text(alphabet='{}[]:,"\\ud8ent0129.-+eE Ia\u017f', max_size=60))
def test_reading_almost_json_never_raises_and_agrees_with_another_reader(text: str):
    body = text.encode()
    outcome = read(body)
    if not isinstance(outcome, UnreadableJson):
        assert msgspec.json.decode(body) == outcome


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=5))
def test_what_is_accepted_is_what_an_independent_reader_reads(document: dict[str, object]):
    body = json.dumps(document).encode("utf-8", "surrogatepass")
    outcome = read(body)
    if not isinstance(outcome, UnreadableJson):
        assert outcome == document
        assert msgspec.json.decode(body) == outcome
        assert msgspec.json.decode(body, strict=True) == json.loads(body)


def first_wins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return dict(reversed(pairs))


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "\\u0061", "c"]), st.integers(0, 3)), max_size=5))
def test_what_is_accepted_reads_the_same_first_and_last(pairs: list[tuple[str, int]]):
    body = ("{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}").encode()
    outcome = read(body)
    if not isinstance(outcome, UnreadableJson):
        assert json.loads(body, object_pairs_hook=first_wins) == json.loads(body) == outcome


@given(
    st.lists(
        st.sampled_from([b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b'\\"', b'"a,b"', b"1", b" "]), max_size=40
    )
)
@settings(max_examples=666)
def test_counting_bytes_settles_only_documents_that_are_small_outside_of_strings(parts: list[bytes]):
    body = b"".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict, "MAX_VALUES", 9)
        patch.setattr(strict, "MAX_DEPTH", 3)
        if len(body) > strict.MAX_VALUES:
            assert strict.bulk(body) == strict._outside_of_strings(body)
