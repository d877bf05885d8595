-- What the tokens of a client are bound to: `dpop`, `mtls` or `none`. Clients from before were bound to nothing.
ALTER TABLE client ADD COLUMN proof TEXT NOT NULL DEFAULT 'none';
