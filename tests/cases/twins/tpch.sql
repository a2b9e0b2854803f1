-- What the clerk sees of TPC-H (tpch.rego), said by hand for PostgreSQL. The test writes hashes and tokens down.

CREATE SCHEMA twin;
CREATE TABLE twin.names (raw text PRIMARY KEY, token text);
CREATE TABLE twin.hashes (domain text, raw text, hash text, PRIMARY KEY (domain, raw));

DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'twin_clerk') THEN
    CREATE ROLE twin_clerk;
  END IF;
END $$;
CREATE SCHEMA clerk;
GRANT USAGE ON SCHEMA tpch, twin, clerk TO twin_clerk;
GRANT SELECT ON ALL TABLES IN SCHEMA tpch, twin TO twin_clerk;
ALTER DEFAULT PRIVILEGES IN SCHEMA clerk GRANT SELECT ON TABLES TO twin_clerk;

ALTER TABLE tpch.lineitem ENABLE ROW LEVEL SECURITY;
ALTER TABLE tpch.orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE tpch.customer ENABLE ROW LEVEL SECURITY;
ALTER TABLE tpch.supplier ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON tpch.lineitem TO remit_reader USING (true);
CREATE POLICY everything ON tpch.orders TO remit_reader USING (true);
CREATE POLICY everything ON tpch.customer TO remit_reader USING (true);
CREATE POLICY everything ON tpch.supplier TO remit_reader USING (true);

CREATE POLICY clerk ON tpch.lineitem TO twin_clerk USING (l_shipmode <> 'FOB' AND l_quantity <= 45);
CREATE POLICY clerk ON tpch.orders TO twin_clerk USING (o_totalprice < 250000 OR left(o_orderpriority, 1) = '1');
CREATE POLICY clerk ON tpch.customer TO twin_clerk USING (c_mktsegment <> 'FURNITURE');
CREATE POLICY clerk ON tpch.supplier TO twin_clerk USING (s_acctbal > -500);

CREATE VIEW clerk.customer WITH (security_barrier, security_invoker) AS SELECT
  c_custkey,
  (SELECT token FROM twin.names WHERE raw = c_name) AS c_name,
  (SELECT hash FROM twin.hashes WHERE domain = 'tpch.customer.c_address' AND raw = c_address) AS c_address,
  c_nationkey,
  left(c_phone, 2) || '***' AS c_phone,
  round(c_acctbal) AS c_acctbal,
  c_mktsegment,
  NULL::text AS c_comment
  FROM tpch.customer;
CREATE VIEW clerk.supplier WITH (security_barrier, security_invoker) AS SELECT
  s_suppkey, s_name,
  (SELECT hash FROM twin.hashes WHERE domain = 'tpch.supplier.s_address' AND raw = s_address) AS s_address,
  s_nationkey,
  '***' || right(s_phone, 4) AS s_phone,
  s_acctbal,
  'Customer Complaints'::text AS s_comment
  FROM tpch.supplier;
CREATE VIEW clerk.orders WITH (security_barrier, security_invoker) AS SELECT
  o_orderkey, o_custkey, o_orderstatus,
  floor(o_totalprice / 1000) * 1000 AS o_totalprice,
  o_orderdate, o_orderpriority, o_clerk, o_shippriority, NULL::text AS o_comment
  FROM tpch.orders;
CREATE VIEW clerk.lineitem WITH (security_barrier, security_invoker) AS SELECT
  l_orderkey, l_partkey, l_suppkey, l_linenumber, l_quantity,
  round(l_extendedprice, 1) AS l_extendedprice,
  l_discount, l_tax, l_returnflag, l_linestatus, l_shipdate, l_commitdate, l_receiptdate, l_shipinstruct, l_shipmode,
  l_comment
  FROM tpch.lineitem;
CREATE VIEW clerk.partsupp WITH (security_barrier, security_invoker) AS SELECT
  ps_partkey, ps_suppkey, ps_availqty, floor(ps_supplycost / 10) * 10 AS ps_supplycost, ps_comment
  FROM tpch.partsupp;
CREATE VIEW clerk.part WITH (security_barrier, security_invoker) AS SELECT * FROM tpch.part;
CREATE VIEW clerk.nation WITH (security_barrier, security_invoker) AS SELECT * FROM tpch.nation;
CREATE VIEW clerk.region WITH (security_barrier, security_invoker) AS SELECT * FROM tpch.region;
