-- name: ensure
SELECT name FROM months_ensure($1, $2) AS name;

-- name: drop
SELECT months_drop($1, clock_timestamp() - $2::interval);

-- name: clear_default
SELECT months_clear_default($1, $2, clock_timestamp() - $3::interval, $4);
