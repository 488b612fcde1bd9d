"""Where a word stands in the clear: in the tables of a database, in the files of a folder."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql


def columns_with(
    connection: "psycopg.Connection[tuple[object, ...]]", word: str
) -> Iterator[tuple[str, str, str]]:
    """Yield schema, table and column of each that holds the word, with compression undone."""
    columns = connection.execute(
        "SELECT table_schema, table_name, column_name, data_type"
        " FROM information_schema.columns JOIN information_schema.tables"
        " USING (table_schema, table_name) WHERE table_type = 'BASE TABLE'"
        " AND table_schema NOT IN ('pg_catalog', 'information_schema')"
    ).fetchall()
    for schema, table, column, kind in columns:
        # Bytes are looked at as they are, all else as text.
        is_raw = kind == "bytea"
        query = sql.SQL(
            "SELECT count(*) FROM {} WHERE position({} IN {}) > 0"
            if is_raw
            else "SELECT count(*) FROM {} WHERE position({} IN {}::text) > 0"
        ).format(
            sql.Identifier(str(schema), str(table)),
            sql.Literal(word.encode() if is_raw else word),
            sql.Identifier(str(column)),
        )
        found = connection.execute(query).fetchone()
        if found and found[0]:
            yield str(schema), str(table), str(column)


def files_with(folder: Path, word: str, *, but: re.Pattern[str]) -> list[str]:
    """Return the files below a folder that hold the word, save those of some names."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not but.search(str(path.relative_to(folder)))
        and word.encode() in path.read_bytes()
    ]
