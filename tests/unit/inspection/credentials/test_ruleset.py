from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.credentials.examples import example
from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.ruleset import (
    GRAMMAR,
    OWN,
    CredentialRule,
    Ruleset,
    compiled,
    escape_literal,
    load,
    shannon,
)
from gateway.model.errors import ConfigurationError
from tests.unit.inspection.credentials.conftest import RULES

IDS = [rule.id for rule in RULES.rules]
BY_ID = {rule.id: rule for rule in RULES.rules}


def secrets(rule: CredentialRule, text: bytes) -> list[bytes]:
    return [
        text[slice(*span)]
        for match in rule.regex.finditer(text)
        if rule.accepts(text, match, span := rule.secret(match))
    ]


def theirs(tmp_path: Path, text: str) -> Ruleset:
    path = tmp_path / "gitleaks.toml"
    path.write_text(text)
    return load(path)


def only(rules: Ruleset, name: str) -> CredentialRule:
    return next(rule for rule in rules.rules if rule.id == name)


# --- ours ------------------------------------------------------------------------------------------


def test_there_are_at_least_eighty_providers():
    assert len(IDS) == len(set(IDS))
    assert len({name.partition("-")[0] for name in IDS}) >= 80


def test_our_file_is_the_format_of_gitleaks_and_nothing_else():
    document = tomllib.loads(OWN.read_text("utf-8"))

    assert document.keys() == {"title", "allowlist", "rules"}
    for rule in document["rules"]:
        assert rule.keys() == {"id", "description", "regex", "keywords"}
        assert all(word == word.lower() for word in rule["keywords"])


def test_each_rule_has_a_grammar_and_no_other_name_has():
    assert tomllib.loads(GRAMMAR.read_text("utf-8")).keys() == set(IDS)


def test_our_file_holds_no_value_of_any_rule():
    """What is committed is a grammar; a secret scanner finds nothing in it but documented examples."""
    text = OWN.read_bytes()

    found = {name: values for name in IDS if (values := secrets(BY_ID[name], text))}

    assert found == {}


@pytest.mark.parametrize("name", IDS)
def test_a_rule_finds_its_own_values_and_is_tried_on_them(name: str):
    rule = BY_ID[name]
    random = Random(name)
    for _ in range(20):
        value = example(rule.example, random)
        text = f'It is "{value}" now.'.encode()

        found = secrets(rule, text)

        assert len(found) == 1, "one value, found once"
        assert found[0].decode() in value
        assert name in {candidate.id for candidate, _ in RULES.candidates(text)}
        assert any(word.encode() in text.lower() for word in rule.keywords), "gitleaks would try it too"


@pytest.mark.parametrize("name", IDS)
def test_a_near_miss_is_not_found(name: str):
    rule = BY_ID[name]
    value = example(rule.example, Random(name))
    prefix = re.split(r"\{", rule.example)[0]
    cut = value[: len(prefix) + 4]

    assert secrets(rule, f'"{cut}"'.encode()) == []


@pytest.mark.parametrize(
    "name",
    ["github-pat", "aws-access-key-id", "digitalocean-token", "npm-token", "twilio-api-key", "shopify-token"],
)
@pytest.mark.parametrize("change", ["longer", "glued", "other-letter"])
def test_a_value_of_fixed_form_is_all_or_nothing(name: str, change: str):
    rule = BY_ID[name]
    value = example(rule.example, Random(3))
    text = {"longer": f"{value}0", "glued": f"x{value}", "other-letter": f"{value[:12]}!{value[13:]}"}[change]

    assert secrets(rule, text.encode()) == []


def test_two_values_side_by_side_are_both_found():
    rule = BY_ID["github-pat"]
    one, two = example(rule.example, Random(1)), example(rule.example, Random(2))

    assert secrets(rule, f"{one},{two}".encode()) == [one.encode(), two.encode()]


def test_text_full_of_signs_is_tried_with_every_rule():
    text = b"akiaaaaaaaaa " * 300

    assert len(RULES.candidates(text)) == len(RULES.rules)


