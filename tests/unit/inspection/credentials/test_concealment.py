from __future__ import annotations

import base64
import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.credentials.examples import example
from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.finding import Finding
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.handles import CredentialRewriter, Recalling
from gateway.inspection.credentials.stream import HOLD_OF_KEY
from gateway.model.errors import UpstreamBroken
from gateway.model.wire import Json

RULES = ruleset.load()
DETECTOR = Detector(RULES, Fingerprints(b"k" * 32))
VALUE = example("ghp_{w:30}{crc62}", Random(1))
OTHER = example("ghp_{w:30}{crc62}", Random(2))
LINES = "\n".join(example("{b:64}", Random(line)) for line in range(26))
PEM = f"-----BEGIN PRIVATE KEY-----\n{LINES}\n-----END PRIVATE KEY-----"


class Kept:
    """Handles by text, as a vault has them."""

    def __init__(self, room: int = 1_000) -> None:
        self.texts: list[str | None] = []
        self.findings: list[tuple[Finding, ...]] = []
        self._room = room

    def keep(self, findings: tuple[Finding, ...], text: str | None) -> str | None:
        if text in self.texts:
            return f"cred://t/{self.texts.index(text)}"
        if len(self.texts) >= self._room:
            return None
        self.texts.append(text)
        self.findings.append(findings)
        return f"cred://t/{len(self.texts) - 1}"


def concealing(kept: Kept | None = None, detector: Detector = DETECTOR) -> CredentialRewriter:
    return CredentialRewriter(detector, (kept or Kept()).keep)


def result(value: Any, **more: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": value, **more}).encode()


def test_a_credential_becomes_a_handle_and_nothing_else_changes():
    kept = Kept()
    data = (
        b'{ "jsonrpc":"2.0", "id" : 1,"result":{"content":[{"type":"text","text":"it is ' + VALUE.encode() + b'!"}]}}'
    )

    assert concealing(kept).document(data) == data.replace(VALUE.encode(), b"cred://t/0")
    assert kept.texts == [VALUE]
    assert [finding.fingerprint for finding in kept.findings[0]] == [DETECTOR.fingerprints.of(VALUE)]


def test_what_holds_none_is_the_same_bytes():
    data = b'{"a" :  "\\u00e9", "b": [1, 2.50, true]}\n'

    assert concealing().document(data) == data


def test_the_same_value_has_the_same_handle_wherever_it_stands():
    kept = Kept()
    data = result({"content": [{"text": json.dumps({"token": VALUE})}], "structuredContent": {"token": VALUE}})
    shown = json.loads(concealing(kept).document(data))["result"]

    assert kept.texts == [VALUE]
    assert json.loads(shown["content"][0]["text"]) == shown["structuredContent"] == {"token": "cred://t/0"}


def test_it_says_what_it_concealed_once():
    concealment = concealing()
    concealment.document(result([VALUE, OTHER, VALUE]))

    assert concealment.count == 3
    assert {finding.fingerprint for finding in concealment.found()} == {
        DETECTOR.fingerprints.of(VALUE),
        DETECTOR.fingerprints.of(OTHER),
    }
    assert concealment.found() == ()


@pytest.mark.parametrize(
    ("raw", "expected", "text"),
    [
        ('{"otp": 481516}', {"otp": "cred://t/0"}, "481516"),
        ('{"a":1,"password":48151623421,"b":2}', {"a": 1, "password": "cred://t/0", "b": 2}, "48151623421"),
        (f'{{"{VALUE}": 1}}', {"cred://t/0": 1}, VALUE),
        ('{"token": "' + "".join(f"\\u{ord(c):04x}" for c in VALUE) + '"}', {"token": "cred://t/0"}, VALUE),
        (f'{{"a": "\\ud83d\\ude00 \\"{VALUE}\\" \\\\"}}', {"a": '\U0001f600 "cred://t/0" \\'}, VALUE),
    ],
)
def test_what_was_json_is_json_afterwards(raw: str, expected: Any, text: str):
    kept = Kept()

    assert json.loads(concealing(kept).document(raw.encode())) == expected
    assert kept.texts == [text]
    for size in (1, 3, 1000):
        again = Kept()
        large = concealing(again)
        parts = [large.part(raw.encode()[at : at + size]) for at in range(0, len(raw), size)]
        assert json.loads(b"".join([*parts, large.end()])) == expected
        assert again.texts == [text]


@pytest.mark.parametrize("key", [PEM, PEM.replace("\n", "\r\n")], ids=["lf", "crlf"])
def test_a_key_block_in_a_text_within_json_has_its_line_breaks(key: str):
    kept = Kept()
    document = concealing(kept).document(result({"text": json.dumps({"key": key}), "structuredContent": {"key": key}}))

    assert kept.texts == [key]
    assert json.loads(json.loads(document)["result"]["text"]) == {"key": "cred://t/0"}


def test_what_is_put_back_is_what_stood_there_not_what_it_is_known_by():
    kept = Kept()
    basic = base64.b64encode(b"ada:s3cret-Pass").decode()
    wrapped = base64.b64encode(f"the token is {VALUE} ok".encode()).decode()
    shown = json.loads(
        concealing(kept).document(result([f"Basic {basic}", "https://ada:s3cret%2DPass@h.example/x", wrapped]))
    )["result"]

    assert shown == ["Basic cred://t/0", "https://ada:cred://t/1@h.example/x", "cred://t/2"]
    assert kept.texts == [basic, "s3cret%2DPass", wrapped]


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "id": VALUE, "result": {}},
        {"jsonrpc": "2.0", "id": 1, "result": {"requestState": VALUE, "resultType": "input_required"}},
        {"jsonrpc": "2.0", "id": 1, "result": {"taskId": VALUE, "task": {"taskId": VALUE}}},
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": VALUE, "progress": 1}},
    ],
)
def test_what_the_protocol_tells_calls_and_tasks_apart_by_stays(message: Any):
    data = json.dumps(message).encode()

    assert concealing().document(data) == data


