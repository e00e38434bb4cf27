from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.record.journal.records import record_arguments
from gateway.record.journal.redaction import FULL_LIMIT, conceal_text, concealed_with, fingerprint, redact_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.model.wire import Json

KEY = b"f" * 32
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAx9\nq1Zq\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
SHAPED = [
    PEM,
    PEM.partition("-----END")[0],
    JWT,
    "Bearer abcDEF123456",
    "basic dXNlcjpwYXNzd29yZA==",
    "AKIAQ7EXAMPLE3KEYS77",
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "a1B2" * 9,
    "glpat-" + "a1B2" * 5,
    "xoxb-123456789012-abcdefABCDEF",
    "sk_live_" + "a1B2" * 6,
    "sk-proj-" + "a1B2" * 6,
    "AIza" + "a1B2c" * 7,
    "ya29." + "a1B2" * 6,
    "npm_" + "a1B2" * 9,
    "pypi-AgEI" + "a1B2" * 6,
    "hf_" + "a1B2" * 8,
    "SG." + "a1B2" * 8,
    "hvs." + "a1B2" * 8,
    "postgres://user:hunter2hunter2@db.example/app",
    "https://hooks.slack.example/services/T0/B0/XXXX",
    "password=hunter2hunter2",
    '{"password": "hunter2hunter2"}',
    '{\\"api_key\\":\\"hunter2hunter2\\"}',
    "https://x.example/?sig=hunter2hunter2&a=b",
]
NAMES = [
    "token", "access_token", "refreshToken", "API-Key", "apikey", "password", "Passwd", "secret", "clientSecret",
    "authorization", "Cookie", "otp", "one_time_code", "pin", "dsn", "DATABASE_URL", "connectionString",
    "private_key", "ssh-key", "session_id", "signature", "credentials", "passphrase", "webhook_url", "key",
]  # fmt: skip


def secret_of(shaped: str) -> str:
    """The part of an example that must not be seen."""
    return "hunter2hunter2" if "hunter2" in shaped else shaped


def percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


ENCODINGS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "sentence": lambda text: f"Please use {text} for this.",
    "percent": percent,
    "quoted": lambda text: quote(text, safe=""),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64url without padding": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "hex": lambda text: text.encode().hex(),
}


def shown(arguments: Mapping[str, Json], mode: Literal["digest", "full", "none"] = "full") -> str:
    return msgspec.json.encode(record_arguments(arguments, mode, key=KEY)).decode()


def test_nothing_is_recorded_if_nothing_is_to_be():
    assert record_arguments({"a": 1}, "none", key=KEY) == {"mode": "none"}


def test_a_digest_says_size_and_names_and_no_value():
    record = record_arguments({"title": "Hello", "body": "World"}, "digest", key=KEY)

    canonical = b'{"body":"World","title":"Hello"}'
    assert record == {
        "mode": "digest",
        "digest": hmac.new(KEY, canonical, hashlib.sha256).hexdigest(),
        "bytes": len(canonical),
        "names": ["body", "title"],
    }


def test_a_digest_does_not_depend_on_the_order_of_names():
    one = record_arguments({"a": 1, "b": {"c": 2, "d": 3}}, "digest", key=KEY)
    assert record_arguments({"b": {"d": 3, "c": 2}, "a": 1}, "digest", key=KEY) == one


def test_a_digest_depends_on_the_key():
    assert record_arguments({"otp": "123456"}, "digest", key=KEY) != record_arguments(
        {"otp": "123456"}, "digest", key=b"o" * 32
    )


def test_harmless_arguments_are_recorded_in_full_as_they_are():
    arguments = {
        "path": "/data/report.txt",
        "count": 3,
        "deep": [{"a": None, "b": True, "c": 1.5}],
        "sha": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "id": "123e4567-e89b-12d3-a456-426614174000",
        "text": "50 % of it, and a longer sentence with nothing in it; größer",
        "link": "https://example.com/a/b?page=2",
    }

    record = record_arguments(arguments, "full", key=KEY)

    assert (record["mode"], record["value"]) == ("full", arguments)


@pytest.mark.parametrize("shaped", SHAPED)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_value_with_the_form_of_a_credential_is_not_recorded(shaped: str, encoding: str):
    value = ENCODINGS[encoding](shaped)

    for mode in ("full", "digest"):
        text = shown({"body": value, "list": [{"x": value}]}, mode)
        assert secret_of(shaped) not in json.loads(text).__repr__()
        assert ENCODINGS[encoding](secret_of(shaped)) not in text


@pytest.mark.parametrize("name", NAMES)
def test_a_value_under_the_name_of_a_credential_is_not_recorded(name: str):
    text = shown({"headers": {name: "plain words"}, name: ["plain words", {"a": "plain words"}]})

    assert "plain words" not in text
    assert fingerprint(KEY, "plain words") in text


