import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlkit.workflow.sql_tables import sql_tables

QUERIES = [
    ("select * from d.a, d.b join `p-1.d.c` using (x)", "d.a d.b p-1.d.c"),
    ("select * from my-proj.d.a cross join my-proj.`d`.b", "my-proj.d.a my-proj.d.b"),
    ("select * from `example.com:p.d.a`", "example.com:p.d.a"),
    ("select * from d.`my-table`, d.`表`", "d.my-table d.表"),
    ("select * from `d.events_*` where _table_suffix > '2024'", "d.events_*"),
    ("select * from `d.events$20240101`", "d.events"),
    ("select * from d.a for system_time as of current_timestamp()", "d.a"),
    ("select * from d.a tablesample system (10 percent)", "d.a"),
    ("select t.date, t.from from d.out as t join d.on using (x)", "d.out d.on"),
    # Names that are no tables of their own.
    ("with c as (select * from d.a) select * from c", "d.a"),
    ("with d as (select 1 as x) select * from d", ""),
    ("with d as (select * from d.a) select * from d join x", "d.a"),
    ("with recursive r as (select 1 union all select * from r) select * from r, d.a", "d.a"),
    ("select * from (with z as (select * from d.a) select * from z)", "d.a"),
    ("select * from temporary, _session.other, d.a", "d.a"),
    ("select * from unnest([1, 2]) as x with offset join d.a on true", "d.a"),
    ("select * from d.a as t, t.items as i, i.parts", "d.a"),
    ("select * from d.a left join a.items", "d.a"),
    ("select (select sum(n) from t.items as n) from d.a as t", "d.a"),
    ("select * from (select * from x.a) as y, d.x", "x.a d.x"),
    ("select * from p.d.a.items", "p.d.a"),
    ("select * from d.d", "d.d"),
    ("select * from e.a join d.b as e on true", "e.a d.b"),
    ("select * from d.INFORMATION_SCHEMA.TABLES, `region-us`.INFORMATION_SCHEMA.JOBS, d.a", "d.a"),
    ("select * from d.__TABLES__, external_query('c', 'select * from d.x')", ""),
    # Words that look like the beginning of a table.
    ("select extract(day from d.x), a is distinct from d.y from d.a", "d.a"),
    ("select 'from d.x', \"join d.y\", r'from \\d.z' from d.a -- from d.q", "d.a"),
    ("select `from`, model, model m from d.a # join d.b", "d.a"),
    ("select * from d.a /* join d.b */ where x = '''\nfrom d.c\n'''", "d.a"),
    # Tables in all places of a query.
    ("select (select max(x) from d.a), array(select x from d.b), exists(select 1 from d.c)",
     "d.a d.b d.c"),
    ("select * from d.a where x in (select x from d.b) and y not in unnest((select z from d.c))",
     "d.a d.b d.c"),
    ("select * from d.a union all select * from d.b except distinct (select * from d.c)",
     "d.a d.b d.c"),
    ("select * from (d.a join d.b using (x)) full join d.c using (x)", "d.a d.b d.c"),
    ("select case when x then (select 1 from d.a) else 2 end from d.b", "d.a d.b"),
    ("select * from (select * from d.a) pivot(sum(x) for y in ('a'))", "d.a"),
    ("from d.a |> where x > 1 |> join d.b using (y) |> aggregate count(*) group by z", "d.a d.b"),
    # Models, table functions and functions.
    ("select * from ml.predict(model d.m, (select * from d.a), struct(1 as t))", "d.m d.a"),
    ("select * from ML.PREDICT(MODEL `p-1.d.m`, TABLE d.a)", "p-1.d.m d.a"),
    ("select * from ml.evaluate(model d.m)", "d.m"),
    ("select * from vector_search(table d.a, 'v', (select * from d.b), top_k => 3)", "d.a d.b"),
    ("select * from d.f(1, (select 2), table d.a)", "d.f d.a"),
    ("select d.f(x), safe.d.g(x), `p.d.h`(x), net.host(x), safe.substr(x, 1) from d.a",
     "d.f d.g p.d.h d.a"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "reads"), QUERIES)
