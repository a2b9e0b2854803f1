-- Approvals, and the grants that they become. Whatever policy said, nothing moves here but as the life of an approval
-- goes (remit.core.approval, remit.core.approval_guard): by who saw what is there, with as many who approve as were asked
-- for, and in time.
--
-- The batch holds the lock of each approval, and of what pending ones are alike in, until it ends (lock_things).

-- A new request, or a grant for one exact use, which is offered in the place of what was asked for.
-- {document: all of it but the items, id, item, most: of the subject's that may wait}
CREATE OR REPLACE FUNCTION open_approval(p jsonb, now bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    it constant jsonb := p->'document';
BEGIN
    IF (it->>'version')::bigint <> 1 OR (p->'item'->>'used')::bigint <> 0 OR (p->'item'->>'spent')::bigint <> 0 THEN
        PERFORM illegal(format('approval %s does not begin', p->>'id'));
    END IF;
    PERFORM check_voices(p->>'id', it->>'subject', it->'votes');
    IF it->>'state' = 'pending' THEN
        IF EXISTS (SELECT FROM approval WHERE like_key = it->>'like' AND state = 'pending') THEN
            PERFORM refuse('facts_changed', 'approval');
        END IF;
        IF (SELECT count(*) FROM approval WHERE subject = it->>'subject' AND state = 'pending')
           >= (p->>'most')::bigint THEN
            PERFORM refuse('approvals_exhausted', it->>'subject');
        END IF;
    ELSIF it->>'state' <> 'approved' OR it->'terms'->>'bind' <> 'exact' OR (it->'terms'->>'uses')::bigint <> 1
        OR (it->>'expires')::bigint <= now THEN
        PERFORM illegal(format('approval %s cannot begin as %s', p->>'id', it->>'state'));
    END IF;
    INSERT INTO approval (id, subject, like_key, state, version, time, deadline, expires, ended, document)
    VALUES (p->>'id', it->>'subject', it->>'like', it->>'state', 1, (it->>'time')::bigint, (it->>'deadline')::bigint,
            (it->>'expires')::bigint, 0, it)
    ON CONFLICT (id) DO NOTHING;
    IF NOT FOUND THEN
        PERFORM illegal(format('approval %s was opened before', p->>'id'));
    END IF;
    PERFORM put_item(p->>'id', p->'item');
END $$;

-- {binding, decision, amount, labels, shown, asked}
CREATE OR REPLACE FUNCTION put_item(to_approval text, i jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO approval_item AS there (approval, binding, place, decision, amount, labels, shown, asked)
    VALUES (to_approval, i->>'binding', (SELECT count(*) FROM approval_item WHERE approval = to_approval),
            i->>'decision', (i->>'amount')::bigint, ARRAY (SELECT jsonb_array_elements_text(i->'labels')), i->>'shown',
            (i->>'asked')::bigint)
    ON CONFLICT (approval, binding) DO UPDATE
    SET decision = excluded.decision, amount = excluded.amount, labels = excluded.labels, shown = excluded.shown,
        asked = there.asked + 1;
END $$;

-- A like hold joins a pending request; whether that moved it.
-- {id, version, item, same, most: items of one request}
CREATE OR REPLACE FUNCTION join_approval(p jsonb, now bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    its constant text := p->>'id';
    i constant jsonb := p->'item';
    was approval;
BEGIN
    SELECT * INTO was FROM approval WHERE id = its;
    IF NOT FOUND OR was.state <> 'pending' OR was.deadline <= now THEN
        PERFORM refuse('facts_changed', 'approval');
    END IF;
    IF (p->>'same')::boolean THEN
        UPDATE approval_item SET asked = asked + 1
        WHERE approval = its AND binding = i->>'binding' AND amount >= (i->>'amount')::bigint
          AND labels @> ARRAY (SELECT jsonb_array_elements_text(i->'labels'));
        IF NOT FOUND THEN
            PERFORM refuse('facts_changed', 'approval');
        END IF;
        RETURN false;
    END IF;
    IF was.version <> (p->>'version')::bigint THEN
        PERFORM refuse('facts_changed', 'approval');
    END IF;
    PERFORM put_item(its, i);
    IF (SELECT count(*) FROM approval_item WHERE approval = its) > (p->>'most')::bigint THEN
        PERFORM refuse('approvals_exhausted', its);
    END IF;
    UPDATE approval
    SET version = version + 1, document = jsonb_set(document, '{version}', to_jsonb(version + 1)) WHERE id = its;
    RETURN true;
END $$;

-- An approval becomes another, which was made of its last version. What it is for, its terms and its items stay.
-- {id, document}
CREATE OR REPLACE FUNCTION move_approval(p jsonb, now bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    its constant text := p->>'id';
    wanted constant jsonb := p->'document';
    becomes constant text := wanted->>'state';
    was approval;
    new_votes jsonb;
    is_answered boolean;
BEGIN
    SELECT * INTO was FROM approval WHERE id = its;
    IF NOT FOUND OR was.version + 1 <> (wanted->>'version')::bigint THEN
        PERFORM refuse('facts_changed', 'approval');
    END IF;
    new_votes := said_since(its, was.document->'votes', wanted->'votes');
    is_answered := new_votes <> '[]';
    PERFORM check_voices(its, was.subject, new_votes);
    IF NOT (was.state = 'pending' AND becomes IN ('pending', 'approved', 'denied', 'expired')
            OR was.state = 'approved' AND becomes = 'revoked') THEN
        PERFORM illegal(format('approval %s is %s, and cannot be %s', its, was.state, becomes));
    END IF;
    IF wanted - moving_parts() <> was.document - moving_parts() THEN
        PERFORM illegal(format('approval %s would be of something else', its));
    END IF;
    IF was.state = 'pending' THEN
        PERFORM check_answer(was, wanted, is_answered, now);
    ELSIF NOT is_answered THEN
        PERFORM illegal(format('nobody has taken approval %s back', its));
    END IF;
    IF becomes = 'approved' AND (NOT is_answered OR approvers(wanted) < (wanted->'terms'->>'quorum')::bigint) THEN
        PERFORM illegal(format('approval %s needs %s who approve', its, wanted->'terms'->>'quorum'));
    END IF;
    UPDATE approval
    SET state = becomes, version = was.version + 1, deadline = (wanted->>'deadline')::bigint,
        expires = (wanted->>'expires')::bigint, ended = (wanted->>'ended')::bigint, document = wanted
    WHERE id = its AND version = was.version;
    IF NOT FOUND THEN
        PERFORM again(format('approval %s was changed by another writer', its));
    END IF;
    IF becomes IN ('denied', 'expired', 'revoked') THEN
        UPDATE approval_item SET shown = '' WHERE approval = its AND shown <> '';
    END IF;
END $$;

-- What of an approval a change may be of.
CREATE OR REPLACE FUNCTION moving_parts() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY['state', 'version', 'votes', 'level', 'deadline', 'expires', 'ended', 'alternative']
$$;

-- What has been said beyond what is known, which stays said.
CREATE OR REPLACE FUNCTION said_since(its text, known jsonb, votes jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    old jsonb;
    new jsonb;
BEGIN
    SELECT coalesce(jsonb_agg(v ORDER BY n) FILTER (WHERE n <= jsonb_array_length(known)), '[]'),
           coalesce(jsonb_agg(v ORDER BY n) FILTER (WHERE n > jsonb_array_length(known)), '[]')
    INTO old, new FROM jsonb_array_elements(votes) WITH ORDINALITY AS said (v, n);
    IF old <> known THEN
        PERFORM illegal(format('what was said of approval %s stays said', its));
    END IF;
    RETURN new;
END $$;

-- Whoever asks has no voice in it.
CREATE OR REPLACE FUNCTION check_voices(its text, requester text, votes jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM jsonb_array_elements(votes) AS v WHERE v->>'by' = requester) THEN
        PERFORM illegal(format('%s asks for approval %s, and has no voice in it', requester, its));
    END IF;
END $$;

-- An answer comes in time, and the clock's after it; and who is asked moves on along the chain.
CREATE OR REPLACE FUNCTION check_answer(was approval, wanted jsonb, is_answered boolean, now bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    is_over constant boolean := was.deadline <= now;
    from_level constant integer := (was.document->>'level')::integer;
    to_level constant integer := (wanted->>'level')::integer;
    least integer := from_level;
BEGIN
    IF is_answered AND is_over THEN
        PERFORM illegal(format('approval %s was not answered in time', was.id));
    END IF;
    IF NOT is_answered AND NOT is_over THEN
        PERFORM illegal(format('approval %s still waits', was.id));
    END IF;
    IF NOT is_answered AND wanted->>'state' = 'pending' THEN
        least := from_level + 1;
    END IF;
    IF to_level < least OR to_level > jsonb_array_length(was.document->'chain') THEN
        PERFORM illegal(format('approval %s does not pass from level %s to %s', was.id, from_level, to_level));
    END IF;
END $$;

-- How many have approved it: whoever said several things, by the last; never the requester.
CREATE OR REPLACE FUNCTION approvers(it jsonb) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN (SELECT count(*) FROM (
        SELECT DISTINCT ON (v->>'kind', v->>'by') v->>'by' AS who, v->>'verdict' AS said
        FROM jsonb_array_elements(it->'votes') WITH ORDINALITY AS votes (v, n)
        ORDER BY v->>'kind', v->>'by', n DESC) AS last
        WHERE said = 'approve' AND who <> it->>'subject');
END $$;

-- One use of a grant: its bounds are compared and moved in one, so that no two uses are the same.
-- {id, binding, amount}
CREATE OR REPLACE FUNCTION use_grant(p jsonb, now bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    its constant text := p->>'id';
    amount_ constant bigint := (p->>'amount')::bigint;
    terms jsonb;
    cost numeric;
BEGIN
    SELECT document->'terms' INTO terms FROM approval WHERE id = its AND state = 'approved' AND expires > now;
    IF NOT FOUND THEN
        PERFORM refuse('facts_changed', 'grant');
    END IF;
    cost := nullif(terms->>'cost', '')::numeric;
    UPDATE approval_item
    SET used = used + 1, spent = least(spent::numeric + amount_, 4611686018427387904)::bigint
    WHERE approval = its AND binding = p->>'binding' AND used < (terms->>'uses')::bigint
      AND (terms->>'bind' <> 'exact' OR amount_ <= amount)
      AND (cost IS NULL OR (SELECT sum(i.spent) FROM approval_item i WHERE i.approval = its) + amount_ <= cost);
    IF NOT FOUND THEN
        PERFORM refuse('facts_changed', 'grant');
    END IF;
END $$;

-- What a decision asked to have approved is to be read no more. Approvals are locked as a batch does, and as whoever
-- forgets them.
CREATE OR REPLACE FUNCTION blank_items(of_decision text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    named constant text[] := ARRAY (SELECT approval FROM approval_item WHERE decision = of_decision AND shown <> '');
BEGIN
    IF named <> '{}' THEN
        PERFORM lock_things((SELECT jsonb_agg(jsonb_build_array(5, name, true)) FROM unnest(named) AS name));
        PERFORM 1 FROM approval WHERE id = ANY (named) ORDER BY id FOR NO KEY UPDATE;
        UPDATE approval_item SET shown = '' WHERE decision = of_decision;
    END IF;
END $$;
