"""What looks at the content of calls and results, and in which form the record keeps it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from gateway.config import Configuration
from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.detect import Detector, detectors
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.inspector import Inspector
from gateway.inspection.suppressions import Suppression, Suppressions, unknown
from gateway.journal.redaction import Spots, recorded
from gateway.journal.results import ResultRecord
from gateway.journal.writer import Journal
from gateway.model.call import Call
from gateway.model.facts import SessionFacts
from gateway.model.target import Target
from gateway.model.wire import JsonObject
from gateway.subkeys import subkey
from gateway.telemetry.metrics import Metrics

log = structlog.get_logger("gateway")


def inspector(configuration: Configuration, key: bytes, metrics: Metrics) -> Inspector:
    detector = Detector(ruleset.load(*configuration.inspection.rules), Fingerprints(subkey(key, "credentials")))
    return Inspector(subkey(key, "content"), detector, _suppressions(configuration, detector, metrics))


def _suppressions(configuration: Configuration, detector: Detector, metrics: Metrics) -> Suppressions:
    """Each is counted when it is applied, and told of the first time; one that can cover nothing, at once."""
    rules, told = configuration.inspection.suppressions, set[int]()
    names = detectors(detector.ruleset)
    for number, rule in enumerate(rules):
        if (problem := unknown(rule.detector, names)) is not None:
            log.warning("credential.suppression-unused", number=number, problem=problem)

    def used(number: int, target: Target) -> None:
        metrics.suppressed.labels(target.upstream).inc()
        if number not in told:
            told.add(number)
            rule = rules[number]
            log.info("credential.suppressed", upstream=target.upstream, number=number, until=str(rule.until))

    return Suppressions(
        [Suppression(rule.upstream, rule.ends, rule.tool, rule.detector, rule.pointer) for rule in rules], used
    )


def arguments_record(
    configuration: Configuration, journal: Journal, spots: Spots
) -> Callable[[Call, SessionFacts, bool], JsonObject]:
    mode, key = configuration.journal.arguments, journal.fingerprint_key

    def record(call: Call, facts: SessionFacts, has_pieces: bool) -> JsonObject:  # noqa: FBT001 - called in one place
        return recorded(call.arguments, mode, key=key, spots=spots, held=None if has_pieces else _held(facts))

    return record


def _held(facts: SessionFacts) -> dict[str, list[str]] | None:
    """The credentials in a call as the record marks them, by where they are."""
    if facts.credentials is None:
        return None
    held: dict[str, list[str]] = {}
    for sighting in (fact.sighting for fact in facts.credentials):
        held.setdefault(sighting.pointer, []).append(f"{sighting.detector}:{sighting.fingerprint}")
    return held


def result_record(configuration: Configuration, journal: Journal, spots: Spots) -> Callable[[], ResultRecord | None]:
    match configuration.journal.results:
        case "none":
            return lambda: None
        case "digest":
            return partial(ResultRecord, journal.fingerprint_key)
        case "full":
            return partial(ResultRecord, journal.fingerprint_key, spots)
