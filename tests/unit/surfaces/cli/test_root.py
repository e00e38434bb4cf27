from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer

from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli import root, running
from gateway.surfaces.cli.running import ReaderGone
from tests.unit.surfaces.cli.conftest import Status

Failed = Callable[[BaseException], int]


@pytest.fixture
def failed(status: Status, monkeypatch: pytest.MonkeyPatch) -> Failed:
    """The exit status when whatever command there is fails in this way."""

    def fail(error: BaseException) -> int:
        def app(**_: object) -> NoReturn:
            raise error

        monkeypatch.setattr(root, "app", app)
        monkeypatch.setattr(running, "_drop_output", lambda: None)  # it would close what pytest writes to
        return status()

    return fail


def test_the_version_is_printed_and_all_is_well(status: Status, capsys: pytest.CaptureFixture[str]):
    assert status("--version") == 0
    assert capsys.readouterr().out.startswith("opagate ")


def commands(parent: Any) -> Iterator[tuple[str, str]]:
    """Each command with its help."""
    for name, command in parent.commands.items():
        yield name, inspect.cleandoc(command.help)
        yield from commands(command) if hasattr(command, "commands") else ()


def test_no_line_of_help_ends_where_the_terminal_does_not():
    # Of the first paragraph typer joins the lines.
    broken = {name: text.split("\n\n")[1:] for name, text in commands(typer.main.get_command(root.app))}

    assert len(broken) > 10
    assert {name: parts for name, parts in broken.items() if any("\n" in part for part in parts)} == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("serv",), "serv"),
        (("token",), "see `opagate token --help`"),
        (("token", "--agent", "x", "--tll", "1h"), "--tll"),
        (("token", "--agent", "x"), "there is no configuration file gateway.yaml"),
        (("token", "--agent", "x", "--group", "g"), "add --user"),
        (("journal", "tail", "--lines", "x"), "invalid value for '--lines' / '-n': it should be a whole number"),
        (("up", "--port", "99999"), "invalid value for '--port': it should be less than or equal to 65535"),
        (("explain", "x", "--config", "elsewhere.yaml"), "there is no configuration file elsewhere.yaml"),
    ],
)
def test_wrong_usage_and_missing_files_are_told_in_a_sentence(
    words: tuple[str, ...], said: str, status: Status, capsys: pytest.CaptureFixture[str]
):
    assert status(*words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert "Traceback" not in printed.err


def test_a_negative_answer_is_one(status: Status, tmp_path: Path):
    (tmp_path / "gateway.yaml").write_text("lisen: x\n", encoding="utf-8")

    assert status("check") == 1


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (ConfigurationError("the file is odd", "mend it"), 2, "the file is odd"),
        (PermissionError(13, "Permission denied", "/srv/x"), 2, "/srv/x: Permission denied"),
        (typer.Abort(), 1, "nothing was done"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_each_failure_has_its_status(
    error: BaseException,
    expected: int,
    said: str,
    failed: Failed,
    capsys: pytest.CaptureFixture[str],
):
    assert failed(error) == expected
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("error", [ReaderGone(), BrokenPipeError(32, "Broken pipe")])
def test_a_reader_who_leaves_is_no_failure_to_speak_of(
    error: BaseException,
    failed: Failed,
    capsys: pytest.CaptureFixture[str],
):
    assert failed(error) == 141
    assert capsys.readouterr().err == ""


def test_a_defect_is_told_by_type_and_place_and_never_by_its_text(failed: Failed, capsys: pytest.CaptureFixture[str]):
    assert failed(ValueError("Bearer s3cret")) == 2
    said = capsys.readouterr().err
    assert "ValueError at test_root.py:" in said
    assert "s3cret" not in said
