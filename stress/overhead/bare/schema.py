"""The bare side's one table, and what it asks of it."""

from __future__ import annotations

TABLE = """
create table if not exists bare_messages (
  id bigint generated always as identity,
  session_id text not null, role text not null, content text not null,
  created_at timestamptz not null default now(),
  primary key (session_id, id))
"""
READ = "select role, content from bare_messages where session_id = %s order by id desc limit 10"
WRITE = "insert into bare_messages (session_id, role, content) values (%s, 'user', %s), (%s, 'assistant', %s)"
