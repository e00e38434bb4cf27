"""The endpoint where the SDKs of AWS ask for the credential of their process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest

from gateway.config.hand_over import HandOver
from gateway.model.wire import HandedCredential
from gateway.upstreams.stdio.aws_endpoint import ContainerEndpoint
from gateway.upstreams.stdio.handed import HandedProcess

TOKEN = "token-of-a-process-4f1c"
FIELDS = (("access_key_id", "AK"), ("secret_access_key", "SK"), ("session_token", "ST"))


@pytest.fixture
async def endpoint() -> AsyncIterator[ContainerEndpoint]:
    found = ContainerEndpoint()
    yield found
    await found.aclose()


def credential(fields: tuple[tuple[str, str], ...] = FIELDS) -> HandedCredential:
    return HandedCredential("lease-1", "t1", 1.0, "ST", fields, 60.0)


async def ask(variables: dict[str, str], token: str | None = None, method: str = "GET") -> httpx2.Response:
    shown = variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"] if token is None else token
    async with httpx2.AsyncClient(trust_env=False) as client:
        headers = {"authorization": shown} if shown else {}
        return await client.request(method, variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"], headers=headers)


async def test_a_process_gets_its_credential_in_the_form_of_the_sdks(endpoint: ContainerEndpoint):
    _, variables = endpoint.register(TOKEN, credential)
    answer = await ask(variables)

    assert answer.json() == {
        "AccessKeyId": "AK",
        "SecretAccessKey": "SK",
        "Token": "ST",
        "Expiration": "1970-01-01T00:01:00Z",
    }
    assert answer.headers["cache-control"] == "no-store"
    assert variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"].startswith("http://127.0.0.1:")


async def test_a_process_gets_nothing_of_another(endpoint: ContainerEndpoint):
    _, one = endpoint.register(TOKEN, credential)
    _, other = endpoint.register(TOKEN[::-1], credential)
    unknown = {**one, "AWS_CONTAINER_CREDENTIALS_FULL_URI": one["AWS_CONTAINER_CREDENTIALS_FULL_URI"][:-1] + "_"}
    answers = [
        await ask(one, other["AWS_CONTAINER_AUTHORIZATION_TOKEN"]),
        await ask(one, ""),
        await ask(unknown),
        await ask(unknown, ""),
        await ask(one, method="POST"),
    ]

    assert {(answer.status_code, answer.content) for answer in answers} == {(403, answers[0].content)}
    assert b"SK" not in answers[0].content


@pytest.mark.parametrize("found", [None, credential((("username", "u"),))])
async def test_without_a_session_the_sdk_hears_that(endpoint: ContainerEndpoint, found: HandedCredential | None):
    _, variables = endpoint.register(TOKEN, lambda: found)

    assert (await ask(variables)).status_code == 404


async def test_a_process_that_has_ended_is_unknown(endpoint: ContainerEndpoint):
    process, variables = endpoint.register(TOKEN, credential)
    endpoint.forget(process)

    assert (await ask(variables)).status_code == 403


async def test_a_closed_endpoint_listens_no_more(endpoint: ContainerEndpoint):
    _, variables = endpoint.register(TOKEN, credential)
    await ask(variables)
    await endpoint.aclose()

    with pytest.raises(httpx2.ConnectError):
        await ask(variables)


@pytest.mark.parametrize("end", [HandedProcess.withdraw, HandedProcess.finish])
async def test_a_credential_that_is_withdrawn_is_given_no_more(
    endpoint: ContainerEndpoint, tmp_path: Path, end: Callable[[HandedProcess], None]
):
    lent = HandedCredential("lease-1", "t1", 1.0, "ST", FIELDS, 60.0, token=TOKEN)
    process = HandedProcess(HandOver(aws_container=True), lent, tmp_path, endpoint)
    variables = dict(process.variables)
    assert (await ask(variables)).json()["SecretAccessKey"] == "SK"

    end(process)

    assert (await ask(variables)).status_code == 403
    process.finish()
