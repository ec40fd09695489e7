-- Instants are UTC in ISO 8601 without zone letter ('2026-01-31T08:30:00', with a fraction where there is
-- one): they sort as text, and SQLite's date functions understand them. Dates are '2026-01-31'.
-- Ids come from AUTOINCREMENT where they must never be used again.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

-- One row at most: the newest lease.
CREATE TABLE lease (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    fence    INTEGER NOT NULL,
    holder   TEXT NOT NULL,
    acquired TEXT NOT NULL
);

CREATE TABLE calendar (
    id INTEGER PRIMARY KEY AUTOINCREMENT
);

-- A calendar in a sync, as that sync's roster names it.
CREATE TABLE member (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    sync               TEXT NOT NULL,
    calendar           INTEGER NOT NULL REFERENCES calendar (id),
    owner              TEXT NOT NULL,
    address            TEXT NOT NULL,
    folded             TEXT NOT NULL,
    part               TEXT NOT NULL DEFAULT '',
    kind               TEXT NOT NULL,
    membership         TEXT NOT NULL,
    left_code          TEXT,
    left_since         TEXT,
    inventoried        TEXT,
    succeeded          TEXT,
    trouble_code       TEXT,
    trouble_message    TEXT,
    trouble_since      TEXT,
    trouble_times      INTEGER,
    trouble_not_before TEXT,
    UNIQUE (sync, calendar)
);
CREATE INDEX member_calendar ON member (calendar);
CREATE INDEX member_owner ON member (owner, part);
CREATE INDEX member_folded ON member (folded, part);

-- What is known of one (connection, calendar).
CREATE TABLE source (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    connection TEXT NOT NULL,
    calendar   INTEGER NOT NULL REFERENCES calendar (id),
    round      INTEGER NOT NULL DEFAULT 0,
    cursor     TEXT,
    binding    TEXT NOT NULL DEFAULT '',
    covered    TEXT NOT NULL DEFAULT '[]',
    finished   TEXT,
    full       TEXT,
    unreadable INTEGER NOT NULL DEFAULT 0,
    UNIQUE (connection, calendar)
);
CREATE INDEX source_calendar ON source (calendar);

-- What a source was last seen to hold of one event. The large column comes last.
CREATE TABLE source_view (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    source        INTEGER NOT NULL REFERENCES source (id) ON DELETE CASCADE,
    key           TEXT NOT NULL,
    ordinal       INTEGER NOT NULL,
    item          TEXT NOT NULL,
    item_version  TEXT,
    group_id      TEXT,
    group_version TEXT,
    seen_round    INTEGER NOT NULL,
    gone_round    INTEGER,
    cancelled     INTEGER NOT NULL,
    origin        TEXT,
    starts        TEXT NOT NULL,
    ends          TEXT NOT NULL,
    all_day       INTEGER NOT NULL,
    zone          TEXT,
    show_as       TEXT,
    private       INTEGER,
    subject       TEXT,
    location      TEXT,
    categories    TEXT,
    body          TEXT,
    UNIQUE (source, key, ordinal)
);
CREATE INDEX source_view_item ON source_view (source, item);
CREATE INDEX source_view_group ON source_view (source, group_id) WHERE group_id IS NOT NULL;
CREATE INDEX source_view_gone ON source_view (source) WHERE gone_round IS NOT NULL;

