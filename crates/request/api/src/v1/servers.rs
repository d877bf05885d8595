//! `/v1/tenants/{tenant}/servers`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bailiwick_base::{Digest, Secret, ServerName, TenantId, ToolName, Transition, nearest};
use bailiwick_inventory::{
    self as inventory, Connection, Identity, Kind, Labels, NewServer, Registration, SeenTool, UpstreamServer,
};
use bailiwick_outbound::{AddressRule, Endpoint, GuardError};
use bailiwick_store::{Reach, Receipt, Tx};
use bailiwick_wire as wire;
use http::StatusCode;

use crate::Deps;
use crate::body::Strict;
use crate::command::{answer, committed, request_digest};
use crate::effective::{View, require_not_killed};
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;
use crate::v1::server_credential::{self, Opener};

/// Where machines in clouds ask who they are: whoever answers there gives out credentials.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Adds a server: its identity, its sealed credential and its pinned tools, in one transaction.
pub(crate) async fn add(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    session: Session,
    Strict(body): Strict<wire::NewServer>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let name =
        ServerName::parse(&body.name).map_err(|e| RouteError::invalid("server.name", e.to_string()))?;
    if name.as_str() == crate::authzen::SCOPE.0 {
        let detail = format!("`{name}` is the name of the decision endpoint in scopes: take another");
        return Err(RouteError::invalid("server.name", detail));
    }
    let asked = without_secret(&body);
    let request = request_digest("servers", &asked)?;
    if let Some(done) = deps.replayed(&session, Reach::from(&tenant), request).await? {
        return Ok(committed(&done, StatusCode::CREATED));
    }
    let receipt = look_and_add(&deps, &session, &tenant, name, &body, &asked).await?;
    Ok(committed(&receipt, StatusCode::CREATED))
}

async fn look_and_add(
    deps: &Deps,
    session: &Session,
    tenant: &TenantId,
    name: ServerName,
    body: &wire::NewServer,
    asked: &wire::NewServer,
) -> Result<Arc<Receipt>, RouteError> {
    let connection = connection(body)?;
    let identity = identity(deps, tenant, body)?;
    let given = (body.credential.as_deref(), body.credential_from.as_deref());
    let Opener { id, sealed } = Opener::of(deps, &identity.after, given).await?;
    let secret = sealed.as_ref().map(|(_, secret)| secret);
    // Refused before anybody is connected to: a wrong address must not cause a request.
    let wanted = plan(deps, &name, &identity.after, &connection, id.clone(), Vec::new())?.after;
    if deps.cell.load().server(tenant, &name).is_some() {
        return Err(RouteError::new(
            StatusCode::CONFLICT,
            "server.name-taken",
            format!("server `{name}` exists already"),
        ));
    }
    let seen = match &wanted.connection {
        Connection::Destination { tunnel, .. } => methods(body, *tunnel)?,
        _ => look(deps, &wanted, body, secret).await?,
    };
    let server = plan(deps, &name, &identity.after, &connection, id, seen)?;
    let doors = deps.clone();
    let registered = identity.after.clone();
    deps.command(session, tenant, ("servers", asked), async move |tx: &mut Tx| {
        tx.identity().apply(identity.clone()).await?;
        match (&sealed, &server.after.credential) {
            (Some((transition, secret)), _) => tx.credential().seal(transition.clone(), secret).await?,
            (None, Some(id)) => server_credential::require_still(&doors, tx, id).await?,
            (None, None) => {}
        }
        require_not_killed(&doors, &server.after.tenant)?;
        tx.server().apply(server.clone()).await?;
        answer(&to_wire(&doors, &server.after, Some(&registered)))
    })
    .await
}

/// The methods of a destination, once its place was found fit: nothing is asked of it.
fn methods(body: &wire::NewServer, tunnel: bool) -> Result<Vec<SeenTool>, RouteError> {
    let url = body.destination.as_deref().unwrap_or_default();
    let refused = |e: GuardError| RouteError::invalid("server.destination", e.to_string());
    let endpoint = Endpoint::parse(url, body.allow_plaintext).map_err(refused)?;
    let rule = AddressRule::parse(&body.allow_addresses).map_err(refused)?;
    rule.require_endpoint(&endpoint).map_err(refused)?;
    if METADATA.iter().any(|at| rule.require(*at).is_ok()) {
        let detail = "an allowed range holds the address of a metadata service, which is never a destination";
        return Err(RouteError::invalid("server.destination", detail));
    }
    inventory::destination::methods_as_tools(&body.methods, tunnel)
        .map_err(|refusal| RouteError::refused(refusal.code(), &refusal))
}

/// Asks the server for its tools, before anything of it is kept.
async fn look(
    deps: &Deps,
    wanted: &UpstreamServer,
    body: &wire::NewServer,
    secret: Option<&Secret<Vec<u8>>>,
) -> Result<Vec<SeenTool>, RouteError> {
    deps.tools
        .look(wanted, secret.map(|s| s.reveal().as_slice()))
        .await
        .map_err(|e| {
            let place = body.url.as_deref().or(body.exec.as_deref()).unwrap_or_default();
            let detail = format!("`{}`: {e}", bailiwick_base::limits::shown(place));
            RouteError::new(StatusCode::BAD_GATEWAY, "server.unreachable", detail)
                .hint("start the upstream server, or mend its address; nothing was added")
        })
}

