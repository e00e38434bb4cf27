"""A credential in the answer to a request is known whatever the answer looks like, and a long answer is not waited for.

Real gateway, real servers; none of the others has seen the call.
"""

from __future__ import annotations

import base64
import http.client
import json
import secrets
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.e2e.desk import KEY, PEM
from tests.e2e.desk_shapes import LONG, SHAPES, TAIL
from tests.e2e.systems import Agent, Servers, agent
from tests.e2e.test_concealment import concealing_policy
from tests.e2e.wire import Caller, Sent, call, legacy
from tests.gateway_process import GatewayProcess, running_gateway
from tests.requirements import requirement

PRESENTED = ["credential-chain/presentation"]


@requirement("history/credentials")
@pytest.mark.parametrize("shape", SHAPES)
def test_a_credential_in_a_result_of_any_shape_goes_to_no_other_system(ada: Agent, shape: str):
    answer = ada.call("crm", "read", shape=shape, page="key")
    wrapped, spelt_out = base64.b64encode(b"what follows is The deployment"), b"\\u0067\\u006c\\u0070"
    assert any(form in answer.body for form in (KEY.encode(), wrapped, spelt_out)), answer.body[:2000]

    ada.held(PRESENTED, "billing", "use", token=KEY)
    ada.passes("crm", "read", query=KEY)


@requirement("history/credentials")
def test_a_key_block_in_a_result_goes_to_no_other_system(ada: Agent):
    assert PEM in ada.call("crm", "read", page="pem").text

    ada.held(PRESENTED, "billing", "use", token=PEM)
    ada.held(PRESENTED, "billing", "use", token=PEM.replace("\n", "\\n"))


@requirement("history/credentials")
@pytest.mark.parametrize(
    "asked",
    [
        legacy("resources/read", uri="test://key"),
        legacy("resources/read", uri="test://key/file"),
        legacy("prompts/get", name="p", arguments={"page": "key"}),
    ],
    ids=["text", "file", "prompt"],
)
def test_a_credential_in_a_resource_or_a_prompt_goes_to_no_other_system(ada: Agent, asked: Sent):
    answer = Caller(ada.gateway, "crm", ada.headers).ask(asked)
    assert answer.status == 200
    assert "result" in answer.json

    ada.held(PRESENTED, "billing", "use", token=KEY)


@pytest.fixture(scope="module")
def concealing(systems: Servers, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("long-answers")
    with running_gateway(systems.config(concealing_policy(folder)), folder) as found:
        yield found


def received(answer: http.client.HTTPResponse, size: int) -> bytes:
    """So much of the answer, or an error after the connection's time limit."""
    came = b""
    while len(came) < size:
        part = answer.read1(size - len(came))
        assert part, "the answer has ended"
        came += part
    return came


@requirement("mcp/large", "history/credentials")
@pytest.mark.parametrize("concealed", [False, True], ids=["as it is", "concealed"])
def test_of_a_long_answer_no_more_than_its_last_four_kilobytes_wait(
    one: GatewayProcess, concealing: GatewayProcess, systems: Servers, *, concealed: bool
):
    """The system keeps back its last bytes until the client has all that may not wait for them."""
    ada, key = agent(concealing if concealed else one, systems), secrets.token_hex(8)
    with Caller(ada.gateway, "crm", ada.headers).open(
        "POST", call("read", shape="long", page="key", key=key)
    ) as answer:
        came = received(answer, LONG - TAIL + 100)
        systems.of("crm").release(key)
        came += answer.read()

    text = json.loads(came)["result"]["content"][0]["text"]
    assert len(text) > LONG
    assert (KEY in text) is not concealed
    assert ("cred://" in text) is concealed
    ada.held(PRESENTED, "billing", "use", token=KEY)
