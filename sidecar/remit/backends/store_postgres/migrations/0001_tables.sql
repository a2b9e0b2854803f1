-- One installation's store. Times are nanoseconds since the epoch, amounts nanos of the ledger's currency.
-- Keys are collated "C": whatever the database's own collation, they are told in the order of their bytes.
-- A migration is never edited after a release: databases in the world have run it.
-- Nothing here is written by a member's role: it calls the functions in functions/, which hold the guards.

CREATE TABLE installation (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id text COLLATE "C" NOT NULL,                   -- issuer of workflow contexts and passports
    created bigint NOT NULL,
    keys jsonb NOT NULL DEFAULT '{}'    -- name of a shared key -> its fingerprint: every member must have the same
);

-- Facts that every sidecar must know within a second; a commit compares them anyway.
CREATE TABLE shared (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    halts bigint NOT NULL DEFAULT 0     -- version of the halts
);
INSERT INTO shared DEFAULT VALUES;

-- One log per writer. Its head moves only by its writer, who holds the advisory lock of its name.
CREATE TABLE log (
    name text COLLATE "C" PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,  -- of the advisory lock
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('sidecar', 'local', 'desk')),
    public_key bytea NOT NULL,          -- raw Ed25519, signs its checkpoints
    role text COLLATE "C" NOT NULL DEFAULT session_user,    -- whose members alone write it
    created bigint NOT NULL,
    opened timestamptz,                 -- when its writer last took its lock
    sequence bigint NOT NULL DEFAULT 0,
    head bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    signed bigint NOT NULL DEFAULT 0,   -- size of its last checkpoint
    revision text COLLATE "C" NOT NULL DEFAULT '',  -- of the policy that its writer judges by
    lease timestamptz NOT NULL DEFAULT '-infinity'  -- until when its writer may decide by what it holds
);

CREATE TABLE journal (
    log text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    time bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    workflow text COLLATE "C" NOT NULL,
    parent text COLLATE "C" NOT NULL,
    ref text COLLATE "C" NOT NULL,
    previous bytea NOT NULL,
    hash bytea NOT NULL,
    body_hash bytea NOT NULL,
    salt bytea,                         -- NULL, like the body, once it was erased
    body bytea,
    CHECK ((salt IS NULL) = (body IS NULL)),
    PRIMARY KEY (log, sequence, time),
    UNIQUE (id, time)
) PARTITION BY RANGE (time);            -- by month, made in advance by ensure_partitions()
CREATE INDEX journal_ref ON journal (ref) WHERE ref <> '';
CREATE INDEX journal_workflow ON journal (workflow, time, log, sequence) WHERE workflow <> '';
CREATE INDEX journal_decisions ON journal (time DESC) WHERE kind = 'decision';
CREATE INDEX journal_erased ON journal (ref) WHERE kind = 'erased';

-- The months that have partitions of `journal` and `seen`.
CREATE TABLE journal_months (
    month_start bigint PRIMARY KEY,
    month_end bigint NOT NULL           -- exclusive
);

CREATE TABLE checkpoint (
    log text COLLATE "C" NOT NULL REFERENCES log (name),
    size bigint NOT NULL,
    hash bytea NOT NULL,
    time bigint NOT NULL,
    note text COLLATE "C" NOT NULL,
    PRIMARY KEY (log, size)
);

CREATE TABLE budget (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    budget text COLLATE "C" NOT NULL,
    scope text COLLATE "C" NOT NULL,
    start_ns bigint NOT NULL,
    end_ns bigint NOT NULL,             -- exclusive; 0: the window never ends
    limit_nanos bigint NOT NULL,        -- the catalogue's, as of the last reservation or adjustment
    adjusted bigint NOT NULL DEFAULT 0,
    spent bigint NOT NULL DEFAULT 0 CHECK (spent >= 0),
    held bigint NOT NULL DEFAULT 0 CHECK (held >= 0),   -- by reservations, and what allotments have left
    UNIQUE (budget, scope, start_ns, end_ns)
) WITH (fillfactor = 50);               -- a hot row's next version finds room on its page
CREATE INDEX budget_window ON budget (end_ns);
CREATE TABLE burn (
    budget bigint NOT NULL,             -- budget.id
    hour bigint NOT NULL,               -- when it began
    spent bigint NOT NULL,
    PRIMARY KEY (budget, hour)
);

CREATE TABLE reservation (
    decision text COLLATE "C" PRIMARY KEY,
    subject text COLLATE "C" NOT NULL,
    workflow text COLLATE "C" NOT NULL,
    service text COLLATE "C" NOT NULL,
    variant text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    amount bigint NOT NULL CHECK (amount >= 0),
    spent bigint NOT NULL CHECK (spent >= 0),
    deadline bigint NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('held', 'settled', 'voided', 'lapsed')),
    report_digest text COLLATE "C" NOT NULL,
    budgets bigint[] NOT NULL,          -- budget.id: the rows in which it was made
    allotted text COLLATE "C" NOT NULL DEFAULT ''   -- the log whose allotments it was taken from; '': the rows themselves
);
CREATE INDEX reservation_due ON reservation (deadline, decision) WHERE state = 'held';
CREATE INDEX reservation_allotted ON reservation (allotted) WHERE state = 'held' AND allotted <> '';

