from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway import config
from gateway.config import Configuration
from gateway.model.errors import ConfigurationError
from gateway.model.target import Effect, Role
from tests.unit.configuring import parse, problems


def test_a_path_may_name_the_home_folder_and_a_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("PART", "deep")

    assert parse("state: ~/x/${PART}").state == Path("/home/me/x/deep")


def test_settings_built_without_a_file_are_relative_to_the_working_folder():
    assert Configuration().state == Path("state")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0),
        ("listen: '[::1]:8080'", 0),
        ("public_url: https://gateway.example", 5),
        ("{listen: '0.0.0.0:8080', tls: {certificate: c.pem, key: k.pem}}", 5),
        ("{public_url: https://gateway.example, limits: {drain_delay: 0s}}", 0),
        ("limits: {drain_delay: 20s}", 20),
    ],
)
def test_a_stop_waits_for_a_balancer_where_other_machines_reach_the_gateway(text: str, seconds: int):
    assert parse(text or "{}").drain_delay == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("identity: [{kind: development}]", True),
        ("{identity: [{kind: development}], approvals: null}", False),
        ("{identity: [{kind: development, from: private}], listen: '0.0.0.0:8080'}", False),
        ("{identity: [{kind: development, from: private}], public_url: https://gateway.example}", False),
        ("identity: [{kind: anonymous}]", False),
        ("{}", False),
        ("approvals: {}", True),
    ],
)
def test_people_are_asked_without_a_section_where_the_own_account_may_answer(text: str, *, asks: bool):
    read = parse(text)

    assert (read.approvals is not None) == asks
    assert (read.with_changes(enforce=False).approvals is not None) == asks


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
        ("policy: {stale_after: 0s}", "policy.stale_after: it should be greater than 0"),
        ("policy: {stale_after: 3600}", "policy.stale_after: 3600 has no unit; write it like 3600s"),
        ("policy: {stale_after: 5s}", "policy: stale_after is shorter than 3 times reload"),
        ("policy: {stale_after: 1h, reload: 21m}", "policy: stale_after is shorter than 3 times reload"),
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


LOGIN = (
    "console: {login: {issuer: https://idp.example, client_id: console, roles: {}}}\ntls: {certificate: c, key: k}\n"
)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("console: {}", "http://127.0.0.1:8080/console/decisions"),
        (f"{LOGIN}public_url: https://gateway.example/", "https://gateway.example/console/decisions"),
        (f"{LOGIN}public_url: https://gateway.example\nlisten: 0.0.0.0:1", "https://gateway.example/console/decisions"),
        (f"{LOGIN}listen: 0.0.0.0:8080", None),
        (f"{LOGIN}listen: '[::]:8080'", None),
        ("listen: 127.0.0.1:1", None),
    ],
)
def test_decisions_have_an_address_where_people_can_open_their_page(text: str, url: str | None):
    assert parse(text).decisions_url == url


@pytest.mark.parametrize(("written", "read"), [("[crm, mail]", ("crm", "mail")), ("[]", ())])
def test_an_aggregator_names_what_is_behind_it_or_that_nobody_knows(written: str, read: tuple[str, ...]):
    settings = parse(f"upstreams: {{hub: {{command: [x], audience: hub, aggregates: {written}}}}}")

    assert settings.upstreams["hub"].aggregates == read


def test_an_aggregator_is_no_word():
    assert problems("upstreams: {hub: {command: [x], audience: hub, aggregates: crm}}") == (
        "upstreams.hub.aggregates: it should be a list; write each item after a dash",
    )


def test_an_aggregator_of_itself_alone_is_refused():
    """Nothing would count as reached behind it, and nothing would say that nobody knows what is."""
    assert problems("upstreams: {hub: {command: [x], audience: hub, aggregates: [hub]}}") == (
        "upstreams.hub: aggregates names only the upstream's own audience; name those behind it, or give [] if nobody knows",
    )
    parse("upstreams: {hub: {command: [x], audience: hub, aggregates: [hub, crm]}}")


def test_an_agent_is_no_trusted_upstream():
    assert parse("upstreams: {aide: {command: [x], audience: aide, agent: true}}").upstreams["aide"].agent
    assert problems("upstreams: {aide: {command: [x], audience: aide, agent: true, trust: trusted}}") == (
        "upstreams.aide: an agent may answer with a stranger's text; leave trust out, or agent",
    )


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


def test_a_policy_is_refused_for_its_age_only_if_that_is_set():
    assert parse("{}").policy.stale_after is None
    assert parse("policy: {stale_after: 6s}").policy.stale_after == timedelta(seconds=6)


OBSERVED = "upstreams: {a: {url: 'https://x/', audience: a}, b: {url: 'https://y/', audience: b, enforce: true}}"
TOKENS = "identity: [{kind: jwt, issuer: 'https://idp.example'}]\npublic_url: https://gateway.example"
DATE = "observe_until: 2026-12-15T00:00:00Z"


def test_observe_mode_is_for_the_upstreams_without_their_own_word():
    later = "enforce: false, observe_until: 2026-12-16T00:00:00+00:00"

    assert parse(OBSERVED).observed == {}
    assert parse(f"enforce: false\n{OBSERVED}").observed == {"a": float("inf")}
    assert parse(f"enforce: false\n{DATE}\n{OBSERVED}").observed == {"a": 1797292800.0}
    assert parse(f"{OBSERVED.replace('enforce: true', later)}").observed == {"b": 1797292800.0 + 86400}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"enforce: false\n{TOKENS}\n{OBSERVED}", "give observe_until a date"),
        (f"{DATE}\n{OBSERVED}", "add enforce: false, or remove it"),
        (OBSERVED.replace("enforce: true", DATE), "upstreams.b.observe_until: the upstream is enforced"),
        (f"enforce: false\nobserve_until: 2026-12-15T00:00:00\n{OBSERVED}", "observe_until"),
    ],
)
def test_an_end_of_observe_mode_that_is_missing_or_ends_nothing_is_named(text: str, said: str):
    assert said in problems(text)[0]


def test_a_public_gateway_may_observe_until_a_date():
    assert parse(f"enforce: false\n{DATE}\n{TOKENS}\n{OBSERVED}").observed == {"a": 1797292800.0}
