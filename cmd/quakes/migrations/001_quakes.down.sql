-- Takes an exclusive lock on the sample's tables, which nothing else uses.
DROP SCHEMA quakes CASCADE;
