"""Sessions of an AWS role, against moto's server: the session's policy has the end of the lease."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import botocore.session
import pytest
from moto.server import ThreadedMotoServer

from gateway.authority.brokers.aws_sts import BotocoreSigner, RoleSessionBroker, session_policy
from gateway.authority.brokers.issuer_client import Answer, IssuerClient, NoAnswer
from gateway.authority.model import NotEnded, Proof, Scope
from gateway.config.brokers import AwsStsBroker, AwsStsCredential
from tests.unit.authority.brokers.asking import (
    UPSTREAM,
    issued,
    lease_of,
    lease_request,
    prepared,
    refused,
    values_shown,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

ROLE = "arn:aws:iam::123456789012:role/agents"
KEYS = ("AKIAEXAMPLEOFATEST00", "a-secret-key-of-a-test-that-opens-nothing")
ACTIONS = ("s3:GetObject", "s3:ListBucket")


class RecordingClient(IssuerClient):
    """The real client, which keeps the bodies of requests."""

    def __init__(self) -> None:
        super().__init__(seconds=5)
        self.sent: list[dict[str, str]] = []
        self.headers: list[Mapping[str, str]] = []

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer | NoAnswer:
        self.sent.append(dict(parse_qsl(body.decode())))
        self.headers.append(headers or {})
        return await super().send(method, url, headers=headers, body=body)


class Time:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture(scope="module")
def sts() -> Generator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def make(
    sts: str, clock: Time, *, with_keys: bool = True, **settings: Any
) -> tuple[RoleSessionBroker, RecordingClient]:
    parsed = AwsStsBroker.model_validate({"kind": "aws_sts", "region": "eu-central-1", "endpoint": sts, **settings})
    credential = {"kind": "aws_sts", "broker": "aws", "role": ROLE, "resources": ["arn:aws:s3:::reports/*"]}
    session: Any = botocore.session.Session()
    if with_keys:
        session.set_credentials(*KEYS)
    else:
        session.get_credentials = lambda: None
    http = RecordingClient()
    upstreams = {UPSTREAM: AwsStsCredential.model_validate(credential)}
    signer = BotocoreSigner("eu-central-1", session)
    return RoleSessionBroker("aws", parsed, upstreams, http=http, signer=signer, clock=clock), http


async def test_a_session_ends_by_its_own_policy(sts: str):
    clock = Time()
    broker, http = make(sts, clock)
    request = lease_request(task="task 1/ä", scope=Scope(ACTIONS), seconds=60)
    handle = prepared(await broker.prepare(request))
    found = issued(await broker.issue(request, handle))
    (sent,) = http.sent
    assert dict(found.credential.fields).keys() == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
    assert (sent["RoleArn"], sent["DurationSeconds"]) == (ROLE, "900")
    assert (sent["RoleSessionName"], sent["SourceIdentity"]) == ("task-1--", "agent-1")
    assert [sent[f"Tags.member.{number}.Value"] for number in (1, 2, 3)] == ["task 1/_", "agent-1", UPSTREAM]
    (statement,) = json.loads(sent["Policy"])["Statement"]
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(request.expires)))
    assert statement == {
        "Effect": "Allow",
        "Action": list(ACTIONS),
        "Resource": ["arn:aws:s3:::reports/*"],
        "Condition": {"DateLessThan": {"aws:CurrentTime": end}},
    }
    assert found.expires == int(request.expires) <= request.expires
    assert values_shown([*found.credential.secrets(), KEYS[1]], found, found.handle, handle, broker) == []
    outcome = await broker.end(lease_of(request, found.handle), found.credential)
    assert isinstance(outcome, NotEnded)
    assert 60 < outcome.after <= 90
    clock.ahead = outcome.after + 1
    proof = await broker.end(lease_of(request, found.handle), None)
    assert isinstance(proof, Proof)
    assert (proof.kind, broker.revocable, len(http.sent)) == ("time", "never", 1)
    await broker.aclose()


async def test_the_request_is_signed_and_its_key_stays_here(sts: str):
    broker, http = make(sts, Time(), source_identity="user", tags=False)
    issued(await broker.issue(request := lease_request(), prepared(await broker.prepare(request))))
    signed = {name.lower(): value for name, value in http.headers[0].items()}
    assert signed["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={KEYS[0]}/")
    assert values_shown([KEYS[1]], http.headers, http.sent) == []
    assert http.sent[0]["SourceIdentity"] == "ada"
    assert not [name for name in http.sent[0] if name.startswith("Tags")]
    await broker.aclose()


async def test_a_policy_that_is_too_long_is_refused_before_aws_is_asked(sts: str):
    broker, http = make(sts, Time())
    request = lease_request(scope=Scope(tuple(f"service:Action{number}" for number in range(200))))
    refused(await broker.issue(request, prepared(await broker.prepare(request))), "credential/scope")
    assert http.sent == []


async def test_without_credentials_of_its_own_the_gateway_asks_nobody(sts: str):
    broker, http = make(sts, Time(), with_keys=False)
    request = lease_request()
    refused(await broker.issue(request, prepared(await broker.prepare(request))), "credential/unavailable")
    assert http.sent == []


@pytest.mark.parametrize(
    ("status", "body", "code", "shown"),
    [
        (
            403,
            b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>m</Message></Error></ErrorResponse>",
            "credential/refused",
            "403 AccessDenied",
        ),
        (
            400,
            b"<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>",
            "credential/unavailable",
            "400",
        ),
        (503, b"<html>busy</html>", "credential/unavailable", "503"),
        (307, b"", "credential/refused", "307"),
        (200, b"<AssumeRoleResponse/>", "credential/malformed", "gave no session"),
        (200, b"no xml", "credential/malformed", "gave no session"),
    ],
)
async def test_other_answers_are_refusals(
    sts: str, monkeypatch: pytest.MonkeyPatch, *, status: int, body: bytes, code: str, shown: str
):
    broker, http = make(sts, Time())

    async def answer(*_: object, **__: object) -> Answer:
        return Answer(status, body)

    monkeypatch.setattr(http, "send", answer)
    request = lease_request()
    refusal = refused(await broker.issue(request, prepared(await broker.prepare(request))), code)
    assert shown in refusal.message


def test_a_policy_without_actions_permits_nothing():
    (statement,) = json.loads(session_policy((), ("*",), 0.0))["Statement"]
    assert (statement["Action"], statement["Effect"]) == ([], "Allow")