def test_the_same_value_beside_it_does_not_stay():
    data = result({"requestState": VALUE, "content": [{"requestState": VALUE}]})
    shown = json.loads(concealing().document(data))["result"]

    assert shown == {"requestState": VALUE, "content": [{"requestState": "cred://t/0"}]}
    other = json.dumps({"id": VALUE, "message": "no message of the protocol"}).encode()
    assert VALUE.encode() not in concealing().document(other)


def test_a_signed_link_stays_and_is_none_of_those_that_were_concealed():
    concealment = concealing()
    data = result({"url": "https://b.example/k?X-Amz-Signature=fe5f80f77d5fa3beca038a248ff027d0445342fe2855"})

    assert concealment.document(data) == data
    assert (concealment.count, concealment.found()) == (0, ())


def test_a_credential_within_a_signed_link_does_not_stay_with_it():
    link = f"https://b.example/k?X-Amz-Signature={VALUE}"
    concealment = concealing()

    assert VALUE.encode() not in concealment.document(result({"url": link}))
    assert concealment.count == 1


def test_what_is_two_credentials_stays_only_if_both_are_none():
    written = base64.b64encode(b"s3cret-Pass1").decode()
    data = result({"password": written})
    names = {finding.fingerprint for finding in DETECTOR.find(data.decode())}
    (first, _) = sorted(names)

    def one(finding: Finding) -> bool:
        return finding.fingerprint == first

    assert written.encode() not in CredentialRewriter(DETECTOR, Kept().keep, none=one).document(data)
    both = CredentialRewriter(DETECTOR, Kept().keep, none=lambda finding: finding.fingerprint in names)
    assert both.document(data) == data


def test_a_text_that_it_is_told_of_is_concealed_wherever_it_stands():
    told = Recalling(DETECTOR, ("open sesame", ""))
    shown = CredentialRewriter(told, Kept().keep).document(result([f"open sesame, open sesame {VALUE}", "open"]))

    assert json.loads(shown)["result"] == ["cred://t/0, cred://t/0 cred://t/1", "open"]


def test_where_there_is_no_room_for_a_handle_nothing_passes():
    for give in ("document", "part", "text"):
        concealment = concealing(Kept(room=0))
        with pytest.raises(UpstreamBroken, match="no room") as raised:
            getattr(concealment, give)(result(f"it is {VALUE} then more"))
        assert VALUE not in str(raised.value)


