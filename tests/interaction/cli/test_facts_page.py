"""docs/policy/facts.md, followed word by word in an empty folder: each command, and what it prints."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.interaction.cli.test_writing_policy import BLOCK, Walk

ROOT: Final = Path(__file__).resolve().parents[3]
PAGE: Final = (ROOT / "docs/policy/facts.md").read_text("utf-8").partition("## From a sentence to a rule")[2]


@pytest.mark.timeout(600)
def test_the_page_makes_a_rule_from_a_sentence(tmp_path: Path):
    with ExitStack() as stack:
        walk = Walk(tmp_path, stack)
        for block in BLOCK.finditer(PAGE):
            walk.follow(block[1], block[2], PAGE[: block.start()])

    assert walk.followed == ["sh", "text", "sh", "text", "sh", "sh", "text"]
