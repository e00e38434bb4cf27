"""The grounds of leases, found by the revision of the policy that permitted them."""

from __future__ import annotations

from gateway.authority.model import LeaseGrounds
from gateway.authority.narrowing import PermittedLeases
from gateway.model.caller import AuthMethod, Principal
from gateway.model.target import Labels, Pin, Target

PRINCIPAL = Principal("agent", "https://idp.example", AuthMethod.JWT)
TARGET = Target("tool", "crm", "find", "https://crm.example", labels=Labels(), pin=Pin.MATCH)


def permitted(**revisions: str) -> PermittedLeases:
    found = PermittedLeases()
    for identifier, revision in revisions.items():
        found.put(identifier, LeaseGrounds(PRINCIPAL, TARGET, revision))
    return found


def names(leases: list[tuple[str, LeaseGrounds]]) -> list[str]:
    return sorted(identifier for identifier, _ in leases)


def test_only_leases_of_other_revisions_are_outdated():
    found = permitted(a="old", b="new", c="older")

    assert names(found.outdated("new")) == ["a", "c"]
    found.confirm("a", "new")
    found.confirm("unknown", "new")
    assert names(found.outdated("new")) == ["c"]
    assert names(found.outdated("newest")) == ["a", "b", "c"]


def test_a_removed_lease_is_in_no_revision():
    found = permitted(a="old", b="old")
    for identifier in ("a", "a", "b", "unknown"):
        found.remove(identifier)

    assert found.outdated("new") == []
    assert list(found.all()) == []


def test_grounds_that_are_put_again_count_once():
    found = permitted(a="old")
    found.put("a", LeaseGrounds(PRINCIPAL, TARGET, "new"))

    assert found.outdated("new") == []
    assert names(found.outdated("old")) == ["a"]
