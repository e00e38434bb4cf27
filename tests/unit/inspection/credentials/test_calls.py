from __future__ import annotations

import base64
import string
from collections.abc import Callable, Mapping
from itertools import cycle, islice
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.credentials.corpus import negatives
from benchmarks.credentials.examples import example
from gateway.base.json import walk
from gateway.inspection.credentials import calls, forms
from gateway.inspection.credentials.calls import role_at
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.finding import Finding, KnownShingles, StandIn
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.index import CredentialIndex
from gateway.model.target import Role
from gateway.model.wire import Json
from tests import effort
from tests.unit.inspection.credentials.conftest import RULES

KEYED = Fingerprints(b"k" * 32)
DETECTOR = Detector(RULES, KEYED)
VALUE = example("ghp_{w:30}{crc62}", Random(1))
NAME = KEYED.of(VALUE)
KNOWN = {NAME: KEYED.shingles(VALUE)}


def places(findings: tuple[Finding, ...]) -> list[tuple[str, str, str]]:
    return [(item.detector, item.pointer, item.form) for item in findings]


def detected(arguments: Mapping[str, Json], **roles: Role) -> list[tuple[str, str, str]]:
    return places(DETECTOR.inspect(arguments, {f"/{name}": role for name, role in roles.items()}).findings)


def seen_again(
    arguments: Mapping[str, Json],
    known: KnownShingles | CredentialIndex = KNOWN,
    roles: Mapping[str, Role] | None = None,
) -> tuple[Finding, ...]:
    return DETECTOR.inspect(arguments, roles or {}, known, new=False).findings


def seen(arguments: Mapping[str, Json], known: Mapping[str, frozenset[int]] = KNOWN) -> list[tuple[str, str, str]]:
    return places(seen_again(arguments, known))


# --- new ones --------------------------------------------------------------------------------------


def test_a_credential_has_a_pointer_a_role_and_a_form():
    (finding,) = DETECTOR.inspect({"to": ["a", {"x/y": f"see {VALUE}"}]}, {"/to": Role.DESTINATION}).findings

    assert finding == Finding(NAME, "github-pat", "format", "/to/1/x~1y", Role.DESTINATION, "raw")
    assert finding.shingles == KEYED.shingles(VALUE)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"password": "hunter2x"}, [("named-password", "/password", "raw")]),
        ({"user": {"api_key": "abc123def456"}}, [("named-token", "/user/api_key", "raw")]),
        ({"secrets": {"token": ["abc123def456"]}}, [("named-token", "/secrets/token/0", "raw")]),
        ({"otp": 493817}, [("one-time-code", "/otp", "raw")]),
        ({"token": VALUE}, [("github-pat", "/token", "raw")]),
        ({"token": f"Bearer {VALUE}"}, [("github-pat", "/token", "raw")]),
        (
            {"body": f'{{"password": "hunter2x", "t": "{VALUE}"}}'},
            [("named-password", "/body", "raw"), ("github-pat", "/body", "raw")],
        ),
        ({"x": base64.b64encode(f"export TOKEN={VALUE}".encode()).decode()}, [("github-pat", "/x", "base64")]),
        ({"max_tokens": 4096, "token": True, "password": None, "n": 1.5}, []),
        ({"token": 98402957163840295716384}, []),
        ({"nextPageToken": "CAUQAA1234abcd"}, []),
        ({}, []),
    ],
)
def test_credentials_by_form_and_by_name(arguments: dict[str, Json], expected: list[tuple[str, str, str]]):
    assert detected(arguments) == expected


def test_what_stands_in_a_credential_role_is_one():
    assert detected({"auth": "open sesame"}, auth=Role.CREDENTIAL) == [("credential-role", "/auth", "raw")]
    assert detected({"auth": "abc123def456"}, auth=Role.CREDENTIAL) == [("credential-role", "/auth", "raw")]
    assert detected({"auth": "${TOKEN}"}, auth=Role.CREDENTIAL) == []
    assert detected({"auth": "abc"}, auth=Role.CREDENTIAL) == []
    assert detected({"auth": 493817}, auth=Role.CREDENTIAL) == [("credential-role", "/auth", "raw")]


