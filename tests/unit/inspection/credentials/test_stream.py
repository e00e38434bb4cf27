from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.credentials.examples import example
from gateway.base.json.lex import unescape
from gateway.inspection.credentials import ruleset, stream
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.finding import Finding
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.stream import HOLD, HOLD_OF_KEY, Scanner, Spot, Spotter, spots
from tests import effort
from tests.secret_forms import FORMS, SecretForm
from tests.unit.inspection.credentials.conftest import RULES

KEYED = Fingerprints(b"k" * 32)
DETECTOR = Detector(RULES, KEYED)
VALUE = example("ghp_{w:30}{crc62}", Random(1))
BODY = "\n".join(example("{b:64}", Random(line)) for line in range(26))
PEM = f"-----BEGIN PRIVATE KEY-----\n{BODY}\n-----END PRIVATE KEY-----\n"
LONG_PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\n"
    + "\n".join(example("{b:64}", Random(line)) for line in range(350))
    + "\n-----END RSA PRIVATE KEY-----\n"
)

DOCUMENTS = {
    "plain": json.dumps({"a": "hello world", "t": VALUE, "b": "x y"}),
    "escaped": json.dumps({"a": "\u00e9 \U0001f600 \\"}) + '{"t":"' + "".join(f"\\u{ord(char):04x}" for char in VALUE) + '","b":1}',
    "key block": json.dumps({"k": PEM, "z": "tail of it"}),
    "password": json.dumps({"user": "me", "password": "hunter2x!", "z": "tail"}),
    "wrapped": json.dumps({"d": base64.b64encode(f"the token {VALUE} ok".encode()).decode(), "z": 1}),
    "nested": json.dumps({"text": json.dumps({"note": 'a "quoted" word', "token": VALUE})}),
    "event": f"event: message\nid: 1\ndata: {json.dumps({'result': {'content': [{'type': 'text', 'text': f'it is {VALUE}!'}]}})}\n\n",
    "last": f"it is {VALUE}",
}  # fmt: skip


def scanned(*chunks: bytes) -> list[Finding]:
    scanner = Scanner(DETECTOR)
    found = [item for chunk in chunks for item in scanner.feed(chunk)]
    return [*found, *scanner.finish()]


def concealed(*chunks: bytes, detector: Detector = DETECTOR) -> tuple[bytes, list[Finding]]:
    spotter = Spotter(detector)
    parts = [part for chunk in chunks for part in spotter.feed(chunk)] + spotter.finish()
    passed = [
        part if isinstance(part, bytes) else f"cred://task/{part.findings[0].fingerprint}".encode() for part in parts
    ]
    return b"".join(passed), [item for part in parts if isinstance(part, Spot) for item in part.findings]


def size(parts: list[bytes | Spot]) -> int:
    return sum(len(part if isinstance(part, bytes) else part.raw) for part in parts)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_credential_is_found_and_concealed_at_every_cut(name: str):
    raw = DOCUMENTS[name].encode()
    whole = scanned(raw)
    assert len(whole) == 1

    for cut in range(len(raw) + 1):
        found = scanned(raw[:cut], raw[cut:])
        passed, replaced = concealed(raw[:cut], raw[cut:])

        assert found == whole, cut
        assert replaced == whole, cut
        assert f"cred://task/{whole[0].fingerprint}".encode() in passed
        assert VALUE.encode() not in passed
        assert BODY[:64].encode() not in passed
        if name not in {"event", "escaped", "last"}:
            assert isinstance(json.loads(passed), dict)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_byte_by_byte_is_as_all_at_once(name: str):
    raw = DOCUMENTS[name].encode()

    assert scanned(*(raw[at : at + 1] for at in range(len(raw)))) == scanned(raw)


