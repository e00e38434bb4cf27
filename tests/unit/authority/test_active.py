from __future__ import annotations

from gateway.authority.introspection import ActiveTokens
from gateway.authority.minting import MintedToken


def token(jti: str, expires: float = 100, task: str | None = "t") -> MintedToken:
    return MintedToken("value", jti, "aud", expires, task, "owner", b"{}")


def test_an_unknown_token_is_inactive():
    assert ActiveTokens().find("j", 0) is None


def test_a_token_is_active_until_it_is_ended():
    tokens = ActiveTokens()

    assert tokens.add(token("j"), 0)
    assert tokens.find("j", 1) == token("j")
    assert tokens.end("j")
    assert tokens.find("j", 1) is None
    assert not tokens.end("j")


def test_a_token_is_inactive_at_its_expiry_and_forgotten():
    tokens = ActiveTokens()
    tokens.add(token("a", 100), 0)

    assert tokens.find("a", 99.9) is not None
    assert tokens.find("a", 100) is None
    tokens.add(token("b", 200), 100)
    assert len(tokens) == 1


def test_an_expired_token_is_never_added():
    tokens = ActiveTokens()

    assert not tokens.add(token("a", 100), 100)
    assert len(tokens) == 0


def test_a_jti_names_one_token():
    tokens = ActiveTokens()
    tokens.add(token("a", task="one"), 0)

    assert not tokens.add(token("a", task="two"), 0)
    assert tokens.end_task("two") == 0
    assert tokens.find("a", 0) == token("a", task="one")


def test_the_end_of_a_task_ends_all_its_tokens_and_no_other():
    tokens = ActiveTokens()
    for jti, task in (("a", "one"), ("b", "one"), ("c", "two"), ("d", None)):
        tokens.add(token(jti, task=task), 0)

    assert tokens.end_task("one") == 2
    assert [jti for jti in "abcd" if tokens.find(jti, 0)] == ["c", "d"]
    assert tokens.end_task("one") == 0


def test_a_full_register_refuses_and_forgets_no_active_token():
    tokens = ActiveTokens(capacity=2)
    tokens.add(token("a", 100), 0)
    tokens.add(token("b", 200), 0)

    assert not tokens.add(token("c"), 0)
    assert tokens.find("a", 0) is not None
    assert tokens.add(token("c", 200), 100)


def test_a_jti_that_is_used_again_keeps_its_later_expiry():
    tokens = ActiveTokens()
    tokens.add(token("a", 100), 0)
    tokens.end("a")
    tokens.add(token("a", 200), 0)
    tokens.add(token("b", 300), 150)

    assert tokens.find("a", 150) is not None


def test_ended_tokens_leave_nothing_behind():
    tokens = ActiveTokens()
    for number in range(20_000):
        tokens.add(token(f"j-{number}", 1e9), 0)
        tokens.end(f"j-{number}")

    assert len(tokens) == 0
    assert len(tokens._expiries) < 2_000
    assert tokens._of_task == {}
