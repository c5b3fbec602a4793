"""What is kept of a user beside sessions, and forgotten with the last of them. Whoever keeps more adds it here."""

from __future__ import annotations

from pipeline.users import OTHER

#: Counts that wait for whoever serves them are served among those of all others. After the label is gone: whoever
#: leaves counts holds the labels that are in them until he has.
RELABEL_ESTATES = f"""
UPDATE metric_estates AS e SET totals = (
    SELECT jsonb_agg(jsonb_set(series, '{{1}}', (
        SELECT coalesce(jsonb_agg(CASE WHEN label = jsonb_build_array('user_id', _user)
            THEN jsonb_build_array('user_id', '{OTHER}') ELSE label END ORDER BY at), '[]')
        FROM jsonb_array_elements(series -> 1) WITH ORDINALITY AS l(label, at))) ORDER BY ord)
    FROM jsonb_array_elements(e.totals) WITH ORDINALITY AS t(series, ord))
WHERE e.id IN (SELECT id FROM metric_estates WHERE EXISTS (
    SELECT FROM jsonb_array_elements(totals) AS t(series)
    WHERE series -> 1 @> jsonb_build_array(jsonb_build_array('user_id', _user))) ORDER BY id FOR UPDATE);
"""  # noqa: S608 - the inserted text is a constant

#: Statements on whatever else bears the user's id, `_user`. They run when the user's row is gone, but for the commit:
#: whoever adds to what they remove holds that row, so that it is found here, or finds nobody to be added to.
KEPT_ELSEWHERE = ("DELETE FROM metric_users WHERE user_id = _user;", RELABEL_ESTATES)

#: Nothing of a user whose sessions are all gone stays.
FORGET_USER = "\n".join(
    (
        "IF NOT EXISTS (SELECT FROM sessions WHERE user_id = _user) THEN",
        "DELETE FROM users WHERE user_id = _user;",
        *KEPT_ELSEWHERE,
        "END IF;",
    )
)