-- One event of one sync and calendar. base_*: what the sink last acknowledged, in plain.
CREATE TABLE link (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    member           INTEGER NOT NULL REFERENCES member (id) ON DELETE CASCADE,
    view             INTEGER REFERENCES source_view (id) ON DELETE SET NULL,
    key              TEXT NOT NULL,
    ordinal          INTEGER NOT NULL,
    group_id         TEXT,
    sink_state       TEXT NOT NULL,
    remote_id        TEXT,
    remote_assigned  TEXT,
    remote_version   TEXT,
    acknowledged     TEXT,
    is_foreign       INTEGER NOT NULL,
    agreed           TEXT,
    attempt_token    TEXT,
    attempt_op       TEXT,
    attempt_at       TEXT,
    attempt_target   TEXT,
    attempt_before   TEXT,
    dead_code        TEXT,
    dead_message     TEXT,
    dead_op          TEXT,
    dead_at          TEXT,
    dead_desired     TEXT,
    dead_basis       TEXT,
    retry_tries      INTEGER,
    retry_not_before TEXT,
    retry_code       TEXT,
    retry_desired    TEXT,
    held_since       TEXT,
    held_by_stop     INTEGER NOT NULL DEFAULT 0,
    approved         TEXT,
    -- Since when no source view stands behind the row; retention counts from here.
    sourceless       TEXT,
    base_starts      TEXT,
    base_ends        TEXT,
    base_all_day     INTEGER,
    base_zone        TEXT,
    base_show_as     TEXT,
    base_private     INTEGER,
    base_subject     TEXT,
    base_location    TEXT,
    base_categories  TEXT,
    base_body        TEXT
);
CREATE INDEX link_member ON link (member);
-- A view has one row per sync at most.
CREATE UNIQUE INDEX link_view ON link (view, member) WHERE view IS NOT NULL;
CREATE INDEX link_held ON link (member) WHERE held_since IS NOT NULL;

-- A remote call, kept for support.
CREATE TABLE call (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    connection TEXT NOT NULL,
    sync       TEXT NOT NULL,
    member     INTEGER REFERENCES member (id) ON DELETE CASCADE,
    operation  TEXT NOT NULL,
    reference  TEXT,
    started    TEXT NOT NULL,
    ended      TEXT NOT NULL,
    events     INTEGER NOT NULL,
    error      TEXT
);
CREATE INDEX call_member ON call (member) WHERE member IS NOT NULL;
CREATE INDEX call_ended ON call (ended);

-- The last decisions of each row, with times and no other content.
CREATE TABLE decision (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    link     INTEGER NOT NULL REFERENCES link (id) ON DELETE CASCADE,
    at       TEXT NOT NULL,
    desired  TEXT NOT NULL,
    decision TEXT NOT NULL,
    outcome  TEXT,
    call     INTEGER REFERENCES call (id) ON DELETE SET NULL
);
CREATE INDEX decision_link ON decision (link);
CREATE INDEX decision_at ON decision (at);
CREATE INDEX decision_call ON decision (call) WHERE call IS NOT NULL;

-- The guard's memory of what was deleted.
CREATE TABLE deleted_unit (
    member INTEGER NOT NULL REFERENCES member (id) ON DELETE CASCADE,
    unit   TEXT NOT NULL,
    at     TEXT NOT NULL,
    PRIMARY KEY (member, unit)
) WITHOUT ROWID;

-- What operators may read. docs/operators/state.md describes every column.

CREATE VIEW resources AS
SELECT m.id,
       m.sync,
       m.calendar AS calendar_id,
       m.owner,
       m.address,
       nullif(m.part, '') AS calendar,
       m.kind,
       m.membership,
       m.left_code,
       m.left_since,
       m.inventoried,
       m.succeeded,
       m.trouble_code,
       m.trouble_message,
       m.trouble_since,
       m.trouble_times,
       m.trouble_not_before,
       (SELECT max(s.full) FROM source s WHERE s.calendar = m.calendar) AS last_full_read,
       (SELECT max(s.finished) FROM source s WHERE s.calendar = m.calendar) AS last_read,
       (SELECT count(*) FROM link l WHERE l.member = m.id) AS events,
       (SELECT count(*) FROM link l
         WHERE l.member = m.id AND l.sink_state = 'present' AND l.is_foreign = 0) AS on_sink,
       (SELECT count(*) FROM link l WHERE l.member = m.id AND l.dead_code IS NOT NULL) AS refused,
       (SELECT count(*) FROM link l
         WHERE l.member = m.id AND l.held_since IS NOT NULL
           AND (l.approved IS NULL OR l.approved < l.held_since)) AS held
  FROM member m;

