import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import ECKey
from msgspec import structs

from gateway.identity import development
from gateway.model.caller import Actor, AuthMethod, Credentials, User
from gateway.model.errors import ConfigurationError
from tests.unit.identity.tokens import MCP, Clock, Signer, accepted, bearer, configuration, refused, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.identity.identities import Identities


@pytest.fixture
def key(tmp_path: Path) -> ECKey:
    return development.load_key(tmp_path / "state")


@pytest.fixture
async def identities(tmp_path: Path, key: ECKey) -> "AsyncIterator[Identities]":
    async with running(configuration(tmp_path, {"kind": "development"}), Clock()) as identities:
        yield identities


def issue(key: ECKey, *, audience: str = MCP, ttl: float = 600, **more: Any) -> str:
    return development.issue(key, agent="a", audience=audience, ttl=ttl, clock=Clock(), **more)


async def test_a_development_token_is_its_agent(identities: "Identities", key: ECKey):
    principal = accepted(await identities.identify(bearer(issue(key, scopes=["x", "y"])), "127.0.0.1"))
    assert (principal.id, principal.user, principal.method) == ("a", None, AuthMethod.DEVELOPMENT)
    assert principal.issuer == development.ISSUER
    assert principal.scopes == {"x", "y"}


async def test_a_development_token_for_a_user_names_the_agent_as_actor(identities: "Identities", key: ECKey):
    principal = accepted(await identities.identify(bearer(issue(key, user="alice", groups=["dev"])), None))
    assert (principal.id, principal.user) == ("a", User("alice", ("dev",)))
    assert principal.delegation == (Actor("a", None),)


async def test_two_tokens_have_two_ids(identities: "Identities", key: ECKey):
    one, other = [accepted(await identities.identify(bearer(issue(key)), None)) for _ in range(2)]
    assert one.token_id != other.token_id


async def test_a_development_token_from_elsewhere_is_refused_also_when_it_was_just_seen(
    identities: "Identities", key: ECKey
):
    token = issue(key)
    accepted(await identities.identify(bearer(token), "127.0.0.1"))
    refused(await identities.identify(bearer(token), "10.0.0.1"), "identity/issuer")


@pytest.mark.parametrize(
    "ip", ["10.0.0.1", "172.31.255.1", "192.168.1.9", "fd00::1", "::ffff:172.18.0.1", "127.0.0.1", None]
)
async def test_where_it_is_configured_a_development_token_may_come_from_a_private_address(
    tmp_path: Path, key: ECKey, ip: str | None
):
    async with running(configuration(tmp_path, {"kind": "development", "from": "private"}), Clock()) as identities:
        accepted(await identities.identify(bearer(issue(key)), ip))


@pytest.mark.parametrize(
    "ip",
    ["8.8.8.8", "172.32.0.1", "172.15.9.9", "169.254.1.1", "100.64.0.1", "2001:db8::1", "fe80::1", "::ffff:8.8.8.8"],
)
async def test_a_development_token_never_comes_from_a_public_address_also_when_it_was_just_seen(
    tmp_path: Path, key: ECKey, ip: str
):
    token = issue(key)
    async with running(configuration(tmp_path, {"kind": "development", "from": "private"}), Clock()) as identities:
        accepted(await identities.identify(bearer(token), "10.0.0.1"))
        refused(await identities.identify(bearer(token), ip), "identity/issuer")


async def test_a_caller_that_came_through_a_proxy_is_at_no_private_address(tmp_path: Path, key: ECKey):
    credentials = structs.replace(bearer(issue(key)), passed_on=True)
    async with running(configuration(tmp_path, {"kind": "development", "from": "private"}), Clock()) as identities:
        refused(await identities.identify(credentials, "10.0.0.1"), "identity/issuer")


async def test_callers_without_credentials_stay_on_this_machine(tmp_path: Path):
    identity = ({"kind": "development", "from": "private"}, {"kind": "anonymous"})
    async with running(configuration(tmp_path, *identity), Clock()) as identities:
        refused(await identities.identify(Credentials("POST", MCP), "10.0.0.1"), "identity/missing")


async def test_a_development_token_without_a_development_issuer_is_none(identities: "Identities"):
    refused(await identities.identify(bearer(Signer().token()), None), "identity/issuer")


async def test_a_development_token_of_another_key_is_refused(identities: "Identities"):
    other = issue(ECKey.generate_key("P-256"))
    refused(await identities.identify(bearer(other), None), "identity/signature")


async def test_a_development_token_ends_and_is_for_this_gateway(identities: "Identities", key: ECKey):
    refused(await identities.identify(bearer(issue(key, ttl=-60)), None), "identity/expired")
    refused(await identities.identify(bearer(issue(key, audience="https://x")), None), "identity/audience")


async def test_a_development_token_with_a_wrong_header_is_refused(identities: "Identities", key: ECKey):
    signer = Signer(kid=None, key=key, issuer=development.ISSUER)
    refused(await identities.identify(bearer(signer.token(header={"typ": "JWT"})), None), "identity/claims")
    refused(await identities.identify(bearer(signer.token(header={"alg": "none"})), None), "identity/signature")


async def test_a_development_token_is_nothing_where_it_is_not_configured(tmp_path: Path, key: ECKey):
    async with running(configuration(tmp_path, {"kind": "anonymous"}), Clock()) as identities:
        refused(await identities.identify(bearer(issue(key)), None), "identity/issuer")


def test_the_key_is_made_once_and_only_for_its_owner(tmp_path: Path):
    state = tmp_path / "deep" / "state"
    one, other = development.load_key(state), development.load_key(state)
    assert one.thumbprint() == other.thumbprint()
    assert stat.S_IMODE((state / development.KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in state.iterdir()] == [development.KEY_FILE]
    assert development.fingerprint(one) == development.fingerprint(other)


def test_a_damaged_key_is_refused_and_not_replaced(tmp_path: Path):
    path = tmp_path / development.KEY_FILE
    path.write_bytes(b"no key")
    path.chmod(0o600)

    with pytest.raises(ConfigurationError, match=r"the development key .* is not a private key") as raised:
        development.load_key(tmp_path)
    assert raised.value.remedy == "delete it; a new one is made"
    assert path.read_bytes() == b"no key"
