from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.model.caller import AuthMethod, Credentials, Principal
from tests.unit.identity.tokens import MCP, Clock, Signer, accepted, bearer, configuration, refused, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.identity.identities import Identities


@pytest.fixture
async def identities(tmp_path: Path) -> "AsyncIterator[Identities]":
    async with running(configuration(tmp_path, {"kind": "anonymous", "id": "dev"}), Clock()) as identities:
        yield identities


@pytest.mark.parametrize("client_ip", ["127.0.0.1", "::1", None])
async def test_a_local_caller_without_credentials_has_the_configured_id(
    identities: "Identities", client_ip: str | None
):
    principal = accepted(await identities.identify(Credentials("POST", MCP), client_ip))
    assert principal == Principal("dev", "urn:opagate:anonymous", AuthMethod.ANONYMOUS)


async def test_a_caller_from_elsewhere_is_refused(identities: "Identities"):
    refused(await identities.identify(Credentials("POST", MCP), "10.0.0.1"), "identity/missing")


async def test_a_remembered_local_caller_admits_no_caller_from_elsewhere(identities: "Identities"):
    accepted(await identities.identify(Credentials("POST", MCP), "127.0.0.1"))

    for elsewhere in (Credentials("POST", MCP), Credentials("POST", MCP, passed_on=True)):
        refused(await identities.identify(elsewhere, "10.0.0.1"), "identity/missing")
    refused(await identities.identify(Credentials("POST", MCP, passed_on=True), "127.0.0.1"), "identity/missing")


@pytest.mark.parametrize(
    ("credentials", "code"),
    [
        (bearer(Signer().token()), "identity/issuer"),
        (bearer("a.b.c"), "identity/malformed"),
        (Credentials("POST", MCP, ("Basic eDp5",)), "identity/malformed"),
        (Credentials("POST", MCP, ("",)), "identity/malformed"),
        (Credentials("POST", MCP, dpop=("a.b.c",)), "identity/missing"),
        (Credentials("POST", MCP, certificate=b"x"), "identity/certificate"),
    ],
)
async def test_credentials_that_do_not_hold_never_count_as_none(
    identities: "Identities", credentials: Credentials, code: str
):
    refused(await identities.identify(credentials, "127.0.0.1"), code)
    accepted(await identities.identify(Credentials("POST", MCP), "127.0.0.1"))
    refused(await identities.identify(credentials, "127.0.0.1"), code)
