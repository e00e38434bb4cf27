"""Failures of an exchange. Users of the client turn these into errors of the gateway."""

from __future__ import annotations


class ExchangeError(Exception):
    """The exchange failed. The message is a clause for people, and holds nothing of what was sent or received."""


class Unconnected(ExchangeError):
    """No connection was made, so nothing was sent."""


class ConnectTimeout(Unconnected):
    """No connection was made in time."""


class Untrusted(Unconnected):
    """The peer's certificate does not verify."""


class AnswerTimeout(ExchangeError):
    """No answer began in time, or none that was wanted whole ended in time."""


class Unsendable(ExchangeError):
    """The request has a header that cannot be written down without meaning something else."""


class Lost(ExchangeError):
    """The connection ended before the answer did. `begun`: something of an answer had arrived."""

    def __init__(self, message: str, *, begun: bool) -> None:
        super().__init__(message)
        self.begun = begun


class Malformed(ExchangeError):
    """The answer is not HTTP/1, or can be read in more than one way."""
