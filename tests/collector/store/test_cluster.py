"""The DDL for a cluster is the collector's own, and the engine can read it."""

from dev.generate.store_sql import FILE, cluster_sql
from tests.collector.conftest import opened_store


def test_the_file_is_what_the_tables_make_it():
    assert FILE.read_text() == cluster_sql()


def test_the_engine_understands_every_statement():
    statements = [part for part in cluster_sql().split(";\n") if part.strip()]
    assert len(statements) > 25
    with opened_store() as (_, context):
        for statement in statements:
            assert context.client.query("SELECT formatQuery({statement:String})", {"statement": statement}).result_rows
        assert sum("Replicated" in one for one in statements) == 13
        assert sum("= Distributed" in one for one in statements) == 13
