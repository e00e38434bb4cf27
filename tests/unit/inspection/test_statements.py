"""Which SQL has a kind: what each common database reads alike, and nothing that changes something."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.label_cases import MAX_STATEMENT, kind_of
from gateway.model.wire import Json
from tests.requirements import requirement

READS = [
    ("select 1", "select"),
    ("SELECT * FROM t;", "select"),
    ("select a, b from t where c = 'O''Brien' and d in (1,2)", "select"),
    ("with x as (select 1 as a) select a from x", "select"),
    ("(select 1) union all (select 2)", "select"),
    ("select count(*), max(x) from t group by y having count(*) > 2 order by 1 desc limit 10 offset 5", "select"),
    ('select t."Name" from s."T t" as t join u on u.id = t.id and u.k = \'x\'', "select"),
    ("select date '2020-01-01' + interval '1 day'", "select"),
    ("select x::numeric(10,2) from t", "select"),
    ("select case when a then 'x' else 'y' end from t", "select"),
    ("select 'a -- b', '/* c */' from t", "select"),
    ("select row_number() over (partition by a order by b) from t", "select"),
    ("select * from (select 'x' as y from t) z where y like '%a%'", "select"),
    ("select name from t where name = 'Müller'", "select"),
    ('select a as "Total(EUR)", b as "50%&more?" from "Größe"', "select"),
    ("select [Größe] from [Aufträge] where `Straße` = `a$b`", "select"),
    ("select * from t where id = $1 and x = ?", "select"),
    ("select `a` from `p.d.t`", "select"),
    ("select [Order Id] from dbo.orders", "select"),
    ("select `a` from `p.d.events_*`", "select"),
    ("select sum(`x`) as `Total,%` from `t`", "select"),
    ('select a as "from:to", b as "Preis/Stück" from "t"', "select"),
    ('select a as "5""screens" from t', "select"),
    ("select sum([x]) as [Total/Day] from [dbo].[Orders] order by [Total/Day]", "select"),
    ("explain select 1", "explain"),
    ("show tables", "show"),
    ("describe t", "show"),
    ("select data->>'a' from t", "select"),
    ("select 1 from t where d >= now() - interval '7 days'", "select"),
]
OTHERS = [
    'select * from "https://evil.test/x"',
    'select * from "/etc/passwd"',
    'select "pg_sleep"(1)',
    "select * from `a/b`",
    "select * from [a/b]",
    'select * from t, "s3://evil/x"',
    'select a as "x/*" from t where "*/y" = 1',
    'select a as "x--" from t',
    "select a as `x--y` from t",
    "select a as `x/*` from t",
    "select a as [x//y] from t",
    'select a as "x"" from t',
    'select a as "x""" from t',
    'select a as "x;y" from t',
    "select [pg_sleep(1)] from t",
    "select `lo_import(1)` from t",
    'select a from "b\u2019c"',
    'select a from "b\u02bcc"',
    "select `a#b` from t",
    "select [a#b] from t",
    "",
    "  ",
    "drop table t",
    "select 1; drop table t",
    "select 1 drop table t",
    "select 1;;",
    "select 1 -- x",
    "select 1 /* x */",
    "select/**/1",
    "select 1 # x",
    "select * into x from t",
    "select * from t for update",
    "SELECT * FROM t FOR SHARE",
    "with x as (delete from t returning *) select * from x",
    "WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT 1",
    "with x as (update t set a=1 returning 1) select 1",
    "with x as (select 1) delete from t",
    "explain analyze delete from t",
    "explain (analyze) delete from t",
    "EXPLAIN ANALYZE SELECT 1",
    "explain delete from t",
    "select pg_read_file('/etc/passwd')",
    "select lo_import('/x')",
    "select * from dblink('x','y')",
    "copy (select 1) to program 'sh'",
    "select pg_sleep(10)",
    "select set_config('a','b',false)",
    "select nextval('s')",
    "select query_to_xml('drop table t',true,true,'')",
    "select \"pg_read_file\"('x')",
    "select pg_catalog.lower('x')",
    "select evil . lower('x')",
    "select `sleep`(1)",
    "select [xp_cmdshell]('x')",
    "select E'\\'; drop table t --'",
    "select e'x'",
    "select U&'x'",
    "select N'x'",
    "select q'[a]'",
    "select 'a\\' or 1=1 -- '",
    "select $$x$$",
    "select $a$ x $a$",
    "select @@version",
    "select @a := 1",
    "select 1 into outfile '/x'",
    "select * from 'http://evil/x.csv'",
    "select * from t, 'http://evil/x.csv'",
    "select * from t join 'x' on true",
    "select * from ('x')",
    "select * from read_csv('x')",
    "select load_extension('x')",
    "select transform(a) using 'sh'",
    "select map a using 'sh'",
    "exec xp_cmdshell 'dir'",
    "select 1 exec xp_cmdshell 'dir'",
    "select 1 waitfor delay '0:0:5'",
    "select 1\nGO\nsp_who",
    "select 1 if 1=1 print 'x'",
    "select [a'] DROP TABLE t --' ]",
    "select [a']",
    "select '''a' from t",
    "select ''''",
    "select \u017felect from t",
    "\uff33\uff25\uff2c\uff25\uff23\uff34 1",
    "select\xa01",
    "select 1\x00",
    "select 'a\u02bc or 1=1'",
    "select 'a\u2019; drop'",
    "select 'a\x00'",
    "select (1",
    "select 1)",
    "select ) from (",
    "values (1)",
    "table t",
    "call f()",
    "do $$ begin end $$",
    "begin",
    "set x = 1",
    "select x from t procedure analyse()",
    "select 1 lock in share mode",
    "select * from t; select 2",
    "select 1 // x",
    "select 1 union delete from t",
    "SELECT * FROM OPENROWSET('x','y','z')",
    "select http_get('http://evil')",
    "select url('http://evil')",
    "(delete from t)",
    "((select 1) ; drop)",
    "show x; drop table t",
    "show 'x' into outfile 'y'",
    "with x as (select 1) call f()",
    "select a from t where replace into x",
    "select 1 \\gexec",
    "\\! rm",
    "select 1e5",
    "select 0x1",
    "select a'b'",
    "select 'a'b",
    "select 'a' 'b",
    "select 1 for xml path",
    "merge into t",
    "replace into t values (1)",
    "select * from t where x = {fn now()}",
    "select utl_http.request('http://evil')",
    "select function from t",
    'select """a"',
    "select 'a'(1)",
    "select (f)(1)",
    "select 1 from t option (x)",
]
WRITING = [
    "delete from t",
    "insert into t values (1)",
    "update t set a = 1",
    "drop table t",
    "exec p",
    "copy t to program 'sh'",
]


