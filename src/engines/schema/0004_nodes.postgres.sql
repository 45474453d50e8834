-- The processes that run one installation together, who of them does what only one may do, and what they tell one another.

-- beat grows while the node lives. epoch is another one for each start.
CREATE TABLE node (
    id BYTEA NOT NULL PRIMARY KEY,
    epoch BYTEA NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    -- `type=worker`, separated by commas.
    labels TEXT COLLATE "C" NOT NULL,
    beat BIGINT NOT NULL,
    seen_ms BIGINT NOT NULL
);

-- fence grows with every holder. holder is NULL when the last one has left in order.
CREATE TABLE lease (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    holder BYTEA,
    fence BIGINT NOT NULL
);

-- number grows with every change.
CREATE TABLE news (
    topic TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL
);

-- Which node unpacks a deployment.
ALTER TABLE deployment ADD COLUMN node_id BYTEA;
