"""Structured logs on stderr (structlog)."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Final, Literal, cast

import structlog

from gateway.base.letters import spell_out

_LONGEST: Final = 4096
"""Characters of one value."""


def configure(form: Literal["auto", "console", "json"], level: str) -> None:
    """Set up structlog for the process. Standard library loggers of dependencies are heard from `warning` on.

    `auto` is `console` where standard error is a terminal, and `json` elsewhere.
    """
    json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    renderer = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    stamps: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last = [_exception_name, _cut] if json else [_exception_name, _cut, _spell_out]
    structlog.configure(
        processors=[*stamps, *last, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=renderer, foreign_pre_chain=[*stamps, structlog.stdlib.ExtraAdder(), *last]
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def collect(take: Callable[[Mapping[str, object]], None]) -> None:
    """Log nothing, and give each event of `info` and above to `take`: for a command with words of its own."""

    def taken(
        _logger: structlog.types.WrappedLogger, _method: str, event: structlog.types.EventDict
    ) -> structlog.types.EventDict:
        take(event)
        raise structlog.DropEvent

    wrapper = structlog.make_filtering_bound_logger(logging.INFO)
    structlog.configure(processors=[taken], wrapper_class=wrapper, cache_logger_on_first_use=False)


def _exception_name(
    _logger: structlog.types.WrappedLogger, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Replace exception information by the exception's type and place: its text, and a traceback, can hold arguments,
    and so secrets."""
    information = event.pop("exc_info", None)
    if information is True:
        information = sys.exc_info()[1]
    elif isinstance(information, tuple):
        information = cast("tuple[object, object, object]", information)[1]
    if isinstance(information, BaseException):
        event["exception"] = type(information).__name__
        frames = traceback.extract_tb(information.__traceback__)
        event["at"] = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-4:]))
    return event


def _cut(
    _logger: structlog.types.WrappedLogger, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Cut a long name: an upstream chooses the names of its methods, and so their length."""
    for name, value in event.items():
        if isinstance(value, str) and len(value) > _LONGEST:
            event[name] = f"{value[:_LONGEST]} [cut]"
    return event


def _spell_out(
    _logger: structlog.types.WrappedLogger, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Spell out hidden characters: none is a command to a terminal, and none ends a line."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = spell_out(value)
    return event
