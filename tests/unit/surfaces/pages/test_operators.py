"""The operations of operators over HTTP, through the edge of a whole gateway, with tokens of a real issuer's form."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from gateway.base.control.operations import OperatorName
from gateway.model.errors import ConfigurationError
from gateway.surfaces.app.control import OPERATIONS
from tests.unit.harness import Answer, Bench, bench, call
from tests.unit.surfaces.pages.asking import ask_page

KEY = ECKey.generate_key("P-256", {"kid": "k1"})
ISSUER = "https://idp.example"
BASE = "http://127.0.0.1:8080"
AUDIENCE = f"{BASE}/api/operators"
PEOPLE = f"issuer: '{ISSUER}', jwks: 'file:jwks.json'"
OPERATORS = f"operators: {{people: {{{PEOPLE}, groups: [ops]}}}}\n"
APPROVERS = f"approvals: {{hold: 20ms, people: {{{PEOPLE}, groups: [sre]}}}}\n"
STOP = json.dumps({"chosen": {"scope": "all", "name": ""}, "reason": "it mails strangers"}).encode()
OF_OPERATORS = [operation for operation in OPERATIONS.values() if operation.role == "operator"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "jwks.json").write_text(json.dumps(KeySet([KEY]).as_dict(private=False)), "utf-8")
    return tmp_path


@pytest.fixture
async def there(folder: Path) -> AsyncGenerator[Bench]:
    async with bench(folder, more=OPERATORS + APPROVERS) as started:
        yield started


def token(**changes: Any) -> tuple[bytes, bytes]:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": "olga",
        "client_id": "ops-cli",
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 60,
        "groups": ["ops"],
    }
    members = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    text = jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": "k1"}, members, KEY, algorithms=["ES256"])
    return b"authorization", f"Bearer {text}".encode()


async def ask(there: Bench, operation: str, *headers: tuple[bytes, bytes], body: bytes = b"{}") -> Answer:
    """Send the request of an operation, with `x` for each name in its path."""
    route = OPERATIONS[operation].route
    assert route is not None
    method, path = route
    address = path.format(id="x", stream="x")
    return await ask_page(there, method, address, *headers, body=b"" if method == "GET" else body)


async def test_an_operator_stops_all_calls_and_lets_them_go_on(there: Bench):
    stopped = await ask(there, "stops/stop", token(), body=STOP)
    listed = await ask(there, "stops/list", token())
    refused = await there.ask(call("read_file"))
    resumed = await ask(
        there, "stops/resume", token(), body=json.dumps({"id": stopped.json["stop"]["id"], "reason": "mended"}).encode()
    )

    assert [one["id"] for one in listed.json] == [stopped.json["stop"]["id"]]
    assert refused.codes == ["stop/in-force"]
    assert [one["id"] for one in resumed.json] == [stopped.json["stop"]["id"]]
    assert there.entries("switch")[0]["by"] == {"id": "olga", "issuer": ISSUER, "channel": "api"}


def test_each_operation_of_operators_is_at_the_api():
    assert [operation.name for operation in OF_OPERATORS if operation.route is None] == []
    assert len(OF_OPERATORS) == len({operation.route for operation in OF_OPERATORS})


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"aud": f"{BASE}/mcp"}, 401),
        ({"aud": f"{BASE}/mcp/files"}, 401),
        ({"aud": f"{BASE}/api/approvals"}, 401),
        ({"aud": f"{BASE}/api"}, 401),
        ({"aud": [AUDIENCE, f"{BASE}/mcp"]}, 401),
        ({"aud": [f"{BASE}/mcp/files", AUDIENCE]}, 401),
        ({"aud": [AUDIENCE, f"{BASE}/api/approvals"], "groups": ["ops", "sre"]}, 401),
        ({"aud": None}, 401),
        ({"aud": f"{BASE}/api/approvals", "groups": ["ops", "sre"]}, 401),
        ({"act": {"sub": "agent"}}, 403),
        ({"sub": "ops-cli"}, 403),
        ({"exp": 1}, 401),
        ({"iss": "https://other.example"}, 401),
        ({"groups": ["sre"]}, 403),
        ({"groups": None}, 403),
        ({"groups": []}, 403),
        ({"groups": ["OPS"]}, 403),
        ({"groups": ["not ops", "ops-readers"], "roles": ["ops"], "scope": "ops"}, 403),
    ],
)
async def test_no_other_token_is_an_operators(there: Bench, changes: dict[str, Any], status: int):
    for operation in OF_OPERATORS:
        answer = await ask(there, operation.name, token(**changes), body=STOP)

        assert answer.status == status
        assert answer.json["error"]["remedy"]
    assert there.entries("switch") == []
    assert there.entries("operator") == []


async def test_an_audience_of_another_system_beside_its_own_is_no_matter(there: Bench):
    assert (await ask(there, "stops/list", token(aud=["account", AUDIENCE]))).status == 200


async def test_without_a_token_nobody_is_an_operator(there: Bench):
    cookie = (b"cookie", b"opagate-console-8080=x; __Host-opagate-console=x")

    for operation in OF_OPERATORS:
        assert (await ask(there, operation.name, body=STOP)).status == 401
        assert (await ask(there, operation.name, cookie, body=STOP)).status == 401
    assert there.entries("switch") == []


async def test_a_page_of_another_origin_sends_no_request(there: Bench):
    foreign = (b"origin", b"https://evil.example")

    assert (await ask(there, "stops/stop", token(), foreign, body=STOP)).status == 403
    assert there.entries("switch") == []


async def test_an_operator_answers_no_question(there: Bench):
    await there.ask(call("ask_first", path="a"))

    for answer in (
        await ask_page(there, "GET", "/api/approvals", token()),
        await ask_page(there, "GET", "/api/approvals", token(aud=f"{BASE}/api/approvals")),
    ):
        assert answer.status in {401, 403}
        assert b"ask_first" not in answer.body


async def test_each_role_has_its_own_people(folder: Path):
    async with bench(folder, more=OPERATORS) as there:
        assert (await ask(there, "stops/list", token())).status == 200
        assert (await ask(there, "approvals/list", token())).status == 404
    async with bench(folder, more=APPROVERS) as there:
        assert (await ask(there, "stops/list", token())).status == 404


@pytest.mark.parametrize("audience", [f"{BASE}/mcp", f"{BASE}/mcp/files", f"{BASE}/api/approvals"])
async def test_an_audience_of_others_is_refused_at_the_start(folder: Path, audience: str):
    named = OPERATORS.replace("groups: [ops]", f"groups: [ops], audience: '{audience}'")
    with pytest.raises(ConfigurationError, match="one token would serve both"):
        async with bench(folder, more=named + APPROVERS):
            pass


@pytest.mark.parametrize(("ago", "status"), [(None, 401), (301, 401), (100, 200), (-5, 200), (-60, 401)])
async def test_a_change_needs_a_fresh_login_if_the_operator_says_so(folder: Path, ago: int | None, status: int):
    async with bench(folder, more=OPERATORS.replace("groups: [ops]", "groups: [ops], fresh: 5m")) as there:
        old = token(auth_time=None if ago is None else int(time.time()) - ago)

        assert (await ask(there, "stops/list", old)).status == 200
        answer = await ask(there, "stops/stop", old, body=STOP)
        assert answer.status == status
        if status == 401:
            assert answer.json["error"]["code"] == "operator/login"
            assert b'max_age="300"' in dict(answer.headers)[b"www-authenticate"]
            assert there.entries("switch") == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/stops?until=1", 400),
        ("/api/stops?a=1&a=2", 400),
        ("/api/leases?stuck=true", 404),
        ("/api/stops/", 404),
        ("/api/stops/stop", 404),
    ],
)
async def test_a_query_is_read_strictly(there: Bench, path: str, status: int):
    assert (await ask_page(there, "GET", path, token())).status == status


async def test_an_operation_of_a_part_that_is_missing_says_what_to_configure(there: Bench):
    answer = await ask(there, "leases/list", token())

    assert answer.json["error"]["code"] == "control/absent"
    assert "leased credential" in answer.json["error"]["message"] + answer.json["error"]["remedy"]


async def test_a_change_is_in_the_journal_with_its_person_before_it_begins(there: Bench):
    control = there.gateway.control
    at_work: list[Any] = []

    async def revoke(_asked: Any, _by: OperatorName) -> Any:
        at_work.extend(there.entries("operator"))
        return {"ended": 0}

    control.add({OPERATIONS["leases/revoke"]: revoke})
    await ask(there, "leases/revoke", token(), body=b'{"user": "alice"}')

    (entry,) = at_work
    assert entry["event"] == "leases/revoke"
    assert entry["by"] == {"id": "olga", "issuer": ISSUER, "channel": "api"}
    assert entry["fields"] == {"user": "alice"}