def test_of_our_rules_only_those_that_are_tried_are_compiled(monkeypatch: pytest.MonkeyPatch):
    """All of them take 1.5 MB of every gateway, and most have no sign in anything that it ever reads."""
    made: list[str] = []

    def noted(expression: str, *, groups: bool = True) -> ruleset.Re2Pattern:
        made.append(expression)
        return compiled(expression, groups=groups)

    monkeypatch.setattr(ruleset, "compiled", noted)
    # Other tests may have tried the rules that all tests share.
    monkeypatch.setattr(ruleset, "_load_shipped", inspect.unwrap(ruleset._load_shipped))
    rules = load()
    assert made == [rules.signs]

    github = only(rules, "github-pat")
    for _ in range(2):
        assert list(github.regex.finditer(b"nothing")) == []
    assert made[1:] == [github.regex.pattern]


def test_clean_text_is_tried_with_none():
    assert RULES.candidates(b"The quick brown fox jumps over the lazy dog. " * 90) == []


# --- theirs ----------------------------------------------------------------------------------------


THEIRS = """
[extend]
useDefault = true
disabledRules = ["npm-token"]

[[rules]]
id = "acme-token"
description = "Acme"
regex = '''(?i)(acme)_([a-z0-9]{16})'''
keywords = ["ACME_"]
secretGroup = 2
entropy = 2.5

  [[rules.allowlists]]
  condition = "AND"
  regexTarget = "match"
  regexes = ['''^acme_test''']
  stopwords = ["test"]
"""


def test_a_gitleaks_file_is_loaded_beside_ours(tmp_path: Path):
    rules = theirs(tmp_path, THEIRS)
    rule = only(rules, "acme-token")

    assert not rules.own
    assert len(rules.rules) == len(RULES.rules)
    assert "npm-token" not in {rule.id for rule in rules.rules}
    assert secrets(rule, b"acme_q8s7d6f5g4h3j2k1") == [b"q8s7d6f5g4h3j2k1"]
    assert ("acme-token", 5) in {(rule.id, at) for rule, at in rules.candidates(b"say: ACME_q8s7d6f5g4h3j2k1")}


def test_a_file_that_extends_another_has_its_rules_with_what_it_says_of_them(tmp_path: Path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "base.toml").write_text(
        "[extend]\ndisabledRules = ['npm-token']\n[[allowlists]]\nstopwords = ['never']\n"
        "[[rules]]\nid = 'far'\nregex = 'far_[a-z]+'\n"
    )
    (tmp_path / "shared/base.toml").write_text(
        "[extend]\npath = '../base.toml'\n"
        "[[rules]]\nid = 'one'\nregex = '(one)_([a-z]+)'\nkeywords = ['ONE_']\nsecretGroup = 1\nentropy = 1.5\n"
        "[rules.allowlist]\nstopwords = ['sample']\n"
        "[[rules]]\nid = 'two'\nregex = 'two_[a-z]+'\n"
    )
    rules = theirs(
        tmp_path,
        "[extend]\npath = 'shared/base.toml'\ndisabledRules = ['two']\n[[allowlists]]\nstopwords = ['mock']\n"
        "[[rules]]\nid = 'one'\nsecretGroup = 2\nkeywords = ['Uno']\n[[rules.allowlists]]\nstopwords = ['test']\n"
        "[[rules]]\nid = 'three'\nregex = 'three_[a-z]+'\n",
    )
    rule = only(rules, "one")

    assert {rule.id for rule in rules.rules if not rule.own} == {"far", "one", "three"}
    assert "npm-token" not in {rule.id for rule in rules.rules}
    assert (rule.keywords, rule.group, rule.entropy) == (("one_", "uno"), 2, 1.5)
    assert secrets(rule, b"one_abcdef") == [b"abcdef"]
    assert [secrets(rule, f"one_abc{word}".encode()) for word in ("sample", "test", "mock", "never")] == [[]] * 4
    assert secrets(only(rules, "far"), b"far_mock far_away") == [b"far_away"]


