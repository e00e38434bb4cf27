"""The record as logs of OpenTelemetry: each entry is a log record in the JSON encoding of OTLP, sent to a collector or written.

A collector accepts a batch whole, or the sender stops: the number of the last accepted entry is where the next export begins.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import unquote

from gateway.model.errors import ConfigurationError, JournalError
from gateway.model.wire import Json, JsonObject
from gateway.record.journal.entry import closed_by, opened_by
from gateway.record.ocsf import milliseconds, own_fields
from gateway.wire.https_client import HttpsClient, NoAnswer, read_object

HEADERS_VARIABLE: Final = "OTEL_EXPORTER_OTLP_HEADERS"
"""The variable of OpenTelemetry with the headers for a collector, as `name=value,name=value`."""
_INFO, _WARN, _ERROR = (9, "INFO"), (13, "WARN"), (17, "ERROR")
_SEVERITIES: Final = {
    "refused": _WARN, "flood": _WARN, "abandoned": _WARN, "recovered": _WARN, "cut": _ERROR, "resumed": _ERROR,
}  # fmt: skip
"""The severity of each kind of entries that is not a call; without one, `INFO`."""
_BATCH_RECORDS: Final = 256
_BATCH_BYTES: Final = 1024 * 1024


class OtlpLogs:
    """The log records of a journal, entry by entry. `find` gives the `call` entry of an id from before the first entry.

    `gateway` names the gateway of the journal, if logs of several are read together.
    """

    def __init__(
        self, version: str, find: Callable[[str], JsonObject | None] = lambda _id: None, gateway: str | None = None
    ) -> None:
        self._version = version
        self._find = find
        self._instance = {} if gateway is None else {"service.instance.id": gateway}
        self._open: dict[str, JsonObject] = {}

    def record(self, entry: JsonObject) -> JsonObject:
        """Return the log record of an entry. The end of a call stands in the trace of the call."""
        kind, call = str(entry["kind"]), entry
        if (opened := opened_by(kind, entry)) is not None:
            self._open[opened] = entry
        elif (closed := closed_by(kind, entry)) is not None:
            call = self._open.pop(closed, None) or self._find(closed) or entry
        number, text = _severity(kind, entry)
        time = str(milliseconds(str(entry["time"])) * 1_000_000)
        return {
            "timeUnixNano": time,
            "observedTimeUnixNano": time,
            "severityNumber": number,
            "severityText": text,
            "eventName": f"opagate.{kind}",
            "body": _value(own_fields(dict(entry))),
            "attributes": _attributes(entry, call),
            **({"traceId": call["trace_id"]} if call.get("trace_id") else {}),
            **({"spanId": call["span_id"]} if call.get("span_id") else {}),
        }

    def wrap(self, records: list[JsonObject]) -> JsonObject:
        """Return log records as one OTLP message (`LogsData`)."""
        resource = {"service.name": "opagate", "service.version": self._version, **self._instance}
        scope = {"name": "opagate.journal", "version": self._version}
        logs = [{"scope": scope, "logRecords": records}]
        return {"resourceLogs": [{"resource": {"attributes": _pairs(resource)}, "scopeLogs": logs}]}


async def send_logs(
    entries: Iterable[JsonObject],
    logs: OtlpLogs,
    url: str,
    headers: Mapping[str, str],
    on_accepted: Callable[[int], None],
) -> None:
    """Send entries to a collector. `on_accepted` takes the number of the last entry of each accepted batch.

    Raises `JournalError` for a batch that was not accepted whole.
    """
    client = HttpsClient(seconds=30)
    sent_headers = {**headers, "content-type": "application/json"}
    try:
        for last, records in _batches(entries, logs):
            body = json.dumps(logs.wrap(records), separators=(",", ":")).encode()
            answer = await client.send("POST", url, headers=sent_headers, body=body)
            problem = (
                answer.problem if isinstance(answer, NoAnswer) else _find_problem(answer.status, read_object(answer))
            )
            if problem is not None:
                raise JournalError(f"the collector did not accept entries up to {last}: {problem}", _REMEDY)
            on_accepted(last)
    finally:
        await client.aclose()


_REMEDY: Final = "mend that, and export again after the number of the last accepted entry, which is printed"


def read_headers(text: str) -> dict[str, str]:
    """Return the headers in the variable. Raises `ConfigurationError` without the text, which has credentials."""
    found: dict[str, str] = {}
    for part in filter(str.strip, text.split(",")):
        name, sign, value = part.partition("=")
        if not sign or not name.strip():
            raise ConfigurationError(f"{HEADERS_VARIABLE} is malformed", "write name=value, and a comma between two")
        found[unquote(name.strip()).lower()] = unquote(value.strip())
    return found


def _batches(entries: Iterable[JsonObject], logs: OtlpLogs) -> Iterator[tuple[int, list[JsonObject]]]:
    """Yield records in batches of a bounded size, each with the number of its last entry."""
    records: list[JsonObject] = []
    size = last = 0
    for entry in entries:
        records.append(logs.record(entry))
        size += len(json.dumps(records[-1]))
        last = int(cast("int", entry["seq"]))
        if len(records) >= _BATCH_RECORDS or size >= _BATCH_BYTES:
            yield last, records
            records, size = [], 0
    if records:
        yield last, records


def _find_problem(status: int, answer: JsonObject | None) -> str | None:
    """Return why a collector did not take a whole batch, `None` if it did."""
    if status != 200:
        return f"it answered {status}"
    partial = (answer or {}).get("partialSuccess") or {}
    rejected = partial.get("rejectedLogRecords") or 0 if isinstance(partial, dict) else None
    if isinstance(rejected, str) and rejected.isdecimal():
        rejected = int(rejected)
    if not isinstance(rejected, int):
        return "its answer cannot be read"
    return f"it rejected {rejected} records of the batch" if rejected else None


def _severity(kind: str, entry: JsonObject) -> tuple[int, str]:
    if kind == "call":
        return _WARN if entry["effect"] == "deny" else _INFO
    if kind == "settled":
        return _INFO if entry["outcome"] in {"completed", "cancelled"} and "lost" not in entry else _WARN
    return _SEVERITIES.get(kind, _INFO)


def _attributes(entry: JsonObject, call: JsonObject) -> list[JsonObject]:
    """Return what collectors search by: the names of the conventions, and the gateway's own."""
    fields, of = cast("dict[str, Any]", entry), cast("dict[str, Any]", call)
    target, principal = of.get("target"), of.get("principal")
    found: dict[str, Json] = {
        "opagate.journal.seq": fields["seq"],
        "opagate.decision.id": fields.get("id"),
        "opagate.effect": fields.get("effect"),
        "opagate.reason": _first_code(fields.get("reasons")),
        "opagate.outcome": fields.get("outcome"),
        "mcp.method.name": of.get("action") or of.get("method"),
    }
    if isinstance(target, dict):
        described = cast("dict[str, Any]", target)
        found["opagate.upstream"] = described.get("upstream")
        if described.get("type") == "tool":
            found["gen_ai.tool.name"] = str(described["id"]).removeprefix(f"{described['upstream']}/")
    if isinstance(principal, dict):
        caller = cast("dict[str, Any]", principal)
        found |= {"gen_ai.agent.id": caller.get("id"), "user.id": caller.get("user")}
    return _pairs({name: value for name, value in found.items() if value is not None})


def _first_code(reasons: list[Any] | None) -> str | None:
    """Return the code of the first reason: a call has reasons, a question to people has their codes."""
    first = reasons[0] if reasons else None
    return str(cast("dict[str, Any]", first)["code"]) if isinstance(first, dict) else first


def _pairs(values: Mapping[str, Json]) -> list[JsonObject]:
    return [{"key": name, "value": _value(value)} for name, value in values.items()]


def _value(value: Json) -> JsonObject:
    """Return a value as an `AnyValue`. OTLP writes whole numbers as text, and nothing as an empty value."""
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": _pairs(value)}}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, Sequence):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {} if value is None else {"doubleValue": value}
