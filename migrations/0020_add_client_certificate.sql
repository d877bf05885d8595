-- The certificate by which a client is known over TLS: base64url of its SHA-256, empty where there is none.
ALTER TABLE client ADD COLUMN certificate TEXT NOT NULL DEFAULT '';