def test_a_rule_without_an_expression_changes_the_one_of_its_id(tmp_path: Path):
    value = example(BY_ID["github-pat"].example, Random(5))
    rules = theirs(
        tmp_path,
        f"[extend]\nuseDefault = true\n[[rules]]\nid = 'github-pat'\n[[rules.allowlists]]\nregexes = ['{value}']\n"
        "[[rules]]\nid = 'aws-access-token'\nentropy = 3\n",
    )
    rule = only(rules, "github-pat")

    assert rule.own
    assert rule.regex.pattern == BY_ID["github-pat"].regex.pattern
    assert secrets(rule, value.encode()) == []
    assert secrets(rule, (other := example(rule.example, Random(6)).encode())) == [other]
    assert "aws-access-token" not in {rule.id for rule in rules.rules}, "there is no such rule of ours to change"


def test_entropy_and_allowlists_of_a_rule_are_heeded(tmp_path: Path):
    rule = only(theirs(tmp_path, THEIRS), "acme-token")

    assert secrets(rule, b"acme_aaaaaaaaaaaaaaab") == []
    assert secrets(rule, b"acme_test6f5g4h3j2k1q") == []
    assert secrets(rule, b"acme_q8test6f5g4h3j2k") != [], "both conditions must hold"


@pytest.mark.parametrize(
    ("allowlist", "text", "allowed"),
    [
        ("regexes = ['''^q8''']", "acme_q8s7d6f5g4h3j2k1", True),
        ("regexes = ['''^z''']", "acme_q8s7d6f5g4h3j2k1", False),
        ("stopwords = ['D6F5']", "acme_q8s7d6f5g4h3j2k1", True),
        ("regexTarget = 'line'\nregexes = ['''nosec''']", "a\nacme_q8s7d6f5g4h3j2k1 # nosec\nb", True),
        ("regexTarget = 'line'\nregexes = ['''nosec''']", "nosec\nacme_q8s7d6f5g4h3j2k1\nnosec", False),
        ("paths = ['''.*''']", "acme_q8s7d6f5g4h3j2k1", False),
        ("commits = ['abc']\nregexes = ['''^q8''']", "acme_q8s7d6f5g4h3j2k1", True),
        ("condition = '&&'\npaths = ['''.*''']\nregexes = ['''^q8''']", "acme_q8s7d6f5g4h3j2k1", False),
        ("condition = '||'\nregexes = ['''^z''']\nstopwords = ['q8']", "acme_q8s7d6f5g4h3j2k1", True),
    ],
)
def test_allowlists(tmp_path: Path, allowlist: str, text: str, allowed: bool):  # noqa: FBT001 - a column of the table
    for table in ("[[allowlists]]", "[allowlist]"):
        written = (
            f"{table}\n{allowlist}\n\n[[rules]]\nid = 'acme'\nregex = '''acme_([a-z0-9]{{16}})'''\nkeywords = []\n"
        )
        rule = only(theirs(tmp_path, written), "acme")

        assert (secrets(rule, text.encode()) == []) is allowed


def test_a_global_allowlist_can_name_its_rules(tmp_path: Path):
    written = """
[[allowlists]]
targetRules = ["one"]
stopwords = ["a"]
[[rules]]
id = "one"
regex = "x(a+)"
[[rules]]
id = "two"
regex = "x(a+)"
[rules.allowlist]
regexes = ["b"]
"""
    rules = theirs(tmp_path, written)

    assert secrets(only(rules, "one"), b"xaa") == []
    assert secrets(only(rules, "two"), b"xaa") == [b"aa"]


def test_a_rule_without_keywords_is_always_tried(tmp_path: Path):
    rules = theirs(tmp_path, "[[rules]]\nid = 'any'\nregex = 'zz+'\n")

    assert [rule.id for rule, _ in rules.candidates(b"nothing")] == ["any"]
    assert secrets(only(rules, "any"), b"a zzz") == [b"zzz"], "without groups the match is the credential"


def test_of_several_groups_the_first_that_matched_is_the_credential(tmp_path: Path):
    rules = theirs(tmp_path, "[[rules]]\nid = 'any'\nregex = '(?:a(x+)|b(y+))'\n")

    assert secrets(only(rules, "any"), b"byy") == [b"yy"]


