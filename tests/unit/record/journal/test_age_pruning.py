"""Files older than `journal.keep` go, in a process of its own; what stays can be verified."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.base.keys.key_ring import KeyRing
from gateway.config import JournalSettings
from gateway.record.journal import reader
from gateway.record.journal.age_pruning import AgePruning
from gateway.record.journal.storage import segments
from tests.unit.record.journal.segments import SMALL

KEY = b"k" * 32
FAR = 4_000_000_000.0
"""A time after all that the tests write."""


@pytest.fixture
async def head(write_journal: Callable[..., Awaitable[str]]) -> str:
    return await write_journal(20, segment=SMALL)


def pruning(folder: Path, *keys: bytes, now: float = FAR, archive: Path | None = None) -> AgePruning:
    settings = JournalSettings(path=folder, keep=timedelta(days=2), archive=archive)
    return AgePruning(settings, timedelta(days=2), KeyRing(*keys), lambda: now)


async def test_old_files_are_removed_and_the_rest_can_be_verified(folder: Path, head: str):
    before = len(segments(folder))

    report = await pruning(folder, KEY).prune_once()

    assert (report.problem, report.segments) == (None, before - 1)
    assert len(segments(folder)) == 1
    assert reader.verify(folder, key=KEY, head=head).ok


async def test_old_files_are_moved_where_an_archive_is_named(folder: Path, head: str, tmp_path: Path):
    report = await pruning(folder, KEY, archive=tmp_path / "archive").prune_once()

    assert len(segments(tmp_path / "archive")) == report.segments > 1
    assert reader.verify(tmp_path / "archive", key=KEY).ok


async def test_what_is_young_enough_stays(folder: Path, head: str):
    before = segments(folder)

    report = await pruning(folder, KEY, now=0.0).prune_once()

    assert (report.problem, report.segments, segments(folder)) == (None, 0, before)


@pytest.mark.parametrize(("set_forward", "removes"), [(0.0, True), (60.0, True), (10 * 86_400.0, False)])
async def test_a_clock_that_is_set_forward_beside_the_gateway_removes_nothing(
    folder: Path, head: str, *, set_forward: float, removes: bool
):
    wall, passed, before = [FAR], [5.0], segments(folder)
    settings = JournalSettings(path=folder, keep=timedelta(days=2))
    job = AgePruning(settings, timedelta(days=2), KeyRing(KEY), lambda: wall[0], lambda: passed[0])
    passed[0] += 90 * 86_400
    wall[0] += 90 * 86_400 + set_forward

    report = await job.prune_once()

    assert (report.segments > 0) is removes
    assert (segments(folder) != before) is removes
    assert ("set forward" in (report.problem or "")) is not removes


async def test_an_edited_journal_keeps_all_and_says_so(folder: Path, head: str):
    _, first = segments(folder)[0]
    lines = first.read_bytes().splitlines(keepends=True)
    first.write_bytes(b"".join([*lines[:-1], lines[-1].replace(b"}", b" }")]))
    before = segments(folder)

    report = await pruning(folder, KEY).prune_once()

    assert report.problem is not None
    assert segments(folder) == before


async def test_another_key_removes_nothing(folder: Path, head: str):
    before = segments(folder)

    report = await pruning(folder, b"x" * 32).prune_once()

    assert report.problem is not None
    assert segments(folder) == before


async def test_a_key_that_came_after_the_first_is_one_of_the_keys(folder: Path, head: str):
    report = await pruning(folder, b"n" * 32, KEY).prune_once()

    assert report.problem is None


async def test_a_run_that_is_stopped_leaves_a_journal_that_can_be_verified(folder: Path, head: str):
    job = pruning(folder, KEY).start()

    await job.stop()

    assert reader.verify(folder, key=KEY, head=head).ok


@pytest.mark.parametrize(
    "settings",
    [
        {"keep": "1d"},
        {"keep": "47h"},
        {"archive": "a"},
        {"keep": "9d", "archive": "j", "path": "j"},
        {"keep": "forever"},
    ],
)
def test_settings_that_would_lose_open_tasks_or_go_nowhere_are_refused(settings: dict[str, str]):
    with pytest.raises(ValidationError):
        JournalSettings.model_validate(settings)
