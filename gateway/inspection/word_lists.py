"""The word lists of the inspector, read once from `word_lists.toml`. The file says the purpose of each list."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

_LISTS: Final = cast("Mapping[str, str]", tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8")))


def word_list(name: str) -> frozenset[str]:
    """Return the words of a list. Raises `KeyError` for a name without a list."""
    return frozenset(_LISTS[name].split())
