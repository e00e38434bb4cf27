"""Which systems have shown which credentials, caller by caller."""

from __future__ import annotations

from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.credentials.examples import example
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.origins import CredentialLimits, KnownOrigins, ShownToJob
from gateway.model.shingles import name_of
from tests.unit.inspection.credentials.conftest import RULES

KEYED = Fingerprints(b"k" * 32)
DETECTOR = Detector(RULES, KEYED)
LONG = example("ghp_{w:30}{crc62}", Random(1))
OTHER = example("ghp_{w:30}{crc62}", Random(2))


def note(origins: KnownOrigins, value: str, task: str = "t", audience: str = "crm", owner: str = "ada") -> None:
    origins.note(owner, task, audience, KEYED.of(value), KEYED.shingles(value))


def shown(origins: KnownOrigins, owner: str = "ada") -> ShownToJob:
    found = origins.of(owner)
    assert found is not None
    return found


def found(origins: KnownOrigins, text: str) -> set[str]:
    return {
        finding.fingerprint for finding in DETECTOR.inspect({"x": text}, {}, shown(origins).index, new=False).findings
    }


def test_a_caller_that_was_shown_nothing_is_not_looked_at():
    origins = KnownOrigins()
    assert origins.of("ada") is None
    note(origins, LONG)
    assert origins.of("bert") is None


def test_a_credential_is_found_again_and_may_go_to_its_system_only():
    origins = KnownOrigins()
    note(origins, LONG)

    assert found(origins, f"{LONG[:20]} and {LONG[20:]}") == {KEYED.of(LONG)}
    assert found(origins, OTHER) == set()
    assert shown(origins).may_go_to("crm", KEYED.of(LONG))
    assert not shown(origins).may_go_to("billing", KEYED.of(LONG))
    assert shown(origins).may_go_to("billing", KEYED.of(OTHER))


def test_a_credential_may_go_to_each_system_that_has_shown_it_to_a_task():
    origins = KnownOrigins()
    note(origins, LONG)
    note(origins, LONG, task="u", audience="billing")
    assert shown(origins).may_go_to("billing", KEYED.of(LONG))

    origins.drop("ada", "u")
    assert not shown(origins).may_go_to("billing", KEYED.of(LONG))
    assert shown(origins).may_go_to("crm", KEYED.of(LONG))


def test_of_a_credential_that_another_system_has_shown_one_such_is_named():
    origins = KnownOrigins()
    note(origins, LONG, audience="wiki")
    note(origins, LONG, task="u", audience="crm")

    assert shown(origins).of_another("billing", KEYED.of(LONG)) == "crm"
    assert shown(origins).of_another("wiki", KEYED.of(LONG)) is None
    assert shown(origins).of_another("billing", KEYED.of(OTHER)) is None


def test_what_other_tasks_were_shown_is_told_from_what_this_one_was():
    origins = KnownOrigins()
    note(origins, LONG)
    assert not shown(origins).is_beside("t")
    assert shown(origins).is_beside("new")

    note(origins, OTHER, task="u")
    assert shown(origins).is_beside("t")
    note(origins, LONG, task="u")
    assert not shown(origins).is_beside("u")


def test_within_a_task_the_first_system_stays():
    origins = KnownOrigins()
    note(origins, LONG)
    note(origins, LONG, audience="billing")
    assert not shown(origins).may_go_to("billing", KEYED.of(LONG))


def test_a_credential_is_known_until_the_last_task_that_saw_it_is_gone():
    origins = KnownOrigins()
    note(origins, LONG)
    note(origins, OTHER)
    note(origins, LONG, task="u")
    origins.drop("ada", "t")

    assert found(origins, f"{LONG} {OTHER}") == {KEYED.of(LONG)}
    assert len(origins) == 1
    origins.drop("ada", "u")
    assert (origins.of("ada"), len(origins)) == (None, 0)
    origins.drop("ada", "u")


def test_of_a_private_key_any_secret_line_is_known_in_other_tasks():
    key = (
        rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    )
    body = "".join(key.splitlines()[1:-1])
    origins = KnownOrigins()
    origins.note("ada", "t", "crm", KEYED.of(body), KEYED.shingles(body, in_lines=True))
    assert found(origins, f"note {body[900:964]}") == {KEYED.of(body)}
    assert found(origins, f"note {body[:64]}") == set()


