"""`opagate journal export` for a SIEM and for a collector, with a cursor that neither repeats nor leaves out any."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.collector import collecting, read_logs
from tests.interaction.cli.conftest import Done, Opagate


def export(opagate: Opagate, *arguments: str) -> list[dict[str, Any]]:
    done = opagate("journal", "export", *arguments)
    assert done.status == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def test_each_call_of_the_record_is_one_event_for_a_siem(tour: Done, opagate: Opagate):
    calls = export(opagate, "--kind", "call")
    events = export(opagate, "--format", "ocsf")

    found = [event["metadata"]["correlation_uid"] for event in events if event["class_uid"] == 6003]
    assert sorted(found) == sorted(call["id"] for call in calls) != []


def test_a_timer_exports_what_follows_its_cursor_and_nothing_twice(tour: Done, opagate: Opagate):
    events = export(opagate, "--format", "ocsf")
    numbers = [event["metadata"]["sequence"] for event in events]
    cursor = numbers[len(numbers) // 2]

    rest = export(opagate, "--format", "ocsf", "--after", str(cursor))
    entries = export(opagate, "--after", str(cursor))

    assert rest == [event for event in events if event["metadata"]["sequence"] > cursor]
    assert entries[0]["seq"] == cursor + 1
    assert export(opagate, "--format", "ocsf", "--after", str(numbers[-1])) == []


def test_options_that_do_not_go_together_are_refused(tour: Done, opagate: Opagate):
    assert opagate("journal", "export", "--format", "ocsf", "--kind", "call").status == 2
    assert opagate("journal", "export", "--format", "trace", "--after", "3").status == 2
    assert opagate("journal", "export", "--after", "-1").status == 2


# --- logs of OpenTelemetry ---------------------------------------------------------------------------


def attributes(record: Any) -> dict[str, str]:
    return {item.key: item.value.string_value or item.value.int_value for item in record.attributes}


def test_each_entry_is_one_log_record_by_the_types_of_opentelemetry(tour: Done, opagate: Opagate):
    entries = export(opagate)
    records = [
        record for line in export(opagate, "--format", "otlp") for record in read_logs(json.dumps(line).encode())
    ]

    assert [attributes(record)["opagate.journal.seq"] for record in records] == [entry["seq"] for entry in entries]
    assert [record.event_name for record in records] == [f"opagate.{entry['kind']}" for entry in entries]
    denied = next(n for n, entry in enumerate(entries) if entry["kind"] == "call" and entry["effect"] == "deny")
    assert records[denied].severity_text == "WARN"
    assert records[denied].trace_id.hex() == entries[denied]["trace_id"]
    assert attributes(records[denied])["opagate.reason"] == entries[denied]["reasons"][0]["code"]


def test_the_end_of_a_call_stands_in_the_trace_of_the_call(tour: Done, opagate: Opagate):
    """Also where the export begins between the two."""
    entries = export(opagate)
    traces = {entry["id"]: entry["trace_id"] for entry in entries if entry["kind"] == "call"}
    settled = next(entry for entry in entries if entry["kind"] == "settled")

    (line,) = export(opagate, "--format", "otlp", "--after", str(settled["seq"] - 1), "--kind", "settled")[:1]
    (record,) = read_logs(json.dumps(line).encode())
    assert record.trace_id.hex() == traces[settled["id"]]


def test_a_collector_gets_all_records_and_the_cursor_is_printed(
    tour: Done, opagate: Opagate, monkeypatch: pytest.MonkeyPatch
):
    entries = export(opagate)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc")
    with collecting() as collector:
        sent = opagate("journal", "export", "--format", "otlp", "--to", collector.logs_url)
        again = opagate(
            "journal", "export", "--format", "otlp", "--to", collector.logs_url, "--after", sent.out.strip()
        )

        assert (sent.status, sent.out.strip()) == (0, str(entries[-1]["seq"]))
        assert (again.status, again.out) == (0, sent.out)
        assert len(collector.logs) == len(entries)
        assert {headers["authorization"] for headers in collector.log_headers} == {"Bearer abc"}


@pytest.mark.parametrize(
    "answer",
    [
        (503, b""),
        (200, b'{"partialSuccess": {"rejectedLogRecords": "3", "errorMessage": "full"}}'),
        (200, b'{"partialSuccess": {"rejectedLogRecords": "all"}}'),
        (200, b'{"partialSuccess": "no"}'),
    ],
)
def test_a_collector_that_does_not_take_all_leaves_the_cursor(tour: Done, opagate: Opagate, answer: tuple[int, bytes]):
    with collecting() as collector:
        collector.answer = answer
        done = opagate("journal", "export", "--format", "otlp", "--to", collector.logs_url, "--after", "2")

    assert (done.status, done.out) == (2, "2\n")
    assert "the collector did not accept entries" in done.err


def test_the_record_goes_to_no_collector_in_clear(tour: Done, opagate: Opagate):
    done = opagate("journal", "export", "--format", "otlp", "--to", "http://192.0.2.1:4318/v1/logs")

    assert done.status == 2
    assert "needs https" in done.err


def test_headers_that_cannot_be_read_are_not_repeated(tour: Done, opagate: Opagate, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Bearer abc")
    done = opagate("journal", "export", "--format", "otlp", "--to", "http://127.0.0.1:9/v1/logs")

    assert done.status != 0
    assert "OTEL_EXPORTER_OTLP_HEADERS is malformed" in done.err
    assert "abc" not in done.err
