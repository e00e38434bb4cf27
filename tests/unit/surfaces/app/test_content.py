"""What looks at content, as it is configured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.harness import bench


async def test_a_suppression_that_can_cover_nothing_is_told_when_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rule = "{upstream: files, detector: %s, until: 2999-12-31, reason: fixtures}"
    rules = ", ".join(rule % name for name in ("named-pasword", "named-password"))
    async with bench(tmp_path, more=f"inspection: {{suppressions: [{rules}]}}\n"):
        told = capsys.readouterr().out

    assert told.count("credential.suppression-unused") == 1
    assert "did you mean 'named-password'" in told
