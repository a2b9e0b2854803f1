-- One batch of commits: one call, one transaction, one round trip. Each caller's part is a subtransaction of its own;
-- what it has done is undone where anything of it is refused, and harms nobody else. At most 32 callers, so that a
-- transaction's subtransactions fit into the server's cache of them.
--
-- Order of locks, the same for everybody: months that are missing, the log, rows of budgets by their ids, homes by
-- their hashes, halts, things (claims, approvals, objects of workflows) by their hashes; then what each caller touches;
-- then hours of spending, totals by whom, versions of sessions, that of the approvals.
--
-- Within the block of a caller nothing may fail after the first variable of the batch was changed: a block's end undoes
-- what was written to tables, and not what is in variables.

-- {log, own: the local log that the writer decides by or "", revision, sequence, head: hex,
--  rows: [[budget, scope, start, end, limit]], ends: [decision], halting: whether a halt is placed or lifted,
--  things: as lock_things takes them,
--  commits: [{rows: [n of rows], part: {record, effects, versions or null, subject, workflow, homes: [subject],
--             counted: [subject of whom no two commits may count at a time]}}]}
-- -> {sequence, outcomes: [{done: [sequence, hash: hex]} | {refused: [reason, name], allotted} | {busy, name, log}
--                          | {error: [kind, text…]}]}
CREATE OR REPLACE FUNCTION commit(p jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    mine log;
    own text := p->>'own';
    place bigint;
    top bytea;
    known text[];
    named bigint[];
    till rooms;
    ends ending[] := '{}';
    changed text[] := '{}';
    has_moved boolean := false;  -- an approval
    outcomes jsonb[] := '{}';
    -- One caller's:
    entry jsonb;
    part jsonb;
    at bigint;
    id_ text;
    its_rows bigint[];
    its_till rooms;
    its_ends ending[];
    its_changed text[];
    its_moved boolean;
    hash_ bytea;
    effect jsonb;
    end_ ending;
    said text;
BEGIN
    PERFORM ensure_partitions(t) FROM (
        SELECT DISTINCT (value->'part'->'record'->>'time')::bigint AS t FROM jsonb_array_elements(p->'commits')) AS times
    WHERE NOT EXISTS (SELECT FROM journal_months WHERE month_start <= t AND t < month_end);
    mine := hold_log_at(p);
    IF EXISTS (SELECT FROM log WHERE name = own) THEN
        PERFORM check_role(own);
    END IF;
    place := mine.sequence;
    top := mine.head;
    SELECT array_agg(id) INTO known FROM journal
    WHERE id = ANY (ARRAY (SELECT value->'part'->'record'->>'id' FROM jsonb_array_elements(p->'commits')));
    IF p->'rows' <> '[]' OR p->'ends' <> '[]' THEN
        named := budget_rows(p->'rows');
        till := lock_rooms(named || ARRAY (
            SELECT unnest(budgets) FROM reservation
            WHERE decision = ANY (ARRAY (SELECT jsonb_array_elements_text(p->'ends')))));
    END IF;
    PERFORM lock_homes(p->'commits');
    IF (p->>'halting')::boolean THEN
        PERFORM pg_advisory_xact_lock(3, 1);  -- whoever has not seen the halt has ended before it is in force
    ELSE
        PERFORM pg_advisory_xact_lock_shared(3, 1);
    END IF;
    IF p->'things' <> '[]' THEN
        PERFORM lock_things(p->'things');
    END IF;

    FOR entry IN SELECT value FROM jsonb_array_elements(p->'commits') LOOP
        BEGIN
            part := entry->'part';
            at := (part->'record'->>'time')::bigint;
            id_ := part->'record'->>'id';
            IF id_ = ANY (known) THEN
                PERFORM answer(jsonb_build_object('error', jsonb_build_array('store', format('record %s exists', id_))));
            END IF;
            PERFORM check_homes(part->'homes', own);
            IF part->'versions' <> 'null' THEN
                PERFORM check_versions(part, at, p->>'revision', changed);
            END IF;
            its_rows := ARRAY (SELECT named[value::integer + 1]
                               FROM jsonb_array_elements_text(entry->'rows') WITH ORDINALITY ORDER BY ordinality);
            its_till := till;
            its_ends := '{}';
            its_changed := '{}';
            its_moved := has_moved;
            FOR effect IN SELECT value FROM jsonb_array_elements(part->'effects') LOOP
                CASE effect->>'do'
                WHEN 'reserve' THEN
                    its_till := reserve(its_till, effect, its_rows, own);
                WHEN 'end' THEN
                    end_ := end_reservation(effect, at, own);
                    its_till := book_end(its_till, end_);
                    its_ends := its_ends || end_;
                WHEN 'prolong' THEN
                    PERFORM prolong_reservation(effect, own);
                WHEN 'adjust' THEN
                    its_till := adjust_budget(its_till, effect, its_rows);
                WHEN 'lapse' THEN
                    its_till := lapse_slice(its_till, effect, its_rows, at);
                WHEN 'join' THEN
                    IF join_labels(effect->>'subject', effect->>'workflow', effect->'labels') THEN
                        its_changed := its_changed || (effect->>'subject');
                    END IF;
                WHEN 'open' THEN
                    IF open_workflow(effect) THEN
                        its_changed := its_changed || (effect->>'opener');
                    END IF;
                WHEN 'close' THEN
                    its_changed := its_changed || close_workflow(effect);
                WHEN 'bind' THEN
                    PERFORM bind_trace(effect->>'subject', effect->>'trace', effect->>'workflow');
                WHEN 'use' THEN
                    PERFORM use_passport(effect);
                WHEN 'place' THEN
                    PERFORM place_halt(effect);
                WHEN 'lift' THEN
                    PERFORM lift_halt(effect);
                WHEN 'keep' THEN
                    PERFORM keep_answer(effect);
                WHEN 'see' THEN
                    PERFORM see_subjects(effect, mine.name, place + 1, id_, at);
                WHEN 'respect' THEN
                    PERFORM respect_claims(effect, at);
                WHEN 'act' THEN
                    PERFORM note_act(effect, at);
                WHEN 'grant' THEN
                    PERFORM use_grant(effect, at);
                WHEN 'ask' THEN
                    PERFORM open_approval(effect, at);
                    its_moved := true;
                WHEN 'ask_too' THEN
                    its_moved := join_approval(effect, at) OR its_moved;
                WHEN 'move' THEN
                    PERFORM move_approval(effect, at);
                    its_moved := true;
                WHEN 'take' THEN
                    PERFORM take_claim(effect, at);
                WHEN 'release' THEN
                    PERFORM release_claim(effect, at);
                END CASE;
            END LOOP;
            hash_ := append(mine.name, place + 1, top, part->'record');
            -- Nothing fails from here on.
            place := place + 1;
            top := hash_;
            known := known || id_;
            till := its_till;
            ends := ends || its_ends;
            changed := changed || its_changed;
            has_moved := its_moved;
            outcomes := outcomes || jsonb_build_object('done', jsonb_build_array(place, encode(hash_, 'hex')));
        EXCEPTION
            WHEN SQLSTATE 'RM900' THEN
                GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
                outcomes := outcomes || said::jsonb;
            WHEN data_exception OR integrity_constraint_violation OR case_not_found OR program_limit_exceeded THEN
                outcomes := outcomes || jsonb_build_object('error', jsonb_build_array(
                    'store', format('the store''s own check refused it: %s (SQLSTATE %s)', SQLERRM, SQLSTATE)));
        END;
    END LOOP;

    IF place > mine.sequence THEN
        IF till.id <> '{}' THEN
            PERFORM write_rooms(till);
        END IF;
        IF ends <> '{}' THEN
            PERFORM tell_ends(ends);
        END IF;
        IF changed <> '{}' THEN
            PERFORM move_versions(changed);
        END IF;
        IF has_moved THEN
            UPDATE shared SET approvals = approvals + 1;
        END IF;
        UPDATE log SET sequence = place, head = top, revision = p->>'revision' WHERE name = mine.name;
    END IF;
    RETURN jsonb_build_object('sequence', place, 'outcomes', to_jsonb(outcomes));
END $$;

-- How a caller's part ends before its time: its answer, for the batch to tell.
CREATE OR REPLACE FUNCTION answer(outcome jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'answer' USING ERRCODE = 'RM900', DETAIL = outcome::text;
END $$;

CREATE OR REPLACE FUNCTION refuse(reason text, name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM answer(jsonb_build_object('refused', jsonb_build_array(reason, name)));
END $$;

CREATE OR REPLACE FUNCTION illegal(why text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM answer(jsonb_build_object('error', jsonb_build_array('illegal', why)));
END $$;

CREATE OR REPLACE FUNCTION not_found(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM answer(jsonb_build_object('error', jsonb_build_array('not_found', what)));
END $$;

-- What was read was changed under us: the whole batch is done again, by its writer.
CREATE OR REPLACE FUNCTION again(why text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', why USING ERRCODE = 'serialization_failure';
END $$;
