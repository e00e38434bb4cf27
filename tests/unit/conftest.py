from __future__ import annotations

from collections.abc import Generator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _plain_logs() -> Generator[None]:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    """Whatever other tests and the commands that they run configured, all levels are captured here."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
