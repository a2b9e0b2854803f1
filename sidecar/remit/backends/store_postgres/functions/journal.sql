-- The journal's writing end (remit.core.journal): records are chained here, and their writer checks what came of it.

-- Appends a record, and gives its hash. `header` is its canonical text in three pieces, around the hash before it and
-- its sequence, which only the server knows when several callers are in a batch.
-- {id, time, kind, subject, workflow, parent, ref, salt: base64, body: base64, header: [text, text, text]}
CREATE OR REPLACE FUNCTION append(to_log text, place bigint, before bytea, r jsonb) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    salt_ constant bytea := decode(r->>'salt', 'base64');
    body_ constant bytea := decode(r->>'body', 'base64');
    hash_ constant bytea := sha256(convert_to(
        (r->'header'->>0) || encode(before, 'hex') || (r->'header'->>1) || place || (r->'header'->>2), 'UTF8'));
BEGIN
    INSERT INTO journal (log, sequence, time, kind, id, subject, workflow, parent, ref, previous, hash, body_hash, salt,
                         body)
    VALUES (to_log, place, (r->>'time')::bigint, r->>'kind', r->>'id', r->>'subject', r->>'workflow', r->>'parent',
            r->>'ref', before, hash_, sha256(salt_ || body_), salt_, body_);
    RETURN hash_;
END $$;

-- Blanks the body of a record, of whatever log, by a record of the writer's own, which a checkpoint covers at once.
-- {log, sequence, head: hex, record: as for append, checkpoint: as for keep_checkpoint} -> {done: [sequence, hash: hex]}
CREATE OR REPLACE FUNCTION erase(p jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    mine log;
    wanted constant text := p->'record'->>'ref';
    at bigint;
    is_erased boolean;
    hash_ bytea;
BEGIN
    PERFORM ensure_partitions((p->'record'->>'time')::bigint);
    mine := hold_log_at(p);
    SELECT time, body IS NULL INTO at, is_erased FROM journal WHERE id = wanted FOR UPDATE;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('error', jsonb_build_array('not_found', format('no record %s', wanted)));
    END IF;
    IF is_erased THEN
        RETURN jsonb_build_object('error', jsonb_build_array(
            'illegal', format('the body of record %s was erased before', wanted)));
    END IF;
    UPDATE journal SET body = NULL, salt = NULL WHERE id = wanted AND time = at;
    PERFORM blank_items(wanted);
    hash_ := append(mine.name, mine.sequence + 1, mine.head, p->'record');
    UPDATE log SET sequence = mine.sequence + 1, head = hash_ WHERE name = mine.name;
    PERFORM keep_checkpoint(mine.name, p->'checkpoint');
    RETURN jsonb_build_object('done', jsonb_build_array(mine.sequence + 1, encode(hash_, 'hex')));
END $$;

-- Notes that an answer told of subjects: the decision is the commit's own record, or one that is there.
-- {decision, table, sight: 0 returned, 1 reached, 2 many, subjects: base64 of their hashes, 16 bytes each}
CREATE OR REPLACE FUNCTION see_subjects(p jsonb, own_log text, own_sequence bigint, own_id text, now bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    hashes constant bytea := decode(p->>'subjects', 'base64');
    in_log text := own_log;
    place bigint := own_sequence;
    at bigint := now;
BEGIN
    IF p->>'decision' <> own_id THEN
        SELECT log, sequence, time INTO in_log, place, at FROM journal WHERE id = p->>'decision';
        IF NOT FOUND THEN
            PERFORM not_found(format('no decision %s', p->>'decision'));
        END IF;
    END IF;
    INSERT INTO seen AS s (seen_table, subject, time, log, decision, sight)
    SELECT p->>'table', h.hash, at, in_log, place, (p->>'sight')::smallint
    FROM (
        SELECT substring(hashes FROM 16 * n + 1 FOR 16) AS hash FROM generate_series(0, length(hashes) / 16 - 1) AS n
        UNION ALL SELECT '' WHERE p->>'sight' = '2'
    ) AS h
    ON CONFLICT (seen_table, subject, time, log, decision) DO UPDATE
    SET sight = excluded.sight WHERE excluded.sight < s.sight;
END $$;
