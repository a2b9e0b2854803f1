-- The installation, and the fingerprints of the keys that all its members have. Whoever comes first says which.

-- {id, time, keys: {name: fingerprint}} -> {id, differing: [name]}
CREATE OR REPLACE FUNCTION join_installation(p jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    mine installation;
BEGIN
    INSERT INTO installation (id, created, keys) VALUES (p->>'id', (p->>'time')::bigint, p->'keys')
    ON CONFLICT DO NOTHING;
    SELECT * INTO STRICT mine FROM installation;
    RETURN jsonb_build_object('id', mine.id, 'differing', (
        SELECT coalesce(jsonb_agg(name ORDER BY name), '[]')
        FROM jsonb_object_keys(mine.keys || (p->'keys')) AS name
        WHERE mine.keys->>name IS DISTINCT FROM p->'keys'->>name
    ));
END $$;
