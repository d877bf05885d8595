//! Our own HTTP doors: administration (PAP), token endpoint, AuthZEN evaluation, metadata, claim.
//!
//! A handler does: parse → authenticate → one call into a room → one transaction → map. It decides nothing.
//! Path of file = path of endpoint.

#![warn(missing_docs)]

mod authzen;
mod body;
mod claim;
mod command;
mod deps;
mod issue;
mod oauth;
mod problem;
pub mod session;
mod stop;
mod v1;

use axum::Router;
use axum::routing::{get, post, put};

pub use claim::claim_router;
pub use deps::{BoxFuture, Deps, DepsInner, LogDoor, LookError, ToolLook};
pub use problem::RouteError;

/// Everything but the MCP gateway and the probes of the service itself.
pub fn router(deps: Deps) -> Router {
    Router::new()
        .merge(oauth_routes())
        .merge(authzen_routes())
        .nest("/v1", v1_routes())
        .with_state(deps)
}

fn oauth_routes() -> Router<Deps> {
    use oauth::{metadata, token};
    Router::new()
        .route(
            "/.well-known/oauth-authorization-server/t/{tenant}",
            get(metadata::authorization_server),
        )
        .route(
            "/.well-known/openid-configuration/t/{tenant}",
            get(metadata::authorization_server),
        )
        .route(
            "/t/{tenant}/.well-known/openid-configuration",
            get(metadata::authorization_server),
        )
        .route(
            "/t/{tenant}/.well-known/oauth-authorization-server",
            get(metadata::authorization_server),
        )
        .route(
            "/.well-known/oauth-protected-resource/t/{tenant}/mcp",
            get(metadata::protected_resource),
        )
        .route(
            "/.well-known/oauth-protected-resource/t/{tenant}/mcp/{server}",
            get(metadata::protected_resource),
        )
        .route("/t/{tenant}/jwks", get(metadata::jwks))
        .route("/t/{tenant}/token", post(token::handler))
}

fn authzen_routes() -> Router<Deps> {
    use authzen::{evaluation, evaluations, metadata};
    Router::new()
        .route("/access/v1/evaluation", post(evaluation::handler))
        .route("/access/v1/evaluations", post(evaluations::handler))
        .route("/t/{tenant}/access/v1/evaluation", post(evaluation::in_tenant))
        .route("/t/{tenant}/access/v1/evaluations", post(evaluations::in_tenant))
        .route(
            "/.well-known/authzen-configuration/t/{tenant}",
            get(metadata::handler),
        )
        .route(
            "/t/{tenant}/.well-known/authzen-configuration",
            get(metadata::handler),
        )
}

fn v1_routes() -> Router<Deps> {
    use v1::{check, clients, count, identities, kill, logs, policies, servers, tasks, tenants};
    Router::new()
        .route("/tenants", post(tenants::add).get(tenants::list))
        .route(
            "/tenants/{tenant}/identities",
            post(identities::add).get(identities::list),
        )
        .route("/tenants/{tenant}/identities/{id}", get(identities::find))
        .route(
            "/tenants/{tenant}/identities/{id}/activate",
            post(identities::activate),
        )
        .route(
            "/tenants/{tenant}/identities/{id}/suspend",
            post(identities::suspend),
        )
        .route(
            "/tenants/{tenant}/identities/{id}/resume",
            post(identities::resume),
        )
        .route(
            "/tenants/{tenant}/identities/{id}/retire",
            post(identities::retire),
        )
        .route("/tenants/{tenant}/clients", post(clients::add).get(clients::list))
        .route("/tenants/{tenant}/tasks", post(tasks::open).get(tasks::list))
        .route("/tenants/{tenant}/tasks/{id}/tokens", post(tasks::tokens))
        .route("/tenants/{tenant}/tasks/{id}/close", post(tasks::close))
        .route("/tenants/{tenant}/servers", post(servers::add).get(servers::list))
        .route("/tenants/{tenant}/servers/{name}/pin", post(servers::pin))
        .route(
            "/tenants/{tenant}/policies",
            put(policies::write).get(policies::read),
        )
        .route("/tenants/{tenant}/check", post(check::handler))
        .route("/tenants/{tenant}/count", get(count::of_tenant))
        .route("/tenants/{tenant}/kill", post(kill::kill))
        .route("/tenants/{tenant}/resume", post(kill::resume))
        .route("/all-tenants/count", get(count::of_all))
        .route("/all-tenants/kill", post(kill::kill_all))
        .route("/all-tenants/resume", post(kill::resume_all))
        .route("/logs", get(logs::list))
        .route("/logs/{log}/proof", get(logs::prove))
        .route("/logs/{log}/entries", get(logs::entries))
        .route("/logs/{log}/openings", get(logs::openings))
}
