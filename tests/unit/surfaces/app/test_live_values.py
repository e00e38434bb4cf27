"""The values that live in a gateway: what it is configured with, its keys, and the tokens that it gives and takes."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from gateway.calls.response.conceal import WITHHELD
from gateway.config.secret_texts import SecretText, secret_texts
from gateway.model.caller import AuthMethod, Principal
from gateway.model.task import Task
from gateway.surfaces.app.content import telling_parts
from tests.unit.harness import READING, Bench, answering, bench, call, message
from tests.unit.live import DETECTOR

HEADER = "pat-81xQf7Lz-Vn40kTd2WsYb93Rm"
PASSWORD = "q8Zt3LmW0xR5vN1c"
CLIENT = "Ck29-vvQx7Lm0Zs4Tn81pW"
MORE = (
    f"{READING}\n  crm:\n    url: http://127.0.0.1:9/mcp\n    audience: crm\n    environment: test\n"
    "    credential: {kind: header, value: '${CRM_TOKEN}'}\n    tools:\n      '*': " + READING + "\n"
    "  db:\n    command: [server]\n    audience: db\n    environment: test\n"
    "    env: {DATABASE_URL: '${DATABASE_URL}', LOG_LEVEL: '${LEVEL}', HOME_PAGE: '${PAGE}'}\n    tools:\n      '*': "
    + READING
)
BROKER = "brokers:\n  sts: {kind: exchange, issuer: 'https://sts.example', client_id: gw, client_auth: {client_secret: '${CLIENT}'}}\n"


@pytest.fixture
async def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Bench]:
    monkeypatch.setenv("CRM_TOKEN", f"Bearer {HEADER}")
    monkeypatch.setenv("DATABASE_URL", f"postgresql://ada:{PASSWORD}@db.corp.example:5432/app")
    monkeypatch.setenv("LEVEL", "information")
    monkeypatch.setenv("PAGE", "https://www.example.com/start")
    monkeypatch.setenv("CLIENT", CLIENT)
    async with bench(tmp_path, labels=MORE, more=BROKER) as found:
        yield found


async def shown(there: Bench, text: str) -> str:
    """Return a text as an answer to any caller shows it."""
    answering(there, {"content": [{"type": "text", "text": f"so it is {text} there"}]})
    found: str = (await there.ask(call())).json["result"]["content"][0]["text"]
    return found


@pytest.mark.parametrize("value", [HEADER, PASSWORD, CLIENT])
async def test_the_secrets_of_the_configuration_are_live(there: Bench, value: str):
    assert await shown(there, value) == f"so it is {WITHHELD} there"


@pytest.mark.parametrize("text", ["information", "https://www.example.com/start", "ada", "db.corp.example:5432/app"])
async def test_what_is_no_secret_of_the_configuration_passes(there: Bench, text: str):
    assert await shown(there, text) == f"so it is {text} there"


async def test_a_value_of_the_configuration_may_go_to_its_own_system_alone(there: Bench):
    (value,) = there.gateway.live.find_near(HEADER.encode())
    assert (value.may_go_to("crm"), value.may_go_to("files"), value.may_go_to("")) == (True, False, False)
    (value,) = there.gateway.live.find_near(CLIENT.encode())
    assert not value.may_go_to("crm")


async def test_the_keys_of_the_gateway_are_live(there: Bench):
    for name in ("journal-key", "sessions-key", "fingerprints-key"):
        key = (there.folder / "state" / name).read_bytes()
        for written in (base64.b64encode(key).decode(), key.hex()):
            assert written not in await shown(there, written)
    lines = (there.folder / "state/gateway-key.pem").read_text().splitlines()
    assert "".join(lines[1:-1])[40:104] not in await shown(there, "".join(lines[1:-1])[40:104])


async def test_the_token_of_a_task_is_live_until_the_task_has_ended(there: Bench):
    task = Task("task-1", "declared", 1_000.0, 2_000_000_000.0)
    mine = Principal(id="ann", issuer="https://idp.example", method=AuthMethod.JWT)
    token = there.gateway.task_tokens.issue(mine, task, 1_000.0)
    assert token not in await shown(there, token)
    assert (await there.ask(call(path=token))).codes == ["credential-chain/gateway"]

    there.gateway.task_tokens.end("task-1", "completed")
    assert "task-1" in there.gateway.live._due  # pyright: ignore[reportPrivateUsage]


async def test_a_task_token_of_the_gateway_before_this_one_is_live_from_its_first_use(there: Bench):
    task = Task("task-2", "declared", 1_000.0, 2_000_000_000.0)
    mine = Principal(id="ann", issuer="https://idp.example", method=AuthMethod.JWT)
    tokens = there.gateway.task_tokens
    token = tokens.issue(mine, task, 1_000.0)
    there.gateway.live._drop("task-2")  # pyright: ignore[reportPrivateUsage]
    assert token in await shown(there, token)
    assert tokens.task_of(token, mine, 1_500.0) == "task-2"
    assert token not in await shown(there, token)


async def test_the_token_of_one_caller_is_shown_to_no_other_and_goes_nowhere(there: Bench):
    secret = "c2lnbmF0dXJlLXRoYXQtaXM-bG9uZw8x7Qz93"
    token = f"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJiZXJ0In0.{secret}"
    there.gateway.caller_tokens.take("bert", [f"Bearer {token}"], 1_000.0)
    assert secret[:-1] not in await shown(there, token)
    assert (await there.ask(call(path=token))).codes == ["credential-chain/gateway"]


@pytest.mark.parametrize(("secret", "code"), [(HEADER, "credential-chain/gateway"), (f"{CLIENT}.a.b", "task/unknown")])
async def test_no_other_value_passes_in_the_place_of_the_token_of_a_task(there: Bench, secret: str, code: str):
    named = message("tools/call", name="read_file", arguments={}, _meta={"io.opagate/task": secret})
    assert (await there.ask(named)).codes == [code]
    listed = message("tools/list", _meta={"io.opagate/task": secret})
    assert (await there.ask(listed)).codes == [code]
    assert there.upstream.sent == []


async def test_each_secret_of_a_configuration_has_its_place_and_its_system(there: Bench):
    found = {secret.place: secret.audience for secret in secret_texts(there.configuration)}
    assert found == {
        "upstreams.crm.credential.value": "crm",
        "upstreams.db.env.DATABASE_URL": "db",
        "upstreams.db.env.LOG_LEVEL": "db",
        "upstreams.db.env.HOME_PAGE": "db",
        "brokers.sts.client_auth.client_secret": None,
    }
    assert all(HEADER not in repr(secret) for secret in secret_texts(there.configuration))


@pytest.mark.parametrize(
    ("variable", "text", "parts"),
    [
        ("DATABASE_URL", f"postgresql://ada:{PASSWORD}@db.corp/app", (PASSWORD,)),
        ("DB_PASSWORD", CLIENT, (CLIENT,)),
        (None, CLIENT, (CLIENT,)),
        ("HOME_PAGE", "https://www.example.com/start", ()),
        ("DATA", "/var/lib/app/data-2f81c9", ()),
        ("REGION", "us-east-1", ()),
        ("MODEL", "claude-sonnet-4-5-20250929", ()),
        ("CLOUDFLARE_ACCOUNT_ID", "9a7806061c88ada191ed06f989cc3dac", ()),
        ("PASSWORD", "correct", ()),
    ],
)
def test_of_a_configured_secret_the_parts_that_tell_it_are_held(
    variable: str | None, text: str, parts: tuple[str, ...]
):
    assert telling_parts(SecretText("upstreams.x", "x", text, variable), DETECTOR) == parts