fn plan(
    deps: &Deps,
    name: &ServerName,
    identity: &Identity,
    connection: &Connection,
    credential: Option<bailiwick_base::CredentialId>,
    tools: Vec<SeenTool>,
) -> Result<Transition<UpstreamServer>, RouteError> {
    let wanted = NewServer {
        name: name.clone(),
        identity,
        connection: connection.clone(),
        credential,
        tools,
    };
    inventory::add_server(wanted, &deps.limits, deps.clock.now())
        .map_err(|refusal| RouteError::refused(refusal.code(), &refusal))
}

/// The same request with the same secret has the same digest; the secret itself goes nowhere.
fn without_secret(body: &wire::NewServer) -> wire::NewServer {
    let credential = body
        .credential
        .as_ref()
        .map(|c| Digest::of(c.as_bytes()).to_string());
    wire::NewServer {
        credential,
        ..body.clone()
    }
}

fn connection(body: &wire::NewServer) -> Result<Connection, RouteError> {
    match (&body.url, &body.exec, &body.destination) {
        (None, None, Some(url)) => Ok(Connection::Destination {
            url: url.clone(),
            allow_addresses: body.allow_addresses.clone(),
            allow_plaintext: body.allow_plaintext,
            header: body.header.clone(),
            tunnel: body.tunnel,
            ca: body.destination_ca.clone(),
        }),
        (Some(url), None, None) => Ok(Connection::Http {
            url: url.clone(),
            allow_addresses: body.allow_addresses.clone(),
            allow_plaintext: body.allow_plaintext,
        }),
        (None, Some(program), None) => {
            let mut digests = Vec::with_capacity(body.digests.len());
            for pair in &body.digests {
                let parsed = pair
                    .rsplit_once('=')
                    .and_then(|(f, d)| Some((f.to_owned(), Digest::from_hex(d)?)));
                digests.push(parsed.ok_or_else(|| {
                    let shown = bailiwick_base::limits::shown(pair);
                    RouteError::invalid(
                        "server.digest-malformed",
                        format!("digest `{shown}` is not FILE=SHA256"),
                    )
                    .hint("sha256sum FILE gives the 64 digits")
                })?);
            }
            Ok(Connection::Exec {
                program: program.clone(),
                args: body.args.clone(),
                digests,
            })
        }
        _ => Err(RouteError::invalid(
            "server.connection",
            "give exactly one of `url`, `exec` and `destination`",
        )),
    }
}

fn identity(
    deps: &Deps,
    tenant: &TenantId,
    body: &wire::NewServer,
) -> Result<Transition<Identity>, RouteError> {
    let is_destination = body.destination.is_some();
    let wanted = Registration {
        id: deps
            .ids
            .mint(tenant)
            .map_err(|e| RouteError::broken("randomness failed", &e))?,
        kind: if is_destination {
            Kind::ApiKey
        } else {
            Kind::McpServer
        },
        name: format!("{}:{}", if is_destination { "egress" } else { "mcp" }, body.name),
        platform: "bailiwick".to_owned(),
        owner: super::owner(body.owner.clone()),
        application: None,
        purpose: body.purpose.clone(),
        labels: Labels::default(),
        expires_at: body
            .expires_at
            .as_deref()
            .map(|t| super::time("expires_at", t))
            .transpose()?,
    };
    inventory::register(wanted, &deps.limits, deps.clock.now())
        .map_err(|refusal| RouteError::refused(refusal.code(), &refusal))
}

pub(crate) async fn list(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    _: Session,
) -> Result<Json<wire::Page<wire::Server>>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let snapshot = deps.cell.load();
    let mut items: Vec<wire::Server> = snapshot
        .servers(&tenant)
        .map(|s| to_wire(&deps, s, None))
        .collect();
    items.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Json(wire::Page::whole(items)))
}

pub(crate) async fn find(
    State(deps): State<Deps>,
    Path((slug, named)): Path<(String, String)>,
    _: Session,
) -> Result<Json<wire::Server>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let snapshot = deps.cell.load();
    let found = ServerName::parse(&named)
        .ok()
        .and_then(|name| snapshot.server(&tenant, &name));
    match found {
        Some(server) => Ok(Json(to_wire(&deps, server, None))),
        None => {
            let near = nearest(&named, snapshot.servers(&tenant).map(|s| s.name.as_str()));
            Err(RouteError::not_found("server").hint(match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("list them with `bailiwick -t {tenant} server ls`"),
            }))
        }
    }
}