BEHIND = {
    "as the password": "Use {} as the password.",
    "is your password": "{} is your new password.",
    "to a program": "echo {} | docker login -u ada --password-stdin",
    "of a user": "echo 'ada:{}' | sudo chpasswd",
    "an order": "Now enter {} as the token and go on.",
}
"""Sentences and commands whose sign comes after the value."""
PASSWORD = "hK7mQ2xv-Zp4T"


@pytest.mark.parametrize("sentence", BEHIND)
@pytest.mark.parametrize("before", ["", "a long tale of the port, " * 200])
def test_a_sign_after_the_value_is_seen_across_every_cut(sentence: str, before: str):
    raw = f"{before}{BEHIND[sentence].format(PASSWORD)} It goes on.".encode()
    whole = scanned(raw)
    assert [item.fingerprint for item in whole] == [KEYED.of(PASSWORD)]

    for cut in range(len(before), len(raw)):
        passed, replaced = concealed(raw[:cut], raw[cut:])

        assert scanned(raw[:cut], raw[cut:]) == whole, cut
        assert replaced == whole, cut
        assert PASSWORD.encode() not in passed, cut


@pytest.mark.parametrize("sentence", BEHIND)
def test_a_sign_after_the_value_is_seen_in_letters_of_six_bytes(sentence: str):
    text = f"{BEHIND[sentence].format(PASSWORD)} It goes on."
    raw = "".join(f"\\u{ord(char):04x}" if char.isalnum() else char for char in text).encode()
    single = [raw[at : at + 1] for at in range(len(raw))]

    assert [item.fingerprint for item in scanned(*single)] == [KEYED.of(PASSWORD)]
    assert concealed(*single)[1] == scanned(raw)


@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_each_written_form_is_found_byte_by_byte(form: SecretForm):
    raw = form.text.encode()
    single = [raw[at : at + 1] for at in range(len(raw))]

    assert {item.fingerprint for item in scanned(*single)} == {item.fingerprint for item in scanned(raw)}
    assert concealed(*single)[0] == concealed(raw)[0]


def test_a_credential_is_told_before_the_answer_goes_on():
    scanner = Scanner(DETECTOR)

    assert [item.detector for item in scanner.feed(f'{{"token": "{VALUE}"}}\n'.encode())] == ["github-pat"]


def test_what_a_finding_says():
    (finding,) = scanned(DOCUMENTS["plain"].encode())

    assert finding == Finding(KEYED.of(VALUE), "github-pat", "format")
    assert finding.offset == DOCUMENTS["plain"].index(VALUE)
    assert finding.shingles == KEYED.shingles(VALUE)
    assert scanned(DOCUMENTS["wrapped"].encode())[0].form == "base64"


def test_each_credential_is_told_once_and_concealed_every_time():
    raw = json.dumps([VALUE, "between", VALUE]).encode()

    assert len(scanned(raw)) == 1
    passed, replaced = concealed(raw)
    assert len(replaced) == 2
    assert json.loads(passed) == [f"cred://task/{KEYED.of(VALUE)}", "between", f"cred://task/{KEYED.of(VALUE)}"]


def test_two_credentials_in_one_run_of_base64_are_one_handle_and_two_findings():
    other = example("ghp_{w:30}{crc62}", Random(2))
    raw = json.dumps({"d": base64.b64encode(f"{VALUE} {other}".encode()).decode()}).encode()

    passed, replaced = concealed(raw)

    assert {item.fingerprint for item in replaced} == {KEYED.of(VALUE), KEYED.of(other)}
    assert json.loads(passed)["d"].startswith("cred://task/")
    assert passed.count(b"cred://") == 1


def test_a_spot_is_where_the_credential_is_as_it_is_written():
    raw = DOCUMENTS["escaped"].encode()
    (spot,) = spots(DETECTOR, raw)

    assert unescape(spot.raw).decode() == VALUE
    assert raw[spot.start : spot.end] == spot.raw
    assert (spot.whole, [item.fingerprint for item in spot.findings]) == (True, [KEYED.of(VALUE)])
    assert VALUE not in repr(spot)


