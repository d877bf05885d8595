//! Upstream MCP servers and the pinning of their tools.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bailiwick_base::limits::shown;
use bailiwick_base::{CredentialId, Digest, ServerName, Time, ToolName, Transition};

use crate::destination::HeaderTemplate;
use crate::limits::Limits;
use crate::model::{Connection, Identity, Kind, PinState, State, ToolPin, UpstreamServer};
use crate::refusal::Refusal;

const URL_MAX: usize = 2_048;
const PATH_MAX: usize = 4_096;
const LIST_MAX: usize = 64;
const CA_MAX: usize = 32 * 1024;

/// The scopes of the installation itself (`authzen:evaluate`, `credential:lease`, `ssf:manage`, `token:exchange`, …) begin with these:
/// a grant for a tool must never read like one of them.
const RESERVED: [&str; 4] = ["authzen", "credential", "ssf", "token"];

/// A tool as its server shows it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenTool {
    /// Name.
    pub name: ToolName,
    /// SHA-256 of the canonical definition.
    pub digest: Digest,
    /// The canonical definition.
    pub definition: Vec<u8>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct NewServer<'a> {
    /// Its name in URLs and scopes.
    pub name: ServerName,
    /// Its own identity, of kind MCP server; the tenant is the identity's.
    pub identity: &'a Identity,
    /// How it is reached.
    pub connection: Connection,
    /// The sealed credential it is opened with.
    pub credential: Option<CredentialId>,
    /// Its tools as it shows them now; they are pinned.
    pub tools: Vec<SeenTool>,
}

/// Adds an upstream server; its tools are pinned as seen.
///
/// # Errors
/// [`Refusal`] when the connection is not acceptable, the identity does not fit or a limit is passed.
pub fn add_server(
    wanted: NewServer<'_>,
    limits: &Limits,
    now: Time,
) -> Result<Transition<UpstreamServer>, Refusal> {
    let kind = match &wanted.connection {
        Connection::Destination { .. } => Kind::ApiKey,
        Connection::Exec { .. } | Connection::Http { .. } => Kind::McpServer,
    };
    if wanted.identity.kind != kind {
        return Err(Refusal::KindMismatch {
            found: wanted.identity.kind.as_str(),
        });
    }
    if matches!(wanted.identity.state, State::Retired { .. }) {
        return Err(Refusal::Retired);
    }
    if RESERVED.contains(&wanted.name.as_str()) {
        return Err(Refusal::ServerReserved(wanted.name.to_string()));
    }
    require_connection(&wanted.connection)?;
    if let Connection::Destination { header, tunnel, .. } = &wanted.connection {
        require_injectable(header.as_deref(), *tunnel, wanted.credential.is_some())?;
    }
    let tenant = wanted.identity.id.tenant().clone();
    require_tenant(&tenant, wanted.credential.as_ref())?;
    let server = UpstreamServer {
        tenant,
        name: wanted.name,
        identity: wanted.identity.id.clone(),
        connection: wanted.connection,
        credential: wanted.credential,
        pins: sorted(wanted.tools, limits)?
            .into_values()
            .map(|t| pin(t, PinState::Pinned))
            .collect(),
        created_at: now,
    };
    Ok(Transition::made("server.add", server))
}

/// Pins the tools of a server as they are seen now: an operator compared them. With `only`, just these; the
/// others keep their state.
///
/// # Errors
/// [`Refusal::ToolsUnchanged`], [`Refusal::ToolTwice`], [`Refusal::TooMany`], [`Refusal::TooLong`].
pub fn pin_tools(
    server: UpstreamServer,
    seen: Vec<SeenTool>,
    only: Option<&[ToolName]>,
    limits: &Limits,
) -> Result<Transition<UpstreamServer>, Refusal> {
    let chosen = |name: &ToolName| only.is_none_or(|names| names.contains(name));
    let mut pins: BTreeMap<ToolName, ToolPin> = server
        .pins
        .iter()
        .filter(|p| !chosen(&p.name))
        .map(|p| (p.name.clone(), p.clone()))
        .collect();
    for (name, tool) in sorted(seen, limits)? {
        if chosen(&name) {
            // What an operator said of a tool is said of this very definition.
            let same = server
                .pins
                .iter()
                .find(|p| p.name == name && p.digest == tool.digest);
            let state = match same.map(|p| p.state) {
                Some(PinState::Reads) => PinState::Reads,
                _ => PinState::Pinned,
            };
            pins.insert(name, pin(tool, state));
        }
    }
    changed("server.pin", server, pins).ok_or(Refusal::ToolsUnchanged)
}

