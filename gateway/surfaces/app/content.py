"""Inspection of calls and results, the form of their content in the journal, and the values that live from the start on."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from gateway.base.keys.key_ring import subkey
from gateway.calls.pipeline.record import ArgumentsForm
from gateway.config import Configuration
from gateway.config.secret_texts import SecretText, secret_texts
from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.caller_tokens import OF_THE_GATEWAY
from gateway.inspection.credentials.detect import Detector, detectors
from gateway.inspection.credentials.finding import Suppression, Suppressions, explain_unknown_detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.index import CredentialIndex
from gateway.inspection.credentials.known_spots import KnownSpots
from gateway.inspection.credentials.live_values import LiveValues, is_telling
from gateway.inspection.credentials.named import strength
from gateway.inspection.credentials.origins import KnownOrigins
from gateway.inspection.destinations.directory import load_directory
from gateway.inspection.inspector import Inspector
from gateway.model.target import Target
from gateway.record.journal.records import ResultRecord
from gateway.record.journal.redaction import Spots, concealed_with, together
from gateway.record.journal.writer import Journal
from gateway.record.telemetry.metrics import Metrics
from gateway.upstreams.catalogue.labels import selects_records
from gateway.upstreams.stdio.stderr import LONGEST_LINE

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.config.keys import Keys


log = structlog.get_logger("gateway")


def inspector(configuration: Configuration, key: bytes, metrics: Metrics) -> Inspector:
    detector = Detector(ruleset.load(*configuration.inspection.rules), Fingerprints(subkey(key, "credentials")))
    directory = load_directory(configuration.directory.entries, configuration.directory.files)
    if directory:
        log.info("directory.loaded", entries=len(directory))
    suppressions = _suppressions(configuration, detector, metrics)
    own_domains = configuration.history.own_domains
    return Inspector(subkey(key, "content"), detector, suppressions, directory, own_domains, has_records(configuration))


def has_records(configuration: Configuration) -> bool:
    """Return whether the deployment has tools that select records."""
    return any(selects_records(upstream.tools.values()) for upstream in configuration.upstreams.values())


def _suppressions(configuration: Configuration, detector: Detector, metrics: Metrics) -> Suppressions:
    """Make the suppressions of the configuration. The gateway counts each use and logs the first. At the start it logs
    each suppression without effect."""
    rules, told = configuration.inspection.suppressions, set[int]()
    names = detectors(detector.ruleset)
    for number, rule in enumerate(rules):
        if (problem := explain_unknown_detector(rule.detector, names)) is not None:
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


def stderr_concealer(
    configuration: Configuration, inspector: Inspector, origins: KnownOrigins, live: LiveValues
) -> Callable[[str], Callable[[str, str], str]]:
    """Return, by the name of a stdio upstream, the concealment of a line on the standard error of a caller's process.
    The credentials are known by their form, from the environment of the process, or from results shown to the caller's job. Live
    values of the gateway are concealed too.
    """

    def of_upstream(upstream: str) -> Callable[[str, str], str]:
        of = inspector.detector.fingerprints
        values = [value.get_secret_value() for value in configuration.upstreams[upstream].env.values()]
        own = CredentialIndex({of.of(value): of.shingles(value) for value in values if len(value) >= _SHORTEST_SECRET})

        def conceal(job: str, line: str) -> str:
            shown = origins.of(job)
            known = KnownSpots(inspector.detector, (own,) if shown is None else (own, shown.index), live=live)
            return concealed_with(together(inspector.spots, known), line, _LONGEST_LINE)

        return conceal

    return of_upstream


_SHORTEST_SECRET: Final = 4
"""Characters of a value of an environment that may be a secret."""
_LONGEST_LINE: Final = 2 * LONGEST_LINE
"""Characters of a line with marks in the place of credentials, before it is cut."""


def holds_credential(detector: Detector, origins: KnownOrigins, live: LiveValues, job: str, text: str) -> bool:
    """Return whether a text holds a credential: by its form, shown to a task of the job, or as a live value of the gateway."""
    if detector.whole_hits(text.encode("utf-8", "surrogatepass")):
        return True
    shown = origins.of(job)
    return KnownSpots(detector, () if shown is None else (shown.index,), live=live).holds_any([text])


def arguments_form(configuration: Configuration, journal: Journal, spots: Spots) -> ArgumentsForm:
    return ArgumentsForm(configuration.journal.arguments, journal.fingerprint_key, spots)


def result_record(configuration: Configuration, journal: Journal, spots: Spots) -> Callable[[], ResultRecord | None]:
    match configuration.journal.results:
        case "none":
            return lambda: None
        case "digest":
            return partial(ResultRecord, journal.fingerprint_key)
        case "full":
            return partial(ResultRecord, journal.fingerprint_key, spots)


def find_lenient(configuration: Configuration) -> frozenset[str]:
    """Return the upstreams whose tools may get arguments that their schema does not name."""
    return frozenset(name for name, each in configuration.upstreams.items() if each.additional_arguments == "pass")


_CONFIGURED: Final = "configuration"
_KEYS: Final = "keys"


def open_live_values(configuration: Configuration, keys: Keys, detector: Detector) -> LiveValues:
    """Return the registry, with the secrets of a configuration and the keys of the gateway."""
    live = LiveValues(detector, time.monotonic)
    hold_secrets(live, configuration, detector)
    hold_keys(live, keys)
    return live


def hold_secrets(live: LiveValues, configuration: Configuration, detector: Detector) -> None:
    """Register the secrets of a configuration as live values. Earlier ones stay: an upstream may still know them."""
    for secret in secret_texts(configuration):
        audience = OF_THE_GATEWAY if secret.audience is None else secret.audience
        live.hold(f"{_CONFIGURED} {secret.place}", telling_parts(secret, detector), audience, lasting=True)


def hold_keys(live: LiveValues, keys: Keys) -> None:
    """Register the present keys of the gateway as live values, in the place of the earlier ones."""
    live.hold(_KEYS, _written_keys(keys), OF_THE_GATEWAY, lasting=True)


def telling_parts(secret: SecretText, detector: Detector) -> tuple[str, ...]:
    """Return the parts by which a secret is known: the credentials in its text, or all of it.

    An address without a credential has none. Of a variable whose name is no secret's, only the credentials within count. Regions,
    models and ids of accounts stand in many answers.
    """
    text = secret.text
    found = [hit.value for hit in detector.whole_hits(text.encode("utf-8", "surrogatepass")) if is_telling(hit.value)]
    if found:
        return tuple(dict.fromkeys(found))
    if "://" in text or text.startswith(("/", "~/", "./")) or not is_telling(text):
        return ()
    return () if secret.variable is not None and strength(secret.variable) is None else (text,)


def _written_keys(keys: Keys) -> Iterator[str]:
    """Yield the keys as their files may have them, and as a reader would write them."""
    for key in (*keys.chain.keys, *keys.sealing.keys, *keys.sessions.keys, keys.fingerprints):
        yield base64.b64encode(key).decode()
        yield key.hex()
    for signing in keys.tokens.keys:
        yield signing.key.as_pem(private=True).decode()
        yield str(signing.key.as_dict(private=True)["d"])
