-- Listing what people asked for, newest first. The search path is the service's schema.
SET lock_timeout = '5s';

CREATE INDEX requests_newest_idx
    ON requests (namespace, recorded_at DESC, method DESC, request_id DESC);