def test_a_number_under_the_name_of_a_credential_is_not_recorded():
    assert "493817" not in shown({"otp": 493817})


def test_that_there_is_no_credential_is_recorded():
    assert record_arguments({"token": None, "secret": True}, "full", key=KEY)["value"] == {
        "token": None,
        "secret": True,
    }


@pytest.mark.parametrize("mode", ["digest", "full"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_credential_that_is_used_as_a_name_is_not_recorded(mode: Literal["digest", "full"], encoding: str):
    name = ENCODINGS[encoding]("ghp_" + "a1B2" * 9)

    assert name not in shown({name: 1, "inner": {name: 1}}, mode)


def test_a_name_that_is_no_name_is_recorded_as_a_fingerprint():
    assert record_arguments({"plain words": 1}, "digest", key=KEY)["names"] == [fingerprint(KEY, "plain words")]


def test_at_most_64_names_are_recorded():
    names = record_arguments({f"n{number:03d}": 1 for number in range(100)}, "digest", key=KEY)["names"]

    assert names == [f"n{number:03d}" for number in range(64)]


def test_the_same_credential_has_the_same_fingerprint_in_one_deployment_only():
    assert fingerprint(KEY, "secret") == fingerprint(KEY, "secret")
    assert fingerprint(KEY, "secret") != fingerprint(b"o" * 32, "secret")


def test_only_the_credential_in_a_text_is_replaced():
    token = "ghp_" + "a1B2" * 9

    assert record_arguments({"t": f"use {token} now"}, "full", key=KEY)["value"] == {
        "t": f"use {fingerprint(KEY, token)} now"
    }


def test_more_than_the_limit_is_recorded_as_a_digest():
    record = record_arguments({"body": "x" * FULL_LIMIT}, "full", key=KEY)

    assert record["mode"] == "digest"
    assert "value" not in record


def test_what_lies_very_deep_is_recorded_as_a_fingerprint():
    items: Json = "plain words"
    members: Json = "plain words"
    for _ in range(200):
        items, members = [items], {"a": members}

    assert "plain words" not in shown({"a": items, "b": members})


@pytest.mark.parametrize("mode", ["digest", "full"])
def test_what_json_can_hold_and_utf_8_cannot_is_recorded(mode: Literal["digest", "full"]):
    shown({"\ud800": "\udfff", "n": 2**70, "t": ("a", "b")}, mode)


def test_frozen_mappings_and_sequences_are_recorded():
    class Frozen(dict[str, int]):
        pass

    from types import MappingProxyType  # noqa: PLC0415 - used here only

    frozen = MappingProxyType({"a": MappingProxyType({"b": (1, 2)}), "r": range(2)})
    assert record_arguments(frozen, "full", key=KEY)["value"] == {"a": {"b": [1, 2]}, "r": [0, 1]}
    assert record_arguments(Frozen(a=1), "digest", key=KEY)["names"] == ["a"]


def test_what_is_no_json_is_an_error():
    with pytest.raises(TypeError, match="object is no JSON value"):
        record_arguments({"a": object()}, "digest", key=KEY)  # pyright: ignore[reportArgumentType] - the point of the test


MARK = "my-rule:" + "0a" * 12


def spots(text: str) -> list[tuple[int, int, str]]:
    """Finds the word `hunter`."""
    return [(found.start(), found.end(), MARK) for found in re.finditer("hunter", text)]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("é hunter, and hunter", f"é fp:{MARK}, and fp:{MARK}"),
        ({"password": "hunter"}, {"password": f"fp:{MARK}"}),
        ({"Authorization": "Bearer hunter"}, {"Authorization": f"Bearer fp:{MARK}"}),
        ({"Authorization": "hunter2"}, {"Authorization": f"fp:{MARK}"}),
        ({"Authorization": "s3cret hunter"}, {"Authorization": f"fp:{MARK}"}),
        ("password = 'hunter' ok", f"password = 'fp:{MARK}' ok"),
        ("api_key=hunter%s3cret-rest", f"api_key=fp:{MARK}"),
        ("x-token=s3cret-hunter", f"x-fp:{MARK}"),
    ],
)
def test_what_is_found_is_marked_with_its_own_fingerprint(value: Any, shown: Any):
    assert redact_value([value], key=KEY, spots=spots) == [shown]


@pytest.mark.parametrize("rule", ["named-password", "named-token", "docker-config-auth", "seen"])
def test_a_mark_is_no_credential_whatever_its_rule_is_called(rule: str):
    """`named-password:…` has the form of an assignment."""
    mark = f"{rule}:{'0a' * 12}"

    def marks(text: str) -> list[tuple[int, int, str]]:
        return [(found.start(), found.end(), mark) for found in re.finditer("hunter", text)]

    text = "The password is hunter as of today, password=hunter"
    shown = f"The password is fp:{mark} as of today, password=fp:{mark}"
    assert redact_value(text, key=KEY, spots=marks) == shown
    assert concealed_with(marks, text) == shown