@pytest.mark.parametrize("before", ["\U0001f600 ", "\U0001f600\U0001f600 \\ \u00e9 ", '"\n'])
def test_escapes_before_a_credential_do_not_move_where_it_is(before: str):
    raw = json.dumps({"a": f"{before}{VALUE} after"}).encode()

    for cut in range(len(raw) + 1):
        passed, found = concealed(raw[:cut], raw[cut:])

        assert json.loads(passed) == {"a": f"{before}cred://task/{found[0].fingerprint} after"}, cut


def test_what_overlaps_is_one_spot():
    """Of a run of base64 that begins within another credential nothing passes either."""
    inner = base64.b64encode(f"..{VALUE}..".encode()).decode()
    raw = json.dumps({"password": f"pass,{inner}"}).encode()

    for cut in range(len(raw) + 1):
        passed, _ = concealed(raw[:cut], raw[cut:])

        assert inner[8:40].encode() not in passed
        assert len(json.loads(passed)) == 1


def test_a_credential_longer_than_the_hold_is_a_spot_that_is_not_whole():
    spotter = Spotter(DETECTOR)
    raw = json.dumps({"k": LONG_PEM}).encode()
    parts = [part for at in range(0, len(raw), 500) for part in spotter.feed(raw[at : at + 500])] + spotter.finish()

    assert [part.whole for part in parts if isinstance(part, Spot)] == [False]
    assert [spot.whole for spot in spots(DETECTOR, raw)] == [True]


@pytest.mark.parametrize("size", [1, 100, 1000, 4096, 10_000, 100_000])
def test_a_key_block_longer_than_the_hold_is_found_and_nothing_of_it_passes(size: int):
    raw = json.dumps({"before": "x " * 3000, "k": LONG_PEM, "z": "tail"}).encode()
    chunks = [raw[at : at + size] for at in range(0, len(raw), size)]

    passed, found = concealed(*chunks)

    assert [item.detector for item in found] == ["private-key"]
    assert scanned(*chunks) == found
    assert not any(line.encode() in passed for line in LONG_PEM.split("\n")[1:-2])
    assert json.loads(passed)["z"] == "tail"


def test_a_token_longer_than_the_hold_goes_whole():
    token = f"eyJ{'Ab3-' * 100}.eyJ{'Cd4_' * 1500}.{'Ef5-' * 20}x"
    raw = json.dumps({"x": "y" * 5000, "jwt": token, "z": "tail"}).encode()

    for size in (700, 5000, len(raw)):
        passed, found = concealed(*(raw[at : at + size] for at in range(0, len(raw), size)))

        assert found != []
        assert b"Ef5-Ef5-" not in passed
        assert b"Ab3-Ab3-" not in passed
        assert json.loads(passed)["z"] == "tail"


@given(st.binary(max_size=400), st.integers(1, 50))
def test_whatever_comes_passes_unchanged_if_it_holds_none(data: bytes, size: int):
    passed, found = concealed(*(data[at : at + size] for at in range(0, len(data), size)))

    if not found:
        assert passed == data


@given(
    st.lists(
        st.sampled_from(
            [b'"', b"\\", b"u0041", b"n", b" ", b"A" * 700, b"QUJD" * 300, VALUE.encode(), b"-----BEGIN", b"x"]
        ),
        max_size=30,
    ),
    st.integers(1, 3000),
)
def test_any_order_of_parts_in_any_chunks_hides_nothing(parts: list[bytes], size: int):
    data = b" ".join(parts)
    passed, found = concealed(*(data[at : at + size] for at in range(0, len(data), size)))

    assert VALUE.encode() not in passed
    assert {item.fingerprint for item in found} == {item.fingerprint for item in concealed(data)[1]}


