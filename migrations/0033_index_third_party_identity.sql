-- Whatever proves an identity is looked for when the identity is killed or retired.
CREATE INDEX third_party_identity ON third_party (tenant, identity);