CREATE VIEW events AS
SELECT l.id,
       m.sync,
       m.calendar AS calendar_id,
       m.address,
       CASE WHEN instr(l.key, char(10)) > 0 THEN substr(l.key, 1, instr(l.key, char(10)) - 1)
            ELSE l.key END AS uid,
       CASE WHEN instr(l.key, char(10)) > 0
            THEN rtrim(substr(l.key, instr(l.key, char(10)) + 1), 'Z') END AS original_start,
       l.ordinal,
       l.group_id AS series,
       s.connection AS source_connection,
       v.item AS source_item,
       v.starts AS source_start,
       v.ends AS source_end,
       v.all_day AS source_all_day,
       v.show_as AS source_show_as,
       v.cancelled AS source_cancelled,
       l.sink_state,
       l.remote_id AS external_id,
       l.base_starts AS sink_start,
       l.base_ends AS sink_end,
       l.base_all_day AS sink_all_day,
       l.acknowledged,
       l.is_foreign,
       l.attempt_op,
       l.attempt_at,
       l.retry_tries,
       l.retry_not_before,
       l.retry_code,
       l.dead_code AS refused_code,
       l.dead_message AS refused_message,
       l.dead_at AS refused_at,
       l.held_since,
       l.approved
  FROM link l
  JOIN member m ON m.id = l.member
  LEFT JOIN source_view v ON v.id = l.view
  LEFT JOIN source s ON s.id = v.source;

CREATE VIEW sync_log AS
SELECT d.id,
       d.at,
       m.sync,
       m.calendar AS calendar_id,
       m.address,
       d.link AS event_id,
       l.remote_id AS external_id,
       CASE coalesce(
                (SELECT j.key FROM json_each(d.decision, '$.intent') j
                  WHERE json_type(d.decision, '$.intent') = 'object' LIMIT 1),
                json_extract(d.decision, '$.intent'))
            WHEN 'create' THEN 'C'
            WHEN 'update' THEN 'U'
            WHEN 'put-back' THEN 'U'
            WHEN 'delete' THEN 'D'
       END AS operation,
       coalesce(
           (SELECT j.key FROM json_each(d.decision, '$.intent') j
             WHERE json_type(d.decision, '$.intent') = 'object' LIMIT 1),
           json_extract(d.decision, '$.intent')) AS intent,
       coalesce(
           (SELECT j.key || ' ' || j.value FROM json_each(d.decision, '$.reason') j
             WHERE json_type(d.decision, '$.reason') = 'object' LIMIT 1),
           json_extract(d.decision, '$.reason')) AS reason,
       rtrim(coalesce(json_extract(d.desired, '$.present.content.time.start'),
                json_extract(d.desired, '$.past.content.time.start')), 'Z') AS desired_start,
       rtrim(coalesce(json_extract(d.desired, '$.present.content.time.end'),
                json_extract(d.desired, '$.past.content.time.end')), 'Z') AS desired_end,
       d.outcome,
       d.call AS call_id,
       c.reference
  FROM decision d
  JOIN link l ON l.id = d.link
  JOIN member m ON m.id = l.member
  LEFT JOIN call c ON c.id = d.call;

CREATE VIEW calls AS
SELECT c.id,
       c.connection,
       nullif(c.sync, '') AS sync,
       m.calendar AS calendar_id,
       m.address,
       c.operation,
       c.reference,
       c.started,
       c.ended,
       c.events,
       c.error IS NULL AS success,
       json_extract(c.error, '$.code') AS error_code,
       json_extract(c.error, '$.message') AS error_message
  FROM call c
  LEFT JOIN member m ON m.id = c.member;