def test_the_longest_role_pointer_counts_and_stars_and_spelling_are_followed():
    roles = {"/items": Role.CONTENT, "/items/*/auth_key": Role.CREDENTIAL, "/items/0/other/deep": Role.COMMAND}

    (finding,) = DETECTOR.inspect({"items": [{"authKey": "open sesame"}]}, roles).findings

    assert (finding.role, finding.pointer) == (Role.CREDENTIAL, "/items/0/authKey")


def test_a_member_whose_name_is_a_credential_is_found_and_not_shown():
    findings = DETECTOR.inspect({"x": {VALUE: {"y": 1}}}, {}, KNOWN).findings

    assert [item.fingerprint for item in findings] == [NAME]
    assert VALUE not in repr(findings)
    assert findings[0].pointer == "/x"


def test_one_credential_in_two_places_is_two_findings_and_twice_in_one_is_one():
    assert detected({"a": f"{VALUE} {VALUE}", "b": VALUE}) == [("github-pat", "/a", "raw"), ("github-pat", "/b", "raw")]


# --- known ones ------------------------------------------------------------------------------------


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "percent": lambda data: quote(data, safe="").encode(),
    "percent-all": lambda data: b"".join(b"%%%02x" % byte for byte in data),
    "base64": base64.b64encode,
    "base64-unpadded": lambda data: base64.b64encode(data).rstrip(b"="),
    "base64url": base64.urlsafe_b64encode,
    "base64-lines": lambda data: b"\n".join(
        base64.b64encode(data)[at : at + 20] for at in range(0, len(data) * 2, 20)
    ).strip(),
    "hex": lambda data: data.hex().encode(),
    "hex-upper": lambda data: data.hex().upper().encode(),
    "hex-0x": lambda data: b"0x" + data.hex().encode(),
    "hex-colons": lambda data: data.hex(":").encode(),
    "hex-escapes": lambda data: b"".join(b"\\x%02x" % byte for byte in data),
    "unicode": lambda data: b"".join(b"\\u%04x" % byte for byte in data),
    "zero-width": lambda data: "\u200b".join(data.decode("latin-1")).encode(),
    "userinfo": lambda data: b"https://user:" + quote(data, safe="").encode() + b"@host.example/x",
    "basic": lambda data: b"Basic " + base64.b64encode(b"user:" + data),
}
SECRETS = [example(rule.example, Random(rule.id)) for rule in RULES.rules if "{" in rule.example][::9]
PLAIN = ["hunter2x-y!", "Tr0ub4dor&3-horse", "9f8e7d6c5b4a"]


@pytest.mark.parametrize("outer", ENCODINGS)
def test_no_encoding_of_a_seen_credential_up_to_two_rounds_passes(outer: str):
    """Each pair of encodings hides four credentials, and each credential is hidden by many pairs."""
    values = cycle((*SECRETS, *PLAIN))
    pairs = [(inner, value) for inner in ("none", *ENCODINGS) for value in islice(values, 4)]
    for inner, value in pairs:
        known = {KEYED.of(value): KEYED.shingles(value)}
        once = value.encode() if inner == "none" else ENCODINGS[inner](value.encode())
        written = ENCODINGS[outer](once).decode()

        found = seen_again({"a": "x", "b": {"c": [f"{written}"]}}, known)

        assert [(item.fingerprint, item.pointer, item.detector) for item in found] == [
            (KEYED.of(value), "/b/c/0", "seen")
        ], (inner, value)


