-- Claims: exclusive leases with fencing tokens (remit.core.claim); and what agents did to an object of a workflow.
--
-- The batch holds the lock of each thing until it ends (lock_things): alone where it takes it or lets go of it, with
-- others where it is to be nobody else's.

-- Locks what a batch's effects name, all of it in one order: [[class of the advisory lock, name, alone]]
CREATE OR REPLACE FUNCTION lock_things(things jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT (t->>0)::integer AS class, hashtext(t->>1) AS hash, bool_or((t->>2)::boolean) AS alone
        FROM jsonb_array_elements(things) AS t GROUP BY 1, 2 ORDER BY 1, 2
    LOOP
        IF one.alone THEN
            PERFORM pg_advisory_xact_lock(one.class, one.hash);
        ELSE
            PERFORM pg_advisory_xact_lock_shared(one.class, one.hash);
        END IF;
    END LOOP;
END $$;

-- Takes a thing by the next token, or renews it by the same.
-- {key, subject, workflow, token, expires, time, before, most: that a subject may hold}
CREATE OR REPLACE FUNCTION take_claim(p jsonb, now bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    whose constant text := p->>'subject';
    last bigint;
    was claim;
    is_held boolean;
BEGIN
    IF whose = '' OR (p->>'expires')::bigint <= now THEN
        PERFORM illegal('a claim is somebody''s, for some time');
    END IF;
    SELECT * INTO was FROM claim WHERE key = p->>'key';
    is_held := FOUND AND was.subject <> '' AND was.expires > now;
    IF is_held AND (was.subject <> whose OR was.workflow <> p->>'workflow') THEN
        PERFORM refuse('claim_held', p->>'key');
    END IF;
    last := coalesce(was.token, (SELECT claim_floor FROM shared));
    IF last <> (p->>'before')::bigint OR (p->>'token')::bigint <> last + (NOT is_held)::integer THEN
        PERFORM refuse('facts_changed', 'claim');
    END IF;
    IF (SELECT count(*) FROM claim WHERE subject = whose AND subject <> '' AND expires > now AND key <> p->>'key')
       >= (p->>'most')::bigint THEN
        PERFORM refuse('claims_exhausted', whose);
    END IF;
    INSERT INTO claim (key, subject, workflow, token, expires, time)
    VALUES (p->>'key', whose, p->>'workflow', (p->>'token')::bigint, (p->>'expires')::bigint, (p->>'time')::bigint)
    ON CONFLICT (key) DO UPDATE
    SET subject = excluded.subject, workflow = excluded.workflow, token = excluded.token, expires = excluded.expires,
        time = excluded.time;
END $$;

-- Lets go of a thing: its holder does, or its time is over; then its holder holds it no more.
-- {key, subject, workflow, token, lapsed}
CREATE OR REPLACE FUNCTION release_claim(p jsonb, now bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    was claim;
BEGIN
    SELECT * INTO was FROM claim
    WHERE key = p->>'key' AND subject = p->>'subject' AND subject <> '' AND workflow = p->>'workflow'
      AND token = (p->>'token')::bigint;
    IF NOT FOUND OR was.expires <= now AND NOT (p->>'lapsed')::boolean THEN
        PERFORM not_found(format('%s does not hold %s by token %s', p->>'subject', p->>'key', p->>'token'));
    END IF;
    IF was.expires > now AND (p->>'lapsed')::boolean THEN
        PERFORM illegal(format('the claim on %s was renewed and has not lapsed', p->>'key'));
    END IF;
    UPDATE claim SET subject = '', workflow = '', expires = least(expires, now) WHERE key = was.key;
END $$;

-- Refuses where somebody else holds one of the things, or a token is named by which the subject holds none of them.
-- {keys, subject, workflow, token}
CREATE OR REPLACE FUNCTION respect_claims(p jsonb, now bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    theirs claim;
    is_held boolean := false;
BEGIN
    FOR theirs IN
        SELECT c.* FROM claim c
        WHERE c.key IN (SELECT jsonb_array_elements_text(p->'keys')) AND c.subject <> '' AND c.expires > now
    LOOP
        IF theirs.subject <> p->>'subject' OR theirs.workflow <> p->>'workflow' THEN
            PERFORM refuse('claim_held', theirs.key);
        END IF;
        is_held := is_held OR theirs.token = (p->>'token')::bigint;
    END LOOP;
    IF (p->>'token')::bigint <> 0 AND NOT is_held THEN
        PERFORM refuse('claim_lost', p->'keys'->>(-1));
    END IF;
END $$;

-- Notes what an agent does to an object, unless others have done more to it than was seen.
-- {workflow, object, subject, operation, decision, seen, expires}
CREATE OR REPLACE FUNCTION note_act(p jsonb, now bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM act
        WHERE workflow = p->>'workflow' AND object = p->>'object' AND subject <> p->>'subject')
       <> (p->>'seen')::bigint THEN
        PERFORM refuse('facts_changed', 'acts');
    END IF;
    INSERT INTO act AS a (workflow, object, subject, operation, decision, time, expires)
    VALUES (p->>'workflow', p->>'object', p->>'subject', p->>'operation', p->>'decision', now,
            (p->>'expires')::bigint)
    ON CONFLICT (workflow, object, subject, operation) DO UPDATE
    SET time = excluded.time, expires = greatest(a.expires, excluded.expires);
END $$;

-- Forgets things that are nobody's since `ended`; no token of theirs is given again. How many.
CREATE OR REPLACE FUNCTION forget_claims(ended bigint, most bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    keys text[];
    highest bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM claim WHERE subject = '' AND expires <= ended) THEN
        RETURN 0;
    END IF;
    PERFORM 1 FROM shared FOR NO KEY UPDATE;
    SELECT array_agg(c.key), max(c.token) INTO keys, highest FROM (
        SELECT key, token FROM claim WHERE subject = '' AND expires <= ended LIMIT most FOR UPDATE SKIP LOCKED) AS c;
    IF keys IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE shared SET claim_floor = greatest(claim_floor, highest);
    DELETE FROM claim WHERE key = ANY (keys);
    RETURN cardinality(keys);
END $$;
