"""The short ways through the inspection, beside the whole machinery: on generated and written inputs both find the same."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from unittest.mock import Mock, create_autospec

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.credentials.corpus import negatives
from benchmarks.credentials.examples import example
from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.base.json.lex import Unescaper, decode_text
from gateway.base.json.walk import leaves
from gateway.calls.response.filter import MessageFilter, Recipient
from gateway.inspection import inspector as module
from gateway.inspection.credentials import caller_tokens, forms, ruleset, stream
from gateway.inspection.credentials.caller_tokens import TokenSearch
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.finding import Inspection
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.results import ResultInspector, ResultWords, together
from gateway.inspection.words import words
from gateway.inspection.words.grounds import grounds
from gateway.inspection.words.native import PYTHON_WORDS
from gateway.model.target import Role
from gateway.model.wire import Disposition, Era, Json, JsonObject, Kind, Message
from tests.secret_forms import FORMS

KEY = b"k" * 32
DETECTOR = Detector(ruleset.load(), Fingerprints(KEY))
TOKEN = example("ghp_{w:30}{crc62}", Random(1))
WRITTEN = [
    *[form.text for form in FORMS],
    *[form.benign for form in FORMS],
    *[text for _, text in negatives(Random(4), 2)],
    TOKEN,
    base64.b64encode(TOKEN.encode()).decode(),
    base64.b64encode(base64.b64encode(TOKEN.encode())).decode(),
    TOKEN.encode().hex(),
    "".join(f"%{byte:02x}" for byte in TOKEN.encode()),
    "".join(f"\\u{byte:04x}" for byte in TOKEN.encode()),
    "\u200b".join(TOKEN),
    TOKEN[:20],
    TOKEN[20:],
]
TEXTS = st.sampled_from(WRITTEN) | st.text(max_size=40)
NAMES = st.sampled_from(["text", "to", "password", "api_key", "code", TOKEN, "note", "pin"]) | st.text(max_size=8)
VALUES = st.recursive(
    TEXTS | st.integers(-(10**6), 10**9) | st.booleans() | st.none() | st.floats(0, 9, allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)
ROLES = st.dictionaries(st.sampled_from(["/text", "/to", "/code", "/note/*"]), st.sampled_from(Role), max_size=2)


def inspect_wholly(arguments: JsonObject, roles: dict[str, Role]) -> Inspection:
    """Return what the search finds that is begun for each call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Detector, "_is_unnamed", Mock(return_value=False))
        return DETECTOR.inspect(arguments, roles)


@given(ARGUMENTS, ROLES)
@settings(max_examples=200, deadline=None)
def test_arguments_that_show_no_credential_at_first_sight_hold_none(arguments: dict[str, Json], roles: dict[str, Role]):
    assert DETECTOR.inspect(arguments, roles) == inspect_wholly(arguments, roles)


@pytest.mark.parametrize("text", WRITTEN)
def test_each_written_form_is_found_as_before(text: str):
    for arguments in ({"text": text}, {"a": {"b": [text, 1]}}, {text: "x"}, {"a": text[:9], "b": text[9:]}):
        assert DETECTOR.inspect(arguments, {}) == inspect_wholly(arguments, {})


def test_arguments_that_are_too_much_are_incomplete_at_first_sight_too():
    arguments: JsonObject = {"a": ["word "] * 60_000}

    assert DETECTOR.inspect(arguments, {}) == Inspection(incomplete=True) == inspect_wholly(arguments, {})


# --- results ---------------------------------------------------------------------------------------


def messages() -> Iterator[bytes]:
    for text in WRITTEN:
        result = {"content": [{"type": "text", "text": text}], "structuredContent": {"text": text}}
        yield json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()
        yield json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}, ensure_ascii=False).encode()


DOCUMENTS = list(messages())


def inspector(*, trusted: bool, begun: bool = False) -> ResultInspector:
    """Return an inspector of one result; `begun`, as after a first piece."""
    found, scanner = ResultWords(KEY, trusted=trusted, links=True), stream.Scanner(DETECTOR)
    if begun:
        found.feed(b"")
        scanner.feed(b"")
    return ResultInspector(found, scanner)


@given(st.sampled_from(DOCUMENTS), st.booleans())
@settings(max_examples=266, deadline=None)
def test_an_answer_has_the_same_content_by_the_short_way_and_as_a_stream(data: bytes, trusted: bool):  # noqa: FBT001
    streamed = inspector(trusted=trusted, begun=True).finish(data)
    direct = inspector(trusted=trusted)

    assert together([direct.finish_credentials(data), direct.finish_words(data)]) == streamed
    assert inspector(trusted=trusted).finish(data) == streamed


@given(
    st.sampled_from(DOCUMENTS) | st.binary(max_size=200) | st.lists(TEXTS, max_size=4).map(json.dumps).map(str.encode)
)
@settings(max_examples=266, deadline=None)
def test_a_whole_text_that_has_no_hit_is_not_looked_at_by_the_window(data: bytes):
    direct, windowed = stream.Scanner(DETECTOR), stream.Scanner(DETECTOR)
    windowed._window = stream._Window(DETECTOR)

    assert direct.finish(data) == windowed.finish(data)


