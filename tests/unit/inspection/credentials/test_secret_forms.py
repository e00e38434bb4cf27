"""Each form in which a credential is given is found in a result, and its benign counterpart holds none."""

from __future__ import annotations

import json

import pytest

from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.phrases import PHRASES, Phrase
from gateway.inspection.credentials.ruleset import compiled
from gateway.inspection.credentials.stream import Scanner
from tests.secret_forms import FORMS, SecretForm
from tests.unit.inspection.credentials.conftest import RULES

DETECTOR = Detector(RULES, Fingerprints(b"k" * 32))
NAMES = [form.name for form in FORMS]


def shown(text: str) -> frozenset[str]:
    """Return the fingerprints of the credentials in a result that has `text`."""
    result = json.dumps({"content": [{"type": "text", "text": f"Page 3.\n{text}\nEnd."}]})
    return frozenset(finding.fingerprint for finding in Scanner(DETECTOR).finish(result.encode()))


@pytest.mark.parametrize("form", FORMS, ids=NAMES)
def test_a_credential_is_found_in_each_form(form: SecretForm):
    assert DETECTOR.fingerprints.of(form.secret) in shown(form.text)


@pytest.mark.parametrize("form", FORMS, ids=NAMES)
def test_a_text_of_the_same_shape_holds_none(form: SecretForm):
    assert shown(form.benign) == frozenset()


@pytest.mark.parametrize("phrase", PHRASES, ids=[phrase.sign for phrase in PHRASES])
def test_whatever_a_phrase_finds_has_its_sign(phrase: Phrase):
    sign = compiled(phrase.sign)
    for text in [form.text.encode() for form in FORMS]:
        assert sign.search(text) is not None or not any(phrase.find(text))


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("mysql.exe -u ada -pVq7tR2xLm9", "Vq7tR2xLm9"),
        ('curl -u "ada":Vq7tR2xLm9 https://h.example', "Vq7tR2xLm9"),
        ("curl -u CORP\\ada:Vq7tR2xLm9 https://h.example", "Vq7tR2xLm9"),
        ("smbclient //h/s -U `ada`%Vq7tR2xLm9", "Vq7tR2xLm9"),
        ("connect (ada_:Vq7tR2xLm9@db.example)", "Vq7tR2xLm9"),
        ("alter role ada password 'ladder-ocean-٣'", "ladder-ocean-٣"),
        ("Recovery codes:8f3k-29dk", "8f3k-29dk"),
        ("Unseal Key 1: q7Zx93mW2tRx8bLnVq0a", "q7Zx93mW2tRx8bLnVq0a"),
        ("Unseal Key 12: q7Zx93mW2tRx8bLnVq0a", "q7Zx93mW2tRx8bLnVq0a"),
        ("Seed phrase:ladder ocean picnic marble tunnel violet copper garden window silver rocket candle", None),
    ],
)
def test_a_credential_is_found_where_no_other_sign_stands_beside_it(text: str, secret: str | None):
    assert [hit.value for hit in DETECTOR.hits(text.encode())] == [secret or text.partition(":")[2]]


def test_there_are_enough_forms():
    assert len(set(NAMES)) == len(FORMS) >= 65