/// What a fresh look at the server's tools changes: unknown ones become new, changed ones drifted; both are
/// hidden and refused. A drifted tool stays so until it is pinned, even when it goes back to what it was.
/// `None` when nothing changes.
///
/// # Errors
/// [`Refusal::ToolTwice`], [`Refusal::TooMany`], [`Refusal::TooLong`].
pub fn observe_tools(
    server: UpstreamServer,
    seen: Vec<SeenTool>,
    limits: &Limits,
) -> Result<Option<Transition<UpstreamServer>>, Refusal> {
    let mut pins: BTreeMap<ToolName, ToolPin> =
        server.pins.iter().map(|p| (p.name.clone(), p.clone())).collect();
    for (name, tool) in sorted(seen, limits)? {
        match pins.get_mut(&name) {
            None => {
                pins.insert(name, pin(tool, PinState::New));
            }
            Some(known) if known.state == PinState::New => *known = pin(tool, PinState::New),
            Some(known) if known.digest != tool.digest => known.state = PinState::Drifted,
            Some(_) => {}
        }
    }
    Ok(changed("server.drift", server, pins))
}

/// Gives the server another upstream credential.
///
/// # Errors
/// [`Refusal::OtherTenant`]; [`Refusal::HeaderTemplate`] for a destination that puts no secret in.
pub fn replace_credential(
    server: UpstreamServer,
    credential: CredentialId,
) -> Result<Transition<UpstreamServer>, Refusal> {
    require_tenant(&server.tenant, Some(&credential))?;
    if let Connection::Destination { header, tunnel, .. } = &server.connection {
        require_injectable(header.as_deref(), *tunnel, true)?;
    }
    let after = UpstreamServer {
        credential: Some(credential),
        ..server.clone()
    };
    Ok(Transition::changed("server.credential-replace", server, after))
}

/// Takes the upstream credential away from the server.
///
/// # Errors
/// [`Refusal::CredentialMissing`].
pub fn forget_credential(server: UpstreamServer) -> Result<Transition<UpstreamServer>, Refusal> {
    if server.credential.is_none() {
        return Err(Refusal::CredentialMissing);
    }
    let after = UpstreamServer {
        credential: None,
        ..server.clone()
    };
    Ok(Transition::changed("server.credential-forget", server, after))
}

fn require_tenant(
    tenant: &bailiwick_base::TenantId,
    credential: Option<&CredentialId>,
) -> Result<(), Refusal> {
    if credential.is_some_and(|c| c.tenant() != tenant) {
        Err(Refusal::OtherTenant("credential"))
    } else {
        Ok(())
    }
}

fn pin(tool: SeenTool, state: PinState) -> ToolPin {
    ToolPin {
        name: tool.name,
        digest: tool.digest,
        definition: tool.definition,
        state,
    }
}

fn changed(
    command: &'static str,
    server: UpstreamServer,
    pins: BTreeMap<ToolName, ToolPin>,
) -> Option<Transition<UpstreamServer>> {
    let pins: Vec<ToolPin> = pins.into_values().collect();
    if pins == server.pins {
        return None;
    }
    let after = UpstreamServer {
        pins,
        ..server.clone()
    };
    Some(Transition::changed(command, server, after))
}

fn sorted(seen: Vec<SeenTool>, limits: &Limits) -> Result<BTreeMap<ToolName, SeenTool>, Refusal> {
    if seen.len() > limits.tools_max {
        return Err(Refusal::TooMany {
            field: "tools",
            len: seen.len(),
            max: limits.tools_max,
        });
    }
    let mut out = BTreeMap::new();
    for tool in seen {
        let len = tool.definition.len();
        if len > limits.definition_max {
            return Err(Refusal::TooLong {
                field: "tool definition",
                len,
                max: limits.definition_max,
            });
        }
        if let Some(twice) = out.insert(tool.name.clone(), tool) {
            return Err(Refusal::ToolTwice(twice.name.to_string()));
        }
    }
    Ok(out)
}

/// A secret needs a place, a place needs a secret, and neither can be in what is not looked into.
fn require_injectable(header: Option<&str>, tunnel: bool, credential: bool) -> Result<(), Refusal> {
    let refused = |rule| {
        Err(Refusal::HeaderTemplate {
            found: shown(header.unwrap_or_default()),
            rule,
        })
    };
    match (header, credential) {
        (None, false) => Ok(()),
        (None, true) => {
            refused("say where the credential goes, such as --header 'Authorization: Bearer {secret}'")
        }
        (Some(_), false) => refused("give the secret it is for: --credential-file"),
        (Some(_), true) if tunnel => {
            refused("nothing can be put into a tunnel: leave out --tunnel, or the header")
        }
        (Some(header), true) => HeaderTemplate::parse(header).map(drop),
    }
}

