-- Every table is of its namespaces: see the event store's 0005_pre_tenancy.sql.
SET lock_timeout = '5s';

DO $isolated$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT class.oid::regclass AS name, class.relispartition
        FROM pg_class AS class
        JOIN pg_attribute AS attribute
            ON attribute.attrelid = class.oid
            AND attribute.attname = 'namespace' AND NOT attribute.attisdropped
        WHERE class.relnamespace = current_schema()::regnamespace
            AND class.relkind IN ('r', 'p')
            AND NOT class.relrowsecurity
        ORDER BY class.relname
    LOOP
        PERFORM isolate_namespaces(
            one.name,
            CASE WHEN one.relispartition THEN '' ELSE 'SELECT, INSERT, UPDATE, DELETE' END
        );
    END LOOP;
END
$isolated$;
