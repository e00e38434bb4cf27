"""The runner of a command line: the only place to turn a failure into a sentence and an exit status. Status 0 is
success, 1 a negative answer (a refused call, a broken journal), and 2 wrong usage or a failure. As in shells, 130
follows Ctrl-C, and 141 a closed output."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.model.errors import GatewayError, LeasesLeftOpen

if TYPE_CHECKING:
    import typer


class ReaderGone(Exception):
    """A closed standard output, as after `head`. The program ends quietly."""


def run(work: Callable[[], Any]) -> int:
    """Run a command line; never print a traceback."""
    try:
        status = int(work() or 0)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - what is none of ours is raised again
        return _status(error)
    return status


def _status(error: BaseException) -> int:
    # What prints takes 4 MB, what reads command lines 2, and a gateway that serves does neither.
    import typer

    from gateway.surfaces.cli.terminal import complain, sentence

    match error:
        case ReaderGone() | BrokenPipeError():
            _drop_output()
            return 141
        case KeyboardInterrupt():
            return 130
        case typer.Abort():
            sentence("nothing was done")
            return 1
        case LeasesLeftOpen():
            complain(error)
            return 1
        case GatewayError():
            complain(error)
        case typer.TyperException():
            _report_misuse(error)
        case OSError():
            _drop_output()
            where = f"{error.filename}: " if error.filename else ""
            sentence(f"{where}{error.strerror or type(error).__name__}", "see that the file or address can be used")
        case Exception():
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(frame.filename).name}:{frame.lineno}"
            # A defect is told by type and place: its text may hold a secret.
            sentence(f"this is a defect in opagate: {type(error).__name__} at {place}", "please report it")
        case _:
            raise error
    return 2


def _drop_output() -> None:
    """Drop buffered output: a write at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report_misuse(error: typer.TyperException) -> None:
    from gateway.surfaces.cli.terminal import err, sentence

    context = getattr(error, "ctx", None)
    message = str(getattr(error, "format_message", error.__str__)())
    if type(error).__name__ == "NoArgsIsHelpError":
        err.print(message, markup=False)
        return
    message = message.removeprefix("Invalid value: ").replace("Input should be", "it should be")
    message = message.replace("a valid integer, unable to parse string as an integer", "a whole number")
    command = context.command_path if context else "opagate"
    sentence(message[:1].lower() + message[1:].rstrip("."), f"see `{command} --help`")