def test_a_query_reads_the_tables_that_it_names(sql, reads):
    """Each table is found once, wherever it stands, and nothing else is taken for one."""
    tables = sql_tables(sql)
    assert tables.unclear == ()
    assert tables.reads == set(reads.split())
    assert tables.writes == set()


STATEMENTS = [
    # DML
    ("insert d.t select * from d.a", "d.a", "d.t"),
    ("insert into d.t (x, y) values (1, (select max(x) from d.a))", "d.a", "d.t"),
    ("insert into `p-1`.d.t select * from d.t", "d.t", "p-1.d.t"),
    ("update d.t set x = a.x from d.a as a where a.y = t.y", "d.a", "d.t"),
    ("update d.t as z set x = 1 where y in (select y from d.a)", "d.a", "d.t"),
    ("delete d.t where x in (select x from d.a)", "d.a", "d.t"),
    ("delete from d.t as z where true", "", "d.t"),
    ("merge d.t using d.a on false when not matched then insert row", "d.a", "d.t"),
    (("merge into d.t as z using (select * from d.a) s on z.x = s.x "
     "when matched then update set y = s.y when not matched by source then delete"), "d.a", "d.t"),
    ("truncate table d.t", "", "d.t"),
    # DDL
    ("create table d.t (x int64 not null, y string(3)) partition by date(z)", "", "d.t"),
    (("create or replace table d.t cluster by x options (description = 'as select from d.x') as "
     "with q as (select * from d.a) select * from q"), "d.a", "d.t"),
    ("create temp table t as select * from d.a; insert d.z select * from t", "d.a", "d.z"),
    ("create table if not exists d.t like d.a", "d.a", "d.t"),
    ("create table d.t copy d.a", "d.a", "d.t"),
    ("create snapshot table d.t clone d.a for system_time as of x", "d.a", "d.t"),
    ("create view d.t (x, y) as select * from d.a", "d.a", "d.t"),
    ("create materialized view if not exists d.t options (x = 1) as (select * from d.a)",
     "d.a", "d.t"),
    ("create materialized view d.t as replica of p.d.a", "p.d.a", "d.t"),
    ("create external table d.t with connection `us.c` options (uris = ['gs://b/*'])", "", "d.t"),
    ("create or replace external table `p-1.d.t` (x int64) options (format = 'CSV')",
     "", "p-1.d.t"),
    ("create model d.m options (model_type = 'TENSORFLOW', model_path = 'gs://b/*')", "", "d.m"),
    ("create or replace model d.m transform (x, y) options (a = 'b') as select * from d.a",
     "d.a", "d.m"),
    (("create model d.m options (a = 1) as (training_data as (select * from d.a), "
     "custom_holiday as (select * from d.b))"), "d.a d.b", "d.m"),
    ("create function d.f(x int64) returns int64 as ((select max(y) from d.a where z = x))",
     "d.a", "d.f"),
    ("create table function d.f(x int64) as select * from d.a where y = x", "d.a", "d.f"),
    ("create function d.f(x float64) returns float64 language js as '''return x; // from d.z'''",
     "", "d.f"),
    (("create procedure d.p(out x int64) begin if true then insert d.z select * from d.y; end if; "
     "end; insert d.t select * from d.a"), "d.a", "d.p d.t"),
    ("create schema if not exists d options (location = 'EU'); drop schema e cascade", "", ""),
    ("create search index i on d.t (all columns)", "d.t", ""),
    ("create row access policy p on d.t grant to ('user:x') filter using (true)", "d.t", ""),
    ("drop table if exists d.t; drop external table d.u; drop model d.m; drop view d.v",
     "", "d.t d.u d.m d.v"),
    ("alter table if exists d.t add column x int64", "", "d.t"),
    ("alter table p.d.t rename to u", "", "p.d.t p.d.u"),
    # Others
    ("export data options (uri = 'gs://b/*') as select * from d.a", "d.a", ""),
    ("export model d.m options (uri = 'gs://b')", "d.m", ""),
    ("load data overwrite d.t from files (format = 'CSV', uris = ['gs://b/x'])", "", "d.t"),
    ("assert exists (select 1 from d.a) as 'there are rows'", "d.a", ""),
    ("grant `roles/x` on table d.t to 'user:y'", "", ""),
    # Scripts
    ("declare x int64 default (select max(y) from d.a); set x = (select 1 from d.b)",
     "d.a d.b", ""),
    (("if exists (select 1 from d.a) then insert d.t values (1); elseif (select x from d.b) then "
     "select 1; else truncate table d.u; end if"), "d.a d.b", "d.t d.u"),
    (("if case when (select x from d.a) = 1 then true else false end then insert d.t values (1); "
     "end if"), "d.a", "d.t"),
    ("for r in (select * from d.a) do insert d.t values (r.x); end for", "d.a", "d.t"),
    ("l: loop insert d.t values (1); leave; end loop", "", "d.t"),
    ("while (select count(*) from d.a) > 0 do delete d.a where true; end while", "d.a", "d.a"),
    ("repeat insert d.t select 1; until (select count(*) from d.a) > 3 end repeat", "d.a", "d.t"),
    (("case when (select case when true then 1 else 2 end from d.a) = 1 then drop table d.t; "
     "else drop table d.u; end case"), "d.a", "d.t d.u"),
    ("begin select 1 / 0; exception when error then insert d.t select @@error.message; end",
     "", "d.t"),
    ("begin transaction; update d.t set x = 1 where true; commit transaction", "", "d.t"),
    ("set @@dataset_id = 'd'; create table t as select * from a", "d.a", "d.t"),
    ("execute immediate 'insert d.t select * from d.a where x = ?' using 1", "d.a", "d.t"),
    ("call bq.refresh_materialized_view('d.v')", "", ""),
    ("", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "reads", "writes"), STATEMENTS)
