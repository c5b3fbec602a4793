"""Hand over: whoever ends a request makes the next of its session the head, and publishes what its user may run.

Most often nothing waits. To see that takes a look into an index; to begin the statement, a tenth of what an end takes.
"""

from __future__ import annotations

#: A statement of its own, after the lock on the users: it must see what was accepted while that was waited for.
NEXT_HEADS = """
IF EXISTS (SELECT FROM unnest(_sessions, _positions) AS done(session_id, position) JOIN requests AS r
           ON r.session_id = done.session_id AND r.position > done.position AND r.finished_at IS NULL) THEN
UPDATE requests AS r SET head = true, rank = next.rank
FROM (
    SELECT first.id, (SELECT min(b.priority) FROM requests AS b
                      WHERE b.session_id = done.session_id AND b.position >= first.position
                          AND b.finished_at IS NULL) AS rank
    FROM (SELECT session_id, min(position) AS position FROM unnest(_sessions, _positions) AS d(session_id, position)
          GROUP BY session_id) AS done
    CROSS JOIN LATERAL (
        SELECT id, position FROM requests AS f
        WHERE f.session_id = done.session_id AND f.position > done.position AND f.finished_at IS NULL
        ORDER BY f.position LIMIT 1) AS first
    WHERE NOT EXISTS (SELECT FROM requests AS h WHERE h.session_id = done.session_id AND h.head)
) AS next
WHERE r.id = next.id;
END IF;
"""

#: Up to each user's room, by rank, then age.
PUBLISH_NEXT = """
_published := '[]';
IF EXISTS (SELECT FROM requests AS r WHERE r.user_id = ANY(_users) AND r.head AND r.published_at IS NULL) THEN
WITH room AS (
    SELECT u.user_id, _concurrency - (
        SELECT count(*) FROM requests AS r
        WHERE r.user_id = u.user_id AND r.head AND r.published_at IS NOT NULL) AS size
    FROM unnest(_users) AS u(user_id)
), chosen AS (
    SELECT c.id FROM room CROSS JOIN LATERAL (
        SELECT r.id FROM requests AS r
        WHERE r.user_id = room.user_id AND r.head AND r.published_at IS NULL
            AND r.due_at <= clock_timestamp() -- now() was before the locks were waited for
        ORDER BY r.rank, r.accepted_at LIMIT greatest(room.size, 0)) AS c
), given AS (
    UPDATE requests AS r SET published_at = now(), queue = r.rank, publications = r.publications + 1
    FROM chosen, sessions AS s
    WHERE r.id = chosen.id AND s.id = r.session_id
    RETURNING r.id, r.user_id, s.conversation_id, r.queue, r.publications, r.traceparent
)
SELECT coalesce(json_agg(json_build_array(id, user_id, conversation_id, queue, publications, traceparent)), '[]')
INTO _published FROM given;
END IF;
"""