@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from(["a", "\\", "\\u00e9", "\\ud83d", "\\ude00", "\\n", "\u00e9", '"', "\\u12"]), max_size=9
    ).map(lambda parts: "".join(parts).encode())
)
@settings(max_examples=266)
def test_the_text_of_a_document_is_what_an_unescaper_gives(data: bytes):
    unescaper = Unescaper()

    assert decode_text(data) == unescaper.feed(data) + unescaper.finish()


# --- words and grounds -----------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=24), max_size=6))
def test_words_have_the_same_digests_from_a_context_of_their_own(found: list[bytes]):
    kept = words.digests(found, KEY)
    words._keyed(KEY).idle.clear()

    assert words.digests(found, KEY) == kept
    assert kept == frozenset().union(*(words.digests([word], KEY) for word in found))


def test_threads_that_make_digests_at_once_get_the_same_and_keep_few_contexts():
    _, digests = PYTHON_WORDS

    def make(number: int) -> frozenset[int]:
        return frozenset[int]().union(*(digests([b"word-%d" % (number * 100 + at)], KEY) for at in range(100)))

    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(make, range(40)))

    assert found == [make(number) for number in range(40)]
    assert 0 < len(words._keyed(KEY).idle) <= 5


OWN_PARTS = st.frozensets(st.sampled_from([b"northwind", b"q3", b"csv", b"a", b"12"]), max_size=4)


@given(
    st.sets(
        st.sampled_from([b"northwind-q3.csv", b"q3", b"$$$$$", b"a/12", b"other.csv", "\u00e9-12".encode()]), max_size=6
    ),
    st.lists(OWN_PARTS, max_size=3).map(tuple),
)
def test_foreign_words_are_those_with_a_part_that_nobody_gave(found: set[bytes], own: tuple[frozenset[bytes], ...]):
    parts = {word: words.parts_of(word.decode()) for word in found}
    given_by_all = frozenset[bytes]().union(*own)

    assert words.foreign(found, own) == {word for word in found if parts[word] - given_by_all}


@pytest.mark.parametrize("expected", [7, "a", 'q"uote', 0])
@pytest.mark.parametrize("written", ["7", '"a"', '"q\\"uote"', '"\\u0061"', "0", "-0", "null", '"7"', "7.0", "-"])
def test_an_id_as_written_stands_for_the_same_request_as_its_value(expected: int | str, written: str):
    message = Message(Kind.REQUEST, next(iter(Era)), Disposition.DECIDE, b"{}", "tools/call", id=expected)
    answers = MessageFilter(message, "files", create_autospec(Recipient, instance=True), WorkerThread())
    data = b'{"jsonrpc":"2.0","id":%s,"result":{}}' % written.encode()
    try:
        value = msgspec.json.decode(written)
    except msgspec.DecodeError:
        value = None

    passed = asyncio.run(answers.filter_message(data)) == data
    assert passed == (type(value) is type(expected) and value == expected) or written == "-"


@given(st.text(max_size=20))
def test_without_a_goal_nothing_is_named(text: str):
    given_nothing = grounds(None, None)

    assert not given_nothing.names(text)
    assert module._named(leaves({"text": text}), given_nothing) is False
    assert module._named(leaves({"count": 3}), given_nothing) is None


@given(st.dictionaries(st.sampled_from(["a", "b c", "d"]), VALUES, max_size=3))
def test_without_a_goal_the_first_text_settles_that_it_is_not_named(arguments: dict[str, Json]):
    found = leaves(arguments).found

    assert not (found and found[0].is_text) or module._named(leaves(arguments), grounds(None, None)) is False


@given(st.sampled_from(WRITTEN) | st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode()))
@settings(max_examples=133, deadline=None)
def test_a_text_without_signs_of_an_encoding_has_one_reading(text: str):
    data = text.encode("utf-8", "surrogatepass")

    assert not forms.is_plain(data) or len(forms.forms(data, rare=False).readings) == 1


# --- tokens of the caller --------------------------------------------------------------------------

SECRET = b"V7qk2Zt0mLx9Rb4Wc8Yd1Sf6Hg3Jn5Pa7Qe2Ui"
SEARCH = TokenSearch(SECRET, DETECTOR.fingerprints)


@given(
    st.integers(0, len(SECRET)),
    st.integers(0, len(SECRET)),
    st.sampled_from(["raw", "base64", "hex", "reversed"]),
    st.sampled_from([b"%41", b"\\n", "\u00e9".encode()]),
)
def test_pieces_of_a_token_are_found_whatever_stands_beside_them(begin: int, end: int, form: str, beside: bytes):
    piece = SECRET[begin:end]
    written = {"raw": piece, "base64": base64.b64encode(piece), "hex": piece.hex().encode(), "reversed": piece[::-1]}
    body = b'{"params":{"arguments":{"a":["%s"],"b":{"c":1}}}}' % written[form]

    def examined(*more: bytes) -> caller_tokens.Found:
        return caller_tokens.find_tokens([SEARCH], tuple((b"x", value) for value in more), body, DETECTOR.fingerprints)

    assert examined() == examined(beside)
    assert examined() == caller_tokens.WHOLE or end - begin < len(SECRET) or form == "reversed"
