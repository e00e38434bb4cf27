"""Brokers, made from the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from gateway.authority.brokers.aws_sts import BotocoreSigner, RoleSessionBroker
from gateway.authority.brokers.exchange import TokenExchangeBroker
from gateway.authority.brokers.id_jag import AssertionBroker
from gateway.authority.brokers.openbao import DynamicSecretBroker
from gateway.authority.brokers.openbao_login import Login
from gateway.authority.brokers.subjects import CallerSubjects
from gateway.config.brokers import (
    AwsStsBroker,
    AwsStsCredential,
    ExchangeBroker,
    ExchangeCredential,
    OpenBaoBroker,
    OpenBaoCredential,
)
from gateway.config.connections import server_of
from gateway.wire.https_client import HttpsClient
from gateway.wire.oauth_client import ClientProof, OAuthClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.authority.broker import Broker
    from gateway.authority.brokers.subjects import Subjects
    from gateway.config import Configuration
    from gateway.config.brokers import BrokerSettings, IdJag

Credential = TypeVar("Credential", bound=ExchangeCredential | OpenBaoCredential | AwsStsCredential)


def build_brokers(configuration: Configuration, clock: Callable[[], float]) -> dict[str, Broker]:
    """Return each configured broker by its name, without those of users' connections. Nothing is connected; close each with `aclose`.

    Raises `ConfigurationError` for a key or for authorities that cannot be used.
    """
    return {
        name: _build(name, settings, configuration, clock)
        for name, settings in configuration.brokers.items()
        if isinstance(settings, ExchangeBroker | OpenBaoBroker | AwsStsBroker) and server_of(settings) is None
    }


def build_assertion_broker(
    name: str,
    settings: ExchangeBroker,
    configuration: Configuration,
    *,
    idp: OAuthClient,
    subjects: Subjects,
    clock: Callable[[], float],
) -> AssertionBroker:
    """Return a broker whose tokens an identity provider's assertions obtain. `idp` is its client there."""
    client = OAuthClient(settings.issuer, _http(settings), clock)
    upstreams = _credentials(configuration, name, ExchangeCredential)
    return AssertionBroker(name, settings, upstreams, idp=idp, client=client, subjects=subjects, clock=clock)


def _build(
    name: str,
    settings: ExchangeBroker | OpenBaoBroker | AwsStsBroker,
    configuration: Configuration,
    clock: Callable[[], float],
) -> Broker:
    if isinstance(settings, ExchangeBroker) and settings.id_jag is not None:
        return _build_of_callers(name, settings, settings.id_jag, configuration, clock)
    if isinstance(settings, ExchangeBroker):
        client = OAuthClient(settings.issuer, _http(settings), clock)
        upstreams = _credentials(configuration, name, ExchangeCredential)
        return TokenExchangeBroker(name, settings, upstreams, client, clock)
    if isinstance(settings, AwsStsBroker):
        sessions = _credentials(configuration, name, AwsStsCredential)
        signer = BotocoreSigner(settings.region)
        return RoleSessionBroker(name, settings, sessions, http=_http(settings), signer=signer, clock=clock)
    http = _http(settings, settings.url.removeprefix("unix://") if settings.url.startswith("unix://") else None)
    secrets = _credentials(configuration, name, OpenBaoCredential)
    return DynamicSecretBroker(name, settings, secrets, http=http, login=Login(settings, http, clock), clock=clock)


def _build_of_callers(
    name: str,
    settings: ExchangeBroker,
    given: IdJag,
    configuration: Configuration,
    clock: Callable[[], float],
) -> AssertionBroker:
    """Return the broker that shows an identity provider the access tokens of callers."""
    proof = ClientProof(given.client.id or "", given.client.auth, clock)
    idp, subjects = OAuthClient(given.idp, _http(settings), clock), CallerSubjects(given.idp, proof)
    return build_assertion_broker(name, settings, configuration, idp=idp, subjects=subjects, clock=clock)


def _http(settings: BrokerSettings, socket: str | None = None) -> HttpsClient:
    return HttpsClient(seconds=settings.timeout.total_seconds(), ca=settings.ca, socket=socket)


def _credentials(configuration: Configuration, broker: str, kind: type[Credential]) -> dict[str, Credential]:
    """Return the upstreams of a broker, with their credentials."""
    return {
        name: upstream.credential
        for name, upstream in configuration.upstreams.items()
        if isinstance(upstream.credential, kind) and upstream.credential.broker == broker
    }
