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

-- An index over ranges does not help whom a policy restricts: PostgreSQL looks at the policy before
-- it calls what might tell of a row (all but functions that are marked LEAKPROOF, which those of
-- ranges are not). So these look as the owner, and hold to the transaction's namespace themselves.
CREATE FUNCTION unrouted_ranges_at(
    of_namespace text, of_topic text, of_partition integer, record_offset bigint
) RETURNS SETOF unrouted_ranges
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path FROM CURRENT
AS $function$
BEGIN
    RETURN QUERY
    SELECT known.*
    FROM unrouted_ranges AS known
    WHERE int8range(known.first_offset, known.last_offset, '[]') @> record_offset
        AND known.namespace = of_namespace
        AND known.namespace = NULLIF(current_setting('backbone.namespace', true), '')
        AND known.topic = of_topic AND known.partition = of_partition;
END
$function$;

CREATE FUNCTION unrouted_range_is_known(
    of_namespace text, of_topic text, of_partition integer, of_first bigint, of_last bigint
) RETURNS boolean
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path FROM CURRENT
AS $function$
BEGIN
    RETURN EXISTS (
        SELECT FROM unrouted_ranges AS known
        WHERE int8range(known.first_offset, known.last_offset, '[]')
                = int8range(of_first, of_last, '[]')
            AND known.namespace = of_namespace
            AND known.namespace = NULLIF(current_setting('backbone.namespace', true), '')
            AND known.topic = of_topic AND known.partition = of_partition
    );
END
$function$;

DO $definers$
BEGIN
    EXECUTE format(
        'ALTER FUNCTION unrouted_ranges_at(text, text, integer, bigint) '
        'SET search_path = %I, pg_temp', current_schema()
    );
    EXECUTE format(
        'ALTER FUNCTION unrouted_range_is_known(text, text, integer, bigint, bigint) '
        'SET search_path = %I, pg_temp', current_schema()
    );
END
$definers$;

-- What is numbered by a sequence of its own, not by an identity, is numbered by the service.
DO $grants$
BEGIN
    EXECUTE format(
        'GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I',
        current_schema(), current_schema()
    );
END
$grants$;
