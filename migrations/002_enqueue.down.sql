-- Takes enqueueing from SQL away. Jobs stay.
--
-- Locks: none on tables; only functions go, and who calls them fails from then on.
DROP FUNCTION /* TEMPLATE: schema */enqueue, /* TEMPLATE: schema */enqueue_many, /* TEMPLATE: schema */due_soon;
DROP FUNCTION /* TEMPLATE: schema */job_unique_key, /* TEMPLATE: schema */unique_mask, /* TEMPLATE: schema */go_fields,
    /* TEMPLATE: schema */go_object, /* TEMPLATE: schema */go_value, /* TEMPLATE: schema */go_json, /* TEMPLATE: schema */go_key,
    /* TEMPLATE: schema */go_string;
DROP FUNCTION /* TEMPLATE: schema */job_fault, /* TEMPLATE: schema */args_fault, /* TEMPLATE: schema */unique_fault, /* TEMPLATE: schema */tags_fault;
