"""The credentials of upstreams, by their kinds."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from gateway.config.authority import GatewayCredential
from gateway.config.brokers import BrokerCredential
from gateway.config.formats import HeaderName, HeaderValue
from gateway.config.values import Settings


class NoCredential(Settings):
    """The upstream asks for none."""

    kind: Literal["none"] = "none"


class HeaderCredential(Settings):
    """A fixed header for an HTTP upstream, for example a personal access token."""

    kind: Literal["header"]
    name: HeaderName = Field(default="authorization", description="The header's name.")
    value: HeaderValue = Field(description="Its whole value, such as `${NAME}` that holds `Bearer …`.")


UpstreamCredential: TypeAlias = Annotated[
    NoCredential | HeaderCredential | GatewayCredential | BrokerCredential, Field(discriminator="kind")
]
