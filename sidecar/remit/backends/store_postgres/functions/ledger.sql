-- Functions that ask tables are in PL/pgSQL, which plans a statement once a session; one in SQL is planned at each call.
--
-- Money. A row has room if spent + held + the amount <= its limit + its adjustments (remit.core.reservation).
--
-- Whoever changes rows of `budget` locks all of them before, in the order of their ids. A batch then works on what it
-- has read (`rooms`), so that a row has one new version for a batch, and what one caller did is undone by forgetting it.

-- Locks rows, and gives what is in them.
CREATE OR REPLACE FUNCTION lock_rooms(ids bigint[]) RETURNS rooms LANGUAGE plpgsql AS $$
DECLARE
    till rooms;
BEGIN
    SELECT coalesce(array_agg(b.id), '{}'), coalesce(array_agg(b.limit_nanos), '{}'),
           coalesce(array_agg(b.adjusted), '{}'), coalesce(array_agg(b.spent), '{}'), coalesce(array_agg(b.held), '{}')
    INTO till
    FROM (SELECT * FROM budget WHERE id = ANY (ids) ORDER BY id FOR NO KEY UPDATE) AS b;
    RETURN till;
END $$;

-- The ids of rows by their keys, in the same order; those that are missing are made.
-- [[budget, scope, start, end, limit], …]
CREATE OR REPLACE FUNCTION budget_rows(p jsonb) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
BEGIN
    FOR turn IN 1..2 LOOP
        SELECT array_agg(b.id ORDER BY w.n) INTO ids
        FROM jsonb_array_elements(p) WITH ORDINALITY AS w (key, n)
        LEFT JOIN budget b ON b.budget = w.key->>0 AND b.scope = w.key->>1
            AND b.start_ns = (w.key->>2)::bigint AND b.end_ns = (w.key->>3)::bigint;
        EXIT WHEN turn = 2 OR array_position(ids, NULL) IS NULL;
        INSERT INTO budget (budget, scope, start_ns, end_ns, limit_nanos)
        SELECT w.key->>0, w.key->>1, (w.key->>2)::bigint, (w.key->>3)::bigint, (w.key->>4)::bigint
        FROM jsonb_array_elements(p) WITH ORDINALITY AS w (key, n)
        WHERE ids[w.n] IS NULL
        ORDER BY (w.key->>0) COLLATE "C", (w.key->>1) COLLATE "C", (w.key->>2)::bigint, (w.key->>3)::bigint
        ON CONFLICT DO NOTHING;
    END LOOP;
    RETURN coalesce(ids, '{}');
END $$;

-- Writes rooms back.
CREATE OR REPLACE FUNCTION write_rooms(till rooms) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE budget b
    SET limit_nanos = t.limit_nanos, adjusted = t.adjusted, spent = t.spent, held = t.held
    FROM unnest(till.id, till.limit_nanos, till.adjusted, till.spent, till.held)
        AS t (id, limit_nanos, adjusted, spent, held)
    WHERE b.id = t.id
      AND (b.limit_nanos, b.adjusted, b.spent, b.held) <> (t.limit_nanos, t.adjusted, t.spent, t.held);
END $$;

