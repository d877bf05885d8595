//! Our own HTTP doors: administration (PAP), token endpoint, AuthZEN evaluation, metadata, claim.
//!
//! A handler does: parse → authenticate → one call into a room → one transaction → map. It decides nothing.
//! Path of file = path of endpoint.

#![warn(missing_docs)]

mod authzen;
mod body;
pub mod budget;
mod claim;
mod codes;
mod command;
mod deps;
mod effective;
mod heartbeats;
mod issue;
mod lending;
mod node_logs;
mod nodes;
mod noted;
mod oauth;
mod opening;
mod past;
mod point;
mod presented;
mod problem;
mod prune;
mod publishing;
mod query;
mod rates;
mod receipts;
mod received;
mod reconcile;
mod recorder;
mod rotation;
pub mod session;
mod sidecars;
mod signals;
mod signing_keys;
mod ssf;
mod stop;
mod stopping;
mod svid;
mod svids_issued;
mod table;
mod used;
mod v1;

use axum::Router;

pub use claim::claim_router;
pub use codes::{Code, codes};
pub use deps::{BoxFuture, Deps, DepsInner, LogDoor, LogError, LookError, ToolLook};
pub use heartbeats::{Heartbeats, end_silent};
pub use node_logs::{Logs, Named};
pub use nodes::{NodeStartError, Nodes, READY, first_word, health, keep_word, leave, share_keys};
pub use noted::{note_insecure, note_settings};
pub use oauth::authorize::{Peer, WaitingList};
pub use oauth::documents::document_fetching;
pub use oauth::federation::Federation;
pub use opening::Secrets;
pub use past::{PastError, go_on_from};
pub use point::{DecisionPoint, decision_router};
pub use problem::RouteError;
pub use prune::{LogConfig, LogConfigError, PruneError, Pruning};
pub use publishing::{Behind, catch_up, publish_state};
pub use rates::recount_rates;
pub use receipts::{Drills, KillConfig, KillConfigError};
pub use reconcile::{Reconciler, Work};
pub use recorder::JournalRecorder;
pub use signals::{SignalConfig, SignalConfigError, Signals};
pub use signing_keys::{Signing, advance_keys};
pub use stop::Unsettled;
pub use svid::Workloads;
pub use svids_issued::IssuedSvids;
use table::Doors;
pub use table::Route;
pub use used::UsedSessions;

/// Everything but the MCP gateway and the probes of the service itself.
pub fn router(deps: Deps) -> Router {
    doors().router.with_state(deps)
}

/// The routes of [`router`], for tests that go through all of them.
#[must_use]
pub fn routes() -> Vec<Route> {
    doors().listed
}

fn doors() -> Doors {
    let doors = signal_doors(authzen_doors(oauth_doors(Doors::default())));
    let doors = log_doors(v1_doors(sidecar_doors(doors)));
    stop_doors(consent_doors(credential_doors(doors)))
}

fn oauth_doors(doors: Doors) -> Doors {
    use oauth::{authorize, introspect, metadata, revoke, status_list, token};
    doors
        .get(
            "/.well-known/oauth-authorization-server/t/{tenant}",
            metadata::authorization_server,
        )
        .get(
            "/.well-known/openid-configuration/t/{tenant}",
            metadata::authorization_server,
        )
        .get(
            "/t/{tenant}/.well-known/openid-configuration",
            metadata::authorization_server,
        )
        .get(
            "/t/{tenant}/.well-known/oauth-authorization-server",
            metadata::authorization_server,
        )
        .get(
            "/.well-known/oauth-protected-resource/t/{tenant}/mcp",
            metadata::protected_resource,
        )
        .get(
            "/.well-known/oauth-protected-resource/t/{tenant}/mcp/{server}",
            metadata::protected_resource,
        )
        .get("/t/{tenant}/jwks", metadata::jwks)
        .get("/t/{tenant}/status-lists/{list}", status_list::handler)
        .get("/t/{tenant}/authorize", authorize::begin)
        .get("/t/{tenant}/authorize/{place}", authorize::show)
        .post("/t/{tenant}/authorize/{place}", authorize::answer)
        .get("/t/{tenant}/spiffe/bundle", metadata::spiffe_bundle)
        .post("/t/{tenant}/token", token::handler)
        .post("/t/{tenant}/revoke", revoke::handler)
        .post("/t/{tenant}/introspect", introspect::handler)
}

fn authzen_doors(doors: Doors) -> Doors {
    use authzen::{evaluation, evaluations, metadata};
    doors
        .post("/access/v1/evaluation", evaluation::handler::<Deps>)
        .post("/access/v1/evaluations", evaluations::handler::<Deps>)
        .post("/t/{tenant}/access/v1/evaluation", evaluation::in_tenant::<Deps>)
        .post(
            "/t/{tenant}/access/v1/evaluations",
            evaluations::in_tenant::<Deps>,
        )
        .get("/.well-known/authzen-configuration/t/{tenant}", metadata::handler)
        .get("/t/{tenant}/.well-known/authzen-configuration", metadata::handler)
}

