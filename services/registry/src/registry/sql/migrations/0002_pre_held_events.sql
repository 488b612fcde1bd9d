-- What was chosen, when a definition was enabled, for the events that it held.
SET lock_timeout = '5s';

ALTER TABLE resource_changes ADD COLUMN held text
    CONSTRAINT resource_changes_held_check
    CHECK (held IS NULL OR (held IN ('start', 'compress', 'discard') AND change = 'enabled'));
