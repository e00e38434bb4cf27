"""Sessions of an AWS role, against moto's server: the session's policy has the end of the lease, and a stdio server its session."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import botocore.session
import httpx2
import pytest
import yaml
from moto.server import ThreadedMotoServer

from gateway.authority.brokers.aws_sts import BotocoreSigner, RoleSessionBroker, session_policy
from gateway.authority.model import NotEnded, Proof, Scope
from gateway.config.brokers import AwsStsBroker, AwsStsCredential
from gateway.wire.https_client import HttpsAnswer, HttpsClient, NoAnswer
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import Caller, call, caller, entries, stateless, verified
from tests.gateway_process import ANYONE_ANYTHING
from tests.machine import is_inhabited, needs_proc
from tests.servers.serving import ROOT
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


class RecordingClient(HttpsClient):
    """The real client, which keeps the bodies of requests."""

    def __init__(self) -> None:
        super().__init__(seconds=5)
        self.sent: list[dict[str, str]] = []
        self.headers: list[Mapping[str, str]] = []

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        within: float | None = None,
    ) -> HttpsAnswer | NoAnswer:
        self.sent.append(dict(parse_qsl(body.decode())))
        self.headers.append(headers or {})
        return await super().send(method, url, headers=headers, body=body, within=within)


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
    assert dict(found.credential.fields).keys() == {"access_key_id", "secret_access_key", "session_token"}
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
    assert outcome.waits, "nothing is stuck"
    assert 60 < outcome.after <= 90
    clock.ahead = outcome.after + 1
    proof = await broker.end(lease_of(request, found.handle), None)
    assert isinstance(proof, Proof)
    assert (proof.kind, broker.revocable, len(http.sent)) == ("time", "after_ttl", 1)
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

    async def answer(*_: object, **__: object) -> HttpsAnswer:
        return HttpsAnswer(status, body)

    monkeypatch.setattr(http, "send", answer)
    request = lease_request()
    refusal = refused(await broker.issue(request, prepared(await broker.prepare(request))), code)
    assert shown in refusal.reason.message
    assert refusal.is_certain is (400 <= status < 500)


def test_a_policy_without_actions_permits_nothing():
    (statement,) = json.loads(session_policy((), ("*",), 0.0))["Statement"]
    assert (statement["Action"], statement["Effect"]) == ([], "Allow")


async def test_a_token_of_the_gateway_takes_the_place_of_its_keys(sts: str, tmp_path: Path):
    token = tmp_path / "svid.jwt"
    broker, http = make(sts, Time(), with_keys=False, web_identity=str(token))
    request = lease_request(scope=Scope(ACTIONS))
    refused(await broker.issue(request, prepared(await broker.prepare(request))), "credential/unavailable")
    assert http.sent == []

    token.write_text("a.b.c\n")
    found = issued(await broker.issue(request, handle := prepared(await broker.prepare(request))))
    (sent,) = http.sent
    assert (sent["Action"], sent["WebIdentityToken"]) == ("AssumeRoleWithWebIdentity", "a.b.c")
    assert "aws:CurrentTime" in sent["Policy"]
    assert not {"SourceIdentity", "ExternalId", "Tags.member.1.Key"} & sent.keys()
    assert "Authorization" not in http.headers[0]
    assert values_shown(["a.b.c", *found.credential.secrets()], handle, found, broker) == []
    await broker.aclose()


async def test_a_request_that_was_never_prepared_has_nothing_to_end(sts: str):
    broker, _ = make(sts, Time())
    outcome = await broker.end(lease_of(lease_request(), {}, cause="restart"), None)
    assert isinstance(outcome, Proof)
    assert outcome.kind == "absent"


# --- a stdio server ------------------------------------------------------------------------------------------


@pytest.fixture
def notes(sts: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("notes")
    variables = {
        "CLOUD_NOTES": str(folder),
        "CLOUD_URL": sts,
        "AWS_ACCESS_KEY_ID": KEYS[0],
        "AWS_SECRET_ACCESS_KEY": KEYS[1],
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return folder


def configured(sts: str, folder: Path, hand_over: dict[str, Any]) -> str:
    (folder / "grants.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    upstream = {
        "command": [sys.executable, "-m", "tests.servers.cloud"],
        "cwd": str(ROOT),
        "env": {"CLOUD_URL": "${CLOUD_URL}", "CLOUD_NOTES": "${CLOUD_NOTES}"},
        "files": {"write": ["${CLOUD_NOTES}"]},
        "network": True,
        "audience": "https://cloud.example",
        "environment": "test",
        "tools": {
            "*": {"effect": "read", "egress": False, "sensitivity": "internal"},
            "whoami_again": {"sensitivity": "confidential"},
        },
        "credential": {
            "kind": "aws_sts",
            "broker": "aws",
            "role": ROLE,
            "scopes": {"read": ["sts:GetCallerIdentity"]},
            "hand_over": hand_over,
        },
    }
    return yaml.safe_dump(
        {
            "identity": [{"kind": "development"}],
            # A call of that tool may carry less time, so it renews the lease.
            "authority": {"ttl": {"default": "300s", "by_sensitivity": {"confidential": "120s"}}},
            "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
            "brokers": {"aws": {"kind": "aws_sts", "region": "eu-central-1", "endpoint": sts}},
            "upstreams": {"cloud": upstream},
        }
    )


def whoami(agent: Caller, tool: str = "whoami") -> tuple[int, str]:
    process, _, arn = agent.ask(call(tool, stateless)).text.partition(" ")
    return int(process), arn


def noted(notes: Path, process: int) -> dict[str, Any]:
    return json.loads((notes / str(process)).read_text().splitlines()[-1])


@needs_proc
def test_the_sdk_of_a_process_renews_its_session_without_a_restart(sts: str, notes: Path, tmp_path: Path):
    with mortal_gateway(configured(sts, tmp_path, {"aws_container": True}), tmp_path) as gateway:
        agent = caller(gateway, "ann", "cloud")
        process, arn = whoami(agent)
        first = noted(notes, process)
        assert arn.startswith("arn:aws:sts::123456789012:assumed-role/agents/")

        assert whoami(agent, "whoami_again")[0] == process
        assert noted(notes, process)["keys"] != first["keys"]
        address = first["variables"]["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        shown = {"authorization": first["variables"]["AWS_CONTAINER_AUTHORIZATION_TOKEN"]}
        assert httpx2.get(address, headers=shown).json()["AccessKeyId"] == noted(notes, process)["keys"][0]
        for headers in ({}, {"authorization": "guess"}):
            assert httpx2.get(address, headers=headers).status_code == 403
        assert httpx2.post(address, headers=shown).status_code == 403

        gateway.process.terminate()
        gateway.process.wait(60)
    assert not is_inhabited(process)
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(address, headers=shown)
    values = [value for line in (notes / str(process)).read_text().splitlines() for value in json.loads(line)["keys"]]
    written = [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert values_shown([*values, KEYS[1], shown["authorization"]], *written) == []
    assert {"absent"} == {each["processes"] for each in entries(tmp_path, "lease") if "processes" in each}
    assert verified(tmp_path).ok


@pytest.mark.parametrize(
    "hand_over",
    [
        {"file": "AWS_SHARED_CREDENTIALS_FILE"},
        {
            "variables": {
                "AWS_ACCESS_KEY_ID": "{access_key_id}",
                "AWS_SECRET_ACCESS_KEY": "{secret_access_key}",
                "AWS_SESSION_TOKEN": "{session_token}",
            }
        },
    ],
)
def test_a_file_and_variables_carry_a_session_too(sts: str, notes: Path, tmp_path: Path, hand_over: dict[str, Any]):
    with mortal_gateway(configured(sts, tmp_path, hand_over), tmp_path) as gateway:
        process, arn = whoami(caller(gateway, "ann", "cloud"))
        assert ":assumed-role/agents/" in arn
        variables = noted(notes, process)["variables"]
        assert variables["AWS_EC2_METADATA_DISABLED"] == "true"
        assert noted(notes, process)["keys"][0] != KEYS[0]
