"""Where a database has drifted from what the migrations make: found by making it once more, beside it, and comparing.

The reference is built in a schema of its own within a transaction that is rolled back. That way the server itself
says what each definition looks like, whatever its version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlalchemy import Connection, text

REFERENCE = "pipeline_reference"

#: Everything that keeps the invariants: constraints, indexes with their predicates, triggers, functions. The table
#: that each belongs to, what it is called, how it is defined.
DEFINITIONS = text("""
SELECT r.relname, 'constraint ' || c.conname, pg_get_constraintdef(c.oid)
FROM pg_constraint AS c JOIN pg_class AS r ON r.oid = c.conrelid WHERE c.connamespace = :schema ::regnamespace
UNION ALL SELECT r.relname, 'index ' || i.relname, pg_get_indexdef(i.oid)
FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_class AS r ON r.oid = x.indrelid
WHERE i.relnamespace = :schema ::regnamespace
UNION ALL SELECT r.relname, 'trigger ' || t.tgname, pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text
FROM pg_trigger AS t JOIN pg_class AS r ON r.oid = t.tgrelid
WHERE r.relnamespace = :schema ::regnamespace AND NOT t.tgisinternal
UNION ALL SELECT NULL, 'function ' || p.proname, p.prosrc
FROM pg_proc AS p WHERE p.pronamespace = :schema ::regnamespace
UNION ALL SELECT r.relname, 'column ' || r.relname || '.' || a.attname,
    format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull::text
        || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_attribute AS a JOIN pg_class AS r ON r.oid = a.attrelid
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE r.relnamespace = :schema ::regnamespace AND r.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
""")

#: By table and name.
Definitions = dict[tuple[str | None, str], str]


def compare(connection: Connection, build: Callable[[Connection], None]) -> list[str]:
    """What is missing from the connection's schema, differs from what `build` makes, or was added to its tables,
    a line each. Other tables and functions are nobody's business."""
    schema = connection.scalar(text("SELECT current_schema()"))
    present = _definitions(connection, schema)
    connection.execute(text(f"CREATE SCHEMA {REFERENCE}"))
    try:
        connection.execute(text(f"SET LOCAL search_path TO {REFERENCE}"))
        build(connection)
        wanted = _definitions(connection, REFERENCE)
    finally:
        connection.rollback()
    return sorted([*_missing(wanted, present), *_added(wanted, present)])


def _missing(wanted: Definitions, present: Definitions) -> Iterator[str]:
    for (table, name), definition in wanted.items():
        if (table, name) not in present:
            yield f"{name} is missing"
        elif present[table, name] != definition:
            yield f"{name} differs from what the migrations make"


def _added(wanted: Definitions, present: Definitions) -> Iterator[str]:
    ours = {table for table, _ in wanted if table is not None}
    return (f"{name} is none of ours" for table, name in present if table in ours and (table, name) not in wanted)


def _definitions(connection: Connection, schema: str) -> Definitions:
    rows = connection.execute(DEFINITIONS, {"schema": schema})
    return {(table, name): definition.replace(f"{schema}.", "") for table, name, definition in rows}
