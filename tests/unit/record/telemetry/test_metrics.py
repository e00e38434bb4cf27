"""What is counted, under which labels."""

from __future__ import annotations

from gateway.record.telemetry.metrics import Metrics


def test_each_thing_that_happens_is_counted_under_names_of_the_configuration_and_reason_codes():
    metrics = Metrics()
    metrics.count_refusal("request/json")
    metrics.count_decision("files", "tools/call", "deny", "tool/not-granted", 0.001)
    metrics.count_settlement("files", "completed", 0.2, 17)
    metrics.handles("files", concealed=2, put_back=1)
    metrics.policy_ready.set_function(lambda: 1.0)
    metrics.observe_in_flight(lambda: 3)
    metrics.journal_failures.inc()
    metrics.suppressed.labels("files").inc()
    metrics.policy_reloads.labels("loaded").inc()
    metrics.definitions.labels("files", "changed").inc()
    metrics.open_calls.set_function(lambda: 2.0)
    server = {"processes": 1, "sessions": 0, "in_flight": 0, "failures": 1, "retry_seconds": 0.5}
    metrics.observe_servers(lambda: {"files": server})
    text = metrics.exposition().decode()

    for sample in (
        'opagate_refusals_total{code="request/json"} 1.0',
        'opagate_calls_total{action="tools/call",code="tool/not-granted",effect="deny",upstream="files"} 1.0',
        'opagate_settled_total{outcome="completed",upstream="files"} 1.0',
        'opagate_call_seconds_sum{upstream="files"} 0.2',
        'opagate_answer_bytes_total{upstream="files"} 17.0',
        "opagate_journal_failures_total 1.0",
        'opagate_suppressed_total{upstream="files"} 1.0',
        'opagate_policy_reloads_total{result="loaded"} 1.0',
        'opagate_definition_changes_total{kind="changed",upstream="files"} 1.0',
        'opagate_concealed_total{upstream="files"} 2.0',
        'opagate_put_back_total{upstream="files"} 1.0',
        "opagate_decision_seconds_count 1.0",
        "opagate_policy_ready 1.0",
        "opagate_in_flight 3.0",
        "opagate_open_calls 2.0",
        'opagate_stdio_processes{upstream="files"} 1.0',
        'opagate_stdio_retry_seconds{upstream="files"} 0.5',
    ):
        assert sample in text


def test_what_is_true_of_the_processes_of_a_server_now_is_told():
    metrics = Metrics()
    told = {"processes": 2, "sessions": 3, "in_flight": 4, "failures": 5, "retry_seconds": 0.5}
    metrics.observe_servers(lambda: {"files": told})
    text = metrics.exposition().decode()

    for name, value in told.items():
        assert f'opagate_stdio_{name}{{upstream="files"}} {float(value)}' in text
