from __future__ import annotations

import pytest

from gateway.inspection.credentials.named import Strength, is_placeholder, is_plausible, strength


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("password", "password"),
        ("DB_PASSWORD", "password"),
        ("userPwd", "password"),
        ("passphrase", "password"),
        ("access_token", "key"),
        ("X-Api-Key", "key"),
        ("clientSecret", "key"),
        ("AWS_SECRET_ACCESS_KEY", "key"),
        ("Authorization", "token"),
        ("DATABASE_URL", "token"),
        ("SENTRY_DSN", "token"),
        ("refreshToken", "key"),
        ("webhook_url", "token"),
        ("otp", "code"),
        ("SMTP_PASS", "pass"),
        ("pass", "pass"),
        ("become_pass", "pass"),
        ("wifiPsk", "pass"),
        ("card_pin", "pin"),
        ("API key", "key"),
        ("Passwort", "password"),
        ("mot de passe", "password"),
        ("verificationCode", "code"),
        ("mfa_code", "code"),
    ],
)
def test_names_of_credentials(name: str, kind: str):
    assert strength(name) == kind


@pytest.mark.parametrize(
    "name",
    [
        "name", "key", "id", "nextPageToken", "page_token", "continuationToken", "nextCursor", "syncToken", "progressToken",
        "max_tokens", "completion_tokens", "tokens", "token_type", "tokenizer", "token_count", "eos_token", "public_key",
        "publishable_key", "anon_key", "password_hash", "passwordPolicy", "secret_name", "token_url", "auth_method",
        "tokenExpiresAt", "password_reset_at", "secretary", "csrf_token", "key_id", "api_key_id", "cookie_domain", "credentials",
    ],
)  # fmt: skip
def test_names_of_other_things(name: str):
    assert strength(name) is None


@pytest.mark.parametrize("value", ["hunter2x", "tr0ub4dor&3", "correct horse 9", "lettersonly", "P@ss;w,rd9"])
def test_plausible_passwords(value: str):
    assert is_plausible(value, "password")


@pytest.mark.parametrize(
    "value",
    [
        "short",
        "string",
        "required",
        "must be at least 8 characters long please",
        "no digits here",
        "********",
        "changeme",
        "aaaaaaaa",
    ],
)
def test_implausible_passwords(value: str):
    assert not is_plausible(value, "password")


def test_prose_asks_for_more():
    assert is_plausible("hunter2x", "password", structured=False)
    assert is_plausible("xkqzvbtwpr", "password", structured=False)
    assert is_plausible("48213377", "password", structured=False)
    assert not is_plausible("lettersonly", "password", structured=False)
    assert not is_plausible("required", "password", structured=False)
    assert not is_plausible("correct horse 9", "password", structured=False)


@pytest.mark.parametrize("value", ["abc123def456", "98467102938475610293", "123e4567-e89b-12d3-a456-426614174000"])
def test_plausible_tokens(value: str):
    assert is_plausible(value, "token")


@pytest.mark.parametrize(
    "value",
    [
        "abc1",
        "expired",
        "getTheToken",
        "access.token",
        "some words 9",
        "128000",
        "lettersonly-all",
        "x" * 5000 + "1",
        "1212121212",
    ],
)
def test_implausible_tokens(value: str):
    assert not is_plausible(value, "token")


@pytest.mark.parametrize(
    ("value", "is_code"),
    [
        ("493817", True),
        ("493-817", True),
        ("A1B2C3", True),
        ("4938", True),
        ("493817205164", True),
        ("4938172051649", False),
        ("49381!", False),
        ("123", False),
        ("a1b2", False),
        ("abcdef", False),
        ("493817493817493817", False),
    ],
)
def test_codes(value: str, is_code: bool):  # noqa: FBT001 - a column of the table
    assert is_plausible(value, "code") is is_code


@pytest.mark.parametrize(
    ("kind", "value", "may_be"),
    [
        ("password", "hunt2r", True),
        ("password", "hun2r", False),
        ("password", "my dog is 7 now", False),
        ("password", "my dog is 7", True),
        ("token", "84029571638402957163", True),
        ("token", "8402957163840295", False),
    ],
)
def test_how_long_a_value_has_to_be_is_said_by_its_kind(kind: Strength, value: str, may_be: bool):  # noqa: FBT001 - a column
    assert is_plausible(value, kind) is may_be


