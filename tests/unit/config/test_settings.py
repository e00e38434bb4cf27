from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config
from gateway.config import Configuration, OpaEngine
from gateway.errors import ConfigurationError
from gateway.model.target import Effect, Role
from tests.unit.configuring import parse, problems

# --- the file ----------------------------------------------------------------------------------------


def test_an_empty_file_is_a_configuration_of_defaults():
    settings = parse("")

    assert settings == parse("{}")
    assert (settings.listen, settings.identity, settings.upstreams) == ("127.0.0.1:8080", (), {})
    assert settings.limits.request_bytes == 4 * 2**20


def test_relative_paths_are_relative_to_the_file(tmp_path: Path):
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "policy: {path: rego}\njournal: {path: /var/journal}\nupstreams: {a: {command: [x], audience: a, cwd: work}}"
    )
    settings = config.load(path)

    assert settings.state == tmp_path / "state"
    assert settings.policy.path == tmp_path / "rego"
    assert settings.catalogue.lock == tmp_path / "catalogue.lock"
    assert settings.journal.path == Path("/var/journal")
    assert settings.upstreams["a"].cwd == tmp_path / "work"


def test_paths_in_defaults_are_relative_to_the_file_also_in_sections_that_are_left_out(tmp_path: Path):
    assert parse("", tmp_path).journal.path == tmp_path / "state/journal"
    assert parse("journal: {fsync: always}", tmp_path).journal.path == tmp_path / "state/journal"


def test_a_path_may_name_the_home_folder_and_a_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("PART", "deep")

    assert parse("state: ~/x/${PART}").state == Path("/home/me/x/deep")


def test_settings_built_without_a_file_are_relative_to_the_working_folder():
    assert Configuration().state == Path("state")


def test_a_file_that_is_not_there_names_the_remedy(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="there is no configuration file") as raised:
        config.load(tmp_path / "gateway.yaml")

    assert "opagate init" in raised.value.remedy


@pytest.mark.parametrize(
    ("content", "said"), [(None, "gateway.yaml cannot be read: Is a directory$"), (b"\xff\xfe\x00", "it is not UTF-8$")]
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None, said: str):
    path = tmp_path / "gateway.yaml"
    path.mkdir() if content is None else path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=said) as raised:
        config.load(path)

    assert raised.value.remedy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listen: 1\nlisten: 2", r"line 2, column 1: the key 'listen' is given twice"),
        ("upstreams:\n  a: {url: x, url: y}", r"line 2, column 15: the key 'url' is given twice"),
        ("a: [", r"line 2, column 1: not YAML"),
        ("? [a]\n: 1", r"line 1, column 3: found unhashable key"),
        ("listen: x\nuntil: 2020-13-01", r"line 2, column 8: it is no value; put it in quotes if it is text"),
        ("upstreams:\n  a: &a {url: x}\n  b: *a", r"line 3, column 6: aliases are not read"),
    ],
)
def test_what_is_not_strict_yaml_is_told_with_its_place(text: str, said: str):
    with pytest.raises(ConfigurationError, match=rf"gateway\.yaml cannot be read: {said}") as raised:
        parse(text)

    assert "\n" not in raised.value.message


def test_a_list_is_no_configuration():
    with pytest.raises(ConfigurationError, match="not a mapping at its top level"):
        parse("- listen: 1")


def test_keys_that_are_not_text_are_told():
    assert problems("1: 2") == ("1: a key should be text; put it in quotes",)


# --- what cannot work --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("public_url: x", "public_url: it is not an http or https URL"),
        ("public_url: 'http://['", "public_url: it is not an http or https URL"),
        ("public_url: 'https://u:p@gw.example'", "public_url: it is not an http or https URL"),
        ("public_url: 'https://gw.example?a'", "public_url: it is not an http or https URL"),
        ("allowed_hosts: ['*']", "allowed_hosts.0: '*' is no host"),
        ("allowed_hosts: ['http://a']", "allowed_hosts.0: 'http://a' is no host"),
        ("allowed_origins: ['*']", "allowed_origins.0: '*' is no origin"),
        ("allowed_origins: [app.example]", "allowed_origins.0: 'app.example' is no origin"),
        ('state: "a\\0"', "state: it has a NUL character"),
        ('upstreams: {a: {command: ["a\\0"], audience: a}}', "upstreams.a.command.0: it has a NUL character"),
        (
            "upstreams: {a: {command: [a], audience: a, env: {'A=B': '${PATH}'}}}",
            "upstreams.a.env.A=B: 'A=B' is no name of an environment variable",
        ),
        ("identity: [{kind: jwt, issuer: 'urn:opagate:gateway'}]", "identity.0.issuer: issuers that begin with"),
        ("identity: [{kind: jwt, issuer: x, algorithms: []}]", "identity.0.algorithms: it is empty"),
        ("identity: [{kind: anonymous, id: ''}]", "identity.0.id: it is empty"),
        ("policy: {engine: {kind: opa, url: 'https://['}}", "policy.engine.url: it would carry decisions"),
        ("limits: {drain: 999999999d}", "limits.drain: '999999999d' is longer than a gateway can wait"),
    ],
)
def test_what_cannot_work_is_refused_with_what_would(text: str, said: str):
    (problem,) = problems(text)

    assert problem.startswith(said)
    assert len(problem) < 200


