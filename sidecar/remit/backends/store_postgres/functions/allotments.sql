-- What a writer decides by itself between its shipments: slices of budgets, and sessions of subjects, for a term.
--
-- A term lasts as long as the writer's lease. While it lasts, nobody else ends its reservations or takes its homes;
-- when it has passed, others may, and the writer closes its books before it begins another.
-- For each row, a writer's claim is what its reservations hold and have spent, and what its slice has left:
-- `left` = greatest(0, allotted - drawn), inside the row's `held`, or its `spent` once the slice has lapsed.

-- The id of a row that is there: whoever names rows has had them made (budget_rows) and locked before.
CREATE OR REPLACE FUNCTION budget_row(p jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT id FROM budget
            WHERE budget = p->>'budget' AND scope = p->>'scope'
              AND start_ns = (p->>'start')::bigint AND end_ns = (p->>'end')::bigint);
END $$;

-- Rows as budget_rows takes them, each once.
CREATE OR REPLACE FUNCTION row_keys(rows jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_array(
        r->>'budget', r->>'scope', r->'start', r->'end', r->'limit')), '[]') FROM jsonb_array_elements(rows) AS r
$$;

-- Whether a writer still decides by what it holds.
CREATE OR REPLACE FUNCTION is_leased(p_log text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM log WHERE name = p_log AND lease > clock_timestamp())
$$;

-- What slices of a row have left: held, but by no call. Whoever needs it asks for it back.
CREATE OR REPLACE FUNCTION idle_in(row_id bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT coalesce(sum(greatest(0, a.allotted - a.drawn)), 0)::bigint
            FROM remit.allotment a WHERE a.budget = row_id AND NOT a.lapsed);
END $$;

