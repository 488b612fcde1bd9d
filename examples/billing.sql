-- A small billing database for the examples. All of its data is generated: the customers, their
-- addresses (example.com) and the invoices do not exist. It may be run again: it changes nothing then.

DO $$
BEGIN
    CREATE ROLE context_ro LOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

CREATE TABLE IF NOT EXISTS customers (
    id   integer PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL
);

CREATE TABLE IF NOT EXISTS invoices (
    id          text PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customers (id),
    amount      numeric(12, 2) NOT NULL CHECK (amount > 0),
    due_on      date NOT NULL,
    paid_at     timestamptz
);

COMMENT ON TABLE customers IS 'Generated example data.';
COMMENT ON TABLE invoices IS 'Generated example data.';

INSERT INTO customers (id, name, email)
SELECT n, 'Example customer ' || n, 'customer-' || n || '@example.com'
FROM generate_series(1, 5) AS n
ON CONFLICT (id) DO NOTHING;

-- Ten invoices. Four of them, of customers 1 and 2, are past their due date; one of the four is
-- paid and one is large.
INSERT INTO invoices (id, customer_id, amount, due_on, paid_at)
SELECT
    'INV-' || lpad(n::text, 4, '0'),
    1 + (n - 1) % 5,
    CASE WHEN n = 6 THEN 12500.00 ELSE 80 + n * 17.5 END,
    CASE WHEN (n - 1) % 5 < 2 THEN current_date - 7 * n ELSE current_date + 30 END,
    CASE WHEN n = 7 THEN now() END
FROM generate_series(1, 10) AS n
ON CONFLICT (id) DO NOTHING;

GRANT USAGE ON SCHEMA public TO context_ro;
GRANT SELECT ON customers, invoices TO context_ro;