@pytest.mark.parametrize(("statement", "kind"), READS)
def test_a_plain_reading_statement_has_its_kind(statement: str, kind: str):
    for form in (
        statement,
        f"  {statement.removesuffix(chr(59))} ; ",
        statement.upper(),
        re.sub(r" (?!T t|Id\])", "\n\t", statement).replace('T\n\tt"', 'T t"'),
    ):
        assert kind_of(form) == kind


@requirement("labels/arguments")
@pytest.mark.parametrize("statement", OTHERS)
def test_any_other_text_has_none(statement: str):
    assert kind_of(statement) is None


@requirement("labels/arguments")
@pytest.mark.parametrize("value", [None, 1, True, ["select 1"], {"sql": "select 1"}])
def test_what_is_no_text_has_none(value: Json):
    assert kind_of(value) is None


def test_a_statement_that_is_too_long_has_none():
    assert kind_of("select 1" + " " * (MAX_STATEMENT - 8)) == "select"
    assert kind_of("select 1" + " " * (MAX_STATEMENT - 7)) is None
    assert kind_of("select " + "a, " * 400_000 + "a") is None


@pytest.mark.parametrize("writing", WRITING)
@pytest.mark.parametrize(("statement", "_kind"), READS)
def test_no_writing_statement_hides_around_a_reading_one(statement: str, _kind: str, writing: str):
    for joint in (
        ";",
        " ; ",
        " ",
        "\n",
        "\r\n",
        ")",
        " union ",
        " -- x\n",
        "/**/",
        ";--",
        "; --",
        "'; ",
        "\x00;",
        "\uff1b",
    ):
        assert kind_of(statement + joint + writing) is None
        assert kind_of(writing + joint + statement) is None
    assert kind_of(f"with w as ({writing} returning 1) {statement}") is None
    assert kind_of(f"explain {writing}") is None
    assert kind_of(f"explain analyze {writing}") is None


@given(st.text(st.sampled_from("select from t'\"`[](),;-/*\\ \n$@#é\u02bc")))
def test_reading_never_raises_and_hides_no_second_statement(text: str):
    assert kind_of(text) in {None, "select", "explain", "show"}
    assert kind_of(f"{text}; drop table t") is None
