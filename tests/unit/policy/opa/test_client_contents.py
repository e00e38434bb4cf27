"""The client's questions about the contents of OPA."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.model.errors import PolicyMalformed
from gateway.policy import verdict
from gateway.policy.opa import client as servers
from gateway.policy.opa.contents import HeldModule
from tests.unit.policy.opa_peer import client_of, http, peer_answering, result


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "opa.sock"


async def test_the_contents_of_opa_may_be_larger_and_slower_than_an_answer(
    socket: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(servers, "MAX_ANSWER", 100)
    ast = {
        "package": {"path": [{"type": "var", "value": "data"}, {"type": "string", "value": "a"}]},
        "comments": "x" * 200,
    }
    listed = result([{"id": "a.rego", "raw": "package a", "ast": ast}])
    async with peer_answering(socket, listed, result("x" * 200), http(b"{}")) as peer, client_of(socket) as client:
        assert await client.modules() == (HeldModule("a.rego", "package a", ("a",), frozenset()),)
        assert await client.value(("a", "b/c")) == "x" * 200
        assert await client.value(("a",)) == verdict.UNDEFINED

    assert peer.requests[1].startswith(b"GET /v1/data/a/b%2Fc ")


@pytest.mark.parametrize(
    "body", [b"rubbish", b'{"result": [{"raw": "package a"}]}', b'{"result": {}}', b'{"result": [1]}']
)
async def test_a_list_of_policies_that_cannot_be_read_is_malformed(socket: Path, body: bytes):
    async with peer_answering(socket, http(body)), client_of(socket) as client:
        with pytest.raises(PolicyMalformed, match="list of policies"):
            await client.modules()
