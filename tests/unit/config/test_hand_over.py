"""The settings of hand-overs to stdio upstreams."""

from __future__ import annotations

import pytest

from gateway.config.authority import LeasedCredential
from tests.unit.configuring import parse, problems

BROKER = "brokers: {bao: {kind: openbao, url: 'unix:///run/bao.sock', auth: {token: '${PATH}'}, policies: [tasks]}}\n"


def upstream(
    hand_over: str, *, credential: str = "kind: openbao, broker: bao, path: a/b", more: str = "command: [x]"
) -> str:
    given = f", hand_over: {hand_over}" if hand_over else ""
    return f"{BROKER}upstreams: {{crm: {{{more}, audience: crm, credential: {{{credential}{given}}}}}}}"


@pytest.mark.parametrize(
    ("hand_over", "names", "may_renew"),
    [
        ("{env: TOKEN}", {"TOKEN"}, False),
        ("{fd: 3}", set[str](), False),
        ("{file: PGPASSFILE}", {"PGPASSFILE"}, True),
        ("{file: PGSERVICEFILE}", {"PGSERVICEFILE", "PGSERVICE"}, True),
        ("{file: PGPASSFILE, variables: {PGUSER: '{username}'}}", {"PGPASSFILE", "PGUSER"}, False),
        ("{variables: {PGUSER: '{username}', PGPASSWORD: '{password}'}}", {"PGUSER", "PGPASSWORD"}, False),
    ],
)
def test_a_process_gets_its_credential_in_one_way(hand_over: str, names: set[str], *, may_renew: bool):
    credential = parse(upstream(hand_over)).upstreams["crm"].credential
    assert isinstance(credential, LeasedCredential)
    assert credential.hand_over is not None
    assert set(credential.hand_over.names()) == names
    assert credential.hand_over.may_renew is may_renew


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (upstream(""), "a stdio upstream has no headers; write how it gets the credential: hand_over: {file: NAME}"),
        (
            upstream("{env: A}", more="url: 'https://crm.example/mcp'"),
            "an HTTP upstream gets a header, so remove hand_over",
        ),
        (upstream("{env: A, file: B}"), "give one of env, file, fd and aws_container"),
        (upstream("{}"), "give one of env, file, fd and aws_container"),
        (upstream("{env: 'A=B'}"), "hand_over.env"),
        (upstream("{fd: 2}"), "hand_over.fd"),
        (upstream("{env: A, variables: {A: '{value}'}}"), "the variable A is there twice"),
        (upstream("{env: A, form: json, template: '{value}'}"), "give either form or template"),
        (upstream("{env: A, template: 'no field'}"), "it has no field, so it carries no credential"),
        (upstream("{variables: {A: '{value}'}, form: json}"), "form and template are for env, file and fd"),
        (
            upstream(
                "",
                credential="kind: aws_sts, broker: bao, role: 'arn:aws:iam::123456789012:role/a'",
                more="url: 'https://x/mcp'",
            ),
            "a session of AWS signs requests, so no header carries it",
        ),
        (upstream("{env: A}", credential="kind: aws_sts, broker: bao, role: admin"), "credential.role"),
        (upstream("{aws_container: true}"), "hand_over.aws_container carries sessions of AWS alone"),
        (upstream("{env: A}", credential="kind: gateway"), "write bind: task"),
        (
            upstream("{env: A}", more="command: [x], env: {A: '${PATH}'}"),
            "hand_over sets the variable A, and env does too",
        ),
    ],
)
def test_what_cannot_work_is_named(text: str, problem: str):
    found = problems(text)
    assert any(problem in item for item in found), found


def test_a_token_of_the_gateway_for_a_task_can_be_handed_over():
    assert parse(upstream("{env: A}", credential="kind: gateway, bind: task")).upstreams["crm"].command == ("x",)
