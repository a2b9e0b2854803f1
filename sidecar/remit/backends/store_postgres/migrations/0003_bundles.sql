-- The highest serial of a signed bundle that any member has accepted: no member takes an older one.

CREATE TABLE bundle (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    serial bigint NOT NULL CHECK (serial > 0),
    digest text COLLATE "C" NOT NULL,
    time bigint NOT NULL        -- when it was accepted first
);
