# ruby order.rb URL: an order and the job that confirms it: both, or neither.

require 'json'
require 'pg'

def place(conn, order, customer)
  conn.transaction do # commits, or rolls back when an exception leaves the block
    conn.exec_params('INSERT INTO orders (id, customer) VALUES ($1, $2)', [order, customer])
    job = conn.exec_params('SELECT id FROM towpath.enqueue($1, $2::json, queue => $3)',
                           ['order.confirm', JSON.generate({ order: order }), 'mail'])
    raise ArgumentError, "order #{order} has no customer" if customer == 'nobody'

    job.getvalue(0, 0)
  end
end

conn = PG.connect(ARGV[0])
puts "job #{place(conn, 1, 'Zoë')}"
begin
  place(conn, 2, 'nobody')
rescue ArgumentError => e
  puts "rolled back: #{e.message}"
end
conn.close
