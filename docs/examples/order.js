// node order.js URL — an order and the job that confirms it: both, or neither.

const { Client } = require('pg');

async function place(client, order, customer) {
  await client.query('BEGIN');
  try {
    await client.query('INSERT INTO orders (id, customer) VALUES ($1, $2)', [order, customer]);
    const { rows } = await client.query(
      'SELECT id FROM towpath.enqueue($1, $2::json, queue => $3)',
      ['order.confirm', JSON.stringify({ order }), 'mail'],
    );
    if (customer === 'nobody') throw new Error(`order ${order} has no customer`);
    await client.query('COMMIT');
    return rows[0].id;
  } catch (err) {
    await client.query('ROLLBACK');
    throw err;
  }
}

(async () => {
  const client = new Client({ connectionString: process.argv[2] });
  await client.connect();
  console.log('job', await place(client, 1, 'Zoë'));
  await place(client, 2, 'nobody').catch((err) => console.log('rolled back:', err.message));
  await client.end();
})();
