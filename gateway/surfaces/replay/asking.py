"""The question of a call to policy, built outside of a running gateway. Inspection, facts and policy input are the same
as for a live call. Only the wire is missing.
"""

from __future__ import annotations

from typing import Final

from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
from gateway.config import Configuration
from gateway.history.facts import depth_of, facts
from gateway.history.fold import apply
from gateway.history.new_events import build_reservation
from gateway.history.state import TaskState
from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.finding import Suppression, Suppressions
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.destinations.directory import load_directory
from gateway.inspection.inspector import Inspector
from gateway.model.call import Call, Context, SignalFact
from gateway.model.caller import Principal
from gateway.model.content import CallContent
from gateway.model.task import Task
from gateway.model.wire import JsonObject
from gateway.policy import document
from gateway.upstreams.catalogue.labels import selects_records

KEY: Final = b"opagate replay: nothing that it digests is kept"
"""Of the digests and fingerprints of a question, so that two runs have the same output."""


def inspector_of(configuration: Configuration) -> Inspector:
    """Return an inspector with the configured rules, suppressions, directory and own domains.

    Raises `ConfigurationError` for unreadable rules or an unreadable directory.
    """
    settings, directory = configuration.inspection, configuration.directory
    rules = [
        Suppression(rule.upstream, rule.ends, rule.tool, rule.detector, rule.pointer) for rule in settings.suppressions
    ]
    detector = Detector(ruleset.load(*settings.rules), Fingerprints(KEY))
    known = load_directory(directory.entries, directory.files)
    records = any(selects_records(upstream.tools.values()) for upstream in configuration.upstreams.values())
    return Inspector(KEY, detector, Suppressions(rules), known, configuration.history.own_domains, records)


def ask(
    principal: Principal,
    call: Call,
    task: Task,
    content: CallContent,
    state: TaskState,
    *,
    number: int,
    now: float,
    signals: tuple[SignalFact, ...] = (),
) -> JsonObject:
    """Return the policy input for one call, and count the call in the state of its task.

    `number` is the place of the call in the task; `now` is in seconds since the epoch.
    """
    call_id = str(number)
    depth = depth_of(principal, call.target)
    apply(state, build_reservation(state, call_id, call, content, now, depth=depth))
    known = facts(state, now, call=call_id, content=content, depth=depth)
    context = Context(now, f"{number:032x}", None, None, task, SUPPORTED_OBLIGATIONS, signals=signals)
    return document.decision(principal, call, context, known)
