-- Approvals and the grants that come of them, claims, and what agents did to the same object of a workflow.

ALTER TABLE shared
    ADD COLUMN approvals bigint NOT NULL DEFAULT 0,     -- moves whenever one is opened, joined or moved
    ADD COLUMN claim_floor bigint NOT NULL DEFAULT 0;   -- the highest token of the claims that were forgotten

ALTER TABLE kept ADD COLUMN provisional boolean NOT NULL DEFAULT false;    -- the next answer takes its place

CREATE INDEX reservation_lapsed ON reservation (deadline, decision) WHERE state = 'lapsed';

-- All of an approval but its items is in `document` (remit.core.approval.to_document); the columns are those parts of
-- it that are looked for, and change with it.
CREATE TABLE approval (
    id text COLLATE "C" PRIMARY KEY,
    subject text COLLATE "C" NOT NULL,
    like_key text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'expired', 'revoked')),
    version bigint NOT NULL,
    time bigint NOT NULL,
    deadline bigint NOT NULL,
    expires bigint NOT NULL,            -- when the grant ends; 0: it is none
    ended bigint NOT NULL,              -- when it was denied, revoked or not answered; 0: it was not
    until bigint GENERATED ALWAYS AS (  -- when nobody can answer or use it any more
        CASE state WHEN 'pending' THEN deadline WHEN 'approved' THEN expires ELSE ended END) STORED,
    document jsonb NOT NULL
);
CREATE UNIQUE INDEX approval_pending_like ON approval (like_key) WHERE state = 'pending';
CREATE INDEX approval_like ON approval (like_key, id);
CREATE INDEX approval_subject ON approval (subject, id);
CREATE INDEX approval_state ON approval (state, id);
CREATE INDEX approval_pending_subject ON approval (subject) WHERE state = 'pending';
CREATE INDEX approval_due ON approval (deadline, id) WHERE state = 'pending';
CREATE INDEX approval_until ON approval (until) WHERE state <> 'pending';

CREATE TABLE approval_item (
    approval text COLLATE "C" NOT NULL REFERENCES approval (id) ON DELETE CASCADE,
    binding text COLLATE "C" NOT NULL,
    place integer NOT NULL,
    decision text COLLATE "C" NOT NULL,
    amount bigint NOT NULL CHECK (amount >= 0),
    labels text[] NOT NULL,
    shown text NOT NULL,                -- '' once it has ended, or was erased
    asked bigint NOT NULL,
    used bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
    spent bigint NOT NULL DEFAULT 0 CHECK (spent >= 0),
    PRIMARY KEY (approval, binding)
);
CREATE INDEX approval_item_decision ON approval_item (decision);
CREATE INDEX approval_item_binding ON approval_item (binding, approval);

-- A thing that was ever taken keeps its row, and with it its last token, until it is forgotten into the floor.
CREATE TABLE claim (
    key text COLLATE "C" PRIMARY KEY,
    subject text COLLATE "C" NOT NULL,              -- '': nobody's
    workflow text COLLATE "C" NOT NULL,
    token bigint NOT NULL,
    expires bigint NOT NULL,            -- or when it was let go of
    time bigint NOT NULL                -- when it was taken
);
CREATE INDEX claim_held ON claim (time, key) WHERE subject <> '';
CREATE INDEX claim_expires ON claim (expires, key) WHERE subject <> '';
CREATE INDEX claim_subject ON claim (subject) WHERE subject <> '';
CREATE INDEX claim_free ON claim (expires) WHERE subject = '';

CREATE TABLE act (
    workflow text COLLATE "C" NOT NULL,
    object text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    operation text COLLATE "C" NOT NULL,
    decision text COLLATE "C" NOT NULL,             -- the first that did it
    time bigint NOT NULL,               -- of the last
    expires bigint NOT NULL,
    PRIMARY KEY (workflow, object, subject, operation)
);
CREATE INDEX act_expires ON act (expires);
