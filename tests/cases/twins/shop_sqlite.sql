-- What each agent sees of the shop (shop.rego), said by hand for SQLite: views that stand before the tables of their names.
-- Each agent has a connection of its own, with its part of this file. twin_hash and twin_token are the test's functions.

-- north

CREATE TEMP VIEW customers AS SELECT
  id, parent_id, region,
  CASE WHEN length(name) > 2 THEN '***' || substr(name, -2) WHEN name IS NOT NULL THEN '***' END AS name,
  twin_hash('shop.customers.email', email) AS email,
  floor(score / 2) * 2.0 AS score,
  CASE typeof(balance) WHEN 'real' THEN round(balance) ELSE balance END AS balance,
  active,
  date(born, 'start of month') AS born,
  datetime(seen, 'start of day') AS seen,
  code, notes
  FROM main.customers
  WHERE region = 'eu' OR region = 'us' OR (parent_id IS NULL AND score IS NOT NULL);
CREATE TEMP VIEW orders AS SELECT
  id, customer_id, region,
  CASE WHEN length(status) > 1 THEN substr(status, 1, 1) || '***' WHEN status IS NOT NULL THEN '***' END AS status,
  floor(amount / 10.0) * 10.0 AS amount,
  qty,
  date(ordered, 'start of year') AS ordered,
  placed, paid, rate
  FROM main.orders
  WHERE amount >= 0 AND status <> 'eu';
CREATE TEMP VIEW items AS SELECT
  id, order_id, product_id, qty, price, opens, NULL AS took,
  CASE WHEN raw IS NOT NULL THEN twin_hash('shop.items.raw', lower(hex(raw))) END AS raw,
  'hidden' AS label
  FROM main.items
  WHERE (qty < 10 AND label <> 'zz') OR substr(label, 1, 1) = 'a';
CREATE TEMP VIEW products AS SELECT * FROM main.products
  WHERE kind = 'low' OR kind = 'mid' OR price <= 3;

-- south

CREATE TEMP VIEW customers AS SELECT
  id, parent_id, region,
  twin_token('mail', name) AS name,
  twin_token('mail', email) AS email,
  score,
  floor(balance / 100.0) * 100.0 AS balance,
  active, born, seen,
  twin_hash('shop.customers.code', code) AS code,
  NULL AS notes
  FROM main.customers
  WHERE (id <> parent_id AND active <> 1) OR substr(email, -3) = '.io';
CREATE TEMP VIEW orders AS SELECT
  id, customer_id, region, status, amount,
  CAST(floor(qty / 5.0) * 5 AS integer) AS qty,
  ordered,
  strftime('%Y-%m-%d %H:00:00', placed) AS placed,
  0 AS paid,
  round(rate, 1) AS rate
  FROM main.orders
  WHERE instr(status, 'n') OR (paid = 1 AND region <> 'eu' AND region <> 'zz');
CREATE TEMP VIEW items AS SELECT
  id, order_id, product_id, qty, NULL AS price, '00:00:00' AS opens, took, raw, label
  FROM main.items
  WHERE order_id <= product_id OR (opens >= '08:30:00' AND price IS NULL);
CREATE TEMP VIEW products AS SELECT
  id,
  twin_token('mail', name) AS name,
  twin_hash('shop.products.kind', kind) AS kind,
  round(price) AS price,
  '2000-01-01' AS made,
  '"1"' AS tags,
  code
  FROM main.products;

-- west

CREATE TEMP VIEW customers AS SELECT
  id,
  CAST(floor(parent_id / 3.0) * 3 AS integer) AS parent_id,
  region, 'somebody' AS name, email, score, balance, 1 AS active, born,
  datetime(seen, 'weekday 0', '-6 days', 'start of day') AS seen,
  code, notes
  FROM main.customers
  WHERE (seen > '2023-12-01T00:00:00+00:00' AND instr(name, 'b') = 0)
    OR (born < '2024-01-01' AND code <> '00000001-0000-4000-8000-000000000001');
CREATE TEMP VIEW orders AS SELECT
  id, customer_id, region,
  twin_token('shop.orders.status', status) AS status,
  amount, qty, ordered, placed, paid, rate
  FROM main.orders
  WHERE (rate > 1.5 AND placed >= '2024-01-01 00:00:00') OR qty = 1 OR qty = 2 OR qty IS NULL;
CREATE TEMP VIEW items AS SELECT
  id, order_id, product_id, 7 AS qty, 2.25 AS price, opens, took, raw, label
  FROM main.items
  WHERE id > 3 AND qty <> order_id AND price <= 99.75;
CREATE TEMP VIEW products AS SELECT
  id,
  twin_hash('shop.products.name', name) AS name,
  kind, price, made, tags, code
  FROM main.products
  WHERE made = '2024-02-29';
