"""Configurations from a text, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config
from gateway.config import Configuration, InvalidSettings

BASE = Path("/etc/opagate")
UPSTREAM = "{url: 'https://mcp.example/', audience: x"
"""The beginning of one; more of it may follow."""


def parse(text: str, base: Path = BASE) -> Configuration:
    return config.parse(text, base=base, name="gateway.yaml")


def problems(text: str, base: Path = BASE) -> tuple[str, ...]:
    """What a configuration that is refused is refused for."""
    with pytest.raises(InvalidSettings) as raised:
        parse(text, base)
    assert raised.value.message == f"gateway.yaml: {'; '.join(raised.value.problems)}"
    assert raised.value.remedy
    return raised.value.problems
