-- Listed by the sink when it was first met, with nothing of the source behind it.
ALTER TABLE link ADD COLUMN first_contact INTEGER NOT NULL DEFAULT 0;

-- Which folder was read, where the source tells, and since when it is the same one.
ALTER TABLE source ADD COLUMN folder TEXT;
ALTER TABLE source ADD COLUMN folder_since TEXT;

-- What a decision was made from: times, fingerprints and rules.
ALTER TABLE decision ADD COLUMN inputs TEXT;

-- What operators say: pauses in force, and orders with their answers.
CREATE TABLE pause (
    scope TEXT PRIMARY KEY,
    since TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE operator_order (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    given    TEXT NOT NULL,
    content  TEXT NOT NULL,
    -- How many rows or calendars it concerned, or why it could not be carried out; both NULL while it waits.
    answered TEXT,
    count    INTEGER,
    refused  TEXT
);
CREATE INDEX operator_order_open ON operator_order (id) WHERE answered IS NULL;

-- How many writes were sent to a connection, by the hour: for its budget.
CREATE TABLE spent (
    connection TEXT NOT NULL,
    hour       TEXT NOT NULL,
    writes     INTEGER NOT NULL,
    PRIMARY KEY (connection, hour)
) WITHOUT ROWID;