@pytest.mark.parametrize("value", ["", " ", "a\nb", "a\r"])
def test_a_credential_that_cannot_be_sent_is_refused(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("CREDENTIAL", value)
    credential = "credential: {kind: header, value: '${CREDENTIAL}'}"
    (problem,) = problems(f"upstreams: {{a: {{url: 'http://a/mcp', audience: a, {credential}}}}}")

    assert problem.startswith("upstreams.a.credential.value: it is empty, or has a line break")


@pytest.mark.parametrize("name", ["Host", "content-length", "a b", "x_y"])
def test_a_header_that_carries_no_credential_is_refused(name: str):
    credential = f"credential: {{kind: header, name: '{name}', value: '${{PATH}}'}}"
    (problem,) = problems(f"upstreams: {{a: {{url: 'http://a/mcp', audience: a, {credential}}}}}")

    assert problem.startswith("upstreams.a.credential.name: it is no header that takes a credential")


def test_a_long_value_is_not_repeated_whole():
    (problem,) = problems(f"limits: {{drain: {'x' * 5000}}}")

    assert len(problem) < 200


# --- loopback ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "localhost:1", "'[::1]:1'", "127.9.9.9:1"])
@pytest.mark.parametrize("kind", ["development", "anonymous"])
def test_development_and_anonymous_callers_are_for_loopback(listen: str, kind: str):
    assert parse(f"listen: {listen}\nidentity: [{{kind: {kind}}}]").loopback


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:1", "10.0.0.1:1", "'[::]:1'", "gateway.example:1", "localhost.evil.example:1"]
)
@pytest.mark.parametrize("kind", ["development", "anonymous"])
def test_development_and_anonymous_callers_are_refused_elsewhere(listen: str, kind: str):
    (said,) = problems(f"listen: {listen}\nidentity: [{{kind: {kind}}}]")

    assert said.startswith(f"the file: identity kind '{kind}' is for loopback only")


@pytest.mark.parametrize("kind", ["development", "anonymous"])
def test_development_and_anonymous_callers_are_refused_at_a_public_address(kind: str):
    """Whoever comes by a proxy on this machine looks like a caller from this machine."""
    (said,) = problems(f"public_url: https://gw.example\nidentity: [{{kind: {kind}}}]")

    assert said.startswith(
        f"the file: identity kind '{kind}' is for loopback only, and public_url is 'https://gw.example'"
    )
    assert parse(f"public_url: http://localhost:9000\nidentity: [{{kind: {kind}}}]").loopback


@pytest.mark.parametrize("url", ["https://x/", "http://127.0.0.1:1/", "http://localhost/", "http://[::1]:1/"])
def test_keys_and_decisions_travel_over_tls_or_loopback(url: str):
    assert parse(f"identity: [{{kind: jwt, issuer: x, jwks: '{url}'}}]").identity
    engine = parse(f"policy: {{engine: {{kind: opa, url: '{url}'}}}}").policy.engine
    assert isinstance(engine, OpaEngine)
    assert engine.url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://x/",
        "http://localhost:1@evil.example/",
        "http://127.0.0.1@evil.example/",
        "ftp://localhost/",
        "http://[x/",
        "http://",
    ],
)
def test_keys_and_decisions_do_not_travel_openly(url: str):
    assert problems(f"identity: [{{kind: jwt, issuer: x, jwks: '{url}'}}]")[0].startswith(
        "identity.0.jwks: it is no place for keys"
    )
    assert problems(f"policy: {{engine: {{kind: opa, url: '{url}'}}}}")[0].startswith(
        "policy.engine.url: it would carry decisions"
    )


def test_keys_may_come_from_a_file_and_decisions_from_a_socket(tmp_path: Path):
    (identity,) = parse("identity: [{kind: jwt, issuer: x, jwks: 'file:keys.json'}]", tmp_path).identity
    assert identity.kind == "jwt"
    assert identity.jwks == f"file:{tmp_path / 'keys.json'}"
    assert parse("policy: {engine: {kind: opa, url: 'unix:///run/opa.sock'}}").policy.engine.kind == "opa"


def test_what_is_no_place_for_keys_at_all_is_refused():
    assert problems("identity: [{kind: jwt, issuer: x, jwks: 5}]") == (
        "identity.0.jwks: it should be text; put it in quotes",
    )


