"""Recorded sessions tried on a policy. `trace` is what a session is, `reader` streams it from a file, `secrets` makes the
credentials in it, `engine` decides its steps as the gateway would, `report` counts and compares.
"""

from gateway.replay.engine import StepOutcome, replay
from gateway.replay.reader import check, read
from gateway.replay.report import Difference, Totals, compare
from gateway.replay.trace import Expectation, Step, Trace, TraceInvalid

__all__ = [
    "Difference",
    "Expectation",
    "Step",
    "StepOutcome",
    "Totals",
    "Trace",
    "TraceInvalid",
    "check",
    "compare",
    "read",
    "replay",
]
