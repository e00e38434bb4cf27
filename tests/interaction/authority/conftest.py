"""The real issuers that brokers are tried with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interaction.identity.server import OAuthServer

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@pytest.fixture
def provider(node_path: Path, node_modules: Path, unused_tcp_port: int, tmp_path: Path) -> Generator[OAuthServer]:
    """npm `oidc-provider`, as an authorization server and as the identity provider."""
    server = OAuthServer(node_path, node_modules, unused_tcp_port, tmp_path / "provider.log")
    server.start()
    yield server
    server.stop()
