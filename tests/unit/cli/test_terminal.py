from __future__ import annotations

import io

import pytest
from rich.console import Console

from gateway.cli import terminal
from gateway.errors import ConfigurationError


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    file = io.StringIO()
    console = Console(file=file, width=80, highlight=False, soft_wrap=True)
    monkeypatch.setattr(terminal, "out", console)
    monkeypatch.setattr(terminal, "err", console)
    return file


def test_an_error_is_a_sentence_and_a_remedy(printed: io.StringIO):
    terminal.complain(ConfigurationError("x[red] is wrong", "write [x]"))

    assert printed.getvalue() == "opagate: x[red] is wrong\n  → write [x]\n"


def test_nothing_in_a_table_is_markup(printed: io.StringIO):
    rows = terminal.table("name")
    rows.add_row("[bold]x[/bold] [0-9]")
    terminal.show(rows)

    assert "[bold]x[/bold] [0-9]" in printed.getvalue()


def test_words_of_others_cannot_command_the_terminal(printed: io.StringIO):
    terminal.show(terminal.plain("a\x1b]0;title\x07b\u202ec"))

    assert "\x1b" not in printed.getvalue()
    assert "⟨U+202E RIGHT-TO-LEFT OVERRIDE⟩" in printed.getvalue()


def test_json_escapes_what_is_not_ascii(capsys: pytest.CaptureFixture[str]):
    terminal.emit({"a": "\x1b\u202e"})

    assert capsys.readouterr().out == '{\n  "a": "\\u001b\\u202e"\n}\n'


def test_a_policy_without_a_revision_is_said_to_have_none():
    assert terminal.revised("opagate", "ac3a641e") == "opagate, revision ac3a641e"
    assert terminal.revised("opagate", "") == "opagate, without a revision"
