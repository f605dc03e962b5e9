-- psql "$URL" -v ON_ERROR_STOP=1 -f order.sql
--
-- An order and the job that confirms it: both, or neither.

BEGIN;
INSERT INTO orders (id, customer) VALUES (1, 'Zoë');
SELECT * FROM towpath.enqueue('order.confirm', '{"order": 1}', queue => 'mail');
COMMIT;

-- The application changes its mind.
BEGIN;
INSERT INTO orders (id, customer) VALUES (2, 'nobody');
SELECT * FROM towpath.enqueue('order.confirm', '{"order": 2}', queue => 'mail');
ROLLBACK;
