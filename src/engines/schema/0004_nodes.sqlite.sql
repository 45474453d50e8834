-- The processes that run one installation together, who of them does what only one may do, and what they tell one another.

-- beat grows while the node lives. epoch is another one for each start.
CREATE TABLE node (
    id BLOB NOT NULL PRIMARY KEY,
    epoch BLOB NOT NULL,
    role TEXT NOT NULL,
    -- `type=worker`, separated by commas.
    labels TEXT NOT NULL,
    beat INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- fence grows with every holder. holder is NULL when the last one has left in order.
CREATE TABLE lease (
    name TEXT NOT NULL PRIMARY KEY,
    holder BLOB,
    fence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- number grows with every change.
CREATE TABLE news (
    topic TEXT NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which node unpacks a deployment.
ALTER TABLE deployment ADD COLUMN node_id BLOB;
