//! Which tools only read, and which servers are on this side of the border: what marks that stop only a part ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bailiwick_base::limits::shown;
use bailiwick_base::{ToolName, Transition, json};

use crate::model::{Connection, PinState, ToolPin, UpstreamServer};
use crate::refusal::Refusal;

/// Longest definition that is looked into; a longer one says nothing.
const DEFINITION_MAX: usize = 1024 * 1024;

impl Connection {
    /// Whether what is sent there leaves for another machine or network, as far as an operator recorded it: a program
    /// of this machine and an address that is not public do not. A name may lead anywhere.
    #[must_use]
    pub fn leaves(&self) -> bool {
        match self {
            Self::Destination { .. } => true,
            Self::Exec { .. } => false,
            Self::Http { url, .. } => !host_of(url).is_some_and(is_inside),
        }
    }
}

fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map(|(host, _)| host),
        None => host.split(':').next(),
    }
}

fn is_inside(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => is_inside_v4(address),
        Ok(IpAddr::V6(address)) => address
            .to_ipv4_mapped()
            .map_or_else(|| is_inside_v6(address), is_inside_v4),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

fn is_inside_v4(address: Ipv4Addr) -> bool {
    address.is_loopback() || address.is_private() || address.is_link_local()
}

fn is_inside_v6(address: Ipv6Addr) -> bool {
    address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
}

/// What a pinned definition says of itself.
fn says(pin: &ToolPin, hint: &str) -> Option<bool> {
    let definition = json::parse(&pin.definition, DEFINITION_MAX).ok()?;
    definition.pointer(&format!("/annotations/{hint}"))?.as_bool()
}

/// Records which pinned tools only read; all others may change something. `names` are an operator's own choice; with
/// `hinted`, also those whose pinned definition says so: a server's word counts once an operator has taken it over.
///
/// # Errors
/// [`Refusal::ToolWrites`] for a tool that says itself that it changes something, [`Refusal::ToolUnknown`],
/// [`Refusal::ToolsUnchanged`].
pub fn say_reads(
    server: UpstreamServer,
    names: &[ToolName],
    hinted: bool,
) -> Result<Transition<UpstreamServer>, Refusal> {
    for name in names {
        let pin = server
            .pins
            .iter()
            .find(|p| p.name == *name && p.state.is_pinned());
        let pin = pin.ok_or_else(|| Refusal::ToolUnknown(shown(name.as_str())))?;
        if says(pin, "readOnlyHint") == Some(false) || says(pin, "destructiveHint") == Some(true) {
            return Err(Refusal::ToolWrites(shown(name.as_str())));
        }
    }
    let reads = |pin: &ToolPin| {
        let is_hinted =
            hinted && says(pin, "readOnlyHint") == Some(true) && says(pin, "destructiveHint") != Some(true);
        is_hinted || names.contains(&pin.name)
    };
    let told = |pin: &ToolPin| ToolPin {
        state: match pin.state {
            state if state.is_pinned() && reads(pin) => PinState::Reads,
            PinState::Reads => PinState::Pinned,
            other => other,
        },
        ..pin.clone()
    };
    let pins: Vec<ToolPin> = server.pins.iter().map(told).collect();
    if pins == server.pins {
        return Err(Refusal::ToolsUnchanged);
    }
    let after = UpstreamServer {
        pins,
        ..server.clone()
    };
    Ok(Transition::changed("server.reads", server, after))
}
