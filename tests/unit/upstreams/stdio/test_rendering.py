"""The text of a credential for a process."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.hand_over import HandOver
from gateway.model.wire import HandedCredential
from gateway.upstreams.stdio.rendering import LARGEST, render_text, render_variables

AWS = {"access_key_id": "AK", "secret_access_key": "SK", "session_token": "ST"}


def credential(value: str = "token-1", **fields: str) -> HandedCredential:
    return HandedCredential("lease-1", "t1", 1.0, value, tuple(fields.items()), 60.0)


def text(handed: HandedCredential, **settings: Any) -> str:
    return render_text(HandOver.model_validate({"file": "F", **settings}), handed)


def test_a_token_is_its_value_and_nothing_else():
    assert text(credential()) == "token-1"
    assert text(credential(), form="json") == '{"value": "token-1", "expires": "1970-01-01T00:01:00Z"}'


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("PGPASSFILE", {"username": "u:x", "password": "p\\:"}, "*:*:*:u\\:x:p\\\\\\:\n"),
        ("PGSERVICEFILE", {"username": "u", "password": "p=#"}, "[opagate]\nuser=u\npassword=p=#\n"),
        (
            "AWS_SHARED_CREDENTIALS_FILE",
            AWS,
            "[default]\naws_access_key_id = AK\naws_secret_access_key = SK\naws_session_token = ST\n",
        ),
    ],
)
def test_some_variables_have_a_form_of_their_own(name: str, fields: dict[str, str], expected: str):
    assert text(credential(**fields), file=name) == expected


@pytest.mark.parametrize("form", ["pgpass", "pgservice"])
def test_a_field_cannot_begin_another_line(form: str):
    with pytest.raises(ValueError, match="its field 'password' has a control character"):
        text(credential(username="u", password="p\nhost=evil"), form=form)


def test_a_template_is_filled_once():
    assert (
        text(credential(username="{password}", password="p"), template="{username}|{x-y}|{password}")
        == "{password}|{x-y}|p"
    )


@pytest.mark.parametrize(
    ("settings", "fields", "problem"),
    [
        ({"template": "{token}"}, {"username": "u"}, "it has no field 'token'"),
        ({"form": "aws"}, {"username": "u"}, "it has no field 'access_key_id'"),
        ({}, {"username": "u" * (LARGEST + 1)}, "it has more than"),
    ],
)
def test_a_credential_that_does_not_fit_is_refused(settings: dict[str, Any], fields: dict[str, str], problem: str):
    with pytest.raises(ValueError, match=problem):
        text(credential(**fields), **settings)


def test_a_variable_holds_no_nul():
    with pytest.raises(ValueError, match="NUL"):
        render_variables(HandOver.model_validate({"env": "A"}), credential("a\0b"))
