"""The invariants, as far as SQL can see them: what must hold at every moment, whatever was killed before.

Each rule is a query for what breaks it. All of them look at one snapshot, so they may be asked of a pipeline at work.
What is in cold storage is known by its rows; that its objects are whole is `pipeline archive verify`'s to say.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.retry import DEFERRALS
from pipeline.store.database import Database

#: Ids that a violation names; it counts all of them.
EXAMPLES = 5

#: Seconds past its deadline by which a request must have its outcome: recovery's rhythm, and a restart of Postgres.
GRACE = 30.0

#: Seconds past its deadline by which an answer may be committed: recovery's patience, and the time between two looks.
LATENESS = 6.0

#: A check reads whole tables, and may take longer than what the workers do.
TIMEOUT = "SET LOCAL statement_timeout = '5min'"


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold, and the query for the ids of whatever breaks it."""

    name: str
    what: str
    broken: str


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that is broken: `count` times, of which `examples` are the first few."""

    name: str
    what: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.examples) else ""
        return f"{self.name}: not true that {self.what}, {self.count} time(s): {', '.join(self.examples)}{more}"


#: What each request said, as one row.
_SPOKEN = """
    SELECT request_id, count(*) AS size, count(DISTINCT part) AS parts, min(part) AS first_part, max(part) AS last_part,
        count(*) FILTER (WHERE role = 'user') AS asked, min(part) FILTER (WHERE role = 'user') AS asked_in,
        max(part) FILTER (WHERE role = 'assistant') AS answered_in,
        min(session_id) AS session_id, max(session_id) AS last_session_id,
        min(number) AS first, max(number) AS last, min(number - part) AS shift, max(number - part) AS last_shift
    FROM messages GROUP BY request_id"""

_KEPT = (
    Rule(
        "accepted_means_kept",
        "every request past its deadline has an outcome",
        "SELECT id FROM requests WHERE finished_at IS NULL AND deadline < now() - %(grace)s * interval '1 second'",
    ),
    Rule(
        "text_in_one_place",
        "a question is kept in one place: its request, or once answered the history",
        "SELECT id FROM requests WHERE CASE WHEN status = 'succeeded' THEN text IS NOT NULL"
        " ELSE finished_at IS NULL AND text IS NULL END",
    ),
)

_ONE_ANSWER = (
    Rule(
        "answered_once",
        "no request has more than one set of messages",
        f"SELECT request_id AS id FROM ({_SPOKEN}) AS said WHERE asked > 1 OR parts < size",  # noqa: S608 - a constant
    ),
    Rule(
        "succeeded_is_answered",
        "a succeeded request has its question first and its answer last",
        f"""
        SELECT r.id FROM requests AS r JOIN sessions AS s ON s.id = r.session_id
        LEFT JOIN ({_SPOKEN}) AS said ON said.request_id = r.id
        WHERE r.status = 'succeeded' AND CASE
            WHEN said.size IS NULL THEN NOT EXISTS ( -- archived
                SELECT FROM archives AS a WHERE a.session_id = s.id AND a.status IN ('live', 'expired')
                    AND r.finished_at BETWEEN a.oldest_at AND a.newest_at)
            ELSE said.first_part <> 1 OR said.last_part <> said.parts
                OR said.asked_in IS DISTINCT FROM 1 OR said.answered_in IS DISTINCT FROM said.last_part END
            AND NOT EXISTS ( -- a turn too large for one archive is on its way, its first part gone
                SELECT FROM archives AS a WHERE a.session_id = s.id AND a.last_number = said.first - 1
                    AND s.archived_through = a.last_number AND said.first_part > 1)
        """,  # noqa: S608 - a constant
    ),
    Rule(
        "unanswered_is_silent",
        "a request that did not succeed has no messages, unless it was interrupted",
        """
        SELECT id FROM requests AS r WHERE status <> 'succeeded' AND EXISTS (
            SELECT FROM messages AS m WHERE m.request_id = r.id
                AND (r.status <> 'cancelled' OR r.interrupted_at IS NULL OR m.role NOT IN ('user', 'assistant')
                    OR m.metadata -> 'interrupted' IS DISTINCT FROM 'true'))
        """,
    ),
    Rule(
        "one_success",
        "a succeeded request has one attempt that succeeded, no other has any",
        """
        SELECT r.id FROM requests AS r LEFT JOIN (
            SELECT request_id, count(*) AS size FROM attempts WHERE outcome = 'succeeded' GROUP BY request_id
        ) AS a ON a.request_id = r.id
        WHERE coalesce(a.size, 0) <> (r.status = 'succeeded')::int
        """,
    ),
)

_IN_ORDER = (
    Rule(
        "one_at_a_time",
        "a session has at most one request in turn, and one running",
        """
        SELECT 'session ' || session_id AS id FROM requests WHERE finished_at IS NULL GROUP BY session_id
        HAVING count(*) FILTER (WHERE head) > 1 OR count(*) FILTER (WHERE status = 'running') > 1
        """,
    ),
    Rule(
        "the_first_goes_first",
        "the request in turn is its session's first unfinished one",
        """
        SELECT 'session ' || session_id AS id FROM requests WHERE finished_at IS NULL GROUP BY session_id
        HAVING min(position) FILTER (WHERE head) IS DISTINCT FROM min(position)
            OR bool_or(status = 'running' AND NOT head)
        """,
    ),
    Rule(
        "answers_in_order",
        "a session's answers follow the order of acceptance",
        f"""
        WITH line AS (
            SELECT r.id, r.session_id, r.position, said.first,
                lag(said.last) OVER (PARTITION BY r.session_id ORDER BY r.position) AS before
            FROM requests AS r JOIN ({_SPOKEN}) AS said ON said.request_id = r.id WHERE r.status = 'succeeded'
        ), waiting AS (
            SELECT session_id, min(position) AS position FROM requests WHERE finished_at IS NULL GROUP BY session_id
        )
        SELECT line.id FROM line LEFT JOIN waiting ON waiting.session_id = line.session_id
        WHERE line.first < line.before OR line.position > waiting.position
        """,  # noqa: S608 - a constant
    ),
)

_NO_GAP = (
    Rule(
        "numbered_without_gap",
        "a session's messages are numbered without a gap, from 1 or from the newest archived one on",
        """
        SELECT 'session ' || s.id AS id FROM sessions AS s LEFT JOIN (
            SELECT session_id, count(*) AS size, count(DISTINCT number) AS numbers, min(number) AS oldest,
                max(number) AS newest
            FROM messages GROUP BY session_id
        ) AS m ON m.session_id = s.id
        WHERE s.last_number <> coalesce(m.newest, s.archived_through) OR m.oldest <> s.archived_through + 1
            OR m.size <> m.newest - s.archived_through OR m.numbers <> m.size
        """,
    ),
    Rule(
        "archived_without_gap",
        "a session's archives hold its messages from 1 to the newest archived one, each once",
        """
        SELECT 'session ' || s.id AS id FROM sessions AS s LEFT JOIN (
            SELECT session_id, min(first_number) AS first, max(last_number) AS last, sum(message_count) AS size,
                bool_or(first_number <> before + 1) AS gap
            FROM (SELECT *, lag(last_number, 1, 0) OVER (PARTITION BY session_id ORDER BY first_number) AS before
                  FROM archives WHERE status IN ('live', 'expired')) AS a
            GROUP BY session_id
        ) AS a ON a.session_id = s.id
        WHERE s.archived_through <> coalesce(a.last, 0) OR a.first <> 1 OR a.size <> a.last OR a.gap
        """,
    ),
    Rule(
        "expired_first",
        "of a session's archives the oldest expire first",
        """
        SELECT 'session ' || e.session_id AS id FROM archives AS e JOIN archives AS l ON l.session_id = e.session_id
        WHERE e.status = 'expired' AND l.status = 'live' AND l.first_number < e.first_number
        """,
    ),
    Rule(
        "summary_of_what_there_is",
        "a summary tells of messages that the session has had",
        """
        SELECT 'session ' || s.id AS id FROM sessions AS s JOIN summaries AS y ON y.session_id = s.id
        WHERE y.through_number > s.last_number
        """,
    ),
    Rule(
        "a_turn_stands_together",
        "the messages of a request stand together, in order, in its session",
        f"""
        SELECT r.id FROM requests AS r JOIN ({_SPOKEN}) AS said ON said.request_id = r.id
        WHERE said.session_id <> r.session_id OR said.last_session_id <> r.session_id OR said.shift <> said.last_shift
        """,  # noqa: S608 - a constant
    ),
)

_BOUNDED = (
    Rule(
        "attempts_bounded",
        "no request has had more attempts than it is allowed",
        "SELECT id FROM requests WHERE attempts > max_attempts",
    ),
    Rule(
        "attempts_recorded",
        "every attempt that ended is on record, numbered 1, 2, 3 …",
        """
        SELECT r.id FROM requests AS r LEFT JOIN (
            SELECT request_id, count(*) AS size, count(DISTINCT number) AS numbers, min(number) AS first,
                max(number) AS last
            FROM attempts GROUP BY request_id
        ) AS a ON a.request_id = r.id
        WHERE coalesce(a.size, 0) <> r.attempts - (r.status = 'running')::int
            OR a.first <> 1 OR a.last <> a.size OR a.numbers <> a.size
        """,
    ),
    Rule(
        "answered_in_time",
        "no answer was committed after its deadline",
        "SELECT id FROM requests WHERE status = 'succeeded'"
        " AND finished_at > deadline + %(lateness)s * interval '1 second'",
    ),
    Rule(
        # What a provider asks for is not on record, only that it could ask: it has refused a call. Whatever it asked
        # for, a wait beyond the deadline is none. `rate_limit` may also be the wait for a limit of our own.
        "delays_capped",
        "no delay passes its cap, unless a provider may have asked for it, and none what its request had left",
        """
        SELECT a.request_id || ' attempt ' || a.number AS id
        FROM attempts AS a JOIN requests AS r ON r.id = a.request_id
        WHERE a.delay > CASE WHEN a.reason = 'worker_lost' THEN 0
            WHEN a.reason IN ('timeout', 'connection_error', 'bad_response') THEN %(max_delay)s
            WHEN a.reason <> 'rate_limit' AND NOT EXISTS (
                SELECT FROM calls AS c WHERE c.request_id = a.request_id AND c.fence = a.fence AND c.status_code >= 400
            ) THEN CASE WHEN a.reason = 'http_429' OR a.reason = ANY(%(deferrals)s) THEN 2 ELSE 1 END * %(max_delay)s
            ELSE greatest(extract(epoch FROM r.deadline - a.started_at), 0) END
        """,
    ),
)

#: All of them, in the order of the promises that they are of.
RULES = (*_KEPT, *_ONE_ANSWER, *_IN_ORDER, *_NO_GAP, *_BOUNDED)


def check(
    database: Database, *, grace: float = GRACE, lateness: float = LATENESS, max_delay: float = 30
) -> list[Violation]:
    """Which rules are broken now; none, as a rule.

    Seconds: `grace` and `lateness` are granted past deadlines, for an outcome and for an answer; `max_delay` is the
    setting `RETRY_MAX_DELAY`.
    """
    given = {
        "grace": grace,
        "lateness": lateness,
        "max_delay": max_delay,
        "examples": EXAMPLES,
        "deferrals": sorted(DEFERRALS),
    }
    found = []
    with database.connection() as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute(TIMEOUT)
        for rule in RULES:
            rows = connection.execute(_first_of(rule), given).fetchall()
            if rows:
                found.append(Violation(rule.name, rule.what, rows[0][1], tuple(row[0] for row in rows)))
    return found


def _first_of(rule: Rule) -> str:
    broken = f"SELECT id::text, count(*) OVER () FROM ({rule.broken}) AS broken"  # noqa: S608 - a rule's own words
    return f"{broken} ORDER BY 1 LIMIT %(examples)s"
