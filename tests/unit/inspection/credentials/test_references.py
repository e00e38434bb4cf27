"""References to credentials in workflows, scripts and templates are none; a credential beside a reference is one."""

from __future__ import annotations

import json

import pytest

from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.stream import Scanner

WORKFLOW = """\
env:
  TOKEN: ${{ secrets.X }}
  NODE_AUTH_TOKEN: ${{secrets.NPM_TOKEN_V2}}
  DB_PASSWORD: "${{ secrets.DB_PASSWORD_2 }}"
  PASSWORD: ${{ github.event_name == 'push' && secrets.TOKEN_PROD1 || secrets.TOKEN_TEST1 }}
steps:
  - uses: actions/checkout@8ade135a41bc03ea155e62e844d188df1ea18608
    with: {token: ${{ secrets.GH_PAT1 }}, fetch-depth: 0}
  - run: curl -u ci:${{ secrets.PASS1 }} https://u:${{ secrets.P2 }}@h.example/ -H "Authorization: Bearer ${{ secrets.T9 }}"
  - run: echo "//registry.npmjs.org/:_authToken=${NPM_TOKEN1}" > .npmrc
  - run: docker login -u u -p ${{ secrets.DOCKER_PASS1 }} && docker login -u u --password=$DOCKER_PASS2
  - run: mysql -p${{ secrets.MYSQL_PW1 }} -e "create user x identified by '${PW1}'"
  - run: psql "postgres://app:$(cat /run/secrets/pw1)@db/orders"
  - run: psql "postgres://app:%DB_PASS1%@db/orders"
  - run: sshpass -p {{ ssh_pass1 }} ssh x && redis-cli -a $REDIS_PASS1
  - run: set PASSWORD=%DB_PASS1% & set TOKEN=%TOKEN%
  - run: your API key is <your-api-key-1>
"""
SECRET = "k7Qz93mW2tRx8bLn"
REFERENCES = [
    "${{ secrets.X }}",
    "${{secrets.X}}",
    "${VAR_1}",
    "$VAR_1",
    "${X:-}",
    "{{ var }}",
    "{{var}}",
    "<your-token>",
    "%DB_PASS1%",
]
ASSIGNED = [
    "TOKEN: {}",
    "TOKEN={}",
    'password: "{}"',
    "env:\n  API_KEY: {}\n  DEBUG: 1",
    "--token {}",
    "auth_token = '{}'",
]


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_workflow_that_refers_to_secrets_holds_none(detector: Detector, times: int):
    text = WORKFLOW
    for _ in range(times):
        text = json.dumps({"text": text})
    scanner = Scanner(detector)
    assert [*scanner.feed(text.encode()), *scanner.finish()] == []
    assert detector.inspect({"text": text, "env": {"TOKEN": "${{ secrets.X }}"}}, {}).findings == ()


@pytest.mark.parametrize("form", ASSIGNED)
@pytest.mark.parametrize("reference", REFERENCES)
def test_a_credential_beside_a_reference_is_found(detector: Detector, reference: str, form: str):
    assert not detector.hits(form.format(reference).encode())
    for value in (f"{reference}{SECRET}", f"{reference}-{SECRET}", f"{SECRET}{reference}"):
        assert [hit for hit in detector.hits(form.format(value).encode()) if SECRET in hit.value], value
    assert detector.inspect({"token": f"{reference}{SECRET}"}, {}).findings


@pytest.mark.parametrize("form", ASSIGNED)
@pytest.mark.parametrize("reference", [f"${{X:-{SECRET}}}", f"${{X-{SECRET}}}", f"${{{{ secrets.X || '{SECRET}' }}}}"])
def test_a_credential_in_a_reference_as_its_default_is_found(detector: Detector, reference: str, form: str):
    if "'" not in form or "'" not in reference:
        assert [hit for hit in detector.hits(form.format(reference).encode()) if SECRET in hit.value]


@pytest.mark.parametrize("reference", ["${X}", "${{ secrets.X }}", "{{ token }}"])
def test_the_rest_of_a_bearer_token_behind_a_reference_is_found(detector: Detector, reference: str):
    assert not detector.hits(f"Authorization: Bearer {reference}".encode())
    (hit,) = detector.hits(f"Authorization: Bearer {reference}{SECRET}".encode())
    assert (hit.detector, hit.value) == ("bearer", SECRET)