@pytest.mark.parametrize(
    "value",
    [
        "<token>", "${API_KEY}", "$TOKEN", "%TOKEN%", "{{ secret }}", "process.env.TOKEN", "os.environ['X']", "secrets.X", "xxxx1234xxxx", "********",
        "your-api-key-1", "changeme123", "example-123", "arn:aws:secretsmanager:eu:1:x", "/run/secrets/x1", "op://vault/item9", "vault:kv/a1",
        "https://example.com/1", "[REDACTED]", "getToken(1)", "00000000", "aaaa1111", "cred://t/1", "settings.SECRET_1", "null", "file:/x/1",
    ],
)  # fmt: skip
def test_placeholders_and_references(value: str):
    assert is_placeholder(value)


@pytest.mark.parametrize("value", ["abc123def456", "hunter2x", "Zm9vYmFyYmF6", "123e4567-e89b-12d3-a456-426614174000"])
def test_values_are_no_placeholders(value: str):
    assert not is_placeholder(value)


REFERENCES = [
    "${{ secrets.X }}", "${{secrets.NPM_TOKEN_V2}}", "${{ github.ref == 'x' && secrets.PROD_KEY1 || secrets.TEST_KEY1 }}", "${VAR}", "${VAR_1}",
    "${DB_PASSWORD:-}", "${DB_PASSWORD:-postgres}", "${DB_PASSWORD:?must be set}", "$VAR", "$DB_PASS1", "$dbPassword", "$env:GITHUB_TOKEN1",
    "$(cat /run/secrets/db_password1)", "{{ var }}", "{{ vault_db_password2 }}", "{{ .Values.auth.password }}", "{{ lookup('env', 'DB_PASS1') }}",
    "<your-token>", "<YOUR_API_KEY_1>", "%DB_PASS1%", "#{Octopus.Password1}", "[[ .Secret1 ]]", "<%= ENV['TOKEN1'] %>", "!Ref DBPassword1",
    "@Microsoft.KeyVault(SecretUri=https://v.example/secrets/x1)", "{{resolve:secretsmanager:MySecret:SecretString:password1}}",
]  # fmt: skip
"""References of workflows, shells, templates and clouds."""
GENERATED = "k7Qz93mW2tRx8bLn"


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_reference_is_no_credential_and_hides_none_beside_it(reference: str):
    assert is_placeholder(reference)
    assert not any(is_plausible(reference, kind) for kind in ("password", "pass", "token", "key"))
    for value in (
        f"{reference}{GENERATED}",
        f"{reference}-{GENERATED}",
        f"{GENERATED}{reference}",
        f"{reference}_{GENERATED}_",
    ):
        assert all(is_plausible(value, kind) for kind in ("password", "pass", "token", "key")), value


@pytest.mark.parametrize(
    "value",
    [
        f"${{DB_PASSWORD:-{GENERATED}}}", f"${{X={GENERATED}}}", f"${{{{ secrets.X || '{GENERATED}' }}}}", f'{{{{ x | default("{GENERATED}") }}}}',
        f"${GENERATED}", f"!{GENERATED}", f"[{GENERATED}", f"<b>{GENERATED}</b>",
    ],
)  # fmt: skip
def test_a_generated_value_in_a_reference_or_behind_its_first_mark_is_a_credential(value: str):
    assert is_plausible(value, "password")
    assert not is_placeholder(value)


def test_a_long_value_with_such_a_word_in_it_is_none():
    assert not is_placeholder("a1B2" + "example" + "q9W8e7R6t5Y4u3I2o1P0" * 8)


def test_a_pin_is_of_digits_alone():
    assert is_plausible("4821", "pin")
    assert is_plausible("482133774821", "pin")
    assert not is_plausible("17", "pin")
    assert not is_plausible("A1B2C3", "pin")
    assert not is_plausible("4821337748213", "pin")