/// Enforcement points elsewhere.
fn sidecar_doors(doors: Doors) -> Doors {
    use v1::sidecars;
    doors
        .get("/v1/sidecars", sidecars::list)
        .post("/v1/sidecars", sidecars::invite)
        .post("/v1/sidecars/join", sidecars::join)
        .post("/v1/sidecars/{sidecar}/remove", sidecars::withdraw)
        .post("/v1/sidecars/{sidecar}/word", sidecars::word)
}

/// OpenID Shared Signals.
fn signal_doors(doors: Doors) -> Doors {
    use ssf::{metadata, poll, receive, status, streams, subjects, verify};
    use v1::{subscriptions, transmitters, webhooks};
    doors
        .get("/.well-known/ssf-configuration/t/{tenant}", metadata::handler)
        .get("/t/{tenant}/.well-known/ssf-configuration", metadata::handler)
        .get("/t/{tenant}/ssf/stream", streams::find)
        .post("/t/{tenant}/ssf/stream", streams::create)
        .patch("/t/{tenant}/ssf/stream", streams::update)
        .put("/t/{tenant}/ssf/stream", streams::replace)
        .withdraw("/t/{tenant}/ssf/stream", streams::withdraw)
        .get("/t/{tenant}/ssf/status", status::find)
        .post("/t/{tenant}/ssf/status", status::set)
        .post("/t/{tenant}/ssf/subjects/add", subjects::add)
        .post("/t/{tenant}/ssf/subjects/remove", subjects::withdraw)
        .post("/t/{tenant}/ssf/verify", verify::handler)
        .post("/t/{tenant}/ssf/poll/{stream}", poll::handler)
        .post("/t/{tenant}/ssf/events", receive::handler)
        .get("/v1/tenants/{tenant}/subscriptions", subscriptions::list)
        .post(
            "/v1/tenants/{tenant}/subscriptions/{id}/status",
            subscriptions::set,
        )
        .post(
            "/v1/tenants/{tenant}/subscriptions/{id}/remove",
            subscriptions::withdraw,
        )
        .post("/v1/tenants/{tenant}/webhooks", webhooks::add)
        .post("/v1/tenants/{tenant}/webhooks/{id}/rotate", webhooks::rotate)
        .get("/v1/tenants/{tenant}/transmitters", transmitters::list)
        .post("/v1/tenants/{tenant}/transmitters", transmitters::add)
        .post(
            "/v1/tenants/{tenant}/transmitters/{id}/remove",
            transmitters::withdraw,
        )
}

fn credential_doors(doors: Doors) -> Doors {
    use v1::{credential_change, credentials};
    doors
        .get("/v1/tenants/{tenant}/credentials", credentials::list)
        .post("/v1/tenants/{tenant}/credentials", credentials::add)
        .get("/v1/tenants/{tenant}/credentials/{id}", credentials::find)
        .post(
            "/v1/tenants/{tenant}/credentials/{id}/correct",
            credential_change::correct,
        )
        .post("/v1/tenants/{tenant}/credentials/{id}/fetch", credentials::fetch)
        .post(
            "/v1/tenants/{tenant}/credentials/{id}/remove",
            credential_change::withdraw,
        )
        .post(
            "/v1/tenants/{tenant}/credentials/{id}/replace",
            credentials::replace,
        )
        .post(
            "/v1/tenants/{tenant}/credentials/{id}/rotate",
            credentials::rotate,
        )
        .post(
            "/v1/tenants/{tenant}/credentials/{id}/rotation/cancel",
            credentials::cancel,
        )
        .post(
            "/v1/tenants/{tenant}/credentials/{id}/revoke",
            credentials::revoke,
        )
        .post(
            "/v1/tenants/{tenant}/credentials/{id}/rotation/confirm",
            credentials::confirm,
        )
}

fn consent_doors(doors: Doors) -> Doors {
    use v1::{consents, public_clients};
    doors
        .get("/v1/tenants/{tenant}/public-clients", public_clients::list)
        .post("/v1/tenants/{tenant}/public-clients", public_clients::add)
        .post(
            "/v1/tenants/{tenant}/public-clients/{id}/remove",
            public_clients::withdraw,
        )
        .get("/v1/tenants/{tenant}/consents", consents::list)
        .get("/v1/tenants/{tenant}/consents/waiting/{code}", consents::find)
        .post(
            "/v1/tenants/{tenant}/consents/waiting/{code}/allow",
            consents::allow,
        )
        .post(
            "/v1/tenants/{tenant}/consents/waiting/{code}/refuse",
            consents::refuse,
        )
}