-- Whether a writer decides no more by what it held. Its log stays locked until this transaction ends: no pulse that was
-- asked in time, and is not durable yet, prolongs a lease that others have taken from; and a later one finds it passed.
-- A log that is being moved is left alone: its writer is there.
CREATE OR REPLACE FUNCTION is_over(p_log text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM log WHERE name = p_log AND lease <= clock_timestamp() FOR SHARE SKIP LOCKED;
    RETURN FOUND;
END $$;

-- Refuses whoever is not the log's writer, as far as that can be told: while the writer is connected, nobody else.
CREATE OR REPLACE FUNCTION check_writer(p_log text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM check_role(p_log);
    IF NOT (SELECT pg_try_advisory_xact_lock(2, number::integer) FROM log WHERE name = p_log) THEN
        RAISE EXCEPTION 'another writer holds log %', p_log USING ERRCODE = 'RM101';
    END IF;
END $$;

-- Moves what a slice has drawn and was allotted; how much its row's claim changes: held, or spent where it has lapsed.
CREATE OR REPLACE FUNCTION redraw(p_log text, p_budget bigint, p_allotted bigint, p_drawn bigint, now bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    slice allotment;
    change bigint;
BEGIN
    INSERT INTO allotment (budget, log, allotted) VALUES (p_budget, p_log, 0) ON CONFLICT DO NOTHING;
    SELECT * INTO slice FROM allotment WHERE budget = p_budget AND log = p_log FOR UPDATE;
    -- Costs are anybody's: `drawn` stops growing where totals do (remit.core.reservation.MAX_TOTAL).
    UPDATE allotment SET allotted = allotted + p_allotted,
                         drawn = least(drawn::numeric + p_drawn, 4611686018427387904)::bigint
    WHERE budget = p_budget AND log = p_log;
    change := greatest(0, slice.allotted::numeric + p_allotted - slice.drawn - p_drawn)
            - greatest(0, slice.allotted::numeric - slice.drawn);
    IF slice.lapsed THEN
        PERFORM book(p_budget, 0, change, now);
        RETURN 0;
    END IF;
    RETURN change;
END $$;

-- Ends whatever term the log had, and begins another. Its books must be closed: everything shipped.
-- {log, lease_ms} -> {halts, members}
CREATE OR REPLACE FUNCTION begin_term(p jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM close_books(p);  -- of nobody else's log
    UPDATE log SET lease = clock_timestamp() + make_interval(secs => least((p->>'lease_ms')::bigint, 10000) / 1000.0)
    WHERE name = p->>'log';
    RETURN term_facts(p);
END $$;

-- Prolongs the lease. Once it has passed it is lost, and only another term gives one.
-- {log, lease_ms} -> as term_facts, or {lost: true}
CREATE OR REPLACE FUNCTION pulse(p jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM check_role(p->>'log');
    UPDATE log SET lease = clock_timestamp() + make_interval(secs => least((p->>'lease_ms')::bigint, 10000) / 1000.0)
    WHERE name = p->>'log' AND lease > clock_timestamp();
    IF NOT FOUND THEN
        RETURN '{"lost": true}';
    END IF;
    RETURN term_facts(p);
END $$;

-- {log, flows: […], rooms: [row…]} -> {halts: {version, list}, members, rows: recalled slices, subjects: recalled
-- homes, closed: which of the workflows have been closed, rooms: [[limit, spent, held, idle] or null]}
CREATE OR REPLACE FUNCTION term_facts(p jsonb) RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER AS $$
    SELECT jsonb_build_object(
        'halts', jsonb_build_object(
            'version', (SELECT halts FROM shared),
            'list', (SELECT coalesce(jsonb_agg(jsonb_build_array(id, scope, value, placed_by, reason, time)
                     ORDER BY time, id), '[]') FROM halt)),
        'members', (SELECT count(*) FROM log WHERE kind = 'local' AND lease > clock_timestamp()),
        'rows', (SELECT coalesce(jsonb_agg(jsonb_build_array(b.budget, b.scope, b.start_ns, b.end_ns)), '[]')
                 FROM allotment a JOIN budget b ON b.id = a.budget WHERE a.log = p->>'log' AND a.recalled AND a.allotted > a.drawn),
        'subjects', (SELECT coalesce(jsonb_agg(subject), '[]') FROM home WHERE log = p->>'log' AND recalled),
        'closed', (SELECT coalesce(jsonb_agg(id), '[]') FROM workflow WHERE closed_by <> '' AND id IN (
            SELECT jsonb_array_elements_text(p->'flows'))),
        'rooms', (SELECT coalesce(jsonb_agg(CASE WHEN b.id IS NULL THEN NULL ELSE jsonb_build_array(
                      b.limit_nanos + b.adjusted, b.spent, b.held, idle_in(b.id)) END ORDER BY r.ordinality), '[]')
                  FROM jsonb_array_elements(p->'rooms') WITH ORDINALITY AS r
                  LEFT JOIN budget b ON b.budget = r.value->>'budget' AND b.scope = r.value->>'scope'
                      AND b.start_ns = (r.value->>'start')::bigint AND b.end_ns = (r.value->>'end')::bigint))
$$;

-- Everything that the log decided by itself becomes plain: what is left of slices returns to its rows, open
-- reservations stand in the rows themselves, homes are nobody's.
-- {log, now}
CREATE OR REPLACE FUNCTION close_books(p jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    slice record;
BEGIN
    PERFORM check_writer(p->>'log');
    PERFORM 1 FROM budget WHERE id IN (SELECT budget FROM allotment WHERE log = p->>'log') ORDER BY id FOR UPDATE;
    PERFORM 1 FROM allotment WHERE log = p->>'log' ORDER BY budget FOR UPDATE;
    FOR slice IN DELETE FROM allotment WHERE log = p->>'log' RETURNING budget, lapsed, greatest(0, allotted - drawn) AS l LOOP
        IF slice.lapsed THEN
            PERFORM book(slice.budget, 0, -slice.l, (p->>'now')::bigint);
        ELSE
            PERFORM book(slice.budget, -slice.l, 0, (p->>'now')::bigint);
        END IF;
    END LOOP;
    UPDATE reservation SET allotted = '' WHERE state = 'held' AND allotted = p->>'log' AND allotted <> '';
    DELETE FROM home WHERE log = p->>'log';
    UPDATE log SET lease = '-infinity' WHERE name = p->>'log';
    RETURN '{}';
END $$;

-- Takes slices, each where it fits; what is left in each row afterwards.
-- {log, rows: [{budget, scope, start, end, limit, amount}]} -> [{granted, limit, spent, held}]
CREATE OR REPLACE FUNCTION take_slices(p jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    one record;
    answer jsonb := '[]';
    granted bigint;
    now budget;
BEGIN
    PERFORM check_writer(p->>'log');
    IF NOT is_leased(p->>'log') THEN
        RAISE EXCEPTION 'log % has no lease', p->>'log' USING ERRCODE = 'RM001';
    END IF;
    PERFORM lock_rooms(budget_rows(row_keys(p->'rows')));
    FOR one IN SELECT value AS row, budget_row(value) AS id FROM jsonb_array_elements(p->'rows') WITH ORDINALITY
               ORDER BY ordinality LOOP
        granted := greatest(0, (one.row->>'amount')::bigint);
        UPDATE budget SET limit_nanos = (one.row->>'limit')::bigint WHERE id = one.id
            AND limit_nanos <> (one.row->>'limit')::bigint;
        UPDATE budget SET held = held + granted
        WHERE id = one.id AND granted > 0 AND spent + held + granted <= limit_nanos + adjusted;
        IF NOT FOUND THEN
            granted := 0;
        ELSE
            INSERT INTO allotment (budget, log, allotted) VALUES (one.id, p->>'log', 0) ON CONFLICT DO NOTHING;
            -- What it overdrew is spent or held in the row already: only what is positive is a claim.
            UPDATE budget SET held = held - least(granted, greatest(0, a.drawn - a.allotted))
            FROM allotment a WHERE budget.id = one.id AND a.budget = one.id AND a.log = p->>'log';
            UPDATE allotment SET allotted = allotted + granted, recalled = false
            WHERE budget = one.id AND log = p->>'log';
        END IF;
        SELECT * INTO now FROM budget WHERE id = one.id;
        answer := answer || jsonb_build_object('granted', granted, 'limit', now.limit_nanos + now.adjusted,
                                               'spent', now.spent, 'held', now.held);
    END LOOP;
    RETURN answer;
END $$;

-- Whose sessions they are, where nobody else's lease holds them: and the answers kept for each, so that the writer knows
-- which keys are new (null where there are more than `most`).
-- {log, subjects, most} -> {subject: [[rpc, key]] or null}, without those that are another's
CREATE OR REPLACE FUNCTION settle_homes(p jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    one text;
    whose text;
    known jsonb;
    answer jsonb := '{}';
BEGIN
    PERFORM check_writer(p->>'log');
    IF NOT is_leased(p->>'log') THEN
        RAISE EXCEPTION 'log % has no lease', p->>'log' USING ERRCODE = 'RM001';
    END IF;
    FOR one IN SELECT value FROM jsonb_array_elements_text(p->'subjects') ORDER BY hashtext(value) LOOP
        -- Commits of others that concern the subject have ended, and see the home from now on.
        PERFORM pg_advisory_xact_lock(1, hashtext(one));
        SELECT log INTO whose FROM home WHERE subject = one;
        CONTINUE WHEN whose <> p->>'log' AND NOT is_over(whose);
        INSERT INTO home (subject, log) VALUES (one, p->>'log')
        ON CONFLICT (subject) DO UPDATE SET log = excluded.log, recalled = false;
        SELECT jsonb_agg(jsonb_build_array(k.rpc, k.key)) INTO known FROM (
            SELECT rpc, key FROM kept WHERE subject = one LIMIT (p->>'most')::bigint + 1) AS k;
        IF jsonb_array_length(known) > (p->>'most')::bigint THEN
            known := 'null';
        END IF;
        answer := answer || jsonb_build_object(one, coalesce(known, '[]'));
    END LOOP;
    RETURN answer;
END $$;

-- {log, subjects: […]}
CREATE OR REPLACE FUNCTION leave_homes(p jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM check_writer(p->>'log');
    DELETE FROM home WHERE log = p->>'log' AND subject IN (SELECT jsonb_array_elements_text(p->'subjects'));
    RETURN '{}';
END $$;

-- Asks for what others hold: a subject's home, or what is left of a budget's slices. True: somebody still holds it.
-- {own, subject} or {own, budget}
CREATE OR REPLACE FUNCTION recall(p jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    held boolean := false;
BEGIN
    IF p ? 'subject' THEN
        UPDATE home SET recalled = true WHERE subject = p->>'subject' AND log <> p->>'own' AND NOT recalled;
        held := EXISTS (SELECT FROM home WHERE subject = p->>'subject' AND log <> p->>'own' AND is_leased(log));
    ELSE
        -- Locked in the order in which their writers move them.
        PERFORM 1 FROM allotment a JOIN budget b ON b.id = a.budget
        WHERE b.budget = p->>'budget' AND a.log <> p->>'own' AND NOT a.recalled AND NOT a.lapsed AND a.allotted > a.drawn
        ORDER BY a.budget, a.log FOR UPDATE OF a;
        UPDATE allotment SET recalled = true FROM budget b
        WHERE b.id = allotment.budget AND b.budget = p->>'budget' AND allotment.log <> p->>'own'
          AND NOT recalled AND NOT lapsed AND allotted > drawn;
        held := EXISTS (SELECT FROM allotment a JOIN budget b ON b.id = a.budget
                        WHERE b.budget = p->>'budget' AND a.log <> p->>'own' AND NOT a.lapsed
                          AND a.allotted > a.drawn AND is_leased(a.log));
    END IF;
    RETURN jsonb_build_object('held', held);
END $$;

-- A sum of costs, as large as totals get.
CREATE OR REPLACE FUNCTION within(amount numeric) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(-4611686018427387904, least(amount, 4611686018427387904))::bigint
$$;

-- Appends records that their writer has chained already: each names the hash before it, and the first the log's head.
CREATE OR REPLACE FUNCTION append_linked(mine log, p jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    last record;
BEGIN
    IF jsonb_array_length(p) = 0 THEN
        RETURN;
    END IF;
    PERFORM ensure_partitions(t) FROM (
        SELECT DISTINCT (value->>'time')::bigint AS t FROM jsonb_array_elements(p) WHERE NOT EXISTS (
            SELECT FROM journal_months WHERE (value->>'time')::bigint BETWEEN month_start AND month_end - 1)) AS missing;
    INSERT INTO journal (log, sequence, time, kind, id, subject, workflow, parent, ref, previous, hash, body_hash, salt, body)
    SELECT mine.name, r.sequence, r.time, r.kind, r.id, r.subject, r.workflow, r.parent, r.ref, decode(r.previous, 'hex'),
           decode(r.hash, 'hex'), decode(r.body_hash, 'hex'), decode(r.salt, 'base64'), decode(r.body, 'base64')
    FROM jsonb_to_recordset(p) AS r (sequence bigint, time bigint, kind text, id text, subject text, workflow text,
         parent text, ref text, previous text, hash text, body_hash text, salt text, body text);
    FOR last IN
        SELECT r.sequence, r.hash, r.previous = lag(r.hash, 1, encode(mine.head, 'hex')) OVER w
               AND r.sequence = lag(r.sequence, 1, mine.sequence) OVER w + 1 AS chained
        FROM jsonb_to_recordset(p) AS r (sequence bigint, previous text, hash text) WINDOW w AS (ORDER BY r.sequence)
    LOOP
        IF NOT last.chained THEN
            RAISE EXCEPTION 'record % of log % is not chained to the one before it', last.sequence, mine.name
                USING ERRCODE = 'RM002';
        END IF;
    END LOOP;
    UPDATE log SET sequence = last.sequence, head = decode(last.hash, 'hex') WHERE name = mine.name;
END $$;

-- The ids of all rows that effects move; those that are missing are made.
CREATE OR REPLACE FUNCTION shipped_rows(effects jsonb) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    named jsonb;
BEGIN
    SELECT coalesce(jsonb_agg(r), '[]') INTO named
    FROM jsonb_array_elements(effects) AS e, jsonb_array_elements(CASE e->>'do'
        WHEN 'reserve' THEN e->'rows' WHEN 'give' THEN jsonb_build_array(e->'row') ELSE '[]' END) AS r;
    RETURN budget_rows(row_keys(named)) || ARRAY (
        SELECT unnest(budgets) FROM reservation WHERE decision = ANY (ARRAY (
            SELECT value->>'decision' FROM jsonb_array_elements(effects) WHERE value->>'do' = 'end')));
END $$;

-- What was decided locally, in order and once: records chained by their writer, and what each of them did.
-- {log, first, records: […], checkpoints: […], effects: [{do, …}]} -> {sequence}: what is there now
CREATE OR REPLACE FUNCTION ship(p jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    mine log := hold_log(p->>'log');
    one jsonb;
    bound reservation;
    rows bigint[];
    id bigint;
    cost bigint;
    change record;
    ends ending[] := '{}';
    ended ending;
    -- What is to be moved in each row, gathered and booked at the end in one order.
    ids bigint[] := '{}';
    helds bigint[] := '{}';
    spents bigint[] := '{}';
    drawns bigint[] := '{}';
    allotteds bigint[] := '{}';
    times bigint[] := '{}';
BEGIN
    IF mine.sequence + 1 <> (p->>'first')::bigint THEN
        RETURN jsonb_build_object('sequence', mine.sequence);  -- shipped before, or from a future that is lost
    END IF;
    PERFORM append_linked(mine, p->'records');
    -- As a commit does: rows of budgets first, all of them and by their ids, then what each effect touches.
    PERFORM lock_rooms(shipped_rows(p->'effects'));
    FOR one IN SELECT value FROM jsonb_array_elements(p->'effects') LOOP
        CASE one->>'do'
        WHEN 'reserve' THEN
            SELECT coalesce(array_agg(budget_row(value) ORDER BY ordinality), '{}') INTO rows
            FROM jsonb_array_elements(one->'rows') WITH ORDINALITY;
            INSERT INTO reservation (decision, subject, workflow, service, variant, owner, amount, spent, deadline,
                                     state, report_digest, budgets, allotted)
            VALUES (one->>'decision', one->>'subject', one->>'workflow', one->>'service', one->>'variant',
                    one->>'owner', (one->>'amount')::bigint, 0, (one->>'deadline')::bigint, 'held', '', rows,
                    mine.name);
            FOREACH id IN ARRAY rows LOOP
                ids := ids || id;
                helds := helds || (one->>'amount')::bigint;
                spents := spents || 0::bigint;
                drawns := drawns || (one->>'amount')::bigint;
                allotteds := allotteds || 0::bigint;
                times := times || hour_of((one->>'time')::bigint);
            END LOOP;
        WHEN 'prolong' THEN
            UPDATE reservation SET deadline = greatest(deadline, (one->>'deadline')::bigint)
            WHERE decision = one->>'decision' AND state = 'held';
        WHEN 'end' THEN
            SELECT * INTO bound FROM reservation WHERE decision = one->>'decision' FOR UPDATE;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'log % ends a reservation that it never made', mine.name USING ERRCODE = 'RM105';
            END IF;
            -- What it has spent now: a local end is final, whatever others presumed when the lease had passed.
            cost := CASE one->>'how' WHEN 'settled' THEN (one->>'cost')::bigint WHEN 'voided' THEN 0
                    ELSE bound.amount END;
            CONTINUE WHEN bound.state IN ('settled', 'voided') OR (bound.state = 'lapsed' AND one->>'how' = 'lapsed');
            UPDATE reservation SET state = one->>'how', spent = cost, report_digest = one->>'digest'
            WHERE decision = bound.decision;
            FOREACH id IN ARRAY bound.budgets LOOP
                ids := ids || id;
                helds := helds || CASE bound.state WHEN 'held' THEN -bound.amount ELSE 0 END;
                spents := spents || cost - CASE bound.state WHEN 'lapsed' THEN bound.amount ELSE 0 END;
                -- One that others ended is drawn as reserved for good: they were not told what came of it.
                drawns := drawns || CASE WHEN bound.allotted = mine.name THEN
                    cost - CASE bound.state WHEN 'lapsed' THEN bound.spent ELSE bound.amount END ELSE 0 END;
                allotteds := allotteds || 0::bigint;
                times := times || hour_of((one->>'time')::bigint);
            END LOOP;
            ended.spent := cost - CASE bound.state WHEN 'lapsed' THEN bound.amount ELSE 0 END;
            ended.overrun := greatest(0, cost - bound.amount);
            ended.subject := bound.subject;
            ended.service := bound.service;
            ended.variant := bound.variant;
            ended.owner := bound.owner;
            ended.usage := CASE one->>'how' WHEN 'voided' THEN '{}' ELSE one->'usage' END;
            -- Voided, it adds nothing to the totals; but what others presumed meanwhile is taken out of them.
            ended.voided := one->>'how' = 'voided' AND bound.state <> 'lapsed';
            ends := ends || ended;
        WHEN 'keep' THEN
            PERFORM has_kept(one);
        WHEN 'give' THEN
            ids := ids || budget_row(one->'row');
            helds := helds || 0::bigint;
            spents := spents || 0::bigint;
            drawns := drawns || 0::bigint;
            allotteds := allotteds || -(one->>'amount')::bigint;
            times := times || hour_of((one->>'time')::bigint);
        END CASE;
    END LOOP;
    FOR change IN
        SELECT m.id, m.time, sum(m.held)::bigint AS held, within(sum(m.spent)) AS spent, within(sum(m.drawn)) AS drawn,
               sum(m.allotted)::bigint AS allotted
        FROM unnest(ids, helds, spents, drawns, allotteds, times) AS m (id, held, spent, drawn, allotted, time)
        GROUP BY m.id, m.time ORDER BY m.id, m.time
    LOOP
        cost := redraw(mine.name, change.id, change.allotted, change.drawn, change.time);
        IF change.held + cost <> 0 OR change.spent <> 0 THEN
            PERFORM book(change.id, change.held + cost, change.spent, change.time);
        END IF;
    END LOOP;
    PERFORM tell_totals(ends);
    PERFORM keep_checkpoint(mine.name, value) FROM jsonb_array_elements(p->'checkpoints');
    RETURN jsonb_build_object('sequence', (SELECT sequence FROM log WHERE name = mine.name));
END $$;

-- Presumes spent what is left of a slice whose writer has had no lease for `after` seconds, in the course of a commit.
-- {log, row: n of the caller's rows, left, after}
CREATE OR REPLACE FUNCTION lapse_slice(till rooms, p jsonb, named bigint[], now bigint) RETURNS rooms LANGUAGE plpgsql
AS $$
DECLARE
    place integer := array_position(till.id, named[(p->>'row')::integer + 1]);
    remains bigint;
BEGIN
    SELECT greatest(0, a.allotted - a.drawn) INTO remains FROM allotment a JOIN log l ON l.name = a.log
    WHERE a.budget = till.id[place] AND a.log = p->>'log' AND NOT a.lapsed
      AND l.lease < clock_timestamp() - make_interval(secs => (p->>'after')::integer)
    FOR UPDATE OF a;
    IF NOT FOUND OR remains <> (p->>'left')::bigint THEN
        PERFORM illegal(format('the slice of log %s is not due, or has ended', p->>'log'));
    END IF;
    UPDATE allotment SET lapsed = true WHERE budget = till.id[place] AND log = p->>'log';
    till.held[place] := till.held[place] - remains;
    till.spent[place] := total(till.spent[place], remains);
    PERFORM tell_burn(till.id[place], hour_of(now), remains);
    RETURN till;
END $$;

-- Slices that are due to lapse, and how much each has left.
-- {after} -> [[log, [budget, scope, start, end, limit], left]]
CREATE OR REPLACE FUNCTION slices_due(p jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE SECURITY DEFINER AS $$
BEGIN
    RETURN (SELECT coalesce(jsonb_agg(jsonb_build_array(
        a.log, jsonb_build_array(b.budget, b.scope, b.start_ns, b.end_ns, b.limit_nanos), a.allotted - a.drawn)), '[]')
        FROM allotment a JOIN log l ON l.name = a.log JOIN budget b ON b.id = a.budget
        WHERE NOT a.lapsed AND a.allotted > a.drawn
          AND l.lease < clock_timestamp() - make_interval(secs => (p->>'after')::integer));
END $$;

-- Tells every member at once what it would otherwise find by its next pulse.
CREATE OR REPLACE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('remit', TG_ARGV[0]);
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER tell_halts AFTER UPDATE OF halts ON shared FOR EACH STATEMENT EXECUTE FUNCTION tell('halts');
CREATE OR REPLACE TRIGGER tell_closed AFTER UPDATE OF closed_by ON workflow
    FOR EACH STATEMENT EXECUTE FUNCTION tell('flows');
CREATE OR REPLACE TRIGGER tell_recalled_home AFTER UPDATE ON home
    FOR EACH ROW WHEN (new.recalled AND NOT old.recalled) EXECUTE FUNCTION tell('recalled');
CREATE OR REPLACE TRIGGER tell_recalled_slice AFTER UPDATE ON allotment
    FOR EACH ROW WHEN (new.recalled AND NOT old.recalled) EXECUTE FUNCTION tell('recalled');