@given(st.sampled_from(SECRETS), st.text(max_size=30), st.text(max_size=30), st.sampled_from(sorted(ENCODINGS)))
def test_what_stands_around_it_hides_nothing(value: str, before: str, after: str, encoding: str):
    written = f"{before} {ENCODINGS[encoding](value.encode()).decode()} {after}"

    assert KEYED.of(value) in {
        item.fingerprint for item in seen_again({"x": written}, {KEYED.of(value): KEYED.shingles(value)})
    }


@pytest.mark.parametrize(
    "arguments",
    [
        {"x": "-".join(VALUE)},
        {"x": " ".join(VALUE[at : at + 4] for at in range(0, 40, 4))},
        {"x": VALUE.swapcase()},
        {"x": f"prefix{VALUE}suffix"},
        {"a": VALUE[:20], "b": VALUE[20:]},
        {"b": VALUE[20:], "a": VALUE[:20]},
        {"parts": list(VALUE)},
        {"a": {"b": VALUE[:13]}, "c": [VALUE[13:26], VALUE[26:]]},
        {"a": base64.b64encode(VALUE[:20].encode()).decode(), "b": base64.b64encode(VALUE[20:].encode()).decode()},
    ],
)
def test_a_seen_credential_in_pieces_is_known(arguments: dict[str, Json]):
    found = seen_again(arguments, KNOWN)

    assert {item.fingerprint for item in found} == {NAME}
    assert all("split" in item.form for item in found)
    assert found[0].pointer in {"", "/x"}


BASE64, HEX = base64.b64encode(VALUE.encode()).decode(), VALUE.encode().hex()


def cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            dict.fromkeys(cut(VALUE, size), True)
            for size in range(1, 9)
            if len(set(cut(VALUE, size))) == len(cut(VALUE, size))
        ),
        {"x": {VALUE[:7]: {VALUE[7:14]: {VALUE[14:21]: {VALUE[21:28]: {VALUE[28:35]: {VALUE[35:]: 1}}}}}}},
        {VALUE[:7]: VALUE[7:14], VALUE[14:21]: VALUE[21:28], VALUE[28:35]: VALUE[35:]},
        dict.fromkeys(reversed(cut(VALUE, 7))),
    ],
)
def test_a_seen_credential_in_pieces_that_are_names_is_known(arguments: dict[str, Json]):
    assert {item.fingerprint for item in seen_again(arguments, KNOWN)} == {NAME}


@pytest.mark.parametrize(
    "arguments",
    [
        {"x": VALUE[:20], "y": base64.b64encode(VALUE[20:].encode()).decode()},
        {"x": f"{VALUE[:20]} {base64.b64encode(VALUE[20:].encode()).decode()}"},
        {"x": VALUE[:20].encode().hex(), "note": "hello", "y": base64.b64encode(VALUE[20:].encode()).decode()},
        *({"x": list[Json](cut(BASE64, size))} for size in (1, 4, 7, 11, 13, 20)),
        *({"x": list[Json](cut(HEX, size))} for size in (1, 2, 5, 8, 13)),
        {"x": [f"0x{code}" for code in cut(HEX, 2)]},
        {f"a{at:02}": part for at, part in enumerate(cut(HEX, 2))},
        {"x": [{"part": part} for part in cut(BASE64, 5)]},
    ],
)
def test_a_seen_credential_that_is_encoded_in_part_or_in_pieces_is_known(arguments: dict[str, Json]):
    assert {item.fingerprint for item in seen_again(arguments, KNOWN)} == {NAME}


GENERATED = "hK7mQ2xv-Zp4T"


def _disguised(value: str, size: int) -> list[str]:
    """Return hex of a value in groups of so many digits. Zeros fill the last group."""
    digits = value.encode().hex()
    return [digits[at : at + size].ljust(size, "0") for at in range(0, len(digits), size)]


def _uuid(digits: str) -> str:
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])


