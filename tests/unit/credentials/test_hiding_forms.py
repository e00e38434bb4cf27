"""Each form in which text hides a password or key is found in arguments and in results, and no text of the same shape is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from gateway.credentials.detect import Detector
from gateway.credentials.finding import Finding
from gateway.credentials.fingerprint import Fingerprints
from gateway.credentials.stream import Scanner, spots
from tests.hiding_forms import HIDING_FORMS
from tests.secret_forms import SecretForm
from tests.unit.credentials.conftest import RULES

DETECTOR = Detector(RULES, Fingerprints(b"k" * 32))
_HOST = re.compile(r"https?://([a-z0-9.-]+)")


def in_result(text: str) -> tuple[Finding, ...]:
    """Return the credentials in a result that arrives whole."""
    return Scanner(DETECTOR).finish(as_result(text))


def in_pieces(text: str) -> tuple[Finding, ...]:
    """Return the credentials in a result that arrives in pieces of seven bytes."""
    data, scanner = as_result(text), Scanner(DETECTOR)
    found = [finding for at in range(0, len(data), 7) for finding in scanner.feed(data[at : at + 7])]
    return (*found, *scanner.finish())


def in_arguments(text: str) -> tuple[Finding, ...]:
    return DETECTOR.inspect({"body": f"Page 3.\n{text}\nEnd."}, {}).findings


def as_result(text: str) -> bytes:
    return json.dumps({"content": [{"type": "text", "text": f"Page 3.\n{text}\nEnd."}]}).encode()


PLACES: dict[str, Callable[[str], tuple[Finding, ...]]] = {
    "result": in_result,
    "result in pieces": in_pieces,
    "arguments": in_arguments,
}


def has_secret(form: SecretForm, findings: tuple[Finding, ...]) -> bool:
    """Return whether the secret of a form is found. A signature in a link is known together with its host."""
    hosts = (None, *_HOST.findall(form.text))
    return not {DETECTOR.fingerprints.of(form.secret, host) for host in hosts}.isdisjoint(
        {finding.fingerprint for finding in findings}
    )


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", HIDING_FORMS, ids=lambda form: form.name)
def test_a_credential_is_found_in_each_form_that_hides_one(form: SecretForm, place: str):
    assert has_secret(form, PLACES[place](form.text))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", HIDING_FORMS, ids=lambda form: form.name)
def test_a_text_of_the_shape_of_a_hiding_form_holds_none(form: SecretForm, place: str):
    assert PLACES[place](form.benign) == ()


@pytest.mark.parametrize("form", HIDING_FORMS, ids=lambda form: form.name)
def test_what_is_concealed_of_a_form_is_its_credential(form: SecretForm):
    data = as_result(form.text)

    kept = data
    for spot in reversed(spots(DETECTOR, data)):
        kept = kept[: spot.start] + kept[spot.end :]

    assert json.loads(kept)
    assert form.secret not in json.dumps(json.loads(kept), ensure_ascii=False)


def test_there_are_enough_forms_that_hide_one():
    assert len({form.name for form in HIDING_FORMS}) == len(HIDING_FORMS) >= 80
