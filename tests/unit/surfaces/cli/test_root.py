from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
import typer

from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli import root, running, suggesting
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


def test_twelve_words_fit_on_one_screen(status: Status, capsys: pytest.CaptureFixture[str]):
    assert status("--help") == 0

    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= 48
    assert re.findall(r"^│ (\w+) ", shown, re.MULTILINE) == [*root.WORDS]
    assert {name for name, _ in commands(typer.main.get_command(root.app))} > {*root.WORDS}
    assert set(cast("Any", typer.main.get_command(root.app)).commands) == {*root.WORDS}
    assert len(root.WORDS) == 12


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("serve",), "`opagate up`"),
        (("stdio", "files", "--agent", "a"), "`opagate connect stdio`"),
        (("tokn",), "`opagate credentials token`"),
        (("explain", "5f0c1d2e"), "`opagate journal explain`"),
        (("replay", "x.jsonl"), "`opagate policy replay`"),
        (("can", "me", "a/b"), "`opagate policy can`"),
        (("grants", "list"), "`opagate policy grants`"),
        (("resume", "stop-1"), "`opagate stop resume`"),
        (("service", "install"), "`opagate init service`"),
        (("schema", "config"), "`opagate init schema`"),
        (("keys", "list"), "`opagate credentials keys`"),
        (("signals", "status"), "`opagate credentials signals`"),
        (("state", "backup"), "`opagate journal state`"),
        (("Journal",), "`opagate journal`"),
        (("connect", "cursr"), "`opagate connect cursor`"),
        (("policy", "compile"), "`opagate policy build`"),
        (("credentials", "rotate"), "`opagate credentials keys rotate`"),
        (("nonsense",), None),
    ],
)
def test_a_misspelt_or_former_word_is_answered_with_the_command(
    words: tuple[str, ...], near: str | None, status: Status, capsys: pytest.CaptureFixture[str]
):
    assert status(*words) == 2

    said = capsys.readouterr().err
    assert said.startswith("opagate: no such command ")
    assert said.count("did you mean") == (near is not None)
    assert near is None or f"did you mean {near}" in " ".join(said.split())


def test_a_suggestion_within_the_group_comes_first():
    paths = ["opagate policy test", "opagate credentials signals test", "opagate policy init", "opagate init"]

    assert (
        suggesting.find_near("tests", paths, within="opagate credentials signals")[0]
        == "opagate credentials signals test"
    )
    assert suggesting.find_near("int", paths, within="opagate")[0] == "opagate init"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("stop", "--agent", "x", "--all", "resume"), "--agent and --all"),
        (("stop", "--reason", "x", "list"), "--reason"),
        (("init", "--force", "schema", "config"), "--force"),
    ],
)
def test_options_before_a_command_of_a_group_are_never_dropped(
    words: tuple[str, ...], named: str, status: Status, capsys: pytest.CaptureFixture[str]
):
    assert status(*words) == 2

    assert f"{named} would have no effect" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("serv",), "serv"),
        (("credentials", "token"), "see `opagate credentials token --help`"),
        (("credentials", "token", "--agent", "x", "--tll", "1h"), "--tll"),
        (("credentials", "token", "--agent", "x"), "there is no configuration file gateway.yaml"),
        (("credentials", "token", "--agent", "x", "--group", "g"), "add --user"),
        (("journal", "tail", "--lines", "x"), "invalid value for '--lines' / '-n': it should be a whole number"),
        (("up", "--port", "99999"), "invalid value for '--port': it should be less than or equal to 65535"),
        (("journal", "explain", "x", "--config", "elsewhere.yaml"), "there is no configuration file elsewhere.yaml"),
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