/// Accepts the definitions as the server shows them now.
pub(crate) async fn pin(
    State(deps): State<Deps>,
    Path((slug, named)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::PinRequest>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let name = ServerName::parse(&named).map_err(|_| RouteError::not_found("server"))?;
    let known = deps
        .cell
        .load()
        .server(&tenant, &name)
        .cloned()
        .ok_or_else(|| RouteError::not_found("server"))?;
    let asked = format!("servers/{name}/pin");
    let request = request_digest(&asked, &body)?;
    if let Some(done) = deps.replayed(&session, Reach::from(&tenant), request).await? {
        return Ok(committed(&done, StatusCode::OK));
    }
    if matches!(known.connection, Connection::Destination { .. }) {
        let detail =
            "the methods of a destination are those it was added with: add it anew under another name";
        return Err(RouteError::invalid("server.destination", detail));
    }
    let only = only(&known, &body)?;
    let seen = deps
        .tools
        .look(&known, None)
        .await
        .map_err(|e| RouteError::new(StatusCode::BAD_GATEWAY, "server.unreachable", e.to_string()))?;
    let limits = deps.limits.clone();
    let doors = deps.clone();
    let receipt = deps
        .command(&session, &tenant, (&asked, &body), async move |tx: &mut Tx| {
            let server = tx
                .server()
                .lookup(&name)
                .await?
                .ok_or_else(|| RouteError::not_found("server"))?;
            let transition = inventory::pin_tools(server, seen.clone(), only.as_deref(), &limits)?;
            let shown = to_wire(&doors, &transition.after, None);
            tx.server().apply(transition).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

fn only(known: &UpstreamServer, body: &wire::PinRequest) -> Result<Option<Vec<ToolName>>, RouteError> {
    if body.tools.is_empty() {
        return Ok(None);
    }
    let mut out = Vec::new();
    for text in &body.tools {
        let name = ToolName::parse(text).map_err(|e| RouteError::invalid("server.tool", e.to_string()))?;
        if !known.pins.iter().any(|p| p.name == name) {
            let near = nearest(text, known.pins.iter().map(|p| p.name.as_str()));
            let error = RouteError::not_found("tool");
            return Err(match near {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            });
        }
        out.push(name);
    }
    Ok(Some(out))
}

/// `registered` is its identity where the snapshot does not have it yet.
pub(crate) fn to_wire(deps: &Deps, server: &UpstreamServer, registered: Option<&Identity>) -> wire::Server {
    let snapshot = deps.cell.load();
    let view = View::new(deps, &snapshot);
    let effective = view.server(server);
    let identity = registered.or_else(|| snapshot.identity(&server.identity).map(AsRef::as_ref));
    let (connection, allowances, digests) = shown_connection(&server.connection);
    wire::Server {
        name: server.name.to_string(),
        tenant: server.tenant.to_string(),
        identity: server.identity.to_string(),
        effective: effective.state,
        stopped_by: effective.stopped_by,
        owner: identity.map(|i| wire::Owner {
            team: i.owner.team.clone(),
            contact: i.owner.contact.clone(),
        }),
        purpose: identity.map(|i| i.purpose.clone()),
        expires_at: identity.map(|i| i.expires_at.to_string()),
        digests,
        connection,
        allowances,
        credential: server.credential.as_ref().map(ToString::to_string),
        endpoint: match &server.connection {
            Connection::Destination { url, .. } => url.clone(),
            _ => format!("{}/{}", deps.audience(&server.tenant), server.name),
        },
        tools: server
            .pins
            .iter()
            .map(|p| {
                let effective = view.tool(server, p);
                wire::Tool {
                    name: p.name.to_string(),
                    state: p.state.as_str().to_owned(),
                    effective: effective.state,
                    stopped_by: effective.stopped_by,
                    digest: p.digest.to_string(),
                }
            })
            .collect(),
        created_at: server.created_at.to_string(),
    }
}

/// How it is reached, what widens that, and what must match.
fn shown_connection(connection: &Connection) -> (String, Vec<String>, Vec<String>) {
    let mut allowances = Vec::new();
    let mut digests = Vec::new();
    let shown = match connection {
        Connection::Destination {
            url,
            allow_addresses,
            allow_plaintext,
            header,
            tunnel,
            ca,
        } => {
            allowances.extend(allow_addresses.iter().map(|range| format!("address {range}")));
            let flags = [
                (*allow_plaintext, "plaintext"),
                (*tunnel, "tunnel"),
                (ca.is_some(), "private CA"),
            ];
            allowances.extend(
                flags
                    .iter()
                    .filter(|(is, _)| *is)
                    .map(|(_, name)| (*name).to_owned()),
            );
            match header {
                Some(header) => format!("{url} with {header}"),
                None => url.clone(),
            }
        }
        Connection::Exec {
            program,
            args,
            digests: wanted,
        } => {
            digests.extend(wanted.iter().map(|(file, digest)| format!("{file}={digest}")));
            let mut line = program.clone();
            for arg in args {
                line.push(' ');
                line.push_str(arg);
            }
            line
        }
        Connection::Http {
            url,
            allow_addresses,
            allow_plaintext,
        } => {
            allowances.extend(allow_addresses.iter().map(|range| format!("address {range}")));
            if *allow_plaintext {
                allowances.push("plaintext".to_owned());
            }
            url.clone()
        }
    };
    (shown, allowances, digests)
}
