from __future__ import annotations

import io

import pytest
from rich.console import Console

from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli import terminal


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
    assert terminal.describe_revision("opagate", "ac3a641e") == "opagate, revision ac3a641e"
    assert terminal.describe_revision("opagate", "") == "opagate, without a revision"


LINE_ENDS = ("\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")


@pytest.mark.parametrize("end", LINE_ENDS)
def test_no_text_begins_a_line_of_the_gateway(end: str, capsys: pytest.CaptureFixture[str]):
    forged = f"a{end}opagate: all is well"
    terminal.sentence(forged)
    terminal.note(forged)
    for rows in (terminal.table("name", title=forged), terminal.pairs()):
        rows.add_row(forged, forged)
        terminal.show(rows)
    printed = capsys.readouterr()
    lines = [line for line in (printed.out + printed.err).splitlines() if "all is well" in line]

    assert len(lines) >= 4
    assert not [line for line in lines if line.startswith("opagate: all")]


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_edge_of_a_terminal_begins_no_line_of_the_gateway(width: int, monkeypatch: pytest.MonkeyPatch):
    screen = io.StringIO()
    monkeypatch.setattr(
        terminal, "out", terminal._PlainConsole(file=screen, force_terminal=True, width=width, color_system=None)
    )
    for fill in range(width + 1):
        terminal.say("call allowed ", "files/" + "x" * fill + " " * fill + "opagate: all is well")
    rows = screen.getvalue().splitlines()

    assert max(map(len, rows)) <= width
    assert all(row.startswith(("call allowed ", terminal.FURTHER)) for row in rows)


def test_a_line_for_a_program_is_one_line(capsys: pytest.CaptureFixture[str]):
    terminal.say("x" * 1_000)

    assert capsys.readouterr().out == "x" * 1_000 + "\n"


HOSTILE = (
    "\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;https://evil.test\x1b\\x", "\x9b31m", "\x9d0;x\x9c", "\x90q\x9c", "\x07", "\x08\x08", "\r", "\x0b", "\x0c",
    "\x0e", "\x7f", "\x00", "\x85", "\u202e", "\u2066", "\u200b", "\u2028", "\u2029", "\ufeff", "\u00ad", "\U000e0041", "\ue000", "\ud800", "[/]\x1b[31m", "\u2800", "\u3164", "\u0338",
)  # fmt: skip
"""Texts that move the cursor, set a title, colour, hide or reorder what a terminal shows."""


def _print_everywhere(text: str) -> None:
    terminal.sentence(f"a{text}b", f"c{text}d")
    terminal.complain(ConfigurationError(f"a{text}b", f"c{text}d"))
    terminal.note(f"a{text}b")
    terminal.out.print(f"a{text}b", markup=False)
    terminal.err.print(f"a{text}b", markup=False)
    for rows in (terminal.table("name", f"head{text}", title=f"title{text}"), terminal.pairs()):
        rows.add_row(f"a{text}b", f"c{text}d")
        terminal.show(rows)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_reaches_the_terminal_as_a_command(text: str, capsys: pytest.CaptureFixture[str]):
    _print_everywhere(text)

    printed = capsys.readouterr()
    for line in (printed.out + printed.err).split("\n"):
        assert line.isprintable(), ascii(line)


@pytest.mark.parametrize("text", ["é", "日本語", "🎉", "a → b", "…", "⟨x⟩", "[bold]", "50 %", "\u0301"])
def test_other_text_is_printed_as_it_is(text: str, capsys: pytest.CaptureFixture[str]):
    terminal.sentence(f"a{text}b")
    terminal.note(f"a{text}b")

    assert capsys.readouterr().err == f"opagate: a{text}b\na{text}b\n"


def test_a_note_is_one_line(capsys: pytest.CaptureFixture[str]):
    terminal.note("a server\nopagate: all is well")

    assert capsys.readouterr().err == "a server⟨U+000A⟩opagate: all is well\n"