DISGUISES: dict[str, Callable[[str], dict[str, Json]]] = {
    "uuids": lambda value: {"ids": [_uuid(group) for group in _disguised(value, 32)]},
    "css": lambda value: {"css": " ".join(f"background-color: #{group};" for group in _disguised(value, 6))},
    "colours": lambda value: {"colours": [f"#{group}" for group in _disguised(value, 6)]},
    "an address": lambda value: {"route": "2001:db8:" + ":".join(_disguised(value, 4))},
    "addresses": lambda value: {"hosts": [f"2001:db8:{_parted(group, 4)}" for group in _disguised(value, 24)]},
    "cards": lambda value: {"macs": [_parted(group, 2) for group in _disguised(value, 12)]},
    "traces": lambda value: {"traceparent": [f"00-{group}-00f067aa0ba902b7-01" for group in _disguised(value, 32)]},
    "bytes": lambda value: {"table": "{" + ", ".join(f"0x{group}" for group in _disguised(value, 2)) + "}"},
    "words": lambda value: {"words": [f"0x{group}" for group in _disguised(value, 8)]},
    "members": lambda value: {f"k{at}": group for at, group in enumerate(_disguised(value, 8))},
}


def _parted(digits: str, size: int) -> str:
    return ":".join(digits[at : at + size] for at in range(0, len(digits), size))


@pytest.mark.parametrize("value", [VALUE, GENERATED])
@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
def test_a_seen_credential_is_known_as_hex_in_groups(value: str, disguise: Callable[[str], dict[str, Json]]):
    name = KEYED.of(value)
    found = seen_again(disguise(value), {name: KEYED.shingles(value)})

    assert {finding.fingerprint for finding in found} == {name}


def test_ids_colours_and_addresses_of_nothing_are_no_credential():
    random = Random(7)
    known = {KEYED.of(value): KEYED.shingles(value) for value in (VALUE, GENERATED)}
    for _ in range(200):
        digits = [f"{random.getrandbits(128):032x}" for _ in range(8)]
        arguments: dict[str, Json] = {
            "ids": [_uuid(group) for group in digits],
            "colours": [f"#{group[:6]}" for group in digits],
            "hosts": [":".join(group[at : at + 4] for at in range(0, 32, 4)) for group in digits],
            "numbers": " ".join(str(random.randint(20, 79)) for _ in range(40)),
        }
        assert DETECTOR.inspect(arguments, {}, known).findings == ()


def test_pieces_in_several_arguments_have_no_pointer_and_no_role():
    (found,) = seen_again({"a": VALUE[:20], "b": VALUE[20:]}, KNOWN, {"/a": Role.CONTENT})

    assert (found.pointer, found.role, found.form) == ("", None, "split")


PASSWORD = "Vq7-tR2x_Lm9zKd4Wb"
SHORT = {KEYED.of(PASSWORD): KEYED.shingles(PASSWORD)}


@pytest.mark.parametrize(
    "arguments",
    [
        {"a": PASSWORD[:9], "note": "hello there", "b": PASSWORD[9:]},
        {"b": PASSWORD[9:], "note": "hello there", "a": PASSWORD[:9]},
        {"a": PASSWORD[:6], "n": 1, "c": PASSWORD[12:], "m": "x", "b": PASSWORD[6:12]},
        {"a": f"we begin with {PASSWORD[:9]}", "note": {"x": ["hello", "there"]}, "b": f"{PASSWORD[9:]} and so on"},
        {"a": PASSWORD[:9], "b": PASSWORD[9:], **{f"x{number}": "hello" for number in range(calls.MAX_PIECES - 2)}},
    ],
)
def test_pieces_of_a_short_one_are_known_with_others_between_them(arguments: dict[str, Json]):
    assert seen(arguments, SHORT) == [("seen", "", "split")]


@pytest.mark.parametrize(
    "arguments",
    [
        {"a": PASSWORD[:9], "note": "hello there", "b": "another value"},
        {"a": PASSWORD[:6], "note": "hello there", "b": PASSWORD[12:]},
        {"a": PASSWORD[:9], "note": True, "b": None},
    ],
)
def test_a_piece_of_a_short_one_is_not_the_whole(arguments: dict[str, Json]):
    assert seen(arguments, SHORT) == []


