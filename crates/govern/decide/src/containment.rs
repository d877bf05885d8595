//! What the marks that stop only a part are held against: whether a call only reads, and whether it leaves.
//!
//! What is not known to read is a change, and what is not known to stay leaves. A server's own word about its tools
//! (MCP annotations) counts for nothing here: an operator's does, which is kept with the pin.

use std::sync::Arc;

use bailiwick_inventory::{Connection, PinState};

use crate::call::{Call, Door, ItemKind};
use crate::marks::Bounds;
use crate::snapshot::{ServerEntry, Space};
use crate::view::{Aim, Item};

/// Methods of HTTP that ask for no change (RFC 9110 §9.2.1).
const SAFE: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// Methods by which a server goes on with something that was begun earlier and may have been a change.
const CARRIED_ON: [&str; 2] = ["response", "tasks/update"];

/// Questions about a credential, at our own door for them: asking makes nobody act.
const ASKED: [&str; 2] = ["token.introspect", "token.status"];

/// What `call` does, as far as marks ask.
pub(crate) fn bounds(space: Option<&Space>, call: &Call, aim: &Aim<'_>) -> Bounds {
    let server = aim.server().and_then(|name| space?.server(name));
    let leaves = server.is_none_or(|entry| entry.server.connection.leaves());
    let (leaves, writes) = match aim {
        // A token acts at our own points only. What proves an identity to others acts where nobody asks us.
        Aim::Issue(..) => (call.door == Door::Spiffe, call.door == Door::Spiffe),
        Aim::Item(item) => (leaves, !reads(server, item)),
        Aim::Server(_, method) => (leaves, CARRIED_ON.contains(method)),
        Aim::Named(named) if call.door == Door::Check && ASKED.contains(&named.action) => (false, false),
        Aim::Named(_) | Aim::Unknown(_) => (true, true),
    };
    Bounds {
        leaves,
        watched: false,
        writes,
    }
}

fn reads(server: Option<&Arc<ServerEntry>>, item: &Item<'_>) -> bool {
    let Some(server) = server else {
        return false;
    };
    match item.kind {
        ItemKind::Prompt | ItemKind::Resource => true,
        ItemKind::Tool if matches!(server.server.connection, Connection::Destination { .. }) => {
            SAFE.contains(&item.name)
        }
        ItemKind::Tool => server
            .tools
            .get(item.name)
            .is_some_and(|tool| tool.state == PinState::Reads),
    }
}
