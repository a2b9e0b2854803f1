-- Signed bundles: serials rise, and stand for one content each.

-- {serial, digest, time} -> {serial, digest} of the highest, which is the one that was given where that may be used.
CREATE OR REPLACE FUNCTION accept_bundle(p jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    highest bundle;
BEGIN
    INSERT INTO bundle (serial, digest, time)
    VALUES ((p->>'serial')::bigint, p->>'digest', (p->>'time')::bigint)
    ON CONFLICT (single) DO UPDATE
    SET serial = excluded.serial, digest = excluded.digest, time = excluded.time
    WHERE bundle.serial < excluded.serial;
    SELECT * INTO STRICT highest FROM bundle;
    RETURN jsonb_build_object('serial', highest.serial, 'digest', highest.digest);
END $$;
