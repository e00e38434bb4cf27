"""The native core, for tests that compare it with Python."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from gateway.inspection.words.native import MODULE, Core, choose
from tests.machine import MISSING


@pytest.fixture(scope="session")
def core() -> Core:
    """Return the installed core. An installed core that does not fit fails the test."""
    if find_spec(MODULE) is None:
        pytest.skip(f"{MISSING}: the native core; `make core` builds it where cargo is")
    chosen = choose("native").core
    assert chosen is not None
    return chosen
