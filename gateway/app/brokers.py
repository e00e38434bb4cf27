"""Brokers, made from the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from gateway.authority.brokers.aws_sts import BotocoreSigner, RoleSessionBroker
from gateway.authority.brokers.exchange import TokenExchangeBroker
from gateway.authority.brokers.issuer_client import IssuerClient
from gateway.authority.brokers.oauth_client import OAuthClient
from gateway.authority.brokers.openbao import DynamicSecretBroker
from gateway.authority.brokers.openbao_login import Login
from gateway.config.brokers import (
    AwsStsBroker,
    AwsStsCredential,
    ExchangeBroker,
    ExchangeCredential,
    OpenBaoBroker,
    OpenBaoCredential,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.authority.broker import Broker
    from gateway.config import Configuration

Credential = TypeVar("Credential", bound=ExchangeCredential | OpenBaoCredential | AwsStsCredential)


def build_brokers(configuration: Configuration, clock: Callable[[], float]) -> dict[str, Broker]:
    """Return each configured broker by its name, without those of users' connections. Nothing is connected; close each with `aclose`.

    Raises `ConfigurationError` for a key or for authorities that cannot be used.
    """
    return {
        name: _build(name, settings, configuration, clock)
        for name, settings in configuration.brokers.items()
        if isinstance(settings, ExchangeBroker | OpenBaoBroker | AwsStsBroker)
    }


def _build(
    name: str,
    settings: ExchangeBroker | OpenBaoBroker | AwsStsBroker,
    configuration: Configuration,
    clock: Callable[[], float],
) -> Broker:
    seconds = settings.timeout.total_seconds()
    if isinstance(settings, ExchangeBroker):
        client = OAuthClient(settings.issuer, IssuerClient(seconds=seconds, ca=settings.ca), clock)
        upstreams = _credentials(configuration, name, ExchangeCredential)
        return TokenExchangeBroker(name, settings, upstreams, client, clock)
    if isinstance(settings, AwsStsBroker):
        sessions = _credentials(configuration, name, AwsStsCredential)
        http, signer = IssuerClient(seconds=seconds, ca=settings.ca), BotocoreSigner(settings.region)
        return RoleSessionBroker(name, settings, sessions, http=http, signer=signer, clock=clock)
    socket = settings.url.removeprefix("unix://") if settings.url.startswith("unix://") else None
    http = IssuerClient(seconds=seconds, ca=settings.ca, socket=socket)
    secrets = _credentials(configuration, name, OpenBaoCredential)
    return DynamicSecretBroker(name, settings, secrets, http=http, login=Login(settings, http, clock), clock=clock)


def _credentials(configuration: Configuration, broker: str, kind: type[Credential]) -> dict[str, Credential]:
    """Return the upstreams that a broker serves, with their credentials."""
    return {
        name: upstream.credential
        for name, upstream in configuration.upstreams.items()
        if isinstance(upstream.credential, kind) and upstream.credential.broker == broker
    }