def test_a_statement_reads_and_writes(sql, reads, writes):
    """The target of a statement is written, and what its queries name is read."""
    tables = sql_tables(sql)
    assert tables.unclear == ()
    assert tables.reads == set(reads.split())
    assert tables.writes == set(writes.split())


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("select 1;\nexecute immediate format('select * from %s', t)", "line 2: EXECUTE IMMEDIATE"),
        ("call d.p()", "procedure d.p"),
        ("select * from graph_table(d.g match (a) return a.x)", "cannot be parsed"),
        ("select array(set x from d.a)", "cannot be parsed"),
        ("select 'no end", "a quote or a comment has no end"),
    ],
)
def test_what_cannot_be_read_is_said(sql, why):
    """No table is missed in silence."""
    (sentence,) = sql_tables(sql).unclear
    assert why in sentence


def test_an_unclear_statement_does_not_hide_the_others():
    """The tables of the other statements are found."""
    tables = sql_tables("execute immediate x; create table d.t as select * from d.a")
    assert (tables.reads, tables.writes) == ({"d.a"}, {"d.t"})
    assert len(tables.unclear) == 1


VARIABLES = [
    ("select * from d.events_$day$ where day = '$day$' and n > $n$", {}, "d.events_$day$"),
    ("select * from `$dataset$.t`, $dataset$.u", {}, "$dataset$.t $dataset$.u"),
    ("select * from $dataset$.t", {"dataset": "d"}, "d.t"),
    ("select * from `$table$`", {"table": "p-1.d.t"}, "p-1.d.t"),
    ("select * from d.events_$day$", {"day": 20240101}, "d.events_20240101"),
    ("select * from d.t where x = $x$ limit $n$", {"x": "it's; drop table d.u", "n": 3}, "d.t"),
]


@pytest.mark.parametrize(("sql", "values", "reads"), VARIABLES)
def test_variables_in_names(sql, values, reads):
    """A known value is put into the name; a variable without one stays there."""
    tables = sql_tables(sql, values)
    assert tables.unclear == ()
    assert tables.reads == set(reads.split())


WORDS = (
    "select from d.t , ( ) with as join case when then else end begin if loop while do for in "
    "create table model procedure insert into merge using update set delete ; : . - ` ' $v$ |> "
    "execute immediate call export data truncate alter rename to load on"
)


@given(st.lists(st.sampled_from(WORDS.split()), max_size=25).map(" ".join))
def test_no_text_ends_in_another_error(sql):
    """Whatever the text is, tables come out, or a sentence."""
    tables = sql_tables(sql)
    assert all(isinstance(name, str) for name in tables.reads | tables.writes)
    assert all(isinstance(sentence, str) for sentence in tables.unclear)
