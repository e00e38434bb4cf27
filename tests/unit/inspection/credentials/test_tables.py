"""Credentials in the columns of tables, whatever parts the columns."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.inspection.credentials import tables
from gateway.inspection.credentials.ruleset import compiled
from tests.held_out_forms import HELD_OUT_FORMS
from tests.hiding_forms import HIDING_FORMS
from tests.secret_forms import FORMS

VALUE = "hK7mQ2xv-Zp4T"


def found(text: str) -> list[str]:
    """Return the values that tables give as credentials, each as it stands in the text."""
    data = text.encode()
    hits = [hit for search in tables.SEARCHES for hit in search.find(data)]
    assert all(data[hit.start : hit.end].decode() == hit.value for hit in hits)
    return [hit.value for hit in hits]


@pytest.mark.parametrize("mark", ["\t", ",", ";", " | ", "│", "   "])
@pytest.mark.parametrize("column", [0, 1, 2, 3])
def test_each_row_below_the_name_is_searched(mark: str, column: int):
    names, rows = ["host", "user", "note"], [["db1", "ada", "new"], ["db2", "bob", "old"]]
    names.insert(column, "password")
    for number, row in enumerate(rows):
        row.insert(column, f"{VALUE}{number}")
    lines = [
        mark.join(cell.ljust(len(VALUE) + 1) if mark.isspace() and mark != "\t" else cell for cell in row)
        for row in (names, *rows)
    ]

    assert found("\n".join(lines)) == [f"{VALUE}0", f"{VALUE}1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'"name","password"\n"a, b","{VALUE}"\n', [VALUE]),
        (f'"name","password"\n"say ""hi"", b","{VALUE}"\n', [VALUE]),
        (f"user  password\r\nada   {VALUE}\r\n", [VALUE]),
        (f"größe  password\nübergroß  {VALUE}\n", [VALUE]),
        (f"{'NAME':>8}  {'TOKEN':>20}\n{'ci':>8}  {'q8Zt3LmW0xR5vN1cYb6D':>20}\n", ["q8Zt3LmW0xR5vN1cYb6D"]),
        (f"|user|password|\n|:--|--:|\n|ada|`{VALUE}`|\n", [VALUE]),
        (f"<TR><TH>user<TH>password\n<TR><TD>ada<TD><b>{VALUE}</b></TABLE>", [VALUE]),
        (
            f"<tr><th>user</th><th>password</th></tr><tr><td colspan=2>Berlin</td></tr><tr><td>ada</td><td>{VALUE}</td></tr>",
            [VALUE],
        ),
        (f"INSERT INTO t (a, password) VALUES ('x', '{VALUE}'), ('y', '{VALUE}2')", [VALUE, f"{VALUE}2"]),
    ],
)
def test_cells_are_told_apart_as_their_format_does(text: str, expected: list[str]):
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        f"password,user\nnote,password\nada,{VALUE}\n",
        f"password   user\nnote       password\nada        {VALUE}\n",
        f"[['password','user'],['note','password'],['ada','{VALUE}']]",
    ],
)
def test_a_header_before_the_header_hides_nothing(text: str):
    assert VALUE in found(text)


@pytest.mark.parametrize(
    "text",
    [
        f"user,password\n\nnext,{VALUE}\n",
        f"user,password\nno comma\nnext,{VALUE}\n",
        f"user,password_changed_at\nada,{VALUE}\n",
        "user,password\nada,required\nbob,********\n",
        f"Enter your name, a password, and the code we sent you yesterday by mail,\nthen go on, {VALUE}, done, now,\n",
        "PIN,NAME\n1764300,GPIO22\n",
        f"a = (user, password) # of {VALUE}\nb = (1, 2)\n",
        f"password,user\nada,{VALUE}\n",
    ],
)
def test_what_stands_in_no_column_of_credentials_is_none(text: str):
    assert found(text) == []


@given(
    st.lists(
        st.sampled_from(
            ["a", "password", " ", "\n", "\t", ",", "|", "<tr>", "<th>", "<td>", "[", "]", "'", '"', "  ", "\0", VALUE]
        ),
        max_size=40,
    )
)
@settings(max_examples=133, deadline=None)
def test_any_text_is_searched_and_what_is_found_has_its_sign(parts: list[str]):
    text = "".join(parts)

    found(text)

    assert_signed(text)


def test_whatever_a_table_gives_has_its_sign():
    for form in (*FORMS, *HIDING_FORMS, *HELD_OUT_FORMS):
        assert_signed(form.text)


def assert_signed(text: str) -> None:
    for search in tables.SEARCHES:
        if any(search.find(text.encode())):
            signed = b"~ " + text.encode() if text[:1].isalnum() else text.encode()
            assert compiled(search.sign).search(signed) is not None, text
