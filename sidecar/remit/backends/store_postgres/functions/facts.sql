-- Everything that a decision is made on, in one round trip.
--
-- STABLE: all of its statements see the snapshot of the one that calls it, so that the answer is of one moment. Small
-- statements in loops: each is planned once a session and looks into one index, which is several times faster here than
-- one large statement; and what is not asked for is not looked up.
--
-- It answers with JSON. `session`: (label, its first sources) of the subject's whole session, where runs share a process;
-- `shares`: (label, source) pairs of the workflow asked for; `budgets`: (adjusted, spent, held, idle) in the order of the rows
-- asked for, null where nothing was written yet; `claims` on the things asked for; `acts` of others on the object.

CREATE OR REPLACE FUNCTION remit.facts(
    asked_subject text, asked_isolation text, asked_workflow text, asked_service text,
    budgets text[], scopes text[], starts bigint[], ends bigint[], things text[] DEFAULT '{}', asked_object text DEFAULT ''
) RETURNS text LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_variable
DECLARE
    told constant integer := 8;     -- sources of a label: MAX_SOURCES of remit.core.label
    version bigint;
    halts_version bigint;
    session json[];
    shares json;
    flow json;
    halts json;
    rooms json[];
    name text := '';
    after text;
    sources text[];
    batch text[];
    found_rows integer;
    adjusted bigint;
    spent bigint;
    held bigint;
    idle bigint;
    claims json;
    acts json;
BEGIN
    IF asked_isolation <> 'workflow' THEN
        SELECT s.version INTO version FROM remit.subject s WHERE s.id = asked_subject;
        -- From one label to the next in the index, so that it costs the labels, not the runs behind them.
        LOOP
            SELECT s.label INTO name FROM remit.share s
            WHERE s.subject = asked_subject AND s.live AND s.label > name ORDER BY s.label LIMIT 1;
            EXIT WHEN NOT FOUND;
            -- And from one source to the next: many runs may have begun with what one decision had brought.
            sources := '{}';
            after := '';
            LOOP
                SELECT array_agg(DISTINCT next.source), count(*) INTO batch, found_rows FROM (
                    SELECT s.source FROM remit.share s
                    WHERE s.subject = asked_subject AND s.live AND s.label = name AND s.source > after
                    ORDER BY s.source LIMIT 32
                ) next;
                sources := sources || batch;
                EXIT WHEN found_rows < 32 OR cardinality(sources) >= told;
                after := batch[cardinality(batch)];
            END LOOP;
            session := session || json_build_array(name, sources[:told]);
        END LOOP;
    END IF;
    IF asked_workflow <> '' OR asked_isolation = 'workflow' THEN
        SELECT json_agg(json_build_array(s.label, s.source)) INTO shares
        FROM remit.share s WHERE s.subject IN (asked_subject, '') AND s.workflow = asked_workflow;
    END IF;
    IF asked_workflow <> '' THEN
        SELECT json_build_array(w.id, w.opener, w.purposes, w.agents, w.expires, w.closed_by, w.version) INTO flow
        FROM remit.workflow w WHERE w.id = asked_workflow;
    END IF;
    SELECT s.halts INTO halts_version FROM remit.shared s;
    IF halts_version > 0 THEN
        SELECT json_agg(json_build_array(h.id, h.scope, h.value, h.placed_by, h.reason, h.time) ORDER BY h.time, h.id)
        INTO halts FROM remit.halt h
        WHERE h.scope IN ('all', 'policy') OR (h.scope = 'agent' AND h.value = asked_subject)
           OR (h.scope = 'workflow' AND h.value = asked_workflow)
           OR (h.scope = 'service' AND h.value = asked_service);
    END IF;
    FOR n IN 1..cardinality(budgets) LOOP
        SELECT b.adjusted, b.spent, b.held, remit.idle_in(b.id) INTO adjusted, spent, held, idle FROM remit.budget b
        WHERE b.budget = budgets[n] AND b.scope = scopes[n] AND b.start_ns = starts[n] AND b.end_ns = ends[n];
        rooms := rooms || CASE WHEN FOUND THEN json_build_array(adjusted, spent, held, idle) END;
    END LOOP;
    IF things <> '{}' THEN
        SELECT json_agg(json_build_array(c.key, c.subject, c.workflow, c.token, c.expires, c.time)
            ORDER BY array_position(things, c.key))
        INTO claims FROM remit.claim c WHERE c.key = ANY (things);
    END IF;
    IF asked_object <> '' THEN
        SELECT json_agg(json_build_array(a.subject, a.operation, a.decision, a.time) ORDER BY a.time, a.subject, a.operation)
        INTO acts FROM remit.act a
        WHERE a.workflow = asked_workflow AND a.object = asked_object AND a.subject <> asked_subject;
    END IF;
    RETURN json_build_object(
        'session', session, 'shares', shares, 'version', coalesce(version, 0), 'workflow', flow,
        'halts', halts, 'halts_version', halts_version, 'budgets', rooms, 'claims', claims, 'acts', acts
    )::text;
END
$$;
