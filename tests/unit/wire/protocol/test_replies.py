"""What the agent sees of a refusal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp_types import CallToolResult
from mcp_types.jsonrpc import JSONRPCError

from gateway.model.decision import Decision, PolicyRevision, Reason, Refusal
from gateway.model.error_codes import DENIED
from gateway.model.wire import Disposition, Era, Kind, Message
from gateway.wire.protocol.classify import classify
from gateway.wire.protocol.replies import DECISION_META, REASON_META, RefusalForm, Style, render

REASON = Reason("fan-out/audiences", "Too many systems.", "Open another task.", ("ASI08",), ("/session/audiences",))


def message(
    method: str = "tools/call", *, era: Era = Era.HANDSHAKE, kind: Kind = Kind.REQUEST, name: str = "echo"
) -> Message:
    return Message(
        kind,
        era,
        Disposition.DECIDE,
        b"",
        method,
        7 if kind is Kind.REQUEST else None,
        {"arguments": {"token": "s3cret"}},
        name,
    )


def denied(effect: str = "deny", *reasons: Reason, rpc_code: int = -32000) -> Refusal:
    decision = Decision("ask" if effect == "ask" else "deny", reasons or (REASON,), (), PolicyRevision("p", "1"))
    return Refusal(200, REASON, rpc_code, decision=decision)


def body(
    refusal: Refusal, to: Message | None, *, decision_id: str | None = "d-1", style: Style = "result"
) -> dict[str, Any]:
    return json.loads(render(refusal, to, decision_id=decision_id, form=RefusalForm(style)).body)


def test_a_refused_call_is_a_tool_result_that_the_model_can_read():
    reply = render(denied(), message(), decision_id="d-1", form=RefusalForm())
    assert (reply.status, reply.headers) == (200, ((b"content-type", b"application/json"),))
    assert json.loads(reply.body) == {
        "jsonrpc": "2.0",
        "id": 7,
        "result": {
            "content": [
                {
                    "type": "text",
                    "text": 'The gateway refused tools/call "echo".\nWhy: Too many systems. [fan-out/audiences]\n'
                    "What would help: Open another task.\nDecision: d-1",
                }
            ],
            "isError": True,
            "_meta": {
                DECISION_META: {
                    "id": "d-1",
                    "effect": "deny",
                    "reasons": [
                        {
                            "code": "fan-out/audiences",
                            "message": "Too many systems.",
                            "remedy": "Open another task.",
                            "controls": ["ASI08"],
                        }
                    ],
                }
            },
        },
    }


def test_a_stateless_result_says_that_it_is_complete():
    result = body(denied(), message(era=Era.STATELESS))["result"]
    assert result["resultType"] == "complete"
    assert CallToolResult.model_validate(result).is_error


def test_every_reason_is_told():
    text = body(denied("deny", REASON, Reason("x/y", "And more.")), message())["result"]["content"][0]["text"]
    assert text.splitlines()[1:] == [
        "Why: Too many systems. [fan-out/audiences]",
        "What would help: Open another task.",
        "Why: And more. [x/y]",
        "Decision: d-1",
    ]


def test_a_call_that_needs_a_person_says_so():
    result = body(denied("ask"), message())["result"]
    assert "a person has to approve it first" in result["content"][0]["text"]
    assert result["_meta"][DECISION_META]["effect"] == "ask"


def test_a_failure_without_a_decision_is_a_refused_call_too():
    result = body(Refusal(200, REASON, -32603), message())["result"]
    assert result["isError"]
    assert result["_meta"][DECISION_META]["reasons"][0]["code"] == "fan-out/audiences"


@pytest.mark.parametrize(
    ("method", "style"), [("tools/call", "protocol"), ("prompts/get", "result"), ("resources/read", "result")]
)
def test_other_refusals_are_errors_with_a_code_outside_the_reserved_range(method: str, style: Style):
    reply = render(denied(), message(method), decision_id="d-1", form=RefusalForm(style))
    answer = json.loads(reply.body)
    error = JSONRPCError.model_validate(answer).error
    assert (reply.status, answer["id"], error.code) == (200, 7, DENIED)
    assert answer["error"]["data"][DECISION_META]["id"] == "d-1"
    assert "result" not in answer


def test_a_code_of_the_pipelines_own_is_kept():
    assert body(denied(rpc_code=4031), message("prompts/get"))["error"]["code"] == 4031


def test_the_uri_of_a_resource_is_not_repeated():
    assert (
        "secret"
        not in render(
            denied(), message("resources/read", name="db://secret"), decision_id=None, form=RefusalForm()
        ).body.decode()
    )


def test_nothing_of_the_arguments_is_repeated():
    for style in ("result", "protocol"):
        assert b"s3cret" not in render(denied(), message(), decision_id="d", form=RefusalForm(style)).body


def test_a_reason_about_arguments_says_which_and_nothing_of_the_session():
    reason = Reason("tool/arguments", "Not with these.", "Change them.", (), ("/arguments/to/0", "/session/calls"))
    result = body(denied("deny", reason), message())["result"]
    assert "Not with these. [tool/arguments]\nWhere in the arguments: /to/0\nWhat" in result["content"][0]["text"]
    assert result["_meta"][DECISION_META]["reasons"][0]["arguments"] == ["/to/0"]
    assert "session" not in str(result)


def test_names_of_arguments_are_told_short_few_and_with_nothing_hidden():
    names = ("a" * 200, "b\u202ec", *"defghijkl")
    reason = Reason("tool/arguments", "No.", "", (), ("/arguments", *(f"/arguments/{name}" for name in names)))
    told = body(denied("deny", reason), message())["result"]["_meta"][DECISION_META]["reasons"][0]["arguments"]
    assert told == ["/" + "a" * 127 + "…", "/b⟨U+202E RIGHT-TO-LEFT OVERRIDE⟩c", *(f"/{name}" for name in "defghi")]


def test_a_refusal_with_an_http_status_has_it_and_the_challenge():
    refusal = Refusal(
        403, Reason("identity/scope", "A scope is missing."), -32001, challenge='Bearer error="insufficient_scope"'
    )
    reply = render(refusal, message(), decision_id=None, form=RefusalForm())
    assert reply.status == 403
    assert (b"www-authenticate", b'Bearer error="insufficient_scope"') in reply.headers
    answer = json.loads(reply.body)
    assert (answer["id"], answer["error"]["code"]) == (7, -32001)
    assert answer["error"]["data"] == {REASON_META: {"code": "identity/scope", "message": "A scope is missing."}}


def test_a_challenge_cannot_end_its_header():
    refusal = Refusal(401, REASON, -32001, challenge="Bearer x\r\nSet-Cookie: a=b\u2028é")
    assert render(refusal, None, decision_id=None, form=RefusalForm()).headers[1] == (
        b"www-authenticate",
        b"Bearer xSet-Cookie: a=b",
    )


def test_a_message_that_was_not_read_is_answered_with_the_id_null():
    """The SDK for Python takes an error for one only if its `id` is there, and tells its user nothing of the reason if not."""
    answer = body(Refusal(401, REASON, -32700), None, decision_id=None)
    assert answer["id"] is None
    assert JSONRPCError.model_validate(answer).error.message == answer["error"]["message"]
    assert answer["error"]["message"].startswith("The gateway refused this message.")


def test_a_version_refusal_has_the_form_of_the_specification():
    raw = b'{"jsonrpc":"2.0","id":"v","method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"1900-01-01"}}}'
    refusal = classify(raw, {b"mcp-protocol-version": (b"1900-01-01",)})
    assert isinstance(refusal, Refusal)
    reply = render(refusal, None, decision_id=None, form=RefusalForm())
    answer = json.loads(reply.body)
    assert (reply.status, answer["id"], answer["error"]["code"]) == (400, "v", -32022)
    assert answer["error"]["data"]["requested"] == "1900-01-01"
    assert "2026-07-28" in answer["error"]["data"]["supported"]


@pytest.mark.parametrize("kind", [Kind.NOTIFICATION, Kind.RESPONSE])
@pytest.mark.parametrize(("status", "expected"), [(200, 400), (403, 403)])
def test_a_refused_notification_gets_an_http_error_and_no_id(kind: Kind, status: int, expected: int):
    method = "notifications/cancelled" if kind is Kind.NOTIFICATION else None
    refused = Message(kind, Era.HANDSHAKE, Disposition.PASS, b"", method, None if kind is Kind.NOTIFICATION else 7)
    reply = render(Refusal(status, REASON, -32600), refused, decision_id=None, form=RefusalForm())
    assert reply.status == expected
    assert "id" not in json.loads(reply.body)


@pytest.mark.parametrize(
    "character",
    [
        "\x00",
        "\n",
        "\r",
        "\x1b",
        "\x7f",
        "\x9b",
        "\u202e",
        "\u2066",
        "\u200b",
        "\u2028",
        "\ufeff",
        "\U000e0041",
        "\u061c",
    ],
)
def test_an_invisible_character_is_written_out_wherever_it_comes_from(character: str):
    reason = Reason(f"a{character}b", f"why{character}", f"help{character}")
    name = f"echo{character}"
    for style in ("result", "protocol"):
        reply = body(denied("deny", reason), message(name=name), decision_id=f"d{character}", style=style)
        text = reply["result"]["content"][0]["text"] if style == "result" else reply["error"]["message"]
        assert character not in text.replace("\n", "") if character != "\n" else text.count("\n") == 3
        assert f"⟨U+{ord(character):04X}" in text


def test_a_lone_surrogate_of_a_policy_can_be_told():
    reason = Reason("a\ud800", "b\ud800", "c\ud800", ("d\ud800",))
    assert "⟨U+D800⟩" in body(denied("deny", reason), message(), decision_id="e\ud800")["result"]["content"][0]["text"]


def test_a_long_name_is_cut():
    text = body(denied(), message(name="x" * 10_000))["result"]["content"][0]["text"]
    assert f'"{"x" * 128}…"' in text


LINKED = RefusalForm(decisions="https://gateway.example/console/decisions")


@pytest.mark.parametrize("era", list(Era))
@pytest.mark.parametrize("method", ["tools/call", "resources/read"])
def test_a_refusal_leads_people_to_its_decision(era: Era, method: str):
    answer = json.loads(render(denied(), message(method, era=era), decision_id="d-1", form=LINKED).body)
    told = answer["result"] if "result" in answer else answer["error"]["data"]
    text = answer["result"]["content"][0]["text"] if "result" in answer else answer["error"]["message"]

    link = "https://gateway.example/console/decisions/d-1"
    assert told.get("_meta", told)[DECISION_META]["link"] == link
    assert text.splitlines()[-2:] == ["Decision: d-1", f"For people with a login: {link}"]


def test_a_link_has_no_more_of_a_refusal_than_its_id():
    with_link = render(denied(), message(), decision_id="d-1", form=LINKED).body.decode()
    without = render(denied(), message(), decision_id="d-1", form=RefusalForm()).body.decode()

    link = "https://gateway.example/console/decisions/d-1"
    assert with_link.replace(f',"link":"{link}"', "").replace(f"\\nFor people with a login: {link}", "") == without


@pytest.mark.parametrize("form", [LINKED, RefusalForm()])
def test_a_refusal_without_an_id_has_no_link(form: RefusalForm):
    assert b"link" not in render(denied(), message(), decision_id=None, form=form).body


def test_an_id_stays_inside_its_link():
    data = json.loads(render(denied(), message(), decision_id="../x?y#z", form=LINKED).body)["result"]["_meta"]

    assert data[DECISION_META]["link"] == "https://gateway.example/console/decisions/..%2Fx%3Fy%23z"


def test_a_stranger_gets_no_link():
    assert LINKED.without_link() == RefusalForm()
