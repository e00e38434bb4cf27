"""The settings of channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.config.approvals import ApprovalSettings
from gateway.config.channels import name_of
from gateway.model.errors import ConfigurationError

KEY = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HOOK": KEY,
        "SHORT": "whsec_AAAA",
        "TEXT": "no base64!",
        "SLACK": "https://hooks.slack.com/x",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PLAIN", "http://hooks.slack.com/x")


def parsed(channels: str) -> ApprovalSettings:
    found = config.parse(
        f"identity: [{{kind: anonymous}}]\napprovals: {{channels: [{channels}]}}\n", base=Path()
    ).approvals
    assert found is not None
    return found


def test_each_kind_has_a_name_and_people_look_only_where_configured():
    found = parsed(
        "{kind: webhook, url: 'https://hooks.example/x', secret: '${HOOK}'}, {kind: slack, url: '${SLACK}', name: ops},"
        " {kind: email, server: 'smtp.example:587', from: a@x.example, to: ['Ann <ann@x.example>']}"
    )

    assert [name_of(channel) for channel in found.sending] == ["webhook", "ops", "email"]
    assert found.has_watchers is False
    assert parsed("{kind: cli}").has_watchers is True
    assert parsed("").has_watchers is True


@pytest.mark.parametrize(
    ("channel", "problem"),
    [
        ("{kind: webhook, url: 'http://hooks.example/x', secret: '${HOOK}'}", "not an https URL"),
        ("{kind: webhook, url: 'https://u:p@hooks.example/x', secret: '${HOOK}'}", "not an https URL"),
        ("{kind: webhook, url: 'ftp://127.0.0.1/x', secret: '${HOOK}'}", "not an https URL"),
        ("{kind: webhook, url: 'https://hooks.example/x', secret: '${SHORT}'}", "24 to 64 bytes"),
        ("{kind: webhook, url: 'https://hooks.example/x', secret: '${TEXT}'}", "24 to 64 bytes"),
        ("{kind: webhook, url: 'https://hooks.example/x', secret: whsec_literal}", "a literal secret is refused"),
        ("{kind: webhook, url: 'https://hooks.example/x', secret: '${MISSING}'}", "MISSING is not set"),
        ("{kind: slack, url: '${PLAIN}'}", "not an https URL"),
        ("{kind: slack, url: '${SLACK}', decide: buttons}", "link"),
        ("{kind: email, server: smtp.example, from: a@x.example, to: [b@x.example]}", "smtp.example:587"),
        ("{kind: email, server: 'smtp.example:99999', from: a@x.example, to: [b@x.example]}", "smtp.example:587"),
        ("{kind: email, server: 'smtp.example:25', tls: none, from: a@x.example, to: [b@x.example]}", "tls is none"),
        ("{kind: email, server: 'smtp.example:25', user: u, from: a@x.example, to: [b@x.example]}", "come together"),
        ("{kind: email, server: 'smtp.example:25', from: nobody, to: [b@x.example]}", "not an address of mail"),
        (
            '{kind: email, server: "smtp.example:25", from: "a@x.example\\r\\nBcc: eve@x.example", to: [b@x.example]}',
            "not an address",
        ),
        ("{kind: email, server: 'smtp.example:25', from: a@x.example, to: []}", "it is empty"),
        ("{kind: slack, url: '${SLACK}'}, {kind: slack, url: '${SLACK}'}", "two channels have the name 'slack'"),
        ("{kind: slack, url: '${SLACK}', name: 'Two Words'}", "match"),
        ("{kind: pigeon}", "kind"),
    ],
)
def test_a_channel_that_could_not_work_is_refused(channel: str, problem: str):
    with pytest.raises(ConfigurationError) as found:
        parsed(channel)
    told: Any = [*getattr(found.value, "problems", ()), str(found.value)]
    assert problem in " ".join(told)
    assert "whsec_AAAA" not in " ".join(told)
