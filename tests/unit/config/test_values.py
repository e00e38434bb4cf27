from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway import config
from gateway.config import Configuration, HeaderCredential
from gateway.config.values import is_loopback
from gateway.model.errors import ConfigurationError
from tests.unit.configuring import BASE, UPSTREAM, parse, problems

# --- sizes and durations -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "size"),
    [("4MiB", 4 * 2**20), ("512 KiB", 2**19), ("10kB", 10_000), ("3", 3), (7, 7), ("1GB", 10**9), ("9B", 9)],
)
def test_sizes(written: object, size: int):
    assert parse(f"limits: {{request_bytes: {written}}}").limits.request_bytes == size


@pytest.mark.parametrize("written", ["4Mb", "-1", "MiB", "1.5MiB", "0", "''", "[]"])
def test_what_is_no_size_is_refused(written: str):
    assert problems(f"limits: {{request_bytes: {written}}}")[0].startswith("limits.request_bytes: ")


@pytest.mark.parametrize(
    ("written", "seconds"), [("250ms", 0.25), ("5s", 5), ("1.5 m", 90), ("2h", 7200), ("1d", 86400)]
)
def test_durations(written: str, seconds: float):
    assert parse(f"limits: {{connect: {written}}}").limits.connect == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("5", "5 has no unit; write it like 5s"),
        ("5x", "'5x' is not a duration"),
        ("0s", "it should be greater than 0"),
        ("99999999999999d", "'99999999999999d' is longer than a gateway can wait"),
        ("[]", "it is not a duration; write it like 250ms, 5s or 10m"),
        (".inf", "it is not a duration; write it like 250ms, 5s or 10m"),
    ],
)
def test_what_is_no_duration_is_refused(written: str, said: str):
    assert problems(f"limits: {{connect: {written}}}")[0].startswith(f"limits.connect: {said}")


# --- secrets -----------------------------------------------------------------------------------------

MARK = "s3cret-marker"


def credential(value: str) -> str:
    return f"upstreams: {{a: {UPSTREAM}, credential: {{kind: header, value: {value}}}}}}}"


def revealed(settings: Configuration) -> str:
    found = settings.upstreams["a"].credential
    assert isinstance(found, HeaderCredential)
    return found.value.get_secret_value()


def test_a_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOKEN", MARK)
    settings = parse(credential("'${TOKEN}'"))

    assert revealed(settings) == MARK
    assert MARK not in repr(settings)


def test_a_secret_comes_from_a_file_beside_the_configuration(tmp_path: Path):
    (tmp_path / "token").write_text(f"{MARK}\n")

    assert revealed(parse(credential("file:token"), tmp_path)) == MARK


@pytest.mark.parametrize("value", [MARK, f"'Bearer ${{TOKEN}} {MARK}'", f"[{MARK}]", "42", "'${}'", "'$TOKEN'"])
def test_a_literal_secret_is_refused_and_not_shown(value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOKEN", MARK)
    (said,) = problems(credential(value))

    assert said.startswith("upstreams.a.credential.value: ")
    assert "${NAME}" in said
    assert MARK not in said


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TOKEN", raising=False)

    assert problems(credential("'${TOKEN}'")) == (
        "upstreams.a.credential.value: the environment variable TOKEN is not set",
    )


@pytest.mark.parametrize(
    ("value", "said"), [("'${TOKEN}'", "variable TOKEN is not set"), ("file:none", "none cannot be")]
)
def test_without_secrets_one_that_is_not_there_is_told_only_when_it_is_used(
    monkeypatch: pytest.MonkeyPatch, value: str, said: str
):
    monkeypatch.delenv("TOKEN", raising=False)
    settings = config.parse(credential(value), base=BASE, secrets=False)

    with pytest.raises(ConfigurationError, match=said):
        revealed(settings)


@pytest.mark.parametrize("value", [MARK, "42"])
def test_without_secrets_a_literal_one_is_refused_all_the_same(value: str):
    with pytest.raises(ConfigurationError, match=r"credential[.]value: a"):
        config.parse(credential(value), base=BASE, secrets=False)


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path):
    assert "token cannot be read: No such file" in problems(credential("file:token"), tmp_path)[0]

    (tmp_path / "token").write_bytes(b"\xff" + MARK.encode())
    assert problems(credential("file:token"), tmp_path)[0].endswith("token is not UTF-8")


@pytest.mark.parametrize(
    "text",
    [
        "upstreams: {a: {url: '${V}', audience: x}}",
        "policy: {engine: {kind: opa, url: '${V}'}}",
        "identity: [{kind: jwt, issuer: x, jwks: '${V}'}]",
        "listen: '${V}'",
    ],
)
def test_no_error_shows_what_came_from_the_environment(text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("V", f"ftp://user:{MARK}@host")

    assert MARK not in "".join(problems(text))


def test_text_takes_variables_in_its_midst(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOST", "mcp.example")

    assert (
        parse("upstreams: {a: {url: 'https://${HOST}/x', audience: x}}").upstreams["a"].url == "https://mcp.example/x"
    )
    assert parse("upstreams: {a: {command: [run, --host, '${HOST}'], audience: x}}").upstreams["a"].command == (
        "run",
        "--host",
        "mcp.example",
    )


# --- places ----------------------------------------------------------------------------------------


def test_loopback_addresses():
    for host in ("localhost", "127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        assert is_loopback(host)
    for host in ("10.0.0.1", "::ffff:10.0.0.1", "localhost.evil.example", "", "testclient", "0.0.0.0"):
        assert not is_loopback(host)


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        ("Bearer a-standing-token", ("a-standing-token",)),
        ("a-standing-token", ("a-standing-token",)),
        ("Basic dXNlcjphLXBhc3N3b3Jk", ("dXNlcjphLXBhc3N3b3Jk", "a-password")),
        ("Basic not-base64!", ("not-base64!",)),
        ("Bearer short", ()),
    ],
)
def test_a_fixed_header_names_the_texts_that_no_answer_may_show(
    monkeypatch: pytest.MonkeyPatch, value: str, secrets: tuple[str, ...]
):
    monkeypatch.setenv("HELD", value)

    assert HeaderCredential.model_validate({"kind": "header", "value": "${HELD}"}).secrets() == secrets
