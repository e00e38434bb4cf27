from __future__ import annotations

import base64
import re
from random import Random
from urllib.parse import unquote

import pytest

from gateway.surfaces.replay.secrets import UnknownSecret, escape_braces, fill, secret


def test_a_name_is_the_same_value_throughout_a_trace_and_another_in_another():
    assert secret("one", "github") == secret("one", "github")
    assert secret("one", "github") != secret("two", "github")
    assert secret("one", "github") != secret("one", "github-2")


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("aws", r"AKIA[A-Z2-7]{16}"),
        ("aws-secret", r"[A-Za-z0-9+/]{40}"),
        ("github", r"ghp_[A-Za-z0-9]{36}"),
        ("github-of-ana", r"ghp_[A-Za-z0-9]{36}"),
        ("google", r"ya29\.[A-Za-z0-9_-]{160}"),
        ("npm", r"npm_[A-Za-z0-9]{36}"),
        ("openai", r"sk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}"),
        ("otp", r"[0-9]{6}"),
        ("password", r"\S{18}"),
        ("pypi", r"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{150}"),
        ("railway", r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}"),
        ("slack", r"xoxb-[0-9]{12}-[0-9]{12}-[A-Za-z0-9]{24}"),
        ("stripe", r"sk_live_[A-Za-z0-9]{24}"),
        ("supabase", r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]{43}"),
        ("vercel", r"[A-Za-z0-9]{24}"),
        ("anything", r"[A-Za-z0-9]{40}"),
    ],
)
def test_a_secret_has_the_form_of_its_kind(name: str, form: str):
    assert re.fullmatch(form, secret("trace", name))


def test_a_private_key_is_a_pem_block():
    lines = secret("trace", "pem").splitlines()

    assert (lines[0], lines[-1]) == ("-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----")
    assert base64.b64decode("".join(lines[1:-1])).startswith(b"openssh-key-v1\0")


def test_places_are_filled_wherever_they_stand():
    value = secret("t", "aws")

    assert fill({"a": ["x {{secret:aws}} y", 1, None], "b": True}, "t") == {"a": [f"x {value} y", 1, None], "b": True}


def test_the_forms_of_a_secret_lead_back_to_it():
    value = secret("t", "github")

    assert base64.b64decode(str(fill("{{secret:github:base64}}", "t"))).decode() == value
    assert base64.urlsafe_b64decode(f"{fill('{{secret:github:base64url}}', 't')}==").decode() == value
    assert unquote(str(fill("{{secret:github:percent}}", "t"))) == value
    assert bytes.fromhex(str(fill("{{secret:github:hex}}", "t"))).decode() == value
    assert fill("{{secret:github:half1}}{{secret:github:half2}}", "t") == value


@pytest.mark.parametrize(
    "text",
    [
        "{{secret:aws:rot13}}", "{{secret:AWS}}", "{{secret:}}", "{{ secret:aws }}", "{{secret", "{{secrets.aws}}", "{{ secret.aws }}",
        "{{secret_key}}", "{{\tsecret:aws}}", "{{\nsecret", "x{{{{ secret:aws }}", "${{ secret:aws }}", "${{secrets:aws}}",
        "{{secret:aws}}{{secret aws}}", "{{braces}}{{ secret }}",
    ],
)  # fmt: skip
def test_a_place_that_cannot_be_filled_is_refused(text: str):
    with pytest.raises(UnknownSecret, match=r"form|write secrets like"):
        fill(text, "t")


def test_other_braces_stay_as_they_are():
    assert fill("{{ user.name }}", "t") == "{{ user.name }}"


WORKFLOWS = (
    "env:\n  TOKEN: ${{ secrets.GITHUB_TOKEN }}\n", "${{secrets.A}}", "${{ secrets['A'] }}", "${{ secrets . A }}", "${{\n  secrets.A }}",
    "if: ${{ github.ref == 'refs/heads/main' && secrets.A != '' }}", "${{ matrix.os }}", "{{ .Values.image }}", "{{{x}}}", "{{#if a}}", "{{}}",
    "}}{{", "{ {secret:aws} }", "{secret:aws}", "{{SECRET}}", "{{ Secret:aws }}",
)  # fmt: skip


@pytest.mark.parametrize("text", WORKFLOWS)
def test_recorded_workflows_and_templates_stay_as_they_are(text: str):
    assert fill(text, "t") == text


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("{{braces}}secret:aws}}", "{{secret:aws}}"),
        ("{{braces}} secret }}", "{{ secret }}"),
        ("${{braces}} secrets.A }}", "${{ secrets.A }}"),
        ("{{braces}}braces}}", "{{braces}}"),
        ("{{braces}}{{braces}}", "{{{{"),
        ("{{braces}}{x", "{{{x"),
        ("{{ braces }}", "{{ braces }}"),
        ("{{braces", "{{braces"),
    ],
)
def test_the_escape_is_two_braces(text: str, meant: str):
    assert fill(text, "t") == meant


def test_an_escaped_text_comes_back_as_it_was_whatever_it_holds():
    random = Random(10)
    parts = [
        "{",
        "{{",
        "}}",
        "}",
        "$",
        " ",
        "\n",
        "secret",
        "secrets",
        ":",
        "aws",
        "braces",
        "{{braces}}",
        "{{secret:aws}}",
        ".",
        "é",
        "fp:",
    ]
    for _ in range(20_000):
        text = "".join(random.choices(parts, k=random.randint(0, 9)))
        assert fill(escape_braces(text), "t") == text
        # A place beside it is still a place.
        assert (
            fill(f"{escape_braces(text)}{{{{secret:aws}}}}{escape_braces(text)}", "t")
            == f"{text}{secret('t', 'aws')}{text}"
        )
