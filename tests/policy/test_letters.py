"""Both engines take the same letters for the same, whatever Unicode says of their case."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.policy.folder.bundle import Bundle
from tests.compiled_policy import compiled
from tests.policy.conftest import ROOT

LETTERS = ROOT / "rego/gateway/lib/letters/letters.rego"
QUERY = """
package gateway.explanation

import data.gateway.lib.letters

lowered := [letters.lowered(text) | some text in input.texts]

folded := [letters.folded(text) | some text in input.texts]

result := {"lowered": lowered, "folded": folded}
"""
LATER = re.compile(r"[\u1c89\u1c8a\ua7cb-\ua7dc\u0264\u019b\U00010d50-\U00010d85\U00016ea0-\U00016ed3]")
"""The letters of Unicode 16 and 17 and their lower case, which one engine knows and the other does not."""


def answers(texts: list[str], opa: Path, folder: Path) -> list[dict[str, Any]]:
    """What both engines make of texts: `lowered` and `folded`."""
    document = json.dumps({"texts": texts})
    modules = (("letters.rego", LETTERS.read_text("utf-8")), ("query.rego", QUERY))
    embedded = cast("dict[str, Any]", compiled(Bundle(modules, "{}", "")).answer("explanation", {"texts": texts}))
    (folder / "query.rego").write_text(QUERY, "utf-8")
    (folder / "input.json").write_text(document, "utf-8")
    command = [opa, "eval", "-d", LETTERS, "-d", folder / "query.rego", "-i", folder / "input.json"]
    done = subprocess.run([*command, "data.gateway.explanation.result"], capture_output=True, text=True, check=True)
    return [embedded, cast("dict[str, Any]", json.loads(done.stdout)["result"][0]["expressions"][0]["value"])]


NAMES = ("lowered", "folded")


def has_case(letter: str) -> bool:
    return LATER.search(letter) is None and not letter == letter.lower() == letter.upper() == letter.casefold()


@pytest.mark.opa
@pytest.mark.parametrize("around", ["{}", "a{}", "{}b", "a{}b"])
def test_the_case_of_every_letter_is_the_same_in_both_engines(around: str, opa_path: Path, tmp_path: Path):
    texts = [around.format(letter) for letter in map(chr, range(sys.maxunicode + 1)) if has_case(letter)]
    embedded, opa = answers(texts, opa_path, tmp_path)
    for name in NAMES:
        differing = [text for text, one, other in zip(texts, embedded[name], opa[name], strict=True) if one != other]
        assert differing == []


@pytest.mark.opa
def test_the_letters_that_one_engine_does_not_know_are_never_taken_for_ascii(opa_path: Path, tmp_path: Path):
    later = [chr(code) for code in range(sys.maxunicode + 1) if LATER.search(chr(code)) is not None]
    for answer in answers(later, opa_path, tmp_path):
        assert not any(text.isascii() for name in NAMES for text in answer[name])
