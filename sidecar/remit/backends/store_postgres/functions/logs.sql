-- Who writes which log. A writer holds the advisory lock (2, number) of its log for as long as its connection lasts,
-- and whoever appends to a log is refused while another connection holds it.
--
-- Errors that a writer is told, beside PostgreSQL's own: RM100 another key, kind or role is registered, RM101 another
-- connection holds the log, RM102 its head is not where the writer left it, RM103 no such log.
--
-- Advisory locks: (1, hash of a subject) its home, (2, number) a log, (3, n) halts, months, migrations; and by their
-- hashes (4, …) what can be claimed, (5, …) approvals and what they are alike in, (6, …) objects of a workflow.

-- Registers the log on first use, and takes its lock for this connection. What is written here is durable wherever
-- commits are (a standby too) before it returns, and so is all that the answer tells of.
-- {log, kind, key: hex, time} -> {taken: false} or {taken: true, sequence, head: hex, signed, note}
CREATE OR REPLACE FUNCTION take_log(p jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    mine log;
BEGIN
    SELECT * INTO mine FROM log WHERE name = p->>'log';
    IF NOT FOUND THEN
        IF p->>'kind' = 'desk' AND NOT pg_has_role(session_user, 'remit_desk', 'MEMBER') THEN
            RAISE EXCEPTION 'role % is no member of remit_desk and keeps no desk''s log', session_user
                USING ERRCODE = 'RM100';
        END IF;
        INSERT INTO log (name, kind, public_key, created)
        VALUES (p->>'log', p->>'kind', decode(p->>'key', 'hex'), (p->>'time')::bigint)
        ON CONFLICT DO NOTHING;
        SELECT * INTO mine FROM log WHERE name = p->>'log';
    END IF;
    IF mine.public_key <> decode(p->>'key', 'hex') THEN
        RAISE EXCEPTION 'log % is registered with another key', mine.name USING ERRCODE = 'RM100';
    END IF;
    IF mine.kind <> p->>'kind' THEN
        RAISE EXCEPTION 'log % is registered as that of a %, not of a %', mine.name, mine.kind, p->>'kind'
            USING ERRCODE = 'RM100';
    END IF;
    PERFORM check_role(mine.name);
    IF NOT pg_try_advisory_lock(2, mine.number::integer) THEN
        RETURN '{"taken": false}';
    END IF;
    UPDATE log SET opened = clock_timestamp() WHERE name = mine.name RETURNING * INTO mine;
    RETURN jsonb_build_object(
        'taken', true, 'sequence', mine.sequence, 'head', encode(mine.head, 'hex'), 'signed', mine.signed,
        'note', coalesce((SELECT note FROM checkpoint WHERE log = mine.name ORDER BY size DESC LIMIT 1), ''));
END $$;

-- Refuses whoever is not of the role that has registered the log: members that have roles of their own cannot write for
-- each other.
CREATE OR REPLACE FUNCTION check_role(wanted text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM log l JOIN pg_roles r ON r.rolname = l.role
                   WHERE l.name = wanted AND pg_has_role(session_user, r.oid, 'MEMBER')) THEN
        RAISE EXCEPTION 'log % is written by the role %, which % is not', wanted,
            (SELECT role FROM log WHERE name = wanted), session_user USING ERRCODE = 'RM100';
    END IF;
END $$;

-- The log, locked until this transaction ends. Nobody else may hold it.
CREATE OR REPLACE FUNCTION hold_log(wanted text) RETURNS log LANGUAGE plpgsql AS $$
DECLARE
    mine log;
BEGIN
    SELECT * INTO mine FROM log WHERE name = wanted FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no log %', wanted USING ERRCODE = 'RM103';
    END IF;
    PERFORM check_role(wanted);
    IF NOT pg_try_advisory_xact_lock(2, mine.number::integer) THEN
        RAISE EXCEPTION 'another writer holds log %', wanted USING ERRCODE = 'RM101';
    END IF;
    RETURN mine;
END $$;

-- The log, with its head where the writer believes it to be.
-- {log, sequence, head: hex, …}
CREATE OR REPLACE FUNCTION hold_log_at(p jsonb) RETURNS log LANGUAGE plpgsql AS $$
DECLARE
    mine log := hold_log(p->>'log');
BEGIN
    IF mine.sequence <> (p->>'sequence')::bigint OR mine.head <> decode(p->>'head', 'hex') THEN
        RAISE EXCEPTION 'the head of log % is record %, not %', mine.name, mine.sequence, p->>'sequence'
            USING ERRCODE = 'RM102';
    END IF;
    RETURN mine;
END $$;

-- Which of these records were written, and where the log ends now.
-- {log, ids: […]} -> {sequence, head: hex, found: [[id, sequence, hash: hex], … in order]}
CREATE OR REPLACE FUNCTION look_up(p jsonb) RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER AS $$
    SELECT jsonb_build_object('sequence', l.sequence, 'head', encode(l.head, 'hex'), 'found', (
        SELECT coalesce(jsonb_agg(jsonb_build_array(j.id, j.sequence, encode(j.hash, 'hex')) ORDER BY j.sequence), '[]')
        FROM journal j
        WHERE j.log = l.name AND j.id IN (SELECT jsonb_array_elements_text(p->'ids'))))
    FROM log l WHERE l.name = p->>'log'
$$;

-- Keeps a signed head of the log. The same again changes nothing.
-- {log, size, hash: hex, time, note, revision}
CREATE OR REPLACE FUNCTION sign_head(p jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    mine log := hold_log(p->>'log');
BEGIN
    PERFORM keep_checkpoint(mine.name, p);
    UPDATE log SET revision = p->>'revision' WHERE name = mine.name AND revision <> p->>'revision';
    RETURN '{}';
END $$;

-- {size, hash: hex, time, note}
CREATE OR REPLACE FUNCTION keep_checkpoint(signed_log text, p jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    size_ bigint := (p->>'size')::bigint;
BEGIN
    IF NOT EXISTS (
        SELECT FROM journal WHERE log = signed_log AND sequence = size_ AND hash = decode(p->>'hash', 'hex')
    ) THEN
        RAISE EXCEPTION 'record % of log % is not the one that the checkpoint names', size_, signed_log
            USING ERRCODE = 'RM102';
    END IF;
    INSERT INTO checkpoint (log, size, hash, time, note)
    VALUES (signed_log, size_, decode(p->>'hash', 'hex'), (p->>'time')::bigint, p->>'note')
    ON CONFLICT DO NOTHING;
    UPDATE log SET signed = size_ WHERE name = signed_log AND signed < size_;
END $$;