def test_rules_of_files_alone_and_rules_that_report_nothing_are_left_out(tmp_path: Path):
    rules = theirs(
        tmp_path, "[[rules]]\nid = 'file'\npath = 'id_rsa'\n[[rules]]\nid = 'part'\nregex = 'x'\nskipReport = true\n"
    )

    assert not {"file", "part"} & {rule.id for rule in rules.rules}


def test_a_set_without_keywords_and_an_empty_one_work():
    assert Ruleset([]).candidates(b"x") == []
    assert len(Ruleset([CredentialRule("a", compiled("x"))]).candidates(b"x")) == 1


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("not toml", "is not TOML"),
        ("rules = 3", "rules is no list of tables"),
        ("rules = [3]", "rules is no table"),
        ("[[rules]]\nregex = 'x'", "rule 1 has no id"),
        ("[[rules]]\nid = 'a'\nregex = 3", "rule a has a regex that is no text"),
        ("[[rules]]\nid = 'a'\nregex = '(?<=x)y'", "rule a has a regex expression that RE2 refuses"),
        ("[[rules]]\nid = 'a'\nregex = '(x)'\nsecretGroup = 2", "rule a has no group 2"),
        ("[[rules]]\nid = 'a'\nregex = 'x'\nsecretGroup = 'b'", "rule a has no group 'b'"),
        ("[[rules]]\nid = 'a'\nregex = 'x'\nentropy = 'high'", "rule a has an entropy that is no number"),
        ("[[rules]]\nid = 'a'\nregex = 'x'\nentropy = true", "rule a has an entropy that is no number"),
        ("[[rules]]\nid = 'a'\nregex = 'x'\nkeywords = 'k'", "rule a has keywords that are no list of texts"),
        ("[[rules]]\nid = 'a'\nregex = 'x'\nkeywords = [1]", "rule a has keywords that are no list of texts"),
        (
            "[[rules]]\nid = 'a'\nregex = 'x'\n[[rules.allowlists]]\nregexTarget = 'file'",
            "rule a has regexTarget 'file'",
        ),
        ("[[rules]]\nid = 'a'\nregex = 'x'\n[[rules.allowlists]]\ncondition = 'XOR'", "rule a has condition 'XOR'"),
        (
            "[[rules]]\nid = 'a'\nregex = 'x'\n[[rules.allowlists]]\nregexes = ['(']",
            "rule a has a allowlist expression",
        ),
        ("[allowlist]\nregexes = ['(']", "the file has a allowlist expression"),
        ("allowlist = 3", "the file, allowlist is no table"),
        ("[extend]\npath = 'other.toml'", "other.toml, which is not there"),
        ("[extend]\npath = 'gitleaks.toml'", "extend leads through more than 8 files"),
        ("[extend]\npath = 5", "extend has a path that is no text"),
        ("[extend]\nurl = 'https://x'", "extend names a URL"),
        ("extend = 3", "extend is no table"),
    ],
)
def test_a_bad_file_is_refused_with_the_rule_and_the_problem(tmp_path: Path, written: str, problem: str):
    with pytest.raises(ConfigurationError) as refused:
        theirs(tmp_path, written)

    assert problem in refused.value.message
    assert "gitleaks.toml" in refused.value.message
    assert refused.value.remedy


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        load(tmp_path / "binary.toml")


def test_literals_are_escaped_for_re2():
    assert compiled(escape_literal("a.b$c+(d)-e_f")).search(b"xa.b$c+(d)-e_f") is not None
    assert compiled(escape_literal("a.b")).search(b"axb") is None


def test_entropy_is_in_bits_a_character():
    assert shannon(b"aaaa") == 0
    assert shannon(b"abcd") == 2
    assert ruleset.shannon(b"aabb") == 1


@given(st.lists(st.sampled_from(sorted(RULES._keywords)) | st.binary(max_size=6), max_size=5))
def test_every_keyword_that_stands_in_a_sign_names_its_rules(parts: list[bytes]):
    rules, sign = RULES, b"".join(parts).lower()
    named = {rule.id for word, found in rules._keywords.items() if word in sign for rule in found}

    assert {rule.id for rule in rules._rules_of(sign)} == named
