"""A passed trial is not repeated, and anything else is tried."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.model.errors import PolicyBroken
from gateway.policy.folder.shadowing import DataSource
from gateway.policy.plan import loading
from gateway.policy.plan.loading import CodeCache
from gateway.policy.trials.passed_trials import PassedTrials
from gateway.policy.trials.trial import Trial

TRIAL = Trial(b"code", "{}", places={"grants": "grants.yaml"})


class _Tried:
    """Trials that were run. A broken one fails."""

    def __init__(self, folder: Path, key: bytes = b"k" * 32) -> None:
        self.run: list[Trial] = []
        self.is_broken = False
        self.trials = PassedTrials(CodeCache(folder, key), self._try)

    async def _try(self, asked: Trial) -> None:
        self.run.append(asked)
        if self.is_broken:
            raise PolicyBroken("it is broken", "mend it")


async def test_a_passed_trial_is_not_repeated_after_a_restart(tmp_path: Path):
    first, second = _Tried(tmp_path), _Tried(tmp_path)

    await first.trials.require(TRIAL)
    await second.trials.require(TRIAL)

    assert (first.run, second.run) == ([TRIAL], [])


@pytest.mark.parametrize(
    "changed",
    [
        {"data": '{"x": 1}'},
        {"sources": (DataSource("data.json", (), {"x": 1}),)},
        {"code": b"other code"},
        {"code": b""},
        {"places": {}},
        {"seconds": 61},
        {"memory": 1},
        {"limit": 1.0},
    ],
    ids=str,
)
async def test_a_trial_that_differs_is_run(tmp_path: Path, changed: dict[str, Any]):
    tried = _Tried(tmp_path)
    await tried.trials.require(TRIAL)

    await tried.trials.require(replace(TRIAL, **changed))

    assert len(tried.run) == 2


async def test_a_trial_that_failed_is_run_again(tmp_path: Path):
    tried = _Tried(tmp_path)
    tried.is_broken = True
    for _ in range(2):
        with pytest.raises(PolicyBroken):
            await tried.trials.require(TRIAL)

    assert len(tried.run) == 2


def _replace_content(folder: Path, content: bytes) -> None:
    """Leave the digest of the only file as it is."""
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:32] + content)


async def test_a_file_of_another_key_or_content_proves_nothing(tmp_path: Path):
    await _Tried(tmp_path, b"o" * 32).trials.require(TRIAL)
    tried = _Tried(tmp_path)
    await tried.trials.require(TRIAL)
    _replace_content(tmp_path, b"PASSED")
    await tried.trials.require(TRIAL)
    _replace_content(tmp_path, b"")
    await tried.trials.require(TRIAL)

    assert len(tried.run) == 3


async def test_another_gateway_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tried = _Tried(tmp_path / "cache")
    (tmp_path / "gateway").mkdir()
    monkeypatch.setattr(loading, "_GATEWAY", tmp_path / "gateway")
    digest_code = loading.digest_gateway
    digest_code.cache_clear()
    await tried.trials.require(TRIAL)
    (tmp_path / "gateway/x.py").write_text("changed", "utf-8")
    digest_code.cache_clear()

    await tried.trials.require(TRIAL)

    assert len(tried.run) == 2
    digest_code.cache_clear()
