from __future__ import annotations

from gateway.inspection.credentials.finding import Finding, Hit, Inspection


def test_nothing_prints_a_value():
    hit = Hit("jwt", "jwt", 0, 9, "the-secret-value")
    finding = Finding("00ff", "jwt", "jwt", shingles=frozenset({1234567}))

    assert "the-secret-value" not in repr(hit)
    assert "1234567" not in repr(Inspection((finding,)))


def test_findings_are_the_same_whatever_their_shingles_and_offset():
    assert Finding("00ff", "jwt", "jwt", offset=1) == Finding("00ff", "jwt", "jwt", shingles=frozenset({1}))
