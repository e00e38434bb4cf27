"""Logs say where something failed, never with what."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Any, Literal

import pytest
import structlog

from gateway.record.telemetry.logs import configure

SECRET = "ghp_a-secret-in-an-argument"


@pytest.fixture(autouse=True)
def restored() -> Generator[None]:
    """The configuration of logging is the process's own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def fail() -> None:
    raise ValueError(SECRET)


@pytest.mark.parametrize(("terminal", "form"), [(True, "console"), (False, "json")])
def test_by_itself_the_form_is_for_a_person_at_a_terminal_and_else_for_a_program(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, terminal: bool, form: str
):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    configure("auto", "info")
    structlog.get_logger("test").info("said")

    assert capsys.readouterr().err.startswith("{") == (form == "json")


def test_an_exception_is_told_by_its_type_and_place(capsys: pytest.CaptureFixture[str]):
    configure("json", "info")
    log = structlog.get_logger("test")
    try:
        fail()
    except ValueError as error:
        log.exception("defect")
        log.warning("given", exc_info=error)
    told = lines(capsys)

    assert [line["exception"] for line in told] == ["ValueError", "ValueError"]
    assert all("test_logs.py" in line["at"] for line in told)
    assert SECRET not in json.dumps(told)


@pytest.mark.parametrize("form", ["console", "json"])
def test_neither_form_tells_the_words_of_an_exception(
    form: Literal["console", "json"], capsys: pytest.CaptureFixture[str]
):
    configure(form, "info")
    try:
        fail()
    except ValueError:
        structlog.get_logger("test").exception("defect")
        logging.getLogger("dependency").exception("it failed")
    told = capsys.readouterr().err

    assert told.count("ValueError") == 2
    assert SECRET not in told


def test_an_exception_of_a_dependency_is_told_in_the_same_way(capsys: pytest.CaptureFixture[str]):
    configure("json", "info")
    try:
        fail()
    except ValueError:
        logging.getLogger("dependency").exception("it failed", extra={"problem": "its own words"})
    (told,) = lines(capsys)

    assert (told["exception"], told["problem"], told["event"]) == ("ValueError", "its own words", "it failed")
    assert SECRET not in json.dumps(told)


def test_what_is_below_the_level_is_not_told(capsys: pytest.CaptureFixture[str]):
    configure("json", "warning")
    structlog.get_logger("test").info("quiet")
    logging.getLogger("dependency").info("quiet")
    structlog.get_logger("test").warning("loud", exc_info=False)

    (told,) = lines(capsys)
    assert (told["event"], told["level"]) == ("loud", "warning")
    assert datetime.fromisoformat(told["timestamp"]).utcoffset() == timedelta(0)


def test_the_console_has_the_same_words_for_people(capsys: pytest.CaptureFixture[str]):
    configure("console", "info")
    structlog.get_logger("test").info("listening", listen="127.0.0.1:8080")

    assert "listening" in capsys.readouterr().err


HOSTILE = "x\x1b[2J\x9b31m\u202e"
"""What an upstream may call a method. No space is in it, nor a quote."""


def test_a_terminal_is_given_no_commands(capsys: pytest.CaptureFixture[str]):
    configure("console", "info")
    structlog.get_logger("test").warning("upstream.forbidden-request", method=HOSTILE)
    logging.getLogger("dependency").warning("odd", extra={"problem": HOSTILE})
    told = capsys.readouterr().err

    assert told.count("x⟨U+001B⟩[2J⟨U+009B⟩31m⟨U+202E RIGHT-TO-LEFT OVERRIDE⟩") == 2
    assert told.replace("\n", "").isprintable()


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_value_that_somebody_else_chose_makes_no_line_without_bound(
    form: Literal["console", "json"], capsys: pytest.CaptureFixture[str]
):
    configure(form, "info")
    structlog.get_logger("test").warning("upstream.forbidden-request", method="x" * 1_000_000)
    told = capsys.readouterr().err

    assert "xxx [cut]" in told
    assert len(told) < 5_000
