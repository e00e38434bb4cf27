from __future__ import annotations

import pytest

from gateway.inspection.credentials.members import read_value


@pytest.mark.parametrize(
    "text",
    [
        '"value7"', "'value7'", "`value7`", '"""value7"""', "'''value7'''", '"""\n  value7\n"""', 'b"value7"', "N'value7'",
        'r#"value7"#', 'R"(value7)"', '@"value7"', "$'value7'", "$$value7$$", "$tag$value7$tag$", '\\"value7\\"',
        "&quot;value7&quot;", "&#39;value7&#39;", "“value7”", "„value7“", "« value7 »", "「value7」", "value7", "value7, x",
    ],
)  # fmt: skip
def test_a_value_is_read_in_the_quotes_of_its_language(text: str):
    value = read_value(text.encode(), 0)

    assert value is not None
    assert text.encode()[value.start : value.end] == b"value7"


@pytest.mark.parametrize("text", ['""', "''", '""""""', ";", "", "\n", "abc"])
def test_no_value_is_read_where_none_stands(text: str):
    assert read_value(text.encode(), 0) is None


@pytest.mark.parametrize(("text", "is_bare"), [('"value7"', False), ("value7", True), ("“value7”", True)])
def test_prose_has_no_quotes_of_a_language(text: str, *, is_bare: bool):
    value = read_value(text.encode(), 0)

    assert value is not None
    assert value.is_bare is is_bare