# --- single rules ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("upstreams: {a: {audience: x}}", "upstreams.a: give either url (streamable HTTP) or command (stdio)"),
        ("upstreams: {a: {url: 'https://x/', command: [x], audience: x}}", "upstreams.a: give either url"),
        ("upstreams: {a: {command: [], audience: x}}", "upstreams.a: command is empty"),
        ("upstreams: {a: {url: 'ws://x/', audience: x}}", "upstreams.a: url is not an http or https URL"),
        (
            "upstreams: {a: {command: [x], audience: x, credential: {kind: header, value: '${PATH}'}}}",
            "upstreams.a: a stdio upstream has no headers",
        ),
        ("upstreams: {A: {command: [x], audience: x}}", "upstreams: 'A' is not an upstream name"),
        (
            "upstreams: {a: {command: [x], audience: x, tools: {t: {roles: {to: content}}}}}",
            "upstreams.a.tools.t.roles: 'to' is not a JSON pointer",
        ),
        (
            "identity: [{kind: jwt, issuer: x, algorithms: [HS256]}]",
            "identity.0.algorithms: 'HS256' is not an accepted signature algorithm",
        ),
        (
            "identity: [{kind: spiffe, trust_domain: d, bundle: 'file:b', x509: true}]",
            "the file: identity kind 'spiffe' with x509 needs tls.client_ca",
        ),
        (
            "{tls: {certificate: c, key: k}, identity: [{kind: spiffe, trust_domain: d, bundle: 'file:b', x509: true}]}",
            "the file: identity kind 'spiffe' with x509 needs tls.client_ca",
        ),
        ("history: {tasks: 0}", "history.tasks: it should be greater than 0"),
        ("history: {tasks_per_caller: -1}", "history.tasks_per_caller: it should be greater than 0"),
        ("state: 5", "state: it should be a path; put it in quotes"),
        ("listen: nowhere", "listen: it is not an address"),
        ("listen: '127.0.0.1:99999'", "listen: it is not an address"),
        ("listen: '127.0.0.1:²'", "listen: it is not an address"),
    ],
)
def test_a_rule_that_is_broken_is_told(text: str, said: str):
    assert [item.startswith(said) for item in problems(text)] == [True], problems(text)


def test_labels_and_addresses_are_read():
    settings = parse(
        "listen: '[::1]:9000'\ntls: {certificate: c, key: k, client_ca: a}\nupstreams: {a: {command: [x], audience: x,"
        " tools: {'send_*': {effect: write, roles: {/to: destination}}}}}\n"
        "identity: [{kind: spiffe, trust_domain: d, bundle: 'file:b', x509: true}]"
    )
    labels = settings.upstreams["a"].tools["send_*"]

    assert (labels.effect, labels.roles) == (Effect.WRITE, {"/to": Role.DESTINATION})
    assert settings.upstreams["a"].aggregates is None
    assert (settings.host, settings.port, settings.base_url) == ("::1", 9000, "https://[::1]:9000")
    assert parse("public_url: https://gateway.example/").base_url == "https://gateway.example"
    assert parse("").base_url == "http://127.0.0.1:8080"


@pytest.mark.parametrize(("written", "read"), [("[crm, mail]", ("crm", "mail")), ("[]", ())])
def test_an_aggregator_names_what_is_behind_it_or_that_nobody_knows(written: str, read: tuple[str, ...]):
    settings = parse(f"upstreams: {{hub: {{command: [x], audience: hub, aggregates: {written}}}}}")

    assert settings.upstreams["hub"].aggregates == read


def test_an_aggregator_is_no_word():
    assert problems("upstreams: {hub: {command: [x], audience: hub, aggregates: crm}}") == (
        "upstreams.hub.aggregates: it should be a list; write each item after a dash",
    )


# --- suppressions --------------------------------------------------------------------------------------

SUPPRESSED = "inspection:\n  suppressions:\n    - {upstream: files, detector: named-password, until: 2026-12-31, reason: fixtures}\n"


def test_a_suppression_holds_until_the_end_of_its_last_day(tmp_path: Path):
    (rule,) = config.parse(SUPPRESSED, base=tmp_path).inspection.suppressions

    assert rule.ends == 1798761600.0  # 2027-01-01T00:00:00Z
    assert (rule.tool, rule.detector, rule.reason) == (None, "named-password", "fixtures")


@pytest.mark.parametrize(
    ("was", "instead", "problem"),
    [
        (", until: 2026-12-31", "", "inspection.suppressions.0.until: it is missing"),
        (", reason: fixtures", "", "inspection.suppressions.0.reason: it is missing"),
        ("reason: fixtures", "reason: ''", "inspection.suppressions.0.reason"),
        ("until: 2026-12-31", "until: never", "inspection.suppressions.0.until"),
        (", detector: named-password", "", "inspection.suppressions.0: it would cover everything of the upstream"),
        ("detector: named-password", "pointer: body", "inspection.suppressions.0: pointer is not a JSON pointer"),
        ("detector:", "detecter:", "there is no setting 'detecter'; did you mean 'detector'?"),
    ],
)
def test_a_suppression_without_an_end_a_reason_or_a_subject_is_refused(
    tmp_path: Path, was: str, instead: str, problem: str
):
    assert was in SUPPRESSED
    with pytest.raises(ConfigurationError) as refused:
        config.parse(SUPPRESSED.replace(was, instead), base=tmp_path)

    assert problem in refused.value.message
