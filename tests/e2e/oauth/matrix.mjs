// What is expected of which client: a table, nothing else.
//
// A cell that is not named below is expected to work, the whole way: the client
// gets a token, the token is bound as the column says, and the gateway takes it
// from that client and from nobody who lacks the key. An exception is tried
// like every other cell and has to fail; once it works, it is stale, and the
// lane fails until it is taken out.

export const CLIENTS = ["oauth4webapi", "openid-client", "authlib"];
export const GRANTS = ["client_credentials", "token-exchange", "jwt-bearer", "authorization_code", "refresh_token"];
export const CONSTRAINTS = ["none", "dpop", "mtls"];

/** What a client does besides asking for tokens. */
export const DEEDS = [
    "metadata at /.well-known/oauth-authorization-server/t/…",
    "metadata at /.well-known/openid-configuration/t/…",
    "metadata at /t/…/.well-known/openid-configuration",
    "metadata of the resource",
    "revocation",
    "introspection",
    "signed introspection"
];

const AUTHLIB_DPOP = "Authlib has no DPoP (RFC 9449)";

/** `[client, grant, constraint]` (`*` for all) and why it cannot be. The first that fits counts. */
export const GRANT_EXCEPTIONS = [
    ["authlib", "*", "dpop", AUTHLIB_DPOP]
];

/** `[client, deed]` and why it cannot be. */
export const DEED_EXCEPTIONS = [
    ["authlib", "metadata of the resource", "Authlib has no protected resource metadata (RFC 9728)"],
    ["authlib", "signed introspection", "Authlib has no JWT responses of introspection (RFC 9701)"],
    ["openid-client", "metadata of the resource", "openid-client has no protected resource metadata (RFC 9728)"]
];

const fits = (pattern, value) => pattern === "*" || pattern === value;

/** Why a cell cannot be; undefined when it is expected to work. */
export const exceptionOf = (table, ...cell) => table.find(row => cell.every((value, at) => fits(row[at], value)))?.at(-1);
