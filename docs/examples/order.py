"""python3 order.py URL — an order and the job that confirms it: both, or neither."""

import sys

import psycopg2
from psycopg2.extras import Json


def place(conn, order, customer):
    with conn, conn.cursor() as cur:  # one transaction: commits, or rolls back when an exception leaves the block
        cur.execute("INSERT INTO orders (id, customer) VALUES (%s, %s)", (order, customer))
        cur.execute(
            "SELECT id FROM towpath.enqueue(%s, %s::json, queue => %s)",
            ("order.confirm", Json({"order": order}), "mail"),
        )
        job = cur.fetchone()[0]
        if customer == "nobody":
            raise ValueError(f"order {order} has no customer")
    return job


conn = psycopg2.connect(sys.argv[1])
print("job", place(conn, 1, "Zoë"))
try:
    place(conn, 2, "nobody")
except ValueError as refused:
    print("rolled back:", refused)
conn.close()
