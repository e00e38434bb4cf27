from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from gateway.surfaces.cli import options


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-25T09:00:00Z", datetime(2026, 11, 25, 9, tzinfo=UTC)),
        ("2026-11-25T10:00:00+01:00", datetime(2026, 11, 25, 9, tzinfo=UTC)),
        ("2026-11-25", datetime(2026, 11, 25, tzinfo=UTC)),
    ],
)
def test_a_moment_is_a_time_or_a_date_in_utc(text: str, expected: datetime):
    assert options.moment(text, now=0) == expected.timestamp()


def test_a_moment_may_be_a_while_ago():
    assert options.moment("2h", now=10_000) == 2_800


@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "-1h"])
def test_what_is_no_moment_is_refused(text: str):
    with pytest.raises(typer.BadParameter, match="is not a time"):
        options.moment(text, now=0)


@pytest.mark.parametrize("text", ["1", "1 week", "0s"])
def test_what_is_no_duration_is_refused(text: str):
    with pytest.raises(typer.BadParameter, match="is not a duration"):
        options.seconds(text)


def test_the_file_is_the_named_one_or_the_usual_one_or_that_of_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert options.configuration_path(None) == Path("gateway.yaml")

    (tmp_path / "state").mkdir()
    (tmp_path / "state/up.yaml").touch()
    assert options.configuration_path(None) == Path("state/up.yaml")

    (tmp_path / "gateway.yaml").touch()
    assert options.configuration_path(None) == Path("gateway.yaml")
    assert options.configuration_path(Path("x")) == Path("x")