def test_harmless_arguments_beside_one_another_are_no_pieces():
    """1,060 calls of six texts, with 200 passwords known that nobody would guess. docs/credentials.md publishes it."""
    chance, texts = Random(5), [text for _, text in negatives(Random(3), 400)]
    passwords = ["".join(chance.choices(string.ascii_letters + string.digits, k=10 + at % 15)) for at in range(200)]
    index = CredentialIndex({KEYED.of(password): KEYED.shingles(password) for password in passwords})
    cases = [{f"a{at}": text for at, text in enumerate(texts[first : first + 6])} for first in range(0, 6_360, 6)]

    assert [case for case in cases if DETECTOR.inspect(case, {}, index).findings] == []


def test_a_known_one_that_is_found_by_its_form_is_one_finding():
    found = DETECTOR.inspect({"x": VALUE}, {}, CredentialIndex(KNOWN)).findings

    assert places(found) == [("github-pat", "/x", "raw")]


@pytest.mark.parametrize(
    "written", ["493817", "the code 493817, now", "NDkzODE3", "343933383137", '"493817"', "x=493817&y=1"]
)
def test_a_short_credential_is_known_as_a_word(written: str):
    known = {KEYED.of("493817"): frozenset[int]()}

    assert [(item.fingerprint, item.pointer) for item in seen_again({"n": 1, "x": written}, known)] == [
        (KEYED.of("493817"), "/x")
    ]


def test_others_are_not_taken_for_it():
    other = example("ghp_{w:30}{crc62}", Random(2))

    assert seen({"x": other, "y": "the quick brown fox", "z": VALUE[:12]}) == []
    assert seen({"x": VALUE}, {}) == []
    assert not CredentialIndex({})


def test_what_is_known_can_be_added_and_removed():
    other = example("ghp_{w:30}{crc62}", Random(2))
    index = CredentialIndex({})
    index.add(NAME, KNOWN[NAME])
    index.add("like it", KNOWN[NAME])
    index.add(KEYED.of("493817"), frozenset())
    index.add(KEYED.of(other), KEYED.shingles(other))
    text = {"x": f"{VALUE} {other} 493817"}
    assert {item.fingerprint for item in seen_again(text, index)} == {
        NAME, "like it", KEYED.of("493817"), KEYED.of(other),
    }  # fmt: skip

    for name in ("like it", KEYED.of("493817"), KEYED.of(other)):
        index.remove(name)
    assert [item.fingerprint for item in seen_again(text, index)] == [NAME]
    index.remove(NAME)
    assert not index
    assert seen_again(text, index) == ()
    assert not index.find_grams(KEYED.gram_digests(text["x"].encode()))


# --- limits ----------------------------------------------------------------------------------------


def test_too_many_bytes_are_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(walk, "MAX_BYTES", 100)

    got = DETECTOR.inspect({"a": "x" * 90, "b": VALUE}, {}, KNOWN)

    assert got.incomplete
    assert got.findings == ()


def test_too_many_findings_are_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(calls, "MAX_FINDINGS", 2)
    values = [example("ghp_{w:30}{crc62}", Random(seed)) for seed in range(8)]

    got = DETECTOR.inspect({"x": values}, {})

    assert got.incomplete
    assert len(got.findings) == 2
    assert DETECTOR.inspect({"x": " ".join(values)}, {}).incomplete


def test_too_many_words_are_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(calls, "MAX_WORDS", 3)

    assert DETECTOR.inspect({"x": "one1 two2 three3 four4 five5"}, {}, {"f" * 24: frozenset[int]()}).incomplete


def test_too_much_decoding_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(forms, "BUDGET", 0)

    assert not DETECTOR.inspect({"x": "A" * 1000}, {}).incomplete
    assert DETECTOR.inspect({"x": "%41\\u0041\uff21 " * 10}, {}).incomplete


