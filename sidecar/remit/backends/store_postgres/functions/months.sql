-- The journal and what was seen lie in a partition for each month (UTC) in which something was recorded.

-- The month of a time, made where it is missing. A clock that runs wild makes no more than so many.
CREATE OR REPLACE FUNCTION ensure_partitions(at bigint) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    most constant integer := 360;
    first timestamp;
    starts bigint;
    ends bigint;
    name text;
BEGIN
    IF EXISTS (SELECT FROM journal_months WHERE month_start <= at AND at < month_end) THEN
        RETURN;
    END IF;
    IF at < 0 THEN
        RAISE EXCEPTION 'time % is before 1970', at USING ERRCODE = 'RM104';
    END IF;
    first := date_trunc('month', to_timestamp((at / 1000000000)::double precision) AT TIME ZONE 'UTC');
    starts := extract(epoch FROM first)::bigint * 1000000000;
    -- The last month that a bigint reaches ends with it: April 2262.
    ends := least(extract(epoch FROM first + interval '1 month')::numeric * 1000000000, 9223372036854775807)::bigint;
    PERFORM pg_advisory_xact_lock(3, 2);
    IF EXISTS (SELECT FROM journal_months WHERE month_start = starts) THEN
        RETURN;
    END IF;
    IF (SELECT count(*) FROM journal_months) >= most THEN
        RAISE EXCEPTION 'there are records of % months already; is the clock right, which says %?', most, first
            USING ERRCODE = 'RM104';
    END IF;
    -- Made apart and attached: that waits for no reader and for no commit, as PARTITION OF would.
    name := to_char(first, 'YYYYMM');
    EXECUTE format('CREATE TABLE journal_%s (LIKE journal INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    EXECUTE format('ALTER TABLE journal ATTACH PARTITION journal_%s FOR VALUES FROM (%s) TO (%s)', name, starts, ends);
    EXECUTE format('CREATE TABLE seen_%s (LIKE seen INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    EXECUTE format('ALTER TABLE seen ATTACH PARTITION seen_%s FOR VALUES FROM (%s) TO (%s)', name, starts, ends);
    INSERT INTO journal_months VALUES (starts, ends);
END $$;

-- This month and the next two, so that no decision waits for its month to be made.
-- {time}
CREATE OR REPLACE FUNCTION prepare_months(p jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    month constant bigint := 28::bigint * 86400 * 1000000000;
    at bigint := (p->>'time')::bigint;
    ends bigint;
BEGIN
    FOR n IN 0..2 LOOP
        PERFORM ensure_partitions(at);
        SELECT month_end INTO ends FROM journal_months WHERE month_start <= at AND at < month_end;
        EXIT WHEN ends > 9223372036854775807 - month;
        at := ends;
    END LOOP;
    RETURN '{}';
END $$;