def test_what_holds_an_encoded_credential_besides_is_not_shown():
    text = f"hunter {base64.b64encode(SHAPED[0].encode()).decode()}"

    assert redact_value(text, key=KEY, spots=spots) == fingerprint(KEY, text)


def test_what_the_task_knows_is_not_shown_though_nothing_tells_it():
    arguments = {"a/b": ["say swordfish", "hunter"], "c": "fine"}
    held = {"/a~1b/0": [MARK], "/a~1b/1": [MARK]}

    assert record_arguments(arguments, "full", key=KEY, spots=spots, held=held)["value"] == {
        "a/b": [f"fp:{MARK}", f"fp:{MARK}"],
        "c": "fine",
    }


@pytest.mark.parametrize("held", [None, {"": [MARK]}])
def test_what_is_in_pieces_or_was_not_looked_at_whole_is_recorded_as_a_digest(held: dict[str, list[str]] | None):
    assert record_arguments({"a": "sword", "b": "fish"}, "full", key=KEY, held=held)["mode"] == "digest"


@pytest.mark.parametrize("shaped", SHAPED)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_callers_words_are_concealed_where_they_hold_a_credential(shaped: str, encoding: str):
    assert ENCODINGS[encoding](secret_of(shaped)) not in conceal_text(ENCODINGS[encoding](shaped), limit=4096)


@pytest.mark.parametrize(
    "text",
    [
        "github/create_issue",
        "docs.example.com/search_documents",
        "risk/task-management-system_overview",
        "disk-usage-analyser/list_all_of_the_disks",
        "files/file:///data/reports/2026/monkeys.configuration.txt",
        "fs.promises.readFileWithOptions",
        "key-performance-indicators/list",
        "patterns/compat-na-something-very-long-indeed",
        "db/pk_users_account_identifier",
        "claude-code 2.1.0",
        "Too many systems are touched by this task.",
        "The token has expired.",
        "3f1c2a7e9b4d4c5e8f6a1b2c3d4e5f60",
        "123e4567-e89b-12d3-a456-426614174000",
    ],
)
def test_ordinary_names_and_messages_are_not_concealed(text: str):
    assert conceal_text(text) == text


def test_long_words_are_concealed_like_short_ones():
    token = "ghp_" + "a1B2" * 9

    assert conceal_text("x " * 100 + token, limit=4096) == "x " * 100 + "[concealed]"


def test_a_callers_words_are_cut_and_made_encodable():
    assert conceal_text("x" * 1000) == "x" * 256
    assert conceal_text("a\ud800") == "a\\ud800"


def test_a_credential_that_the_cut_would_halve_is_concealed():
    text = conceal_text("x" * 240 + " ghp_" + "a1B2" * 9)

    assert "a1B2" not in text


PLAIN: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def hidden(draw: st.DrawFn) -> tuple[str, dict[str, Json]]:
    """A secret, and arguments that hold it somewhere: by form, in any encoding, or by name."""
    if draw(st.booleans()):
        body = draw(st.text("abcdefghijkmnpqrstuvwxyzABCDEFGH23456789", min_size=36, max_size=60))
        secret = draw(st.sampled_from(["ghp_", "glpat-", "sk_live_", "npm_", "Bearer ", "hvs."])) + body
        seen = ENCODINGS[draw(st.sampled_from([*ENCODINGS]))](secret)
        value: Json = draw(st.sampled_from(["", "see: "])) + seen
    else:
        secret = seen = draw(st.text("abcdefghijkmnpqrstuvwxyz ", min_size=20, max_size=40))
        value = {draw(st.sampled_from(NAMES)): draw(st.sampled_from([secret, [secret], {"v": secret}]))}
    for _ in range(draw(st.integers(0, 3))):
        value = [draw(PLAIN), value] if draw(st.booleans()) else {"inner": value, "other": draw(PLAIN)}
    return seen, {"argument": value, "more": draw(PLAIN)}


@given(hidden(), st.sampled_from(["digest", "full", "none"]))
def test_no_secret_is_ever_recorded(case: tuple[str, dict[str, Json]], mode: Literal["digest", "full", "none"]):
    seen, arguments = case

    assert seen not in shown(arguments, mode)


@given(st.dictionaries(st.text(max_size=20), PLAIN, max_size=4), st.sampled_from(["digest", "full"]))
def test_any_arguments_have_a_record(arguments: dict[str, Json], mode: Literal["digest", "full"]):
    shown(arguments, mode)