fn v1_doors(doors: Doors) -> Doors {
    use v1::nodes::Stand;
    use v1::{check, clients, composition, count, egress, identities, keys, marks, policies};
    use v1::{nodes, operators, reads, receipts, server_credential, servers, tasks, tenants, trusts};
    doors
        .get("/v1/nodes", nodes::list)
        .post("/v1/nodes", nodes::invite)
        .post("/v1/nodes/join", nodes::join)
        .post("/v1/nodes/{node}/drain", nodes::standing(Stand::Drain))
        .post("/v1/nodes/{node}/undrain", nodes::standing(Stand::Undrain))
        .post("/v1/nodes/{node}/fence", nodes::standing(Stand::Fence))
        .post("/v1/nodes/{node}/readmit", nodes::standing(Stand::Readmit))
        .get("/v1/operators", operators::list)
        .post("/v1/operators", operators::add)
        .get("/v1/tenants", tenants::list)
        .post("/v1/tenants", tenants::add)
        .get("/v1/tenants/{tenant}/identities", identities::list)
        .post("/v1/tenants/{tenant}/identities", identities::add)
        .get("/v1/tenants/{tenant}/identities/{id}", identities::find)
        .put(
            "/v1/tenants/{tenant}/identities/{id}/composition",
            composition::declare,
        )
        .post(
            "/v1/tenants/{tenant}/identities/{id}/activate",
            identities::activate,
        )
        .get("/v1/tenants/{tenant}/clients", clients::list)
        .post("/v1/tenants/{tenant}/clients", clients::add)
        .post("/v1/tenants/{tenant}/clients/{id}/remove", clients::withdraw)
        .get("/v1/tenants/{tenant}/trusts", trusts::list)
        .post("/v1/tenants/{tenant}/trusts", trusts::add)
        .post("/v1/tenants/{tenant}/trusts/{id}/remove", trusts::withdraw)
        .get("/v1/tenants/{tenant}/keys", keys::status)
        .post("/v1/tenants/{tenant}/keys/rotate", keys::rotate)
        .get("/v1/tenants/{tenant}/tasks", tasks::list)
        .post("/v1/tenants/{tenant}/tasks", tasks::open)
        .post("/v1/tenants/{tenant}/tasks/{id}/tokens", tasks::tokens)
        .post("/v1/tenants/{tenant}/tasks/{id}/close", tasks::close)
        .post("/v1/tenants/{tenant}/tasks/{id}/heartbeat", tasks::heartbeat)
        .get("/v1/tenants/{tenant}/tasks/{id}", lending::ledger)
        .post("/v1/tenants/{tenant}/tasks/{id}/leases", lending::lend)
        .post("/v1/tenants/{tenant}/leases/{id}/return", lending::give_back)
        .get("/v1/tenants/{tenant}/servers", servers::list)
        .post("/v1/tenants/{tenant}/servers", servers::add)
        .get("/v1/tenants/{tenant}/servers/{name}", servers::find)
        .post("/v1/tenants/{tenant}/servers/{name}/pin", servers::pin)
        .post(
            "/v1/tenants/{tenant}/servers/{name}/credential",
            server_credential::replace,
        )
        .post("/v1/tenants/{tenant}/servers/{name}/reads", reads::say)
        .get("/v1/tenants/{tenant}/policies", policies::read)
        .put("/v1/tenants/{tenant}/policies", policies::write)
        .post("/v1/tenants/{tenant}/check", check::handler)
        .get("/v1/tenants/{tenant}/count", count::of_tenant)
        .get("/v1/tenants/{tenant}/marks", marks::of_tenant)
        .get("/v1/tenants/{tenant}/egress", egress::find)
        .get("/v1/all-tenants/count", count::of_all)
        .get("/v1/tenants/{tenant}/kills", receipts::list)
        .get("/v1/tenants/{tenant}/kills/{id}", receipts::find)
        .get("/v1/tenants/{tenant}/drills", receipts::drills)
        .post("/v1/tenants/{tenant}/drills", receipts::drill)
        .get("/v1/all-tenants/kills", receipts::list_all)
        .get("/v1/all-tenants/kills/{id}", receipts::find_all)
        .get("/v1/all-tenants/marks", marks::of_all)
}

fn log_doors(doors: Doors) -> Doors {
    use v1::{logs, prune};
    doors
        .get("/v1/tenants/{tenant}/logs/{log}/entries", logs::entries_of)
        .get("/v1/logs", logs::list)
        .get("/v1/logs/{log}/proof", logs::prove)
        .get("/v1/logs/{log}/entries", logs::entries)
        .get("/v1/logs/{log}/openings", logs::openings)
        .post("/v1/logs/{log}/prune", prune::handler)
}

/// Stopping, and lifting a stop: served on the data folder's socket too.
fn stop_doors(doors: Doors) -> Doors {
    use v1::{identities, kill, receipts};
    doors
        .post(
            "/v1/tenants/{tenant}/identities/{id}/suspend",
            identities::suspend,
        )
        .post("/v1/tenants/{tenant}/identities/{id}/resume", identities::resume)
        .post("/v1/tenants/{tenant}/identities/{id}/retire", identities::retire)
        .post("/v1/tenants/{tenant}/kill", kill::kill)
        .post("/v1/tenants/{tenant}/resume", kill::resume)
        .post("/v1/tenants/{tenant}/kills/{id}/sign", receipts::sign)
        .post("/v1/all-tenants/kills/{id}/sign", receipts::sign_all)
        .post("/v1/all-tenants/kill", kill::kill_all)
        .post("/v1/all-tenants/resume", kill::resume_all)
}
