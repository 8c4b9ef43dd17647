"""pandas-gbq, SQLAlchemy, ibis, dlt and bigframes, as their users write them."""

BIG = "SELECT n, CAST(n AS STRING) AS s FROM UNNEST(GENERATE_ARRAY(1, 200000)) AS n"


def test_googles_own_client(script):
    """A table larger than any page comes as a DataFrame, and goes back."""
    code = f"""
import json
from google.cloud import bigquery
client = bigquery.Client()
frame = client.query("{BIG}").to_dataframe()
client.create_dataset("google")
client.load_table_from_dataframe(frame, "google.big").result()
table = client.list_rows("google.big").to_dataframe()
print(json.dumps([frame.shape, len(table), int(table.n.sum())]))
"""
    shape, num_rows, total = script(code, "pandas")
    assert (shape, num_rows, total) == ([200_000, 2], 200_000, 200_000 * 200_001 // 2)


def test_pandas_gbq(script, rows):
    """Read, replace and append, with Parquet and with CSV."""
    code = f"""
import json, pandas, pandas_gbq
quiet = {{"progress_bar": False}}
days = pandas.to_datetime(["2026-01-02", None])
frame = pandas.DataFrame({{"a": [1, 2], "b": ["x", None], "c": days}})
pandas_gbq.to_gbq(frame, "gbq.t", if_exists="replace", **quiet)
pandas_gbq.to_gbq(frame.assign(a=[3, 4]), "gbq.t", if_exists="append", api_method="load_csv", **quiet)
big = pandas_gbq.read_gbq("{BIG}", progress_bar_type=None)
back = pandas_gbq.read_gbq("gbq.t", progress_bar_type=None)
print(json.dumps([big.shape, sorted(back.a.tolist()), str(back.c.dtype)]))
"""
    shape, numbers, kind = script(code, "pandas-gbq")
    assert (shape, numbers) == ([200_000, 2], [1, 2, 3, 4])
    assert kind.startswith("datetime64")
    assert rows("SELECT a, b FROM gbq.t WHERE a > 2 ORDER BY a") == [(3, "x"), (4, None)]


def test_sqlalchemy(script, rows):
    """Tables, rows, statements and reflection by `bigquery://`."""
    code = """
import datetime, json
import sqlalchemy as sa
from google.cloud import bigquery
bigquery.Client().create_dataset("alchemy")
engine = sa.create_engine("bigquery://local/alchemy")
tags = sa.Column("tags", sa.ARRAY(sa.String))
columns = [sa.Column("id", sa.Integer), sa.Column("name", sa.String), sa.Column("born", sa.Date), tags]
people = sa.Table("people", sa.MetaData(), *columns)
people.create(engine)
with engine.begin() as connection:
    ada = {"id": 1, "name": "Ada", "born": datetime.date(1815, 12, 10), "tags": ["a", "b"]}
    connection.execute(people.insert(), [ada, {"id": 2, "name": "Bob", "born": None, "tags": []}])
    connection.execute(people.update().where(people.c.id == 2).values(name="Bert"))
    query = sa.select(people.c.name, people.c.tags).order_by(people.c.id)
    found = connection.execute(query).fetchall()
    connection.execute(people.delete().where(people.c.id == 1))
try:
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT id FROM alchemy.missing"))
except sa.exc.DatabaseError as error:
    refused = str(error)
inspector = sa.inspect(engine)
kinds = [str(column["type"]) for column in inspector.get_columns("people")]
print(json.dumps([list(map(list, found)), inspector.get_table_names(), kinds, refused]))
"""
    found, tables, kinds, refused = script(code, "sqlalchemy-bigquery")
    assert found == [["Ada", ["a", "b"]], ["Bert", []]]
    assert (tables, kinds) == (["people"], ["INTEGER", "VARCHAR", "DATE", "ARRAY"])
    assert "Not found: Table local:alchemy.missing" in refused
    assert rows("SELECT id, name FROM alchemy.people") == [(2, "Bert")]


def test_ibis(script, rows):
    """Tables of this process's memory, expressions, large results, inserts and views."""
    code = f"""
import json, ibis, pandas
from google.cloud import bigquery
bigquery.Client().create_dataset("ibis")
con = ibis.bigquery.connect(project_id="local", dataset_id="ibis")
memory = ibis.memtable({{"id": [1, 2, 3], "name": ["a", "b", None], "x": [0.5, 1.5, 2.5]}})
t = con.create_table("t", memory)
some = t.filter(t.x > 1)
grouped = some.group_by(gone=some.name.isnull())
groups = grouped.aggregate(n=some.count(), s=some.x.sum()).order_by("s").to_pandas()
ranked = t.mutate(r=ibis.row_number().over(order_by=t.x.desc()), c=t.name.upper().fill_null("-"))
ranks = ranked.order_by("r").to_pandas()[["id", "c"]]
big = con.sql("{BIG}")
con.insert("t", pandas.DataFrame({{"id": [9], "name": ["z"], "x": [9.5]}}))
view = con.create_view("v", t.select("id"))
print(json.dumps([
    groups.to_dict("list"),
    ranks.values.tolist(),
    [len(big.to_pandas()), big.to_pyarrow().num_rows],
    sorted(view.to_pandas().id.tolist()),
]))
"""
    groups, ranked, big, ids = script(code, "ibis-framework")
    assert groups == {"gone": [False, True], "n": [1, 1], "s": [1.5, 2.5]}
    assert ranked == [[3, "-"], [2, "B"], [1, "A"]]
    assert (big, ids) == ([200_000, 200_000], [1, 2, 3, 9])
    assert rows("SELECT COUNT(*) FROM ibis.t") == [(4,)]


def test_dlt(script, rows):
    """Merge with nested tables, append and replace; then read back."""
    code = """
import json, os
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["DLT_DATA_DIR"] = os.getcwd()
import dlt
@dlt.resource(primary_key="id", write_disposition="merge")
def people(rows):
    yield rows
pipeline = dlt.pipeline("demo", destination="bigquery", dataset_name="dlt", pipelines_dir="pipelines")
bob, bert = {"id": 2, "name": "Bob", "tags": []}, {"id": 2, "name": "Bert", "tags": ["c"]}
pipeline.run(people([{"id": 1, "name": "Ada", "tags": ["a", "b"]}, bob]))
pipeline.run(people([bert, {"id": 3, "name": "Cy", "tags": []}]))
numbers = [{"a": number} for number in range(1000)]
pipeline.run(numbers, table_name="appended", write_disposition="append")
pipeline.run(numbers[:10], table_name="replaced", write_disposition="replace")
pipeline.run(numbers[:7], table_name="replaced", write_disposition="replace")
print(json.dumps(sorted(pipeline.dataset().people.df()[["id", "name"]].values.tolist())))
"""
    assert script(code, "dlt") == [[1, "Ada"], [2, "Bert"], [3, "Cy"]]
    assert rows("SELECT value FROM dlt.people__tags ORDER BY value") == [("a",), ("b",), ("c",)]
    counts = "(SELECT COUNT(*) FROM dlt.appended), (SELECT COUNT(*) FROM dlt.replaced)"
    assert rows(f"SELECT {counts}") == [(1000, 7)]


def test_bigframes(script):
    """A DataFrame over a table, with groups and a large result."""
    code = f"""
import json, warnings
warnings.simplefilter("ignore")
from google.cloud import bigquery
client = bigquery.Client()
client.create_dataset("frames")
client.query_and_wait("CREATE TABLE frames.t AS {BIG}")
import bigframes.pandas as bpd
bpd.options.bigquery.project = "local"
bpd.options.bigquery.location = "US"
frame = bpd.read_gbq("frames.t")
groups = frame.assign(k=frame["n"] % 3).groupby("k")["n"].sum().to_pandas()
print(json.dumps([frame.shape, groups.astype(int).tolist()]))
"""
    shape, groups = script(code, "bigframes")
    assert shape == [200_000, 2]
    assert sum(groups) == 200_000 * 200_001 // 2
