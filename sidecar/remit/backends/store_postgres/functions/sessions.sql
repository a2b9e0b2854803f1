-- Workflows, and the labels that subjects hold in them (remit.core.label). What changes a session's labels gives its
-- subject; the batch moves the versions at its end.

-- {id, opener, purposes, agents, expires, trace, labels: {label: source}} -> whether the opener's labels changed
CREATE OR REPLACE FUNCTION open_workflow(p jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    changed boolean;
BEGIN
    INSERT INTO workflow (id, opener, purposes, agents, expires)
    VALUES (p->>'id', p->>'opener', ARRAY (SELECT jsonb_array_elements_text(p->'purposes')),
            ARRAY (SELECT jsonb_array_elements_text(p->'agents')), (p->>'expires')::bigint)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        PERFORM illegal(format('workflow %s was opened before', p->>'id'));
    END IF;
    INSERT INTO share (subject, workflow, label, source, live)
    SELECT '', p->>'id', label, source, false FROM jsonb_each_text(p->'labels') AS given (label, source);
    changed := join_labels(p->>'opener', p->>'id', p->'labels');
    IF p->>'trace' <> '' THEN
        PERFORM bind_trace(p->>'opener', p->>'trace', p->>'id');
    END IF;
    RETURN changed;
END $$;

-- Ends a workflow, and the shares in it that neither its opener nor its closer has. Gives whose labels changed.
-- {id, by}
CREATE OR REPLACE FUNCTION close_workflow(p jsonb) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    flow workflow;
    lost text[];
BEGIN
    SELECT * INTO flow FROM workflow WHERE id = p->>'id' FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM not_found(format('no workflow %s', p->>'id'));
    END IF;
    IF flow.closed_by <> '' THEN
        PERFORM illegal(format('workflow %s is closed', p->>'id'));
    END IF;
    UPDATE workflow SET closed_by = p->>'by', version = version + 1 WHERE id = flow.id;
    WITH ended AS (
        UPDATE share SET live = false
        WHERE workflow = flow.id AND live AND subject NOT IN (flow.opener, p->>'by')
        RETURNING subject, label
    )
    SELECT coalesce(array_agg(DISTINCT e.subject), '{}') INTO lost FROM ended e
    WHERE NOT EXISTS (
        SELECT FROM share s
        WHERE s.subject = e.subject AND s.label = e.label AND s.live AND s.workflow <> flow.id);
    RETURN lost;
END $$;

-- Adds labels to a share; whether one of them is new to the session. A share begins with what its workflow started with.
CREATE OR REPLACE FUNCTION join_labels(whose text, flow_id text, brought jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    flow workflow;
    into_share text := '';
    labels text[];
    sources text[];
    is_new boolean;
BEGIN
    IF flow_id <> '' THEN
        SELECT * INTO flow FROM workflow WHERE id = flow_id;
        IF NOT FOUND THEN
            PERFORM not_found(format('no workflow %s', flow_id));
        END IF;
    END IF;
    IF brought = '{}' THEN
        RETURN false;
    END IF;
    FOR turn IN 1..2 LOOP
        IF flow_id <> '' AND (flow.closed_by IN ('', whose) OR flow.opener = whose) THEN
            into_share := flow_id;
        ELSE
            into_share := '';
        END IF;
        SELECT array_agg(b.label ORDER BY b.label), array_agg(b.source ORDER BY b.label) INTO labels, sources FROM (
            SELECT label COLLATE "C" AS label, source FROM jsonb_each_text(brought) AS given (label, source)
            UNION ALL
            SELECT s.label, s.source FROM share s
            WHERE s.subject = '' AND s.workflow = into_share AND into_share <> '' AND NOT brought ? s.label
        ) AS b
        WHERE NOT EXISTS (
            SELECT FROM share s WHERE s.subject = whose AND s.workflow = into_share AND s.label = b.label);
        IF labels IS NULL THEN
            RETURN false;  -- all of it was learnt before, and needs no lock
        END IF;
        EXIT WHEN flow_id = '' OR turn = 2;
        -- Whoever closes the workflow now waits, and then sees this share; or it is closed, and we see that.
        SELECT * INTO flow FROM workflow WHERE id = flow_id FOR SHARE;
    END LOOP;
    SELECT bool_or(NOT EXISTS (SELECT FROM share s WHERE s.subject = whose AND s.label = l.label AND s.live))
    INTO is_new FROM unnest(labels) AS l (label);
    INSERT INTO share (subject, workflow, label, source, live)
    SELECT whose, into_share, l.label, l.source, true FROM unnest(labels, sources) AS l (label, source)
    ON CONFLICT DO NOTHING;
    RETURN is_new;
END $$;

-- Lets a trace id name a workflow, the latest one.
CREATE OR REPLACE FUNCTION bind_trace(whose text, trace_id text, flow_id text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO trace (subject, trace, workflow, expires)
    SELECT whose, trace_id, id, expires FROM workflow WHERE id = flow_id
    ON CONFLICT (subject, trace) DO UPDATE SET workflow = excluded.workflow, expires = excluded.expires;
    IF NOT FOUND THEN
        PERFORM not_found(format('no workflow %s', flow_id));
    END IF;
END $$;

-- Moves the versions of sessions whose labels changed.
CREATE OR REPLACE FUNCTION move_versions(subjects text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO subject AS s (id, version)
    SELECT DISTINCT id COLLATE "C", 1 FROM unnest(subjects) AS changed (id) ORDER BY 1
    ON CONFLICT (id) DO UPDATE SET version = s.version + 1;
END $$;
