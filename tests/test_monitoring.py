"""The alert rules and the dashboard under deploy/monitoring ask for metrics and labels that the gateway has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from gateway.record.telemetry.metrics import Metrics, SignalCounts
from tests.machine import MISSING

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / "deploy/monitoring"
ALERTS: Final[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yaml").read_text("utf-8"))
DASHBOARD: Final[dict[str, Any]] = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
RULES: Final[list[dict[str, Any]]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
OF_PROMETHEUS: Final = {"instance", "le", "job"}
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason=f"{MISSING}: promtool, of prometheus")


def expressions() -> Iterator[tuple[str, str]]:
    """Each expression with its place."""
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        yield variable["name"], variable["query"]


def series() -> dict[str, set[str]]:
    """Each series of a gateway with the names of its labels, as `/metrics` has them."""
    metrics = Metrics()
    metrics.observe_in_flight(lambda: 0)
    metrics.observe_streams(lambda: 0)
    metrics.observe_leases(lambda: {"active": 1})
    metrics.observe_signals(lambda: SignalCounts(0, 0, {"idp": False}))
    shown = ("processes", "sessions", "in_flight", "failures", "retry_seconds")
    metrics.observe_servers(lambda: {"files": dict.fromkeys(shown, 0.0)})
    metrics.observe_certificates(lambda: {("server", "tls/certificate.pem"): 1.0})
    metrics.count_refusal("identity/missing")
    metrics.count_decision("files", "tools/call", "allow", "", 0.001)
    metrics.count_settlement("files", "completed", 0.001, 1)
    metrics.handles("files", concealed=1, put_back=1)
    metrics.count_reserved_names("files", 1)
    metrics.lease_ended("tokens", "revoked", 0.1)
    metrics.signal_taken("idp", "ended")
    metrics.policy_reloads.labels("loaded").inc()
    metrics.policy_checks.labels("agreed").inc()
    metrics.definitions.labels("files", "tool").inc()
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(opagate_\w+)(?:\{(.*)\})? ", metrics.exposition().decode(), re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r"(\w+)=", labels))
    return found


SERIES: Final = series()


@pytest.mark.parametrize(("place", "expression"), [*expressions()])
def test_an_expression_asks_for_series_and_labels_that_there_are(place: str, expression: str):
    for name, chosen in re.findall(r"(opagate_\w+)(?:\{([^}]*)\})?", expression):
        assert name in SERIES
        assert set(re.findall(r"(\w+)[=!]", chosen)) <= SERIES[name] | OF_PROMETHEUS
    grouped = {label for names in re.findall(r"by \(([^)]*)\)", expression) for label in re.findall(r"\w+", names)}
    known = set[str]().union(*(SERIES[name] for name in re.findall(r"opagate_\w+", expression) if name in SERIES))
    assert grouped <= known | OF_PROMETHEUS


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_names_labels_that_its_series_have(rule: dict[str, Any]):
    texts = " ".join(rule["annotations"].values())
    known = set[str]().union(*(SERIES[name] for name in re.findall(r"opagate_\w+", rule["expr"])))

    assert set(re.findall(r"\$labels\.(\w+)", texts)) <= known | OF_PROMETHEUS
    assert rule["labels"]["severity"] in {"warning", "critical"}


def test_each_critical_alert_has_a_remedy_in_the_page_of_incidents():
    page = (ROOT / "docs/operations/incidents.md").read_text("utf-8")

    assert [rule["alert"] for rule in RULES if f"`{rule['alert']}`" not in page] == []


@needs_promtool
def test_prometheus_takes_the_rules():
    done = subprocess.run(
        ["promtool", "check", "rules", str(FOLDER / "alerts.yaml")], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_alerts_fire_when_they_should_and_not_before():
    done = subprocess.run(
        ["promtool", "test", "rules", "alerts_test.yaml"], cwd=FOLDER, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
