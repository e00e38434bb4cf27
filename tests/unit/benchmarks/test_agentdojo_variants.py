from __future__ import annotations

import pytest

from benchmarks.agentdojo.variants import VARIANTS, varied
from benchmarks.corpora.installed import ROOT
from benchmarks.corpora.traces import read_catalogue

CATALOGUE = ROOT / "benchmarks/agentdojo/catalogue.yaml"


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_changes_a_copy(name: str):
    tools = read_catalogue(CATALOGUE)

    changed = varied(tools, VARIANTS[name][1])

    assert changed != tools == read_catalogue(CATALOGUE)
