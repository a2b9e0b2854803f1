CREATE TABLE customers (
  id TEXT PRIMARY KEY, name TEXT, email TEXT UNIQUE, region TEXT, product TEXT, iban TEXT, tax_number TEXT,
  income INTEGER, note TEXT, letters INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE orders (id TEXT PRIMARY KEY, email TEXT REFERENCES customers (email), region TEXT, amount INTEGER);
-- What was written by name, so that nothing is written twice.
CREATE TABLE remit_executions (id text PRIMARY KEY, result text NOT NULL, at text NOT NULL DEFAULT CURRENT_TIMESTAMP);
