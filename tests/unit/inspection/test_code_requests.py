from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gateway.inspection.results import CodeRequests, build_code_requests
from gateway.model.target import Effect, Labels, Target


def target(name: str, effect: Effect = Effect.WRITE, kind: str = "tool") -> Target:
    labels = Labels(effect, egress=False)
    made = Target("tool", "bank", name, "bank", labels=labels)
    return made if kind == "tool" else replace(made, type="resource")


def says(text: str, *, tool: str = "login", effect: Effect = Effect.WRITE) -> bool:
    request = build_code_requests(target(tool, effect))
    return request is not None and any((request.feed(text.encode()), request.finish()))


@pytest.mark.parametrize(
    "text",
    [
        "We have sent a code to a***@corp.example.",
        "A verification code has been emailed to you.",
        "Please enter the 6-digit code we texted to +1 *** 0100.",
        "Check your inbox for a sign-in link.",
        "Two-factor authentication required",
        json.dumps({"status": "mfa_required", "methods": ["email"]}),
        json.dumps({"otp_sent": True}),
        json.dumps({"content": [{"type": "text", "text": json.dumps({"requires_2fa": True})}]}),
        "One-time password\nis on its way.",
    ],
)
def test_a_result_says_that_a_code_was_sent(text: str):
    assert says(text)


@pytest.mark.parametrize(
    "text",
    [
        "Logged in.",
        json.dumps({"mfa_required": False}),
        json.dumps({"otp_sent": None}),
        "No code was sent.",
        "The verification code could not be sent.",
        json.dumps({"status_code": 200, "message": "mail sent"}),
        "The code is invalid.",
        "Promo code SAVE20 applied, receipt sent",
        "zip code required",
    ],
)
def test_other_results_do_not(text: str):
    assert not says(text)


def test_what_is_only_read_may_say_anything():
    assert not says("We have sent a code to you.", effect=Effect.READ)


@pytest.mark.parametrize(
    "tool",
    [
        "request_code", "send_otp", "resendVerificationCode", "start-2fa", "send_login_code_by_sms", "request_password_reset",
        "trigger_mfa", "sendMagicLink",
    ],
)  # fmt: skip
@pytest.mark.parametrize("effect", [Effect.READ, Effect.WRITE])
def test_the_name_of_a_tool_says_so(tool: str, effect: Effect):
    assert says("ok", tool=tool, effect=effect)


@pytest.mark.parametrize(
    "tool",
    ["request_code_review", "send_message", "get_otp", "read_verification_code", "send_source_code", "code", "login"],
)
def test_other_names_do_not(tool: str):
    assert not says("ok", tool=tool, effect=Effect.READ)
    assert not says("ok", tool=tool)


def test_a_tool_without_a_label_may_only_read():
    labels = Labels(Effect.WRITE, egress=False, assumed=frozenset({"effect"}))

    assert build_code_requests(Target("tool", "bank", "login", "bank", labels=labels)) is None


def test_resources_request_nothing():
    assert build_code_requests(target("request_code", kind="resource")) is None


def test_a_sentence_in_two_chunks_is_one():
    request = CodeRequests(by_name=False)

    assert [request.feed(b"We have sent a veri"), request.feed(b"fication code"), request.finish(b".")] == [
        False,
        True,
        False,
    ]


def test_a_request_is_told_once():
    request = CodeRequests(by_name=True)

    assert [request.feed(b"a code was sent"), request.finish(b"a code was sent")] == [True, False]


def test_a_long_result_takes_no_time():
    request = CodeRequests(by_name=False)

    assert not any(request.feed(b"enter the sent required " * 40_000) for _ in range(4))