@pytest.mark.parametrize(
    "data",
    [f'{{"a": "{VALUE}"'.encode(), json.dumps({"t": VALUE}).encode("utf-16"), b"\xff", b"[" * 100_000],
    ids=["cut", "utf-16", "bytes", "deep"],
)
def test_what_cannot_be_read_is_withheld(data: bytes):
    with pytest.raises(UpstreamBroken, match="withheld"):
        concealing().document(data)


def test_a_custom_rule_that_reaches_over_strings_leaves_valid_json_and_nothing_of_it():
    rule = ruleset.CredentialRule("wide", ruleset.compiled(r"(AAAA[^\n]+ZZZZ)"), keywords=("aaaa",), own=False)
    wide = Detector(ruleset.Ruleset([*RULES.rules, rule]), Fingerprints(b"k" * 32))
    data = json.dumps({"a": f"x {VALUE} AAAAone", "b": 31337, "c": "twoZZZZ y", "d": "stays"}).encode()
    shown = json.loads(concealing(detector=wide).document(data))

    assert shown["d"] == "stays"
    assert not any(part in str(shown) for part in (VALUE, "AAAA", "one", "31337", "two", "ZZZZ"))


@pytest.mark.parametrize(
    ("expression", "value", "shown"),
    [(r"(31337)", 9313379, "cred://t/0"), (r'("AAAA[a-z]+)', "AAAAone two", "cred://t/0")],
)
def test_a_custom_rule_that_begins_or_ends_within_a_scalar_leaves_valid_json(expression: str, value: Json, shown: str):
    rule = ruleset.CredentialRule("own", ruleset.compiled(expression), keywords=(), own=False)
    own = Detector(ruleset.Ruleset([rule]), Fingerprints(b"k" * 32))

    assert json.loads(concealing(detector=own).document(result([value])))["result"] == [shown]


# --- events -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_an_event_keeps_all_that_is_not_the_credential(line_end: str):
    data = json.dumps({"result": {"text": f"it is {VALUE}", "n": [1]}}, indent=1)
    lines = ["event: message", "retry: 5", ": note", *(f"data: {line}" for line in data.split("\n")), "id: 7", "", ""]
    raw = line_end.join(lines).encode()

    assert concealing().event(raw, data.encode()) == raw.replace(VALUE.encode(), b"cred://t/0")


def test_a_name_and_a_value_on_two_lines_of_data_belong_together():
    data = '{"password":\n"hunter2x!"}'
    raw = b'data: {"password":\ndata:"hunter2x!"}\n\n'

    assert concealing().event(raw, data.encode()) == b'data: {"password":\ndata:"cred://t/0"}\n\n'


def test_an_event_that_is_no_json_is_concealed_as_text():
    raw = f"event: note\ndata: use {VALUE}\ndata: now\n\n".encode()

    assert concealing().event(raw, f"use {VALUE}\nnow".encode()) == raw.replace(VALUE.encode(), b"cred://t/0")


def test_a_signed_link_stays_in_an_event_that_is_no_json():
    data = b"https://b.example/k?X-Amz-Signature=fe5f80f77d5fa3beca038a248ff027d0445342fe2855"

    assert concealing().event(b"data: " + data + b"\n\n", data) == b"data: " + data + b"\n\n"


def test_a_byte_order_mark_moves_nothing():
    raw = b'\xef\xbb\xbfdata: {}\ndata: "' + VALUE.encode() + b'"\n\n'
    first = concealing().event(raw, b'{}\n"' + VALUE.encode() + b'"')
    later = concealing().event(raw, b'"' + VALUE.encode() + b'"')

    assert first == later == raw.replace(VALUE.encode(), b"cred://t/0")


# --- what is too large to be held ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 777, 4096, 100_000])
def test_a_large_message_is_rewritten_in_passing(size: int):
    value = {"a": "x " * 9000, "t": VALUE, "otp": 481516, "b": ["y " * 9000, f"and {OTHER}."]}
    raw = json.dumps(value).encode()
    concealment = concealing(kept := Kept())
    parts = [concealment.part(raw[at : at + size]) for at in range(0, len(raw), size)]
    shown = json.loads(b"".join([*parts, concealment.end()]))

    assert shown == {**value, "t": "cred://t/0", "otp": "cred://t/1", "b": ["y " * 9000, "and cred://t/2."]}
    assert kept.texts == [VALUE, "481516", OTHER]
    assert concealment.end() == b""


