-- How each connection answered last.
CREATE TABLE connection (
    name    TEXT PRIMARY KEY,
    -- When it last answered.
    reached TEXT,
    -- What it is in trouble with as a whole; NULL: nothing.
    trouble TEXT
) WITHOUT ROWID;