-- Holds an amount in every row: `named` are the ids of the batch's rows. Refuses by the first row without room.
-- {decision, subject, workflow, service, variant, owner, amount, deadline, rows: [[n of the caller's rows, limit]]}
CREATE OR REPLACE FUNCTION reserve(till rooms, p jsonb, named bigint[], own text) RETURNS rooms LANGUAGE plpgsql AS $$
DECLARE
    amount_ bigint := (p->>'amount')::bigint;
    one jsonb;
    place integer;
    limit_ bigint;
    ids bigint[] := '{}';
BEGIN
    FOR one IN SELECT value FROM jsonb_array_elements(p->'rows') LOOP
        place := array_position(till.id, named[(one->>0)::integer + 1]);
        limit_ := (one->>1)::bigint;
        IF amount_ <> 0 AND till.spent[place]::numeric + till.held[place] + amount_
                            > limit_::numeric + till.adjusted[place] THEN
            PERFORM no_room(till.id[place], own);
        END IF;
        till.held[place] := till.held[place] + amount_;
        till.limit_nanos[place] := limit_;
        ids := ids || till.id[place];
    END LOOP;
    INSERT INTO reservation (decision, subject, workflow, service, variant, owner, amount, spent, deadline, state,
                             report_digest, budgets)
    VALUES (p->>'decision', p->>'subject', p->>'workflow', p->>'service', p->>'variant', p->>'owner', amount_, 0,
            (p->>'deadline')::bigint, 'held', '', ids)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        PERFORM illegal(format('decision %s has reserved before', p->>'decision'));
    END IF;
    RETURN till;
END $$;

-- Refuses for want of room; says whether others' slices of the row have something left, which they may give back.
CREATE OR REPLACE FUNCTION no_room(row_id bigint, own text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM answer(jsonb_build_object(
        'refused', jsonb_build_array('budget_exhausted', (SELECT budget FROM budget WHERE id = row_id)),
        'allotted', EXISTS (
            SELECT FROM allotment a
            WHERE a.budget = row_id AND a.log <> own AND NOT a.lapsed AND a.allotted > a.drawn
                AND is_leased(a.log))));
END $$;

-- Ends a reservation: settled, voided or lapsed. Gives what that changes, which is still to be booked.
-- {decision, how, cost, usage, digest}
CREATE OR REPLACE FUNCTION end_reservation(p jsonb, now bigint, own text) RETURNS ending LANGUAGE plpgsql AS $$
DECLARE
    was reservation;
    how text := p->>'how';
    cost bigint := (p->>'cost')::bigint;
    total bigint;
    ends ending;
BEGIN
    was := find_reservation(p->>'decision', own);
    IF NOT (was.state = 'held' AND how IN ('settled', 'voided', 'lapsed') OR was.state = 'lapsed' AND how = 'settled') THEN
        PERFORM illegal(format('a %s reservation cannot be %s', was.state, how));
    END IF;
    IF how = 'lapsed' AND was.deadline > now THEN
        PERFORM illegal('the reservation''s deadline was moved on and has not passed');
    END IF;
    IF how = 'voided' AND cost <> 0 THEN
        PERFORM answer('{"error": ["bad_request", "cost", "0 where nothing was sent"]}');
    END IF;
    total := CASE how WHEN 'settled' THEN cost WHEN 'voided' THEN 0 ELSE was.amount END;
    PERFORM write_reservation(was, how, total, was.deadline, p->>'digest');
    ends.budgets := was.budgets;
    ends.held := CASE was.state WHEN 'held' THEN -was.amount ELSE 0 END;
    ends.spent := total - CASE was.state WHEN 'lapsed' THEN was.amount ELSE 0 END;
    ends.overrun := greatest(0, total - was.amount);
    ends.subject := was.subject;
    ends.service := was.service;
    ends.variant := was.variant;
    ends.owner := was.owner;
    ends.usage := p->'usage';
    ends.voided := how = 'voided';
    ends.hour := hour_of(now);
    RETURN ends;
END $$;

-- Moves a held reservation's deadline on, never back.
-- {decision, deadline}
CREATE OR REPLACE FUNCTION prolong_reservation(p jsonb, own text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    was reservation := find_reservation(p->>'decision', own);
BEGIN
    IF was.state <> 'held' THEN
        PERFORM illegal(format('a %s reservation cannot be prolonged', was.state));
    END IF;
    PERFORM write_reservation(was, 'held', was.spent, greatest(was.deadline, (p->>'deadline')::bigint), '');
END $$;

-- A reservation that nobody else decides on: one of another writer's slice is its alone while its lease lasts.
CREATE OR REPLACE FUNCTION find_reservation(wanted text, own text) RETURNS reservation LANGUAGE plpgsql AS $$
DECLARE
    was reservation;
BEGIN
    SELECT * INTO was FROM reservation WHERE decision = wanted;
    IF NOT FOUND THEN
        PERFORM not_found(format('decision %s has reserved nothing', wanted));
    END IF;
    IF was.allotted NOT IN ('', own) AND NOT is_over(was.allotted) THEN
        PERFORM answer(jsonb_build_object('busy', 'reservation', 'name', wanted, 'log', was.allotted));
    END IF;
    RETURN was;
END $$;

-- Changes a reservation that is still as it was read; one of a slice whose writer's lease has passed becomes a plain one.
CREATE OR REPLACE FUNCTION write_reservation(was reservation, how text, total bigint, until bigint, digest text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE reservation
    SET state = how, spent = total, deadline = until, report_digest = digest,
        allotted = CASE WHEN allotted <> '' AND is_leased(allotted) THEN allotted ELSE '' END
    WHERE decision = was.decision AND (state, spent, deadline, allotted) = (was.state, was.spent, was.deadline, was.allotted);
    IF NOT FOUND THEN
        PERFORM again(format('reservation %s was changed by another writer', was.decision));
    END IF;
END $$;

-- Books an end in the rooms of its rows.
CREATE OR REPLACE FUNCTION book_end(till rooms, e ending) RETURNS rooms LANGUAGE plpgsql AS $$
DECLARE
    place integer;
    row_id bigint;
BEGIN
    FOREACH row_id IN ARRAY e.budgets LOOP
        place := array_position(till.id, row_id);
        IF place IS NULL THEN
            PERFORM again(format('row %s was not locked', row_id));
        END IF;
        till.held[place] := till.held[place] + e.held;
        till.spent[place] := total(till.spent[place], e.spent);
    END LOOP;
    RETURN till;
END $$;

-- Moves the limit of a row.
-- {row: n of the caller's rows, limit, delta}
CREATE OR REPLACE FUNCTION adjust_budget(till rooms, p jsonb, named bigint[]) RETURNS rooms LANGUAGE plpgsql AS $$
DECLARE
    place integer := array_position(till.id, named[(p->>'row')::integer + 1]);
BEGIN
    till.adjusted[place] := till.adjusted[place] + (p->>'delta')::bigint;
    till.limit_nanos[place] := (p->>'limit')::bigint;
    IF (p->>'delta')::bigint < 0 THEN
        -- What slices have left was within the limit of before.
        PERFORM 1 FROM allotment WHERE budget = till.id[place] ORDER BY log FOR UPDATE;
        UPDATE allotment SET recalled = true
        WHERE budget = till.id[place] AND NOT recalled AND NOT lapsed AND allotted > drawn;
    END IF;
    RETURN till;
END $$;

-- A total after a change: never below 0, and it stops growing at 2^62 (remit.core.reservation.MAX_TOTAL).
CREATE OR REPLACE FUNCTION total(before bigint, change bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(0, least(before::numeric + change, 4611686018427387904))::bigint
$$;

-- When the hour began.
CREATE OR REPLACE FUNCTION hour_of(at bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT at - at % 3600000000000
$$;

-- Moves one row's `held` and `spent`, and tells the hour what was spent. The row is locked.
CREATE OR REPLACE FUNCTION book(row_id bigint, held_change bigint, spent_change bigint, now bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE budget SET held = held + held_change, spent = total(spent, spent_change) WHERE id = row_id;
    IF spent_change <> 0 THEN
        PERFORM tell_burn(row_id, hour_of(now), spent_change);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION tell_burn(row_id bigint, in_hour bigint, change numeric) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO burn AS b (budget, hour, spent)
    VALUES (row_id, in_hour, greatest(-4611686018427387904, least(change, 4611686018427387904))::bigint)
    ON CONFLICT (budget, hour) DO UPDATE
    SET spent = greatest(-4611686018427387904, least(b.spent::numeric + change, 4611686018427387904))::bigint;
END $$;

-- Adds to what was spent by whom on what: `usage_` is quantity by unit. A correction of what was presumed may lower it.
CREATE OR REPLACE FUNCTION tally(
    subject_ text, service_ text, variant_ text, owner_ text, cost_change numeric, overrun_change numeric, usage_ jsonb
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO spending AS s (subject, service, variant, owner, cost, overrun)
    VALUES (subject_, service_, variant_, owner_, greatest(0, least(cost_change, 4611686018427387904))::bigint,
            least(overrun_change, 4611686018427387904)::bigint)
    ON CONFLICT (subject, service, variant, owner) DO UPDATE
    SET cost = greatest(0, least(s.cost + cost_change, 4611686018427387904))::bigint,
        overrun = least(s.overrun + overrun_change, 4611686018427387904)::bigint;
    INSERT INTO usage AS u (subject, service, variant, owner, unit, quantity)
    SELECT subject_, service_, variant_, owner_, unit, least(quantity::numeric, 4611686018427387904)::bigint
    FROM jsonb_each_text(coalesce(usage_, '{}')) AS given (unit, quantity)
    ORDER BY unit COLLATE "C"
    ON CONFLICT (subject, service, variant, owner, unit) DO UPDATE
    SET quantity = least(u.quantity::numeric + excluded.quantity, 4611686018427387904)::bigint;
END $$;

-- What a batch's ends changed beside the rows, in one order, so that no two batches wait for each other.
CREATE OR REPLACE FUNCTION tell_ends(ends ending[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tell_burn(t.budget, t.hour, t.spent) FROM (
        SELECT b.budget, e.hour, sum(e.spent) AS spent
        FROM unnest(ends) AS e, unnest(e.budgets) AS b (budget)
        WHERE e.spent <> 0 GROUP BY b.budget, e.hour ORDER BY b.budget, e.hour) AS t;
    PERFORM tell_totals(ends);
END $$;

-- By whom and on what; one that was voided adds nothing.
CREATE OR REPLACE FUNCTION tell_totals(ends ending[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tally(t.subject, t.service, t.variant, t.owner, t.cost, t.overrun, t.usage) FROM (
        SELECT e.subject, e.service, e.variant, e.owner, sum(e.spent) AS cost, sum(e.overrun) AS overrun,
               add_usage(array_agg(e.usage)) AS usage
        FROM unnest(ends) AS e WHERE NOT e.voided
        GROUP BY e.subject, e.service, e.variant, e.owner
        ORDER BY e.subject COLLATE "C", e.service COLLATE "C", e.variant COLLATE "C", e.owner COLLATE "C") AS t;
END $$;

CREATE OR REPLACE FUNCTION add_usage(usages jsonb[]) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN (SELECT coalesce(jsonb_object_agg(t.unit, t.quantity), '{}') FROM (
        SELECT g.unit, sum(g.quantity::numeric) AS quantity
        FROM unnest(usages) AS u, jsonb_each_text(u) AS g (unit, quantity) GROUP BY g.unit) AS t);
END $$;