fn require_connection(connection: &Connection) -> Result<(), Refusal> {
    match connection {
        Connection::Destination {
            url,
            allow_addresses,
            allow_plaintext,
            ca,
            ..
        } => {
            require_few("allowed address ranges", allow_addresses.len())?;
            for range in allow_addresses {
                require_range(range)?;
            }
            let len = ca.as_ref().map_or(0, String::len);
            if len > CA_MAX {
                return Err(Refusal::TooLong {
                    field: "destination CA",
                    len,
                    max: CA_MAX,
                });
            }
            require_url(url, *allow_plaintext)?;
            let place = url.split_once("://").map_or(url.as_str(), |(_, place)| place);
            if place.contains(['/', '?']) {
                return Err(Refusal::UrlInvalid {
                    found: shown(url),
                    rule: "name scheme, host and port alone; paths are for scopes, such as GET(path under \"/v1\")",
                });
            }
            Ok(())
        }
        Connection::Exec {
            program,
            args,
            digests,
        } => {
            require_path("server program", program)?;
            if let Some(bad) = args.iter().find(|a| a.len() > PATH_MAX) {
                return Err(Refusal::TooLong {
                    field: "server argument",
                    len: bad.len(),
                    max: PATH_MAX,
                });
            }
            if args.iter().any(|a| a.contains('\0')) {
                return Err(Refusal::ControlCharacter("server argument"));
            }
            require_few("server arguments", args.len())?;
            require_few("server digests", digests.len())?;
            for (path, _) in digests {
                require_path("digest file", path)?;
            }
            if digests.iter().any(|(path, _)| path == program) {
                return Ok(());
            }
            Err(Refusal::DigestMissing(shown(program)))
        }
        Connection::Http {
            url,
            allow_addresses,
            allow_plaintext,
        } => {
            require_few("allowed address ranges", allow_addresses.len())?;
            for range in allow_addresses {
                require_range(range)?;
            }
            require_url(url, *allow_plaintext)
        }
    }
}

fn require_few(field: &'static str, len: usize) -> Result<(), Refusal> {
    if len > LIST_MAX {
        Err(Refusal::TooMany {
            field,
            len,
            max: LIST_MAX,
        })
    } else {
        Ok(())
    }
}

fn require_path(field: &'static str, path: &str) -> Result<(), Refusal> {
    if path.len() > PATH_MAX {
        return Err(Refusal::TooLong {
            field,
            len: path.len(),
            max: PATH_MAX,
        });
    }
    let plain = path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
    });
    if plain && !path.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Refusal::PathNotAbsolute {
        field,
        found: shown(path),
    })
}

fn require_range(range: &str) -> Result<(), Refusal> {
    let fits = range.split_once('/').is_some_and(|(address, bits)| {
        let Ok(address) = address.parse::<IpAddr>() else {
            return false;
        };
        let max = if address.is_ipv4() { 32 } else { 128 };
        bits.bytes().all(|b| b.is_ascii_digit()) && bits.parse::<u8>().is_ok_and(|bits| bits <= max)
    });
    if fits {
        Ok(())
    } else {
        Err(Refusal::AddressRange(shown(range)))
    }
}

fn require_url(url: &str, allow_plaintext: bool) -> Result<(), Refusal> {
    // What stands before an @ may be a secret.
    let harmless = url
        .rsplit_once('@')
        .map_or_else(|| shown(url), |(_, host)| format!("…@{}", shown(host)));
    let refused = |rule| {
        Err(Refusal::UrlInvalid {
            found: harmless.clone(),
            rule,
        })
    };
    if url.len() > URL_MAX {
        return Err(Refusal::TooLong {
            field: "server url",
            len: url.len(),
            max: URL_MAX,
        });
    }
    let rest = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => rest,
        (None, Some(rest)) if allow_plaintext => rest,
        (None, Some(_)) => {
            return refused("use https, or add --allow-plaintext, which is recorded and shown");
        }
        (None, None) => return refused("begin with https://"),
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if url
        .chars()
        .any(|c| c.is_control() || c.is_whitespace() || c == '\\')
    {
        return refused("leave out white space, control characters and backslashes");
    }
    if url.contains('#') {
        return refused("leave out the fragment behind #");
    }
    if authority.contains('@') {
        return refused("leave credentials out of the URL; give --credential-file");
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
        if port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty() {
            host
        } else {
            authority
        }
    });
    if host.is_empty() {
        return refused("name a host behind the scheme");
    }
    Ok(())
}
