"""The real issuer that tests of several folders share."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.conftest import TOOLS
from tests.machine import skip_or_fail
from tests.servers.keycloak import Keycloak, shared_keycloak

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(scope="session")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Generator[Keycloak]:
    """Keycloak, once for all workers."""
    home = TOOLS / "keycloak"
    if not (home / "bin/kc.sh").exists() or shutil.which("java") is None:
        skip_or_fail(f"Keycloak, expected at {home}; run `make tools` (needs Java 17 or newer)")
    base = tmp_path_factory.getbasetemp()
    with shared_keycloak(home, base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) as found:
        yield found
