from typing import TYPE_CHECKING

import pytest
import structlog

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(autouse=True)
def _plain_logs() -> "Generator[None]":  # pyright: ignore[reportUnusedFunction] - pytest uses it
    """Whatever other tests configured, all levels are captured here."""
    before = structlog.get_config()
    structlog.reset_defaults()
    yield
    structlog.configure(**before)
