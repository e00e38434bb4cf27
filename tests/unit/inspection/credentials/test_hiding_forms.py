"""Each form in which text hides a password or key is found in arguments and in results, and no text of the same shape is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.finding import Finding
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.stream import Scanner, spots
from tests.held_out_forms import HELD_OUT_FORMS
from tests.hiding_forms import HIDING_FORMS
from tests.secret_forms import SecretForm
from tests.unit.inspection.credentials.conftest import RULES
from tests.unseen_forms import UNSEEN_FORMS

DETECTOR = Detector(RULES, Fingerprints(b"k" * 32))
BEYOND = frozenset({"cookies of a browser", "terraform output -json", "systemd LoadCredential text"})
"""Forms that are out of reach."""
FORMS = [form for form in (*HIDING_FORMS, *HELD_OUT_FORMS, *UNSEEN_FORMS) if form.name not in BEYOND]
_HOST = re.compile(r"https?://([a-z0-9.-]+)")


def surrounded(text: str) -> str:
    return f"Page 3.\n{text}\nEnd."


def in_result(text: str) -> tuple[Finding, ...]:
    """Return the credentials in a result that arrives whole."""
    return Scanner(DETECTOR).finish(as_result(text))


def in_pieces(text: str) -> tuple[Finding, ...]:
    """Return the credentials in a result that arrives in pieces of seven bytes."""
    data, scanner = as_result(text), Scanner(DETECTOR)
    found = [finding for at in range(0, len(data), 7) for finding in scanner.feed(data[at : at + 7])]
    return (*found, *scanner.finish())


def in_arguments(text: str) -> tuple[Finding, ...]:
    return DETECTOR.inspect({"body": text}, {}).findings


def as_result(text: str) -> bytes:
    return json.dumps({"content": [{"type": "text", "text": text}]}).encode()


PLACES: dict[str, Callable[[str], tuple[Finding, ...]]] = {
    "result": in_result,
    "result in pieces": in_pieces,
    "arguments": in_arguments,
    "result, surrounded": lambda text: in_result(surrounded(text)),
    "pieces, surrounded": lambda text: in_pieces(surrounded(text)),
    "arguments, surrounded": lambda text: in_arguments(surrounded(text)),
}


def has_secret(form: SecretForm, findings: tuple[Finding, ...]) -> bool:
    """Return whether the secret of a form is found. A signature in a link is known together with its host."""
    hosts = (None, *_HOST.findall(form.text))
    return not {DETECTOR.fingerprints.of(form.secret, host) for host in hosts}.isdisjoint(
        {finding.fingerprint for finding in findings}
    )


@pytest.mark.parametrize("place", PLACES)
def test_a_credential_is_found_in_each_form_that_hides_one(place: str):
    assert [form.name for form in FORMS if not has_secret(form, PLACES[place](form.text))] == []


@pytest.mark.parametrize("place", PLACES)
def test_a_text_of_the_shape_of_a_hiding_form_holds_none(place: str):
    assert [(form.name, found) for form in FORMS if (found := PLACES[place](form.benign))] == []


def kept_of(form: SecretForm) -> str:
    """Return a result with the text of a form after its credentials were cut out."""
    data = kept = as_result(form.text)
    for spot in reversed(spots(DETECTOR, data)):
        kept = kept[: spot.start] + kept[spot.end :]
    return json.dumps(json.loads(kept), ensure_ascii=False)


def test_what_is_concealed_of_a_form_is_its_credential():
    assert [form.name for form in FORMS if form.secret in kept_of(form)] == []


def test_there_are_enough_forms_that_hide_one():
    forms = (*HIDING_FORMS, *HELD_OUT_FORMS, *UNSEEN_FORMS)

    assert len({form.name for form in forms}) == len(forms) >= 230


NESTED = "hK7mQ2xv-Zp4T"


def nested(text: str, depth: int) -> str:
    """Return a text as a member of JSON, which is the text of a member, and so on."""
    for _ in range(depth):
        text = json.dumps({"body": text})
    return text


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize(
    "text",
    [
        f'{{"\\u0070assword": "{NESTED}"}}',
        f'{{"p\\u0061ssw\\u006frd": "{NESTED}"}}',
        '{"password": "' + "".join(f"\\u{ord(char):04x}" for char in NESTED) + '"}',
        "password: '" + "".join(f"\\x{ord(char):02x}" for char in NESTED) + "'",
        f"user   password\nada    {NESTED}\n",
        f"# the new admin password\n{NESTED}\n",
    ],
)
def test_escapes_and_lines_in_nested_json_hide_nothing(text: str, depth: int):
    name = DETECTOR.fingerprints.of(NESTED)
    document = nested(text, depth)

    for find in PLACES.values():
        assert name in {finding.fingerprint for finding in find(document)}


@pytest.mark.parametrize("depth", [0, 1])
def test_a_credential_in_escapes_is_concealed_where_it_stands(depth: int):
    written = "".join(f"\\u{ord(char):04x}" for char in NESTED)
    data = as_result(nested('{"a": "é\\n", "password": "' + written + '", "b": "\\u0062"}', depth))

    (spot,) = spots(DETECTOR, data)

    rest = (
        json.loads(data[: spot.start] + b"x" + data[spot.end :])["content"][0]["text"]
        .removeprefix("Page 3.\n")
        .removesuffix("\nEnd.")
    )
    for _ in range(depth):
        rest = json.loads(rest)["body"]
    assert json.loads(rest) == {"a": "é\n", "password": "x", "b": "b"}


@pytest.mark.parametrize("password", ["Pass@Word1", "hunter22", "Sommer2026", "letmein99"])
@pytest.mark.parametrize(
    "text",
    [
        "login --password {} --wait",
        "user  password  age\nada   {}  42d\n",
        '{{"value": "{}", "name": "DB_PASSWORD"}}',
        "ALTER ROLE ada PASSWORD '{}';",
        "echo {} | sudo -S ls",
        "<key>Password</key><string>{}</string>",
        'password = """{}"""',
    ],
)
def test_a_password_that_people_choose_is_found_too(text: str, password: str):
    found = {finding.fingerprint for finding in in_arguments(text.format(password))}

    assert DETECTOR.fingerprints.of(password) in found


@pytest.mark.parametrize(
    "text",
    [
        '    "TR31_E0_EMV_MKEY_APP",\n    "TR31_D0_DATA_ENCRYPTION_KEY",\n    "TR31_E1_EMV_MKEY_CONFIDENTIAL",\n',
        "    ApiGatewayApiKey,\n    ApiGatewayDomainNameV2,\n    ApiGatewayStageV2,\n",
        '    "HTTPPasswordMgr",\n    "pathname2url",\n    "url2pathname",\n',
        'cache["raw_password"] = raw_password\n',
        "self.master_user_password = cluster.master_user_password\n",
        ":param key: sealed with password\n    :return: bytes\n",
        "https://play.example/?code=MQAgKgFglgziMEMC2AHANgUxAEw0g9gHYwAuAT\n",
        "username, password = prefix.split(':', 1)\n",
        "def __init__(self, passwd: HTTPPasswordMgr | None = None) -> None: ...\n",
        "| Token | Meaning |\n|---|---|\n| T_OPEN_TAG | begins a script of version 2b |\n",
        "Options:\n  --password TEXT     Password of the user, 12 to 64 characters\n  --token TEXT        Token for v2\n",
        "password    the password of the account, see RFC2617\ntoken       an OAuth2 token\n",
    ],
)
def test_programs_and_their_manuals_hold_none(text: str):
    for find in PLACES.values():
        assert find(text) == ()
