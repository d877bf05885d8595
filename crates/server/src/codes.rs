//! The stable codes, for the reference page and for programs: this table, and the denials, which know their own
//! meaning. A test reads the sources: what is used is listed here, and what is listed is used.

use bailiwick_decide::DenyReason;
use serde::Serialize;

/// A stable code.
#[derive(Debug, Clone, Serialize)]
pub struct Code {
    /// The code.
    pub code: &'static str,
    /// `denial`, `refusal` or `error`.
    pub sort: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// Every code of a denial, a refusal or an error, in the order of the alphabet.
#[must_use]
pub fn codes() -> Vec<Code> {
    let denials = DenyReason::ALL.into_iter().map(|reason| Code {
        code: reason.code(),
        sort: "denial",
        meaning: reason.meaning(),
    });
    let others = OTHERS.lines().filter_map(|line| {
        let mut cells = line.splitn(3, '|');
        Some(Code {
            code: cells.next()?,
            sort: cells.next()?,
            meaning: cells.next()?,
        })
    });
    let mut codes: Vec<Code> = denials.chain(others).collect();
    codes.sort_by_key(|c| c.code);
    codes
}

/// Code, sort and meaning of what is not decided by the decision point, a line each.
const OTHERS: &str = "\
approval.required|denial|the call waits for somebody's approval
assertion.audience|refusal|the client's assertion is for another audience than this issuer
assertion.client|refusal|the assertion names no registered client, or is not signed with its key
assertion.replayed|refusal|the assertion was used before; each works once
assertion.too-early|refusal|the assertion could have been used before this service started
assertion.too-many|refusal|more live assertions than can be remembered
authzen.batch-too-large|refusal|more evaluations in one request than are taken
authzen.field-missing|refusal|a field of the AuthZEN request is missing or of another type
authzen.semantic|refusal|the evaluations semantic is none of the known ones
authzen.task|refusal|`context.task` is not a task id
check.args|refusal|the arguments to decide on are not usable
check.resource|refusal|the resource is neither `server:item` nor `type/id`
claim.answer|error|the answer of the service to a claim was not understood
claim.done|refusal|the installation has an operator already
claim.public-key|refusal|the operator's public key is not an Ed25519 key
claim.request|error|the request of a claim could not be made
claim.unreachable|error|the socket in the data folder does not answer
cli.answer|error|the answer of the service was not understood
cli.broken-off|error|the connection ended before the answer was whole
cli.context|error|the context file is not usable
cli.file|error|a file could not be read, written or made
cli.file-exists|refusal|the file exists, and a secret is not written over it
cli.http|error|the service answered with an error that names no code
cli.key|error|no key could be made for the operator
cli.no-context|refusal|no context file: nobody claimed the installation with this user
cli.not-confirmed|refusal|nobody confirmed; without a terminal `--yes` is needed
cli.operator-key|error|the operator's key is not usable
cli.program|error|the path of this program is not known
cli.randomness|error|the system gave no randomness
cli.runtime|error|the command could not be started
cli.session|error|the operator's session could not be signed
cli.tls|error|TLS could not be set up, or the CA file is not usable
cli.unreachable|error|the service does not answer at its address
cli.usage|refusal|the command line is not of the form the command takes
client.algorithm|refusal|the client's key is for another algorithm than was asked for
client.jwk|refusal|the client's public key is not a JWK
client.key-refused|refusal|the client's public key is not usable
count.at|refusal|`at` is neither a log position nor a time
credential.expiry-past|refusal|the credential would end before now
credential.expiry-too-far|refusal|the credential would end after the latest moment allowed for it
credential.other-owner|refusal|it belongs to another tenant or identity
demo.broken|error|the demo found a fault
demo.wire|error|the demo's agent could not reach the gateway
grant.beyond-task|refusal|the grant would outlive its task
grant.empty|refusal|a task needs at least one scope
grant.ended|refusal|the end of the grant has passed
grant.killed|refusal|a scope names what was killed
grant.no-scope|refusal|a grant needs at least one scope
grant.not-compiled|refusal|the scopes do not compile
grant.scope-invalid|refusal|the grammar cannot express a scope
grant.scope-malformed|refusal|a scope is not of the form `server:tool(conditions)`
grant.server-unknown|refusal|a scope names no server of this tenant
grant.task-closed|refusal|the task of the grant is closed
grant.too-many-scopes|refusal|more scopes than one grant may have
grant.tool-unknown|refusal|a scope names no pinned tool of its server
http.accept|refusal|`Accept` does not name what is answered
http.content-type|refusal|`Content-Type` is not the one that is read
http.header|refusal|a header is not usable
http.header-twice|refusal|a header stands there twice
http.host|refusal|the host name is not served here
http.method|refusal|the HTTP method is not served at this path
http.origin|refusal|requests from this web origin are not let in
http.query|refusal|the endpoint takes no query
http.tenant|refusal|a header names another tenant than the path
http.too-long|refusal|the body is longer than is read
http.too-slow|refusal|the body did not arrive in time
http.unreadable|refusal|the body broke off
idempotency.malformed|refusal|the idempotency key is not of its form
idempotency.reused|refusal|the idempotency key was used for another request
identity.agent-label|refusal|the label of the agent is not usable
identity.already-active|refusal|the identity is active already
identity.already-suspended|refusal|the identity is suspended already
identity.expiry-missing|refusal|an identity needs an expiry
identity.expiry-past|refusal|the identity would end before now
identity.expiry-too-far|refusal|the identity would live longer than is allowed
identity.kind|refusal|the kind is none of the known ones
identity.not-suspended|refusal|the identity is not suspended
identity.owner-contact-missing|refusal|an identity needs somebody who can be reached
identity.owner-missing|refusal|an identity needs an owner
identity.purpose-missing|refusal|an identity needs a purpose
identity.reason-missing|refusal|a reason is needed; it is recorded
identity.retired|refusal|the identity is retired, which is final
keys.damaged|error|a key file is damaged or belongs elsewhere
keys.does-not-open|error|the unseal key is not the one the keys were sealed with
keys.entropy|error|no key was made: the system gave no randomness
keys.folder-open|error|others may enter the folder of the keys
keys.generate|error|a key pair could not be made
keys.io|error|a key file could not be read or written
keys.key-state|error|the signing key is not there, or not in the state for this
keys.missing|error|a key that was there is not any more
keys.origin|error|the name of a log cannot name a key
keys.passphrase-short|error|the passphrase is too short
keys.private-key|error|the private key is not readable
keys.public-key|error|the public key is not usable
keys.readable|error|others may read a secret file
keys.seal|error|a key could not be sealed or opened
keys.sign|error|signing failed
keys.tenant-erased|error|the tenant's keys were erased; its name is never used again
keys.tenant-exists|error|the tenant has keys already
keys.tenant-unknown|error|the tenant has no keys
keys.unseal-length|error|the unseal key is not 32 bytes
keys.unseal-missing|error|there are sealed keys, but no unseal key
kill.local-only|error|denied on this node and in its kill journal, but not yet in the state log
kill.memory-only|error|denied on this node while it runs, but written nowhere
kill.name|refusal|the name does not fit the scope
kill.reason-malformed|refusal|the reason is not plain text
kill.reason-missing|refusal|a reason is needed; it is recorded
kill.scope|refusal|the scope cannot be stopped at this path
kill.second-operator|refusal|so wide a stop needs a second operator
limit.too-many|refusal|more of them than are allowed
log.export|error|the logs could not be exported
log.no-such-position|refusal|the log does not reach this position yet
log.unreadable|error|the logs could not be read or do not verify
policy.invalid|refusal|the policy does not parse, or does not fit the schema
proof.invalid|error|the proof does not verify with this key
request.body|refusal|the body of the request is not the expected JSON
request.busy|refusal|too many requests are on their way
request.content-type|refusal|the body has to be `application/json`
request.method|refusal|the path is served with another HTTP method
request.not-found|refusal|what the path names does not exist
request.time|refusal|a field is not an RFC 3339 time
request.timeout|refusal|the body did not arrive in time
request.too-large|refusal|the body is larger than is read
resume.not-suspended|refusal|nothing is suspended on this scope
resume.reason-malformed|refusal|the reason is not plain text
server.address-range-invalid|refusal|an address range is not CIDR
server.connection|refusal|a server needs exactly one of `url` and `exec`
server.credential|refusal|the upstream credential cannot be sent
server.credential-missing|refusal|the server has no upstream credential
server.digest-malformed|refusal|a digest is not `FILE=SHA256`
server.digest-missing|refusal|the server's program has no digest
server.identity-kind|refusal|the identity of a server has to be of the kind `mcp-server`
server.name|refusal|the name of the server is not usable
server.name-taken|refusal|a server of this name exists
server.path-not-absolute|refusal|the path is not absolute and plain
server.tool|refusal|the name of the tool is not usable
server.tool-twice|refusal|the server lists a tool twice
server.tools-unchanged|refusal|every tool is as it was pinned
server.unreachable|error|the upstream server could not be started or reached; nothing was changed
server.url-invalid|refusal|the server's URL is not accepted
service.failed|error|the service failed; the cause is in its log
session.crowded|refusal|the operator sent too many commands within a minute
session.invalid|refusal|the operator's session is not accepted
session.streaming|refusal|the MCP session has an open stream already
session.used|refusal|the operator's session was used for another command
store.busy|error|the store is busy; repeat with the same idempotency key
store.conflict|error|somebody else changed it meanwhile
store.dangling|error|it refers to something that does not exist in this tenant
store.disk-full|error|no room for the write; nothing was changed
store.duplicate|refusal|something with this name exists already
store.engine|error|a statement on the store failed
store.entry-without-change|error|a transaction appended an entry and changed nothing; it was not committed
store.fenced|error|a newer process runs under this node's name
store.file-corrupt|error|the database is damaged
store.leaf|error|a log entry could not be written
store.limit|error|more than a limit of the store allows
store.log-corrupt|error|the state log and the rows do not agree
store.newer-schema|error|a newer version wrote the database
store.older-than-log|error|the store has fewer entries than its log signed; put back the newest one
store.other-tenant|error|an id of another tenant was used inside a transaction
store.other-than-signed|error|the entries of the store are not those that were signed
store.panicked|error|a command stopped inside the store; nothing was changed
store.plaintext|error|the connection to the database is not encrypted and verified
store.read-only|error|the data folder cannot be written
store.role-too-strong|error|the database role could pass by row security
store.row-corrupt|error|a stored value is not what was written
store.row-missing|error|a row that the log tells of is missing or altered
store.row-unrecorded|error|the store has a row that the log does not tell of
store.seal|error|a sealed value could not be written or read
store.state-without-entry|error|a transaction changed state and appended no entry; it was not committed
store.stopped|error|the store is closed
store.unavailable|error|the database does not answer
store.uncertain|error|the connection broke during a commit; repeat with the same idempotency key
store.unchanged|refusal|it is as it should be already
store.unreadable|error|the data folder cannot be opened
store.write-across-tenants|error|what reads all tenants may not write
task.already-closed|refusal|the task is closed, which is final
task.ended|refusal|the task, its grant or its identity ended
task.identity-not-living|refusal|the identity of the task is not in service
task.not-open|refusal|the task has not begun
task.nothing-granted|refusal|the task grants nothing
task.purpose-missing|refusal|a task needs a purpose
task.reason-missing|refusal|a reason is needed; it is recorded
task.requester-missing|refusal|a task names who asked for it
task.scope-not-granted|refusal|more was asked for than the task grants
task.window-empty|refusal|the task would close before it opens
task.window-too-long|refusal|the task would be open longer than is allowed
tenant.algorithm|refusal|the signing algorithm is none of the known ones
tenant.closed|refusal|the tenant is closed, which is final
tenant.employees-missing|refusal|a tenant needs its number of employees
tenant.keys|error|the keys of the tenant could not be made
tenant.killed|refusal|nothing can be added where a kill stands
tenant.malformed|refusal|the tenant's slug is not of its form
tenant.other|refusal|it belongs to another tenant
tenant.reference-invalid|refusal|the tenant's reference is not 16 hexadecimal digits
tenant.reserved|refusal|the slug is reserved
tenant.unknown|refusal|no such tenant
text.control-character|refusal|a text holds a control character
text.name-missing|refusal|it needs a name
text.too-long|refusal|a text is longer than is allowed
token.actors-invalid|refusal|the actor chain of the token is not usable
token.algorithm|refusal|the token is signed with another algorithm than its key is for
token.audience|refusal|the token is for another audience
token.bearer|refusal|the Authorization header does not hold exactly one bearer token
token.claim-invalid|refusal|a claim is missing or not of its form
token.count|refusal|the number of tokens is not one that is issued at once
token.encoding|refusal|a part of the token is not strict base64url
token.header|refusal|a member of the token's header is not accepted
token.issuer-unknown|refusal|the token is from an unknown issuer
token.json|refusal|the token does not hold strict JSON
token.key-unknown|refusal|the token is signed with an unknown key
token.lifetime|refusal|the token would live longer than is accepted
token.malformed|refusal|the Authorization header is not of the form `Bearer TOKEN`
token.missing|refusal|the request has no access token
token.none|error|no token was issued
token.not-yet-valid|refusal|the time of the token has not come
token.sender-constrained|refusal|the token is bound to a key whose possession cannot be shown here
token.signature|refusal|the signature of the token does not verify
token.structure|refusal|the token is not a compact JWS
token.tenant|refusal|the token belongs to another tenant
token.too-long|refusal|the token is longer than is read
token.type|refusal|the token is of another type
token.wrong-tenant|refusal|the token is another tenant's
upstream.busy|error|too many calls wait for the upstream server
upstream.closed|error|the upstream server closed the connection before it answered
upstream.credential-missing|error|the credential of the upstream server is missing or does not open
upstream.credential-returned|error|the answer was withheld because it contains a credential
upstream.exited|error|the program of the upstream server ended
upstream.guarded|error|the address of the upstream server may not be connected to
upstream.not-mcp|error|the answer of the upstream server is not MCP
upstream.overdue|error|the upstream server did not finish its answer in time; the call was cancelled
upstream.question-refused|refusal|the upstream server asked what this caller may not be asked
upstream.redirected|error|the upstream server answered with a redirect
upstream.refused|error|the upstream server refused its credential
upstream.session-lost|error|the upstream server ended the session
upstream.timed-out|error|the upstream server did not answer in time
upstream.too-long|error|the answer of the upstream server is longer than is read
upstream.unreachable|error|the upstream server cannot be reached
upstream.unsupported|error|the upstream server speaks no supported protocol revision
";
