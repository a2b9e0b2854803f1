"""An installation that has worked for a month: one workflow that really was, written again and again by SQL.

Records, reservations and workflows of the copies have ids and times of their own; their bodies are the real ones, so
that they weigh what records weigh, and pages have something to show. Approvals and claims are made up.
"""

from __future__ import annotations

from json import dumps

from fakes.approvals import asked
from fakes.store_postgres import Installation
from remit.core.approval import to_document

WAITING = 1_000
"""Approvals that wait, at the most; one for each copy that was denied lies beside them."""
MONTH = 30 * 86_400 * 10**9
LOGS = 4

# A copy's number goes behind each id. Copy 1 is a minute or so old, the last one a month.
_COPIES = """
SELECT remit.ensure_partitions(time - {month}), remit.ensure_partitions(time) FROM remit.journal;
CREATE TEMPORARY TABLE story AS
    SELECT *, row_number() OVER (ORDER BY time, log, sequence) AS place, count(*) OVER () AS places
    FROM remit.journal WHERE workflow = '{workflow}';
INSERT INTO remit.log (name, kind, public_key, created)
    SELECT 'log_copied_' || n, 'sidecar', '\\x00', 0 FROM generate_series(0, {logs} - 1) n;
INSERT INTO remit.journal
    SELECT 'log_copied_' || n % {logs}, n / {logs} * places + place, time - n * ({month} / {copies}),
           kind, id || lpad(to_hex(n), 6, '0'), subject, workflow || lpad(to_hex(n), 6, '0'),
           CASE WHEN parent <> '' THEN parent || lpad(to_hex(n), 6, '0') ELSE '' END,
           CASE WHEN ref <> '' THEN ref || lpad(to_hex(n), 6, '0') ELSE '' END,
           previous, hash, body_hash, salt, body
    FROM generate_series(1, {copies}) n, story ORDER BY n DESC, place;
INSERT INTO remit.workflow
    SELECT id || lpad(to_hex(n), 6, '0'), opener, purposes, agents, expires,
           CASE WHEN n < 100 THEN '' ELSE opener END, version
    FROM remit.workflow, generate_series(1, {copies}) n WHERE id = '{workflow}';
INSERT INTO remit.reservation
    SELECT r.decision || lpad(to_hex(n), 6, '0'), r.subject, r.workflow || lpad(to_hex(n), 6, '0'), service, variant,
           owner, amount, spent, deadline - n * ({month} / {copies}), state, report_digest, budgets, ''
    FROM remit.reservation r JOIN story s ON s.id = r.decision, generate_series(1, {copies}) n;
INSERT INTO remit.budget (budget, scope, start_ns, end_ns, limit_nanos, spent, held)
    SELECT budget, 'agent-' || n, start_ns, end_ns, limit_nanos, limit_nanos / 10000 * (n % 9999), limit_nanos / 100000
    FROM (SELECT * FROM remit.budget WHERE budget = '{budget}' ORDER BY scope DESC LIMIT 1) AS used,
         generate_series(1, {rows}) n;
INSERT INTO remit.burn
    SELECT id, (SELECT max(time) FROM story) / 3600000000000 * 3600000000000 - h * 3600000000000, 1000
    FROM remit.budget, generate_series(1, 200) h WHERE scope = '' OR scope = 'agent-1' ON CONFLICT DO NOTHING;
INSERT INTO remit.approval (id, subject, like_key, state, version, time, deadline, expires, ended, document)
    SELECT 'a_' || lpad(to_hex({copies} - n), 6, '0'), 'agent-' || n / 10, 'like ' || n, state, 1, time, {never}, 0,
           time, '{approval}'::jsonb || jsonb_build_object('subject', 'agent-' || n / 10, 'like', 'like ' || n,
           'state', state, 'time', time, 'deadline', {never}, 'ended', time)
    FROM (SELECT n, CASE WHEN n <= {waiting} THEN 'pending' ELSE 'denied' END AS state,
                 (SELECT max(time) FROM story) - n * ({month} / {copies}) AS time
          FROM generate_series(1, {copies}) n) AS each;
INSERT INTO remit.approval_item (approval, binding, place, decision, amount, labels, shown, asked)
    SELECT id, 'b' || place, place, 'd', 1, '{{pii}}', repeat('x', 500), 1
    FROM remit.approval, generate_series(1, 3) place;
UPDATE remit.reservation SET state = 'lapsed' WHERE state = 'settled' AND right(decision, 1) = '0';
INSERT INTO remit.claim SELECT 'thing ' || n, 'agent-' || n / 10, '', n, {never}, n
    FROM generate_series(1, {copies}) n;
DROP TABLE story;
ANALYZE
"""


def multiply(installation: Installation, workflow: str, *, copies: int, budget: str, rows: int) -> int:
    """Write a workflow's records so many times, and so many rows of a budget that somebody has used already.

    How many records there are then.
    """
    approval = to_document(asked())
    given = {"workflow": workflow, "copies": copies, "budget": budget, "rows": rows}
    given |= {"waiting": min(copies // 2, WAITING), "never": 9 * 10**18, "approval": dumps(approval)}
    for statement in _COPIES.format(**given, month=MONTH, logs=LOGS).split(";\n"):
        installation.run(statement)
    ((records,),) = installation.rows("SELECT count(*) FROM remit.journal")
    return int(records)
