"""Conversations to archive: many sessions of turns of two, of words that compress as prose does."""

from __future__ import annotations

import psycopg

#: Messages of a session; of which the window stays hot.
MESSAGES = 100

#: Sessions whose messages are inserted together.
AT_ONCE = 1000

#: Texts that the messages are drawn from: half of them short, as users write, half of them long. The same each time.
TEXTS = """
CREATE TEMPORARY TABLE texts AS
SELECT t AS number, (
    SELECT string_agg(substr(md5((t * w * w)::text), 1, 3 + w % 6), ' ')
    FROM generate_series(1, CASE t % 2 WHEN 1 THEN 20 ELSE 60 END) AS w) AS text
FROM generate_series(0, 1999) AS t
"""

#: Odd numbers are the user's.
WORDS = """
INSERT INTO messages (session_id, number, request_id, part, role, content)
SELECT s.id, n, md5(s.id::text || '-' || (n + 1) / 2)::uuid, 2 - n %% 2,
    CASE n %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END, t.text
FROM sessions AS s CROSS JOIN generate_series(1, %(messages)s::int) AS n
JOIN texts AS t ON t.number = (s.id * 34 + n * 7) %% 2000
WHERE s.id BETWEEN %(first)s AND %(last)s
"""

SESSIONS = """
INSERT INTO sessions (user_id, conversation_id)
SELECT 'user-' || n %% 100, 'conversation-' || n FROM generate_series(1, %s::int) AS n RETURNING id
"""

TABLES = "archives, summaries, messages, requests, attempts, calls, sessions, users, workers"


def fill(url: str, sessions: int, messages: int = MESSAGES) -> list[int]:
    """Empty the database, then make so many sessions of so many messages each. Returns their ids."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {TABLES}")
        connection.execute(TEXTS)
        connection.execute("INSERT INTO users SELECT 'user-' || n FROM generate_series(0, 99) AS n")
        ids = [row[0] for row in connection.execute(SESSIONS, [sessions])]
        for start in range(0, len(ids), AT_ONCE):
            batch = ids[start : start + AT_ONCE]
            given = {"messages": messages, "first": batch[0], "last": batch[-1]}
            connection.execute(WORDS, given)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
    return ids
