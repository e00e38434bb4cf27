"""Signals of a real Keycloak: an administrator logs a user out, and nothing of the user's login works at the gateway any more."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import yaml

from tests.e2e.wire import Answer, Caller, call, entries, stateless, until, verified
from tests.gateway_process import ANYONE_ANYTHING, free_port, running_gateway
from tests.servers.keycloak import PUSH

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.gateway_process import GatewayProcess
    from tests.servers.keycloak import Keycloak, Person, Receiver
    from tests.servers.serving import ServerProcess

# The start of Keycloak counts for the first test.
pytestmark = pytest.mark.timeout(300)

AUDIENCE = "https://gateway.example/signals"
ANOTHER = "another-7Kq2x-password"


@pytest.fixture(autouse=True)
def _with_transmitter(keycloak: Keycloak) -> None:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    if httpx2.get(f"{keycloak.issuer}/.well-known/ssf-configuration").status_code != 200:
        pytest.skip("this Keycloak was built without its transmitter of signals; run `make tools`")


def configured(keycloak: Keycloak, echo: ServerProcess, receiver: Receiver, folder: Path, **signals: Any) -> str:
    (folder / "grants.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    upstream = {
        "url": echo.mcp,
        "audience": "https://tickets.example",
        "environment": "test",
        "tools": {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}},
        "credential": {"kind": "gateway", "bind": "task", "scopes": {"read": ["tickets.read"]}},
    }
    access = {"client_id": receiver.client_id, "client_auth": {"client_secret": "${SSF_SECRET}"}}
    stream = {
        "kind": "ssf",
        "name": "corp",
        "transmitter": keycloak.issuer,
        "audience": AUDIENCE,
        "stream": access,
        **signals,
    }
    return yaml.safe_dump(
        {
            "identity": [{"kind": "jwt", "issuer": keycloak.issuer, "audience": "gw"}, {"kind": "development"}],
            "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
            "upstreams": {"tickets": upstream},
            "signals": [stream],
        }
    )


@contextmanager
def gateway(
    keycloak: Keycloak, echo: ServerProcess, folder: Path, delivery: str, **signals: Any
) -> Generator[GatewayProcess]:
    """Run a gateway with a stream of its own at Keycloak."""
    port = free_port()
    receiver = keycloak.new_receiver(f"http://127.0.0.1:{port}", delivery, audience=AUDIENCE)
    more = {"delivery": delivery, **({"authorization": "${SSF_PUSH}"} if delivery == "push" else {}), **signals}
    text = configured(keycloak, echo, receiver, folder, **more)
    environment = {"SSF_SECRET": receiver.secret, "SSF_PUSH": PUSH}
    with running_gateway(text, folder, environment=environment, port=port) as found:
        yield found


def ask(found: GatewayProcess, token: str) -> Answer:
    return Caller(found, "tickets", {"authorization": f"Bearer {token}"}).ask(call("echo", stateless, text="hello"))


def ended(folder: Path) -> list[dict[str, Any]]:
    return [entry for entry in entries(folder, "signal") if entry["action"] == "ended"]


def has_ended_lease(folder: Path) -> bool:
    """Return whether a signal ended a lease here. Keycloak tells each stream of users of other tests too."""
    return "signal" in [entry.get("cause") for entry in entries(folder, "lease")]


@pytest.mark.parametrize("delivery", ["push", "poll"])
def test_a_logout_by_an_administrator_ends_leases_and_refuses_the_next_call(
    keycloak: Keycloak, echo_server: ServerProcess, tmp_path: Path, delivery: str
):
    ann, bob = keycloak.new_person(), keycloak.new_person()
    with gateway(keycloak, echo_server, tmp_path, delivery) as found:
        old, other = keycloak.token(ann), keycloak.token(bob)
        assert ask(found, old).text == "hello"
        assert ask(found, other).text == "hello"

        keycloak.admin("POST", f"corp/users/{ann.id}/logout")

        until(lambda: has_ended_lease(tmp_path))
        refused = ask(found, old)
        assert (refused.status, refused.codes) == (401, ["identity/revoked"])
        assert ask(found, other).text == "hello"
        until(
            lambda: (
                [entry["cause"] for entry in entries(tmp_path, "lease") if entry["event"] == "revoked"] == ["signal"]
            )
        )
        assert (
            ask(found, wait_for_token(keycloak, ann, max(entry["occurred"] for entry in ended(tmp_path)))).text
            == "hello"
        )
        assert ann.id not in str(ended(tmp_path))
    assert verified(tmp_path).ok


def wait_for_token(keycloak: Keycloak, person: Person, after: float) -> str:
    """Return a token of a login after a time: Keycloak counts whole seconds."""
    until(lambda: time.time() >= after + 1)
    return keycloak.token(person)


def test_a_logout_by_the_user_ends_that_session_alone(keycloak: Keycloak, echo_server: ServerProcess, tmp_path: Path):
    ann = keycloak.new_person()
    with gateway(keycloak, echo_server, tmp_path, "push") as found:
        first, second = keycloak.login(ann), keycloak.login(ann)
        for session in (first, second):
            assert ask(found, session["access_token"]).text == "hello"

        keycloak.logout(first["refresh_token"])

        # Both sessions call in one task, so its lease is that of the ended session, with the calls under it.
        until(lambda: has_ended_lease(tmp_path))
        assert ask(found, first["access_token"]).codes == ["identity/revoked"]
        assert ask(found, second["access_token"]).text == "hello"


def test_after_a_new_password_the_policy_asks_until_the_next_login(
    keycloak: Keycloak, echo_server: ServerProcess, tmp_path: Path
):
    ann = keycloak.new_person()
    with gateway(keycloak, echo_server, tmp_path, "push") as found:
        own = keycloak.token(ann)
        keycloak.admin(
            "PUT",
            f"corp/users/{ann.id}/reset-password",
            {"type": "password", "value": ANOTHER, "temporary": False},
        )

        def noted() -> bool:
            return any(entry["action"] == "noted" for entry in entries(tmp_path, "signal"))

        until(noted)
        assert "signal/doubtful" in ask(found, own).codes
        (fact,) = entries(tmp_path, "call")[-1]["signals"]
        assert (fact["type"], fact["level"]) == ("credential-change", "update")
        until(lambda: time.time() >= fact["at"] + 1)
        assert ask(found, keycloak.token(ann, password=ANOTHER)).text == "hello"


def test_the_stream_of_a_running_gateway_can_be_tried_and_looked_at(
    keycloak: Keycloak, echo_server: ServerProcess, tmp_path: Path
):
    with gateway(keycloak, echo_server, tmp_path, "push"):
        tried = opagate(tmp_path, "credentials", "signals", "test", "corp")
        assert "a verification event came after" in tried, tried
        status = opagate(tmp_path, "credentials", "signals", "status")
        assert "corp" in status
        assert "works" in status


def opagate(folder: Path, *arguments: str) -> str:
    """Return what a command printed."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments, "--config", str(folder / "gateway.yaml")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={"SSF_SECRET": "unused", "SSF_PUSH": "unused", "PATH": "/usr/bin:/bin", "COLUMNS": "160"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