def test_one_large_message_after_another_is_rewritten_as_if_it_were_the_first():
    concealment = concealing()
    raw = json.dumps({"otp": 481516, "t": VALUE}).encode()

    for _ in range(2):
        assert json.loads(concealment.part(raw) + concealment.end()) == {"otp": "cred://t/0", "t": "cred://t/1"}
    concealment.part(b'{"cut": "off')
    concealment.end()
    assert json.loads(concealment.part(raw) + concealment.end()) == {"otp": "cred://t/0", "t": "cred://t/1"}


def test_of_a_credential_longer_than_the_hold_no_text_is_kept():
    long = f"-----BEGIN PRIVATE KEY-----\n{LINES * 20}\n-----END PRIVATE KEY-----"
    raw = json.dumps({"k": long, "z": "tail"}).encode()
    concealment = concealing(kept := Kept())
    parts = [concealment.part(raw[at : at + 500]) for at in range(0, len(raw), 500)]

    assert len(long) > HOLD_OF_KEY
    assert json.loads(b"".join([*parts, concealment.end()])) == {
        "k": "cred://t/0-----END PRIVATE KEY-----",
        "z": "tail",
    }
    assert kept.texts == [None]
    concealing(plain := Kept()).text(long.encode())
    assert plain.texts == [None]
    assert json.loads(concealing(kept := Kept()).document(raw))["z"] == "tail"
    assert kept.texts == [long]


@pytest.mark.parametrize("size", [1, 50, 5000])
def test_plain_text_is_rewritten_too(size: int):
    raw = f'error: "{VALUE}" was refused. See https://b.example/k?sig=fe5f80f77d5fa3beca038a248ff027d0445342fe2855'
    concealment = concealing()
    parts = [concealment.text(raw.encode()[at : at + size]) for at in range(0, len(raw), size)]

    assert b"".join([*parts, concealment.text_end()]).decode() == raw.replace(VALUE, "cred://t/0")
    assert concealing().text_end() == concealing().end() == b""


ANY = st.recursive(
    st.sampled_from(
        [VALUE, OTHER, f"Bearer {VALUE}", json.dumps({"password": "hunter2x!"}), "\U0001f600", '"\\', "plain", PEM]
    )
    | st.text(max_size=8)
    | st.integers()
    | st.booleans()
    | st.none(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["token", "password", "otp", "a", "\U0001f600"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(ANY, st.booleans(), st.integers(1, 300))
def test_any_document_stays_what_it_is_but_for_its_credentials(value: Any, ascii_only: bool, size: int):  # noqa: FBT001 - drawn
    raw = json.dumps(value, ensure_ascii=ascii_only).encode()
    kept = Kept()
    whole = json.loads(concealing(kept).document(raw))
    large = concealing()
    parts = json.loads(b"".join([*(large.part(raw[at : at + size]) for at in range(0, len(raw), size)), large.end()]))

    for shown in (whole, parts):
        text = json.dumps(shown, ensure_ascii=False)
        assert VALUE not in text
        assert OTHER not in text
        assert LINES[:64] not in text
    assert restored(whole, kept.texts) == restored(value, [])


def restored(value: Any, texts: list[str | None]) -> Any:
    """The document with the texts put back, and its numbers as texts."""
    if isinstance(value, dict):
        return {restored(name, texts): restored(item, texts) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - any JSON
    if isinstance(value, list):
        return [restored(item, texts) for item in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - any JSON
    if isinstance(value, str):
        for number in reversed(range(len(texts))):
            value = value.replace(f"cred://t/{number}", texts[number] or "")
        return value
    return json.dumps(value)


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"token": VALUE, "otp": -1000}, {"token": "cred://t/0", "otp": "cred://t/1"}),
        ({"a": -1, "b": "x-", "c": [-2.5, "-"]}, {"a": -1, "b": "x-", "c": [-2.5, "-"]}),
        (-7, -7),
    ],
)
def test_a_part_that_ends_with_a_sign_leaves_valid_json(value: Json, shown: Json, size: int):
    data, rewriter = json.dumps({"result": {"token": value}}).encode(), concealing()
    parts = [rewriter.part(data[start : start + size]) for start in range(0, len(data), size)]

    assert json.loads(b"".join(parts) + rewriter.end())["result"] == {"token": shown}