def test_a_short_one_is_found_as_a_whole_word_only():
    origins = KnownOrigins()
    note(origins, "48210935")
    assert found(origins, "the code is 48210935 now") == {KEYED.of("48210935")}
    assert found(origins, "4821-0935") == set()
    assert found(origins, "1482109350") == set()
    origins.drop("ada", "t")
    assert origins.of("ada") is None


@pytest.mark.parametrize("limits", [CredentialLimits(of_job=1), CredentialLimits(of_all=1)])
def test_of_credentials_beyond_those_that_are_kept_whole_there_are_the_marks(limits: CredentialLimits):
    origins = KnownOrigins(limits)
    note(origins, LONG, task="t")
    note(origins, OTHER, task="u")
    note(origins, "48210935", task="u", audience="wiki")

    (marked,) = found(origins, f"so {' '.join(OTHER.upper())}!")
    assert marked == name_of(KEYED.mark(OTHER))
    assert not shown(origins).may_go_to("billing", marked)
    assert shown(origins).may_go_to("crm", marked)
    assert shown(origins).name(KEYED.of(OTHER), KEYED.shingles(OTHER)) == marked
    assert found(origins, "the code is 48210935 now") == {name_of(KEYED.mark("48210935"))}
    assert found(origins, f"{OTHER[:11]} 4821-0935") == set()
    assert not shown(origins).lost
    origins.drop("ada", "u")
    assert found(origins, f"{OTHER} 48210935") == set()
    assert len(origins) == 1


def test_a_credential_is_kept_once_whole_or_by_its_mark():
    origins = KnownOrigins(CredentialLimits(of_job=1))
    note(origins, LONG)
    note(origins, OTHER)
    origins.note("ada", "u", "wiki", name_of(KEYED.mark(OTHER)), frozenset())
    note(origins, OTHER, task="v", audience="billing")
    assert len(origins) == 2
    assert shown(origins).may_go_to("billing", name_of(KEYED.mark(OTHER)))


@pytest.mark.parametrize(
    "limits",
    [
        CredentialLimits(of_job=1, marks_of_job=1),
        CredentialLimits(1, 1, 1, 1),
        CredentialLimits(of_job=1, marks_of_all=1),
    ],
)
def test_what_has_no_room_at_all_is_lost_of_its_system_for_as_long_as_the_task_is_kept(limits: CredentialLimits):
    origins = KnownOrigins(limits)
    for value in (LONG, OTHER):
        note(origins, value)
    assert not shown(origins).lost
    note(origins, "a third one 4711x", task="u", audience="wiki")

    assert shown(origins).has_lost_beside("crm")
    assert not shown(origins).has_lost_beside("wiki")
    note(origins, "a fourth one 4711x", task="u", audience="crm")
    assert shown(origins).has_lost_beside("wiki")
    origins.drop("ada", "u")
    assert not shown(origins).lost


def test_a_task_that_lost_count_is_told_with_its_system():
    origins = KnownOrigins()
    origins.note_lost("ada", "t", "crm")
    assert (shown(origins).has_lost_beside("crm"), shown(origins).has_lost_beside("wiki")) == (False, True)
    origins.drop("ada", "t")
    assert origins.of("ada") is None


def test_room_that_one_caller_gives_back_is_room_for_another():
    origins = KnownOrigins(CredentialLimits(of_all=1, marks_of_all=0))
    note(origins, LONG)
    origins.drop("ada", "t")
    note(origins, OTHER, owner="bert")
    assert not shown(origins, "bert").lost


def test_no_caller_takes_more_than_it_leaves_to_others():
    origins = KnownOrigins(CredentialLimits(of_all=16, marks_of_all=16))
    for owner in ("ada", "bert", "carl"):
        for number in range(40):
            note(origins, f"k7Qz93{owner}{number:02}mW2tRx8bLn", owner=owner)
    whole = {
        owner: len(shown(origins, owner).systems) - shown(origins, owner).marks for owner in ("ada", "bert", "carl")
    }
    assert whole == {"ada": 8, "bert": 4, "carl": 2}
    assert [shown(origins, owner).marks for owner in ("ada", "bert", "carl")] == [8, 4, 2]
