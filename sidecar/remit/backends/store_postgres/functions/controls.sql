-- Versions that a commit must still find true, homes, halts, passports' single use, and kept answers.

-- Nobody takes these subjects' sessions home until this transaction has ended; and whoever adds to a session does so
-- alone, or two that add the same labels in another order would wait for each other; as does whoever counts what a
-- subject has, before it gets one more.
CREATE OR REPLACE FUNCTION lock_homes(commits jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT hashtext(h.subject) AS hash, bool_or(h.alone) AS alone FROM (
            SELECT s.subject, EXISTS (
                SELECT FROM jsonb_array_elements(c.entry->'part'->'effects') AS e (effect)
                WHERE e.effect->>'do' IN ('join', 'open')) AS alone
            FROM jsonb_array_elements(commits) AS c (entry),
                 jsonb_array_elements_text(c.entry->'part'->'homes') AS s (subject)
            UNION ALL
            SELECT s.subject, true
            FROM jsonb_array_elements(commits) AS c (entry),
                 jsonb_array_elements_text(c.entry->'part'->'counted') AS s (subject)
        ) AS h GROUP BY 1 ORDER BY 1
    LOOP
        IF one.alone THEN
            PERFORM pg_advisory_xact_lock(1, one.hash);
        ELSE
            PERFORM pg_advisory_xact_lock_shared(1, one.hash);
        END IF;
    END LOOP;
END $$;

-- Answers that the session is another writer's, while its lease lasts; a home whose lease has passed is nobody's.
CREATE OR REPLACE FUNCTION check_homes(subjects jsonb, own text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    theirs home;
BEGIN
    FOR theirs IN
        SELECT h.* FROM home h
        WHERE h.subject IN (SELECT jsonb_array_elements_text(subjects)) AND h.log NOT IN ('', own)
    LOOP
        IF NOT is_over(theirs.log) THEN
            PERFORM answer(jsonb_build_object('busy', 'home', 'name', theirs.subject, 'log', theirs.log));
        END IF;
        DELETE FROM home WHERE subject = theirs.subject AND log = theirs.log;
    END LOOP;
END $$;

-- Refuses unless what the decision was made on still holds. `changed`: whose labels the batch itself has changed.
CREATE OR REPLACE FUNCTION check_versions(part jsonb, now bigint, revision text, changed text[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    seen jsonb := part->'versions';
    whose text := part->>'subject';
    flow_id text := part->>'workflow';
    flow workflow;
    labels bigint;
BEGIN
    IF flow_id <> '' THEN
        SELECT * INTO flow FROM workflow WHERE id = flow_id;
        IF NOT FOUND OR flow.closed_by <> '' OR flow.expires <= now THEN
            PERFORM refuse('workflow_invalid', flow_id);
        END IF;
        IF flow.version <> (seen->>'workflow')::bigint THEN
            PERFORM refuse('facts_changed', 'workflow');
        END IF;
    END IF;
    IF seen->>'revision' <> revision THEN
        PERFORM refuse('facts_changed', 'policy');
    END IF;
    IF (SELECT halts FROM shared) <> (seen->>'halts')::bigint THEN
        PERFORM refuse('facts_changed', 'halts');
    END IF;
    IF (seen->>'labels')::bigint < 0 THEN
        SELECT -1 - count(DISTINCT label) INTO labels FROM share WHERE workflow = flow_id AND subject IN (whose, '');
    ELSE
        SELECT coalesce((SELECT version FROM subject WHERE id = whose), 0) + (whose = ANY (changed))::integer INTO labels;
    END IF;
    IF labels <> (seen->>'labels')::bigint THEN
        PERFORM refuse('facts_changed', 'labels');
    END IF;
END $$;

-- The batch holds the lock of the halts alone. {id, scope, value, by, reason, time}
CREATE OR REPLACE FUNCTION place_halt(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p->>'scope' IN ('agent', 'workflow', 'service', 'policy', 'all') THEN
        INSERT INTO halt (id, scope, value, placed_by, reason, time)
        VALUES (p->>'id', p->>'scope', p->>'value', p->>'by', p->>'reason', (p->>'time')::bigint)
        ON CONFLICT DO NOTHING;
    END IF;
    IF p->>'scope' NOT IN ('agent', 'workflow', 'service', 'policy', 'all') OR NOT FOUND THEN
        PERFORM illegal(format('halt %s of scope ''%s'' cannot be placed', p->>'id', p->>'scope'));
    END IF;
    UPDATE shared SET halts = halts + 1;
END $$;

-- {id}
CREATE OR REPLACE FUNCTION lift_halt(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM halt WHERE id = p->>'id';
    IF NOT FOUND THEN
        PERFORM not_found(format('no halt %s', p->>'id'));
    END IF;
    UPDATE shared SET halts = halts + 1;
END $$;

-- Once. {id, by, expires}
CREATE OR REPLACE FUNCTION use_passport(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO passport (id, used_by, expires) VALUES (p->>'id', p->>'by', (p->>'expires')::bigint)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        PERFORM refuse('passport_used', p->>'id');
    END IF;
END $$;

-- The first answer stays, unless it was provisional: then the next to the same request takes its place.
-- {subject, rpc, key, digest, answer: base64, expires, provisional} -> whether it is kept
CREATE OR REPLACE FUNCTION has_kept(p jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO kept AS k (subject, rpc, key, digest, answer, expires, provisional)
    VALUES (p->>'subject', p->>'rpc', p->>'key', p->>'digest', decode(p->>'answer', 'base64'), (p->>'expires')::bigint,
            coalesce((p->>'provisional')::boolean, false))
    ON CONFLICT (subject, rpc, key) DO UPDATE
    SET answer = excluded.answer, expires = excluded.expires, provisional = excluded.provisional
    WHERE k.provisional AND k.digest = excluded.digest;
    RETURN FOUND;
END $$;

CREATE OR REPLACE FUNCTION keep_answer(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT has_kept(p) THEN
        PERFORM refuse('idempotency_mismatch', 'kept');
    END IF;
END $$;

-- Forgets what has expired, some of it at a time, and leaves to others what they are forgetting. Approvals and free
-- claims are forgotten where nobody could use them since `ended`.
-- {now, ended, most} -> how many rows
CREATE OR REPLACE FUNCTION prune(p jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    now_ constant bigint := (p->>'now')::bigint;
    most constant bigint := (p->>'most')::bigint;
    gone bigint;
    total bigint := 0;
BEGIN
    total := forget_claims((p->>'ended')::bigint, most);  -- before the others: it waits, for whoever halts
    DELETE FROM kept WHERE (subject, rpc, key) IN (
        SELECT subject, rpc, key FROM kept WHERE expires <= now_ LIMIT most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS gone = ROW_COUNT;
    total := total + gone;
    DELETE FROM passport WHERE id IN (
        SELECT id FROM passport WHERE expires <= now_ LIMIT most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS gone = ROW_COUNT;
    total := total + gone;
    DELETE FROM trace WHERE (subject, trace) IN (
        SELECT subject, trace FROM trace WHERE expires <= now_ LIMIT most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS gone = ROW_COUNT;
    total := total + gone;
    DELETE FROM act WHERE (workflow, object, subject, operation) IN (
        SELECT workflow, object, subject, operation FROM act WHERE expires <= now_ LIMIT most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS gone = ROW_COUNT;
    total := total + gone;
    DELETE FROM approval WHERE id IN (
        SELECT id FROM approval WHERE state <> 'pending' AND until <= (p->>'ended')::bigint
        LIMIT most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN to_jsonb(total + gone);
END $$;
