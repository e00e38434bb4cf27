"""The real issuers that brokers are tried with."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.conftest import TOOLS
from tests.interaction.identity.server import OAuthServer
from tests.machine import skip_or_fail
from tests.servers.keycloak import Keycloak, shared_keycloak

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@pytest.fixture(scope="session")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Generator[Keycloak]:
    """Keycloak, once for all workers."""
    home = TOOLS / "keycloak"
    if not (home / "bin/kc.sh").exists() or shutil.which("java") is None:
        skip_or_fail(f"Keycloak, expected at {home}; run `make tools` (needs Java 17 or newer)")
    base = tmp_path_factory.getbasetemp()
    with shared_keycloak(home, base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) as found:
        yield found


@pytest.fixture
def provider(node_path: Path, node_modules: Path, unused_tcp_port: int, tmp_path: Path) -> Generator[OAuthServer]:
    """npm `oidc-provider`, as an authorization server and as the identity provider."""
    server = OAuthServer(node_path, node_modules, unused_tcp_port, tmp_path / "provider.log")
    server.start()
    yield server
    server.stop()
