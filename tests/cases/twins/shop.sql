-- What each agent sees of the shop (shop.rego), said by hand for PostgreSQL: row-level security for who may see which
-- rows, and a view a table for how columns look. `twin.hashed` and `twin.token` look up what the test wrote there.

CREATE SCHEMA twin;
CREATE TABLE twin.made (kind text, domain text, raw text, made text, PRIMARY KEY (kind, domain, raw));
CREATE FUNCTION twin.hashed(domain text, raw text) RETURNS text LANGUAGE sql STABLE AS
  'SELECT made FROM twin.made m WHERE m.kind = ''hash'' AND m.domain = $1 AND m.raw = $2';
CREATE FUNCTION twin.token(domain text, raw text) RETURNS text LANGUAGE sql STABLE AS
  'SELECT made FROM twin.made m WHERE m.kind = ''token'' AND m.domain = $1 AND m.raw = $2';

DO $$ DECLARE agent text;
BEGIN
  FOREACH agent IN ARRAY ARRAY['north', 'south', 'west'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'twin_' || agent) THEN
      EXECUTE format('CREATE ROLE twin_%s', agent);
    END IF;
    EXECUTE format('CREATE SCHEMA %s', agent);
    EXECUTE format('GRANT USAGE ON SCHEMA shop, twin, %s TO twin_%s', agent, agent);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA shop, twin TO twin_%s', agent);
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %s GRANT SELECT ON TABLES TO twin_%s', agent, agent);
  END LOOP;
END $$;

ALTER TABLE shop.customers ENABLE ROW LEVEL SECURITY;
ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE shop.items ENABLE ROW LEVEL SECURITY;
ALTER TABLE shop.products ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON shop.customers TO remit_reader USING (true);
CREATE POLICY everything ON shop.orders TO remit_reader USING (true);
CREATE POLICY everything ON shop.items TO remit_reader USING (true);
CREATE POLICY everything ON shop.products TO remit_reader USING (true);

CREATE POLICY north ON shop.customers TO twin_north
  USING (region IN ('eu', 'us') OR (parent_id IS NULL AND score IS NOT NULL));
CREATE POLICY north ON shop.orders TO twin_north USING (amount >= 0 AND NOT (status = 'eu'));
CREATE POLICY north ON shop.items TO twin_north
  USING ((qty < 10 AND label <> 'zz') OR left(label, 1) = 'a');
CREATE POLICY north ON shop.products TO twin_north USING (kind IN ('low', 'mid') OR NOT (price > 3));

CREATE POLICY south ON shop.customers TO twin_south
  USING ((id <> parent_id AND NOT (active = true)) OR right(email, 3) = '.io');
CREATE POLICY south ON shop.orders TO twin_south
  USING (strpos(status, 'n') <> 0 OR (paid = true AND region NOT IN ('eu', 'zz')));
CREATE POLICY south ON shop.items TO twin_south
  USING (order_id <= product_id OR (opens >= time '08:30' AND price IS NULL));
CREATE POLICY south ON shop.products TO twin_south USING (true);

CREATE POLICY west ON shop.customers TO twin_west
  USING ((seen > timestamptz '2023-12-01 00:00:00+00' AND NOT strpos(name, 'b') > 0)
    OR (born < date '2024-01-01' AND code <> uuid '00000001-0000-4000-8000-000000000001'));
CREATE POLICY west ON shop.orders TO twin_west
  USING ((rate > 1.5 AND placed >= timestamp '2024-01-01') OR qty = 1 OR qty = 2 OR qty IS NULL);
CREATE POLICY west ON shop.items TO twin_west USING (id > 3 AND qty <> order_id AND price <= 99.75);
CREATE POLICY west ON shop.products TO twin_west USING (made = date '2024-02-29');

-- north

CREATE VIEW north.customers WITH (security_barrier, security_invoker) AS SELECT
  id, parent_id, region,
  CASE WHEN length(name) > 2 THEN '***' || right(name, 2) WHEN name IS NOT NULL THEN '***' END AS name,
  twin.hashed('shop.customers.email', email) AS email,
  floor(score / 2) * 2 AS score,
  round(balance, 0) AS balance,
  active,
  date_trunc('month', born)::date AS born,
  date_trunc('day', seen, 'UTC') AS seen,
  code, notes
  FROM shop.customers;
CREATE VIEW north.orders WITH (security_barrier, security_invoker) AS SELECT
  id, customer_id, region,
  CASE WHEN length(status) > 1 THEN left(status, 1) || '***' WHEN status IS NOT NULL THEN '***' END AS status,
  floor(amount / 10) * 10 AS amount,
  qty,
  date_trunc('year', ordered)::date AS ordered,
  placed, paid, rate
  FROM shop.orders;
CREATE VIEW north.items WITH (security_barrier, security_invoker) AS SELECT
  id, order_id, product_id, qty, price, opens, NULL::interval AS took,
  twin.hashed('shop.items.raw', raw::text) AS raw,
  'hidden'::text AS label
  FROM shop.items;
CREATE VIEW north.products WITH (security_barrier, security_invoker) AS SELECT * FROM shop.products;

-- south

CREATE VIEW south.customers WITH (security_barrier, security_invoker) AS SELECT
  id, parent_id, region,
  twin.token('mail', name) AS name,
  twin.token('mail', email) AS email,
  score,
  floor(balance / 100) * 100 AS balance,
  active, born, seen,
  twin.hashed('shop.customers.code', code::text) AS code,
  NULL::jsonb AS notes
  FROM shop.customers;
CREATE VIEW south.orders WITH (security_barrier, security_invoker) AS SELECT
  id, customer_id, region, status, amount,
  (floor(qty::numeric / 5) * 5)::bigint AS qty,
  ordered,
  date_trunc('hour', placed) AS placed,
  false AS paid,
  round(rate::numeric, 1)::double precision AS rate
  FROM shop.orders;
CREATE VIEW south.items WITH (security_barrier, security_invoker) AS SELECT
  id, order_id, product_id, qty, NULL::numeric(12,2) AS price, time '00:00' AS opens, took, raw, label
  FROM shop.items;
CREATE VIEW south.products WITH (security_barrier, security_invoker) AS SELECT
  id,
  twin.token('mail', name) AS name,
  twin.hashed('shop.products.kind', kind::text) AS kind,
  round(price::numeric)::double precision AS price,
  date '2000-01-01' AS made,
  '"1"'::jsonb AS tags,
  code
  FROM shop.products;

-- west

CREATE VIEW west.customers WITH (security_barrier, security_invoker) AS SELECT
  id,
  (floor(parent_id::numeric / 3) * 3)::bigint AS parent_id,
  region, 'somebody'::text AS name, email, score, balance, true AS active, born,
  date_trunc('week', seen, 'UTC') AS seen,
  code, notes
  FROM shop.customers;
CREATE VIEW west.orders WITH (security_barrier, security_invoker) AS SELECT
  id, customer_id, region,
  twin.token('shop.orders.status', status) AS status,
  amount, qty, ordered, placed, paid, rate
  FROM shop.orders;
CREATE VIEW west.items WITH (security_barrier, security_invoker) AS SELECT
  id, order_id, product_id, 7 AS qty, 2.25 AS price, opens, took, raw, label
  FROM shop.items;
CREATE VIEW west.products WITH (security_barrier, security_invoker) AS SELECT
  id,
  twin.hashed('shop.products.name', name) AS name,
  kind, price, made, tags, code
  FROM shop.products;
