"""An installation that is years old, written by generate_series: what a page of it costs, and by which indexes."""

from __future__ import annotations

from fakes.store_postgres import Installation

DAY = 86_400 * 10**9
NOW = 1_800_000_000 * 10**9
CUSTOMER = 77
TABLE = "crm.customers"

# Twenty records a workflow, one in four of them a decision; four writers in turn; a month's worth in each partition.
_GROWN = """
SELECT remit.ensure_partitions({now} - n * 30 * {day}) FROM generate_series(0, 12) n;
INSERT INTO remit.log (name, kind, public_key, created)
    SELECT 'log_' || n, 'sidecar', '\\x00', 0 FROM generate_series(0, 3) n;
INSERT INTO remit.journal
    SELECT 'log_' || n % 4, n / 4 + 1, {now} - 360 * {day} + n * (360 * {day} / {records}),
           CASE n % 4 WHEN 0 THEN 'decision' ELSE 'report' END, 'd_' || lpad(n::text, 12, '0'), 'agent' || n % 300,
           'w_' || lpad((n / 20)::text, 12, '0'), '', CASE WHEN n % 4 > 0 THEN 'd_' || lpad((n - n % 4)::text, 12, '0')
           ELSE '' END, sha256(n::text::bytea), sha256(n::text::bytea), sha256(n::text::bytea),
           '\\x00112233445566778899aabbccddeeff', convert_to(repeat('{{"n":"' || n || '"}} ', 20), 'UTF8')
    FROM generate_series(0, {records} - 1) n;
INSERT INTO remit.workflow
    SELECT 'w_' || lpad(n::text, 12, '0'), 'agent' || n % 300, '{{support}}', '{{ann,bob}}', {now}, '', 1
    FROM generate_series(0, {records} / 20) n;
INSERT INTO remit.budget (budget, scope, start_ns, end_ns, limit_nanos, spent)
    SELECT 'day' || b, '', {now} - n * {day}, {now} - (n - 1) * {day}, 1000, 1
    FROM generate_series(0, {records} / 1000) n, generate_series(1, 20) b;
INSERT INTO remit.burn SELECT id, start_ns + h * 3600000000000, 1 FROM remit.budget, generate_series(0, 23) h
    WHERE id % 20 = 0 OR start_ns = {now};
INSERT INTO remit.reservation
    SELECT 'd_' || lpad(n::text, 12, '0'), 'agent' || n % 300, '', 's', 'v', 'o', 5, 5, {now} - {day} + n,
           CASE WHEN n % 1000 = 0 THEN 'held' ELSE 'settled' END, '', '{{1,2}}', ''
    FROM generate_series(0, {records} - 1, 4) n;
INSERT INTO remit.seen
    SELECT '{table}', decode(lpad(to_hex(n % 5000), 32, '0'), 'hex'), j.time, j.log, j.sequence, 0
    FROM generate_series(0, {records} - 1, 4) n JOIN remit.journal j ON j.id = 'd_' || lpad(n::text, 12, '0');
INSERT INTO remit.seen
    SELECT '{table}', '', j.time, j.log, j.sequence, 2
    FROM generate_series(0, {records} - 1, 400) n JOIN remit.journal j ON j.id = 'd_' || lpad(n::text, 12, '0');
ANALYZE
"""


def grow(installation: Installation, records: int) -> None:
    """Write so many records, and what goes with them."""
    for statement in _GROWN.format(records=records, now=NOW, day=DAY, table=TABLE).split(";\n"):
        installation.run(statement)