@pytest.mark.parametrize(
    "document",
    [
        b'{"text":"' + b"The quick brown fox. " * 20_000 + b'"}',
        b'{"data":"' + base64.b64encode(os.urandom(300_000)) + b'"}',
        b'{"text":"' + b"x" * 300_000 + b'"}',
        b'{"text":"' + b"\\n" * 100_000 + b'"}',
        b"-----BEGIN PRIVATE KEY-----" * 10_000,
    ],
    ids=["prose", "image", "word", "escapes", "begins"],
)
def test_no_more_than_the_hold_is_held(document: bytes):
    spotter = Spotter(DETECTOR)
    given_, passed = 0, 0
    for at in range(0, len(document), 8_192):
        chunk = document[at : at + 8_192]
        given_, passed = given_ + len(chunk), passed + size(spotter.feed(chunk))
        assert given_ - passed <= (HOLD_OF_KEY if b"BEGIN" in document else HOLD) + 8
    assert passed + size(spotter.finish()) == given_


def test_a_wrapped_credential_after_a_long_image_is_found():
    run = base64.b64encode(os.urandom(30_000) + b" ..... " + VALUE.encode() + b" ..... " + os.urandom(30_000))
    raw = b'{"data":"' + run + b'"}'

    for size in (1_000, 8_192, len(raw)):
        assert KEYED.of(VALUE) in {
            item.fingerprint for item in scanned(*(raw[at : at + size] for at in range(0, len(raw), size)))
        }


@given(
    before=st.binary(max_size=40),
    after=st.binary(max_size=40),
    encode=st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]),
)
def test_a_credential_anywhere_in_wrapped_bytes_is_found(before: bytes, after: bytes, encode: Callable[[bytes], bytes]):
    encoded = encode(before + b" password=hunter2xyz\n" + after)
    scanner = Scanner(DETECTOR)
    found = [*scanner.feed(b'{"text":"' + encoded + b'"}'), *scanner.finish()]
    # Behind a name such as `signingkey:` the whole assignment is the credential.
    of = DETECTOR.fingerprints.of
    assert {finding.fingerprint for finding in found} & {of("hunter2xyz"), of("password=hunter2xyz")}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
@pytest.mark.parametrize("size", [1, 40, 100_000])
def test_the_last_chunk_may_come_with_the_end(document: str, size: int):
    raw = document.encode()
    before, last = raw[:-size], raw[-size:]
    scanner = Scanner(DETECTOR)

    assert [*scanner.feed(before), *scanner.finish(last)] == scanned(before, last)


def test_ten_megabytes_are_scanned_in_seconds():
    chunk = json.dumps(
        {"text": "the quick brown fox jumps over the lazy dog near https://example.org/a?b=c in 2026. " * 780}
    ).encode()
    scanner = Scanner(DETECTOR)
    with effort.at_most(8):
        for _ in range(160):
            assert scanner.feed(chunk) == ()

        assert scanner.finish() == ()


def test_too_many_credentials_are_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream, "MAX_FINDINGS", 2)
    scanner = Scanner(DETECTOR)
    values = [example("ghp_{w:30}{crc62}", Random(seed)) for seed in range(4)]

    found = [*scanner.feed(json.dumps([*values, values[0]]).encode()), *scanner.finish()]

    assert len(found) == 2
    assert scanner.incomplete


def test_rules_of_others_see_as_far_as_is_held():
    rule = ruleset.CredentialRule(
        "far", ruleset.compiled(r"begin ([0-9]+) [a-z ]+keyword"), keywords=("keyword",), own=False
    )
    theirs = Detector(ruleset.Ruleset([rule]), KEYED)
    raw = b"x " * 3_000 + b"begin 12345678 " + b"a " * 900 + b"keyword " + b"y " * 3_000
    scanner = Scanner(theirs)

    found = [item for at in range(0, len(raw), 100) for item in scanner.feed(raw[at : at + 100])]

    assert [item.detector for item in [*found, *scanner.finish()]] == ["far"]


def test_nothing_is_nothing():
    assert scanned(b"", b"") == []
    assert concealed(b"") == (b"", [])
