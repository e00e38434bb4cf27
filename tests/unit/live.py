"""A registry of live values for parts that need one."""

from __future__ import annotations

from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.live_values import LiveValues

DETECTOR = Detector(ruleset.load(), Fingerprints(b"k" * 32))


def live_values() -> LiveValues:
    """Return an empty registry whose time stands still."""
    return LiveValues(DETECTOR, lambda: 0.0)