@pytest.mark.parametrize(
    "arguments",
    [
        {"x": ["A" * 10] * 50_000},
        {"x": "ghp_" * 200_000},
        {"x": [example("ghp_{w:30}{crc62}", Random(seed)) for seed in range(2_000)]},
        {"x": "%41" * 300_000},
        {"x": base64.b64encode(b"password=hunter2x " * 30_000).decode()},
        {str(number): {"token": f"abc{number}def456"} for number in range(10_000)},
        {"x": "password   user   token   x\n" * 9_000},
        {"x": "<tr><th>password</th>" * 12_000},
        {"x": "['password','a']," * 15_000},
        {"x": 'name="password" ' * 16_000},
        {"x": "password...." * 20_000},
        {"x": "echo a1b2c3 | sudo -S <<< " * 9_000},
    ],
    ids=[
        *("many", "signs", "tokens", "percent", "wrapped", "named"),
        *("headers", "head cells", "lists", "members", "gaps", "pipes"),
    ],
)
def test_hostile_arguments_take_bounded_time(arguments: dict[str, Json]):
    with effort.at_most(12):
        DETECTOR.inspect(arguments, {}, KNOWN)


def test_no_benign_text_is_called_one_in_any_form():
    """Every decoding of 1,600 texts. docs/credentials.md publishes the rate over more."""
    alarms = [
        (kind, item.detector, item.form)
        for kind, text in negatives(Random(21), 100)
        for item in DETECTOR.inspect({"x": text}, {}, KNOWN).findings
    ]

    assert alarms == []


# --- handles -------------------------------------------------------------------------------------------

HANDLE = "cred://AAAAAAAAAAA/BBBBBBBBBBBBBBBBBBBBBB"
STANDS_FOR = {HANDLE: StandIn("crm", (("f1", "github-pat"), ("f2", "jwt")))}


@pytest.mark.parametrize("text", [HANDLE, f"Bearer {HANDLE}", f'{{"token": "{HANDLE}"}}'])
def test_a_handle_is_what_it_stands_for_and_no_credential_of_its_own(text: str):
    roles = {"/token": Role.CREDENTIAL}
    found = DETECTOR.inspect({"token": text, "n": {"password": "plain"}}, roles, handles=STANDS_FOR).findings

    assert [(item.fingerprint, item.detector, item.pointer, item.role) for item in found] == [
        ("f1", "github-pat", "/token", Role.CREDENTIAL),
        ("f2", "jwt", "/token", Role.CREDENTIAL),
    ]
    assert {(item.form, item.handle, item.kind) for item in found} == {("handle", "crm", "seen")}


def test_a_credential_beside_a_handle_is_found_all_the_same():
    found = DETECTOR.inspect({"a": f"{HANDLE} and {VALUE}"}, {}, handles=STANDS_FOR).findings

    assert {item.fingerprint for item in found} == {"f1", "f2", DETECTOR.fingerprints.of(VALUE)}


def test_where_a_handle_stands_is_not_told_with_a_credential():
    found = DETECTOR.inspect({VALUE: {"x": HANDLE}}, {}, handles=STANDS_FOR).findings

    assert VALUE not in str([item.pointer for item in found])


def test_the_role_of_a_place_is_that_of_the_longest_pointer_in_any_spelling():
    roles = {
        "/auth": Role.CREDENTIAL,
        "/auth/note": Role.CONTENT,
        "/items/*/key": Role.CREDENTIAL,
        "/a~1b": Role.AMOUNT,
    }

    assert role_at(("Auth", "token"), roles) is Role.CREDENTIAL
    assert role_at(("auth", "note", 3), roles) is Role.CONTENT
    assert role_at(("items", 7, "key"), roles) is Role.CREDENTIAL
    assert role_at(("a/b",), roles) is Role.AMOUNT
    assert role_at(("other",), roles) is None