-- A slice of a row that one writer spends by itself: allotted - drawn, where positive, is inside the row's `held`
-- (its `spent`, once it has lapsed). `drawn` is what the writer's reservations hold and have spent, as far as shipped.
CREATE TABLE allotment (
    budget bigint NOT NULL REFERENCES budget (id),
    log text COLLATE "C" NOT NULL REFERENCES log (name),
    allotted bigint NOT NULL,
    drawn bigint NOT NULL DEFAULT 0,
    lapsed boolean NOT NULL DEFAULT false,              -- its writer's lease ended long ago: presumed spent
    recalled boolean NOT NULL DEFAULT false,            -- others want it back
    PRIMARY KEY (budget, log)
);
CREATE INDEX allotment_log ON allotment (log);

-- Whose session one writer decides on by itself, while its lease lasts. Others must have it back first.
CREATE TABLE home (
    subject text COLLATE "C" PRIMARY KEY,
    log text COLLATE "C" NOT NULL REFERENCES log (name),
    recalled boolean NOT NULL DEFAULT false
);
CREATE INDEX home_log ON home (log);

CREATE TABLE spending (
    subject text COLLATE "C" NOT NULL,
    service text COLLATE "C" NOT NULL,
    variant text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    cost bigint NOT NULL CHECK (cost >= 0),
    overrun bigint NOT NULL CHECK (overrun >= 0),
    PRIMARY KEY (subject, service, variant, owner)
);
CREATE TABLE usage (
    subject text COLLATE "C" NOT NULL,
    service text COLLATE "C" NOT NULL,
    variant text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    unit text COLLATE "C" NOT NULL,
    quantity bigint NOT NULL CHECK (quantity >= 0),
    PRIMARY KEY (subject, service, variant, owner, unit)
);

CREATE TABLE subject (
    id text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL             -- of its labels
);
CREATE TABLE workflow (
    id text COLLATE "C" PRIMARY KEY CHECK (id <> ''),
    opener text COLLATE "C" NOT NULL,
    purposes text[] NOT NULL,
    agents text[] NOT NULL,
    expires bigint NOT NULL,
    closed_by text COLLATE "C" NOT NULL DEFAULT '',
    version bigint NOT NULL DEFAULT 1
);
CREATE TABLE share (
    subject text COLLATE "C" NOT NULL,              -- '': what the workflow started with
    workflow text COLLATE "C" NOT NULL,             -- '': the standing session
    label text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,               -- the first decision that brought it
    live boolean NOT NULL,              -- whether it counts in the subject's session
    PRIMARY KEY (subject, workflow, label)
);
CREATE INDEX share_live ON share (subject, label, source) WHERE live;
CREATE INDEX share_workflow ON share (workflow, subject) WHERE workflow <> '';
CREATE TABLE trace (
    subject text COLLATE "C" NOT NULL,
    trace text COLLATE "C" NOT NULL,
    workflow text COLLATE "C" NOT NULL,
    expires bigint NOT NULL,
    PRIMARY KEY (subject, trace)
);
CREATE INDEX trace_expires ON trace (expires);
CREATE TABLE passport (
    id text COLLATE "C" PRIMARY KEY,
    used_by text COLLATE "C" NOT NULL,
    expires bigint NOT NULL
);
CREATE INDEX passport_expires ON passport (expires);
CREATE TABLE halt (
    id text COLLATE "C" PRIMARY KEY,
    scope text COLLATE "C" NOT NULL CHECK (scope IN ('agent', 'workflow', 'service', 'policy', 'all')),
    value text COLLATE "C" NOT NULL,
    placed_by text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    time bigint NOT NULL
);
CREATE TABLE kept (
    subject text COLLATE "C" NOT NULL,
    rpc text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    answer bytea NOT NULL,
    expires bigint NOT NULL,
    PRIMARY KEY (subject, rpc, key)
);
CREATE INDEX kept_expires ON kept (expires);

CREATE TABLE seen (
    seen_table text COLLATE "C" NOT NULL,           -- dataset.table
    subject bytea NOT NULL,             -- its keyed hash; empty: of many, which are not told apart
    time bigint NOT NULL,               -- the decision's, so that the newest are found first
    log text COLLATE "C" NOT NULL,
    decision bigint NOT NULL,           -- its sequence in that log
    sight smallint NOT NULL,            -- 0 returned, 1 reached, 2 many
    PRIMARY KEY (seen_table, subject, time, log, decision)
) PARTITION BY RANGE (time);

-- What functions pass to each other.
CREATE TYPE rooms AS (                  -- budget rows that a batch has locked, as it has changed them so far
    id bigint[],
    limit_nanos bigint[],
    adjusted bigint[],
    spent bigint[],
    held bigint[]
);
CREATE TYPE ending AS (                 -- what the end of a reservation changes: differences
    budgets bigint[],
    held bigint,
    spent bigint,
    overrun bigint,
    subject text,
    service text,
    variant text,
    owner text,
    usage jsonb,
    voided boolean,
    hour bigint
);
