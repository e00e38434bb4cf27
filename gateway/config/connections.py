"""The settings of connections: users who let an agent use a system as themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from gateway.config.brokers import ExchangeBroker, IssuerUrl, UserOAuthBroker
from gateway.config.identities import JwtIdentity
from gateway.config.values import Duration, Secret, Settings, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.config.brokers import Broker, ConnectionClient
    from gateway.config.identities import Identity


class ConnectionLogin(Settings):
    """The login of the person at a link, who has to be the user of the agent."""

    issuer: IssuerUrl = Field(description="The OIDC provider: the `issuer` of an identity of kind `jwt`.")
    client_id: Text = Field(description="The gateway's client there, with the redirect URI `<public_url>/oauth/login`.")
    client_secret: Secret | None = Field(
        default=None, description="Its secret; without it the client is public, and PKCE protects it."
    )


class ConnectionSettings(Settings):
    """Users' connections to authorization servers of upstreams."""

    login: ConnectionLogin = Field(description="How a person proves to be the user.")
    link: Duration = Field(default=timedelta(minutes=10), description="For the user to open a link and to agree.")
    hold: Duration = Field(
        default=timedelta(seconds=25), description="How long one request waits for the user before it is to come again."
    )


def callback_of(base_url: str, broker: str) -> str:
    """Return the redirect URI of a broker. Each broker has its own, so no server answers for another."""
    return f"{base_url}/oauth/callback/{broker}"


class ConnectedServer(NamedTuple):
    """The server that users of a broker connect to, and the gateway's client there."""

    issuer: str
    client: ConnectionClient


def server_of(broker: Broker) -> ConnectedServer | None:
    """Return the server to which a broker's users connect, or `None` if the broker needs no connection."""
    if isinstance(broker, UserOAuthBroker):
        return ConnectedServer(broker.issuer, broker.client)
    given = broker.id_jag if isinstance(broker, ExchangeBroker) else None
    if given is None or given.subject == "caller_token":
        return None
    return ConnectedServer(given.idp, given.client)


def find_login_problem(
    brokers: Mapping[str, Broker],
    connections: ConnectionSettings | None,
    identities: Iterable[Identity],
    base_url: str,
) -> str | None:
    """Return the problem of brokers whose users cannot log in, or whose client document no server can read."""
    for name, broker in brokers.items():
        server = server_of(broker)
        if server is None:
            continue
        if connections is None:
            return f"brokers.{name}: users connect there, and nothing says how they log in; add connections.login"
        if server.client.cimd and not base_url.startswith("https://"):
            return f"brokers.{name}: client.cimd: the server reads a document at public_url, which has to be https"
        if isinstance(broker, ExchangeBroker) and server.issuer != connections.login.issuer:
            return (
                f"brokers.{name}.id_jag.idp: users log in at {connections.login.issuer} (connections.login), and only that"
                " provider can vouch for them; name it here"
            )
    if connections is not None:
        issuers = {identity.issuer for identity in identities if isinstance(identity, JwtIdentity)}
        if connections.login.issuer not in issuers:
            return (
                f"connections.login.issuer: no identity of kind 'jwt' has the issuer {connections.login.issuer}, so no"
                " caller's user could log in there; name the issuer of the callers' tokens"
            )
    return None
