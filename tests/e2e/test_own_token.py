"""A caller's own token reaches no system: not whole, not in pieces, not in another form, and not under another of its tokens.

Real gateway, real servers; whether a message arrived is read from the server's own log.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.running import leave, mortal_gateway
from tests.e2e.systems import Agent, Servers, agent
from tests.e2e.test_credentials_elsewhere import beside, passes, post
from tests.e2e.wire import Sent, call, legacy
from tests.gateway_process import GatewayProcess, free_port, open_policy
from tests.requirements import requirement


@pytest.fixture
def ada(one: GatewayProcess, systems: Servers, request: pytest.FixtureRequest) -> Agent:
    """A caller of its own."""
    return agent(one, systems, f"ada-{abs(hash(request.node.nodeid))}")


OWN: Final = ["request/own-token"]


def signature(caller: Agent) -> str:
    """The part of a caller's token without which the rest is worth nothing."""
    return caller.headers["authorization"].rpartition(".")[2]


def kept(caller: Agent, system: str, sent: Sent, codes: list[str]) -> None:
    """A message that is refused and does not arrive."""
    answer, came = post(caller, system, sent)
    assert (answer.status, answer.codes, came) == (400, codes, False), answer.body


OWN_FORMS: dict[str, Callable[[str], str]] = {
    "spaced": " ".join,
    "dashed": "-".join,
    "in lines": lambda text: "\n".join(text[at : at + 12] for at in range(0, len(text), 12)),
    "in capitals": str.upper,
    "spaced, as base64": lambda text: base64.b64encode(" ".join(text).encode()).decode(),
    "base64 twice": lambda text: base64.b64encode(base64.b64encode(text.encode())).decode(),
}


@requirement("history/elsewhere", "invariant/3")
@pytest.mark.parametrize("form", OWN_FORMS)
def test_the_callers_own_token_goes_nowhere_in_any_form(ada: Agent, form: str):
    written = OWN_FORMS[form](signature(ada))
    for system in ("billing", "crm"):
        kept(ada, system, call("read", query=written), OWN)
        kept(ada, system, legacy("ping", _meta={"note": written}), OWN)
    kept(ada, "billing", beside(call("read"), x_note=written.replace("\n", " ")), OWN)
    passes(ada, "billing", call("read", query="nothing of note"))


@requirement("history/elsewhere", "invariant/3")
def test_the_callers_own_token_in_pieces_goes_nowhere(ada: Agent):
    token = signature(ada)
    parts = [token[at : at + 12] for at in range(0, len(token), 12)]
    kept(ada, "billing", call("read", parts=parts), OWN)
    kept(
        ada,
        "billing",
        legacy("tools/call", name="read", arguments={f"p{number}": part for number, part in enumerate(parts)}),
        OWN,
    )
    # Each gateway knows a token by a sample of its own: half of the sample may be a little more or less than half of the token.
    quarter = len(token) // 4
    passes(ada, "billing", call("read", query=token[:quarter]))
    for sent in (
        call("read", query=token[quarter:]),
        beside(legacy("ping"), x_note=token[quarter:]),
        call("read", parts=parts[2:]),
    ):
        kept(ada, "billing", sent, OWN)
        kept(ada.declare(), "billing", sent, OWN)
    passes(ada, "chat", legacy("ping", _meta={"note": token[:quarter]}))
    kept(ada, "chat", beside(call("read", query="so"), x_note=token[quarter:]), OWN)


@requirement("history/elsewhere", "invariant/3")
def test_a_token_of_the_caller_does_not_leave_under_another(one: GatewayProcess, systems: Servers):
    first, second = (agent(one, systems, "renews") for _ in range(2))
    assert signature(first) != signature(second)
    first.passes("billing", "read")
    second.passes("billing", "read")
    for mine, other in ((first, second), (second, first)):
        token = signature(other)
        kept(mine, "billing", beside(call("read"), x_note=token), OWN)
        kept(mine, "billing", call("read", query=" ".join(token)), OWN)
        kept(mine, "crm", legacy("ping", _meta={"note": token}), OWN)
    third = len(signature(first)) // 3
    passes(second, "chat", call("read", query=signature(first)[:third]))
    kept(second, "chat", call("read", query=signature(first)[third:]), OWN)


@requirement("history/elsewhere", "invariant/3")
def test_what_all_tokens_share_passes(ada: Agent):
    """The header and the claims of a token are no secret."""
    header, claims, _ = ada.headers["authorization"].rpartition(" ")[2].split(".")
    passes(ada, "billing", call("read", query=f"{header}.{claims}", note="of https://issuer.example/realms/agents"))
    passes(ada, "billing", beside(legacy("ping"), x_note=header))


@requirement("history/elsewhere", "history/restart", "invariant/3")
def test_pieces_of_the_own_token_add_up_after_the_gateway_was_killed(systems: Servers, tmp_path: Path):
    config, port = systems.config(open_policy(tmp_path)), free_port()
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        before = agent(gateway, systems, "ada")
        token = signature(before)
        passes(before, "billing", call("read", query=token[: len(token) // 3]))
    leave(tmp_path, config, port, snapshots=False)
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        after = replace(before, gateway=gateway)
        kept(after, "billing", call("read", query=token[len(token) // 3 :]), OWN)
