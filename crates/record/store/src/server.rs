//! Upstream servers and the pins of their tools.

use std::collections::BTreeMap;
use std::sync::Arc;

use bailiwick_base::{CredentialId, Digest, IdentityId, ServerName, TenantId, ToolName, Transition, json};
use bailiwick_decide::Fact;
use bailiwick_inventory::{Connection, PinState, ToolPin, UpstreamServer};
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::row::{Cell, Cells, Fields, args};
use crate::stored::{Stored, column_bytes, digest_of, members, object, whole};
use crate::tx::{Source, Tx};

const TABLE: &str = "server";
const PIN: &str = "tool_pin";
const CONNECTION_MAX: usize = 1024 * 1024;

macro_rules! columns {
    () => {
        "tenant, server, identity, connection, credential, created_at, digest"
    };
}
macro_rules! pin_columns {
    () => {
        "tenant, server, tool, tool_digest, definition, state"
    };
}

const LOOKUP: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM server WHERE tenant = $1 AND server = $2"
);
pub(crate) const LIST: &str = concat!("SELECT ", columns!(), " FROM server WHERE tenant = $1");
pub(crate) const EVERY: &str = concat!("SELECT ", columns!(), " FROM server");
const OPENED_WITH: &str = "SELECT tenant, server FROM server WHERE tenant = $1 AND credential = $2 LIMIT 1";
const PINS_OF: &str = concat!(
    "SELECT ",
    pin_columns!(),
    " FROM tool_pin WHERE tenant = $1 AND server = $2"
);
pub(crate) const PINS: &str = concat!("SELECT ", pin_columns!(), " FROM tool_pin WHERE tenant = $1");
pub(crate) const EVERY_PIN: &str = concat!("SELECT ", pin_columns!(), " FROM tool_pin");
const INSERT: &str = concat!(
    "INSERT INTO server (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"
);
const UPDATE: &str = "UPDATE server SET identity = $3, connection = $4, credential = $5, created_at = $6, \
                      digest = $7 WHERE tenant = $1 AND server = $2 AND digest = $8";
/// Every server beside each of its pins, those of one server together.
pub(crate) const BESIDE_PINS: &str = "SELECT server.tenant, server.digest, server.tenant, server.server, \
     server.identity, server.connection, server.credential, server.created_at, server.digest, tool_pin.tenant, \
     tool_pin.server, tool_pin.tool, tool_pin.tool_digest, tool_pin.definition, tool_pin.state \
     FROM server LEFT JOIN tool_pin ON tool_pin.tenant = server.tenant AND tool_pin.server = server.server \
     ORDER BY server.tenant, server.server";
/// Columns of a server in it.
const OWN_COLUMNS: usize = 7;
const PUT_PIN: &str = concat!(
    "INSERT INTO tool_pin (",
    pin_columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, server, tool) DO UPDATE \
     SET tool_digest = excluded.tool_digest, definition = excluded.definition, state = excluded.state"
);
const DELETE_PIN: &str = "DELETE FROM tool_pin WHERE tenant = $1 AND server = $2 AND tool = $3";

impl Stored for UpstreamServer {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        let pin = |p: &ToolPin| {
            let definition = Digest::of(&p.definition).to_string();
            json!([
                p.name.as_str(),
                p.digest.to_string(),
                definition,
                p.state.as_str()
            ])
        };
        json!({
            "tenant": self.tenant.as_str(),
            "name": self.name.as_str(),
            "identity": self.identity.to_string(),
            "connection": connection_to_json(&self.connection),
            "credential": self.credential.as_ref().map(ToString::to_string),
            "pins": self.pins.iter().map(pin).collect::<Vec<_>>(),
            "created_at": self.created_at.micros(),
        })
    }

    fn name(&self) -> String {
        self.name.to_string()
    }

    /// Address ranges, plaintext and digests widen or narrow what is reached: an auditor sees them.
    fn outline(&self) -> Map<String, Value> {
        let pins: Vec<Value> = self
            .pins
            .iter()
            .map(|p| json!([p.name.as_str(), p.state.as_str()]))
            .collect();
        members(json!({
            "identity": self.identity.to_string(),
            "connection": connection_to_json(&self.connection),
            "credential": self.credential.as_ref().map(ToString::to_string),
            "pins": pins,
        }))
    }
}

fn connection_to_json(connection: &Connection) -> Value {
    match connection {
        Connection::Destination {
            url,
            allow_addresses,
            allow_plaintext,
            header,
            tunnel,
            ca,
        } => json!({ "destination": {
            "url": url, "allow_addresses": allow_addresses, "allow_plaintext": allow_plaintext,
            "header": header, "tunnel": tunnel, "ca": ca,
        } }),
        Connection::Exec {
            program,
            args,
            digests,
        } => {
            let digests: Vec<Value> = digests
                .iter()
                .map(|(path, d)| json!([path, d.to_string()]))
                .collect();
            json!({ "exec": { "program": program, "args": args, "digests": digests } })
        }
        Connection::Http {
            url,
            allow_addresses,
            allow_plaintext,
        } => {
            let flags =
                json!({ "url": url, "allow_addresses": allow_addresses, "allow_plaintext": allow_plaintext });
            json!({ "http": flags })
        }
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value
        .as_array()?
        .iter()
        .map(|v| v.as_str().map(str::to_owned))
        .collect()
}

fn connection_from_json(value: &Value) -> Option<Connection> {
    let (kind, inner) = value.as_object().filter(|m| m.len() == 1)?.iter().next()?;
    let optional = |name: &str| match inner.get(name)? {
        Value::Null => Some(None),
        value => value.as_str().map(|text| Some(text.to_owned())),
    };
    match kind.as_str() {
        "destination" => Some(Connection::Destination {
            url: inner.get("url")?.as_str()?.to_owned(),
            allow_addresses: texts(inner.get("allow_addresses")?)?,
            allow_plaintext: inner.get("allow_plaintext")?.as_bool()?,
            header: optional("header")?,
            tunnel: inner.get("tunnel")?.as_bool()?,
            ca: optional("ca")?,
        }),
        "exec" => {
            let pair = |v: &Value| {
                let pair = v.as_array().filter(|a| a.len() == 2)?;
                Some((
                    pair.first()?.as_str()?.to_owned(),
                    Digest::from_hex(pair.get(1)?.as_str()?)?,
                ))
            };
            Some(Connection::Exec {
                program: inner.get("program")?.as_str()?.to_owned(),
                args: texts(inner.get("args")?)?,
                digests: inner
                    .get("digests")?
                    .as_array()?
                    .iter()
                    .map(pair)
                    .collect::<Option<_>>()?,
            })
        }
        "http" => Some(Connection::Http {
            url: inner.get("url")?.as_str()?.to_owned(),
            allow_addresses: texts(inner.get("allow_addresses")?)?,
            allow_plaintext: inner.get("allow_plaintext")?.as_bool()?,
        }),
        _ => None,
    }
}

/// Pins by tenant and server.
pub(crate) type PinMap = BTreeMap<(TenantId, ServerName), Vec<ToolPin>>;

pub(crate) fn pins_from_rows(rows: Vec<Cells>) -> Result<PinMap, StoreError> {
    let mut out = PinMap::new();
    for cells in rows {
        let mut f = Fields::of(PIN, cells);
        let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
        let server = f.word("server", |s| ServerName::parse(s).ok())?;
        let pin = ToolPin {
            name: f.word("tool", |t| ToolName::parse(t).ok())?,
            digest: f.digest("tool_digest")?,
            definition: f.bytes("definition")?,
            state: f.word("state", PinState::parse)?,
        };
        out.entry((tenant, server)).or_default().push(pin);
    }
    for pins in out.values_mut() {
        // The engines collate text differently.
        pins.sort_by(|one, other| one.name.cmp(&other.name));
    }
    Ok(out)
}

pub(crate) fn from_row(cells: Cells, pins: &mut PinMap) -> Result<UpstreamServer, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
    let name = f.word("server", |s| ServerName::parse(s).ok())?;
    let identity = IdentityId::from_parts(tenant.clone(), f.uuid("identity")?);
    let bytes = f.bytes("connection")?;
    let connection = json::parse(&bytes, CONNECTION_MAX)
        .ok()
        .and_then(|v| connection_from_json(&v));
    let server = UpstreamServer {
        identity,
        connection: connection.ok_or_else(|| f.corrupt("connection"))?,
        credential: f
            .uuid_or_null("credential")?
            .map(|id| CredentialId::from_parts(tenant.clone(), id)),
        pins: pins.remove(&(tenant.clone(), name.clone())).unwrap_or_default(),
        created_at: f.time("created_at")?,
        tenant,
        name,
    };
    whole(server, f.digest("digest")?)
}

/// Puts servers together from [`BESIDE_PINS`], one at a time: the pins of no two are in memory.
#[derive(Default)]
pub(crate) struct BesidePins {
    server: Cells,
    pins: Vec<Cells>,
}

impl BesidePins {
    /// Takes the next row, without tenant and digest in front. Says whether another server begins with it, and
    /// whether the one before is what its digest says.
    pub(crate) fn take(&mut self, mut cells: Cells) -> (bool, Result<(), StoreError>) {
        let pin = cells.split_off(OWN_COLUMNS.min(cells.len()));
        let (begins, before) = if cells == self.server {
            (false, Ok(()))
        } else {
            let before = self.verify();
            self.server = cells;
            (true, before)
        };
        if pin.first() != Some(&Cell::Null) {
            self.pins.push(pin);
        }
        (begins, before)
    }

    /// Whether the last server is what its digest says.
    pub(crate) fn verify(&mut self) -> Result<(), StoreError> {
        let (server, pins) = (std::mem::take(&mut self.server), std::mem::take(&mut self.pins));
        if server.is_empty() {
            return Ok(());
        }
        from_row(server, &mut pins_from_rows(pins)?).map(drop)
    }
}

/// Upstream servers of a tenant.
pub struct Servers<'a, S>(pub(crate) &'a mut S);

impl<S: Source> Servers<'_, S> {
    /// A server with its pins.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lookup(&mut self, name: &ServerName) -> Result<Option<UpstreamServer>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let key = args![tenant.as_str(), name.as_str()];
        let Some(cells) = view.fetch(LOOKUP, key.clone()).await?.into_iter().next() else {
            return Ok(None);
        };
        let mut pins = pins_from_rows(view.fetch(PINS_OF, key).await?)?;
        from_row(cells, &mut pins).map(Some)
    }

    /// A server that is opened with this credential.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn opened_with(&mut self, id: &CredentialId) -> Result<Option<ServerName>, StoreError> {
        let view = self.0.view();
        view.require(id.tenant())?;
        let rows = view
            .fetch(OPENED_WITH, args![id.tenant().as_str(), id.uuid()])
            .await?;
        let Some(cells) = rows.into_iter().next() else {
            return Ok(None);
        };
        let mut f = Fields::of(TABLE, cells);
        f.text("tenant")?;
        f.word("server", |name| ServerName::parse(name).ok()).map(Some)
    }

    /// Every server of the tenant, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&mut self) -> Result<Vec<UpstreamServer>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let rows = view.fetch(LIST, args![tenant.as_str()]).await?;
        let mut pins = pins_from_rows(view.fetch(PINS, args![tenant.as_str()]).await?)?;
        let mut out: Vec<_> = rows
            .into_iter()
            .map(|c| from_row(c, &mut pins))
            .collect::<Result<_, _>>()?;
        out.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(out)
    }
}

impl Servers<'_, Tx> {
    /// Writes a transition and its entry; of the pins only those that differ.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] for a name in use, [`StoreError::Conflict`], [`StoreError::Unchanged`].
    pub async fn apply(&mut self, t: Transition<UpstreamServer>) -> Result<(), StoreError> {
        let after = sorted(t.after);
        let before = t.before.map(sorted);
        self.0.view.require(&after.tenant)?;
        self.0.view.require(after.identity.tenant())?;
        let (tenant, name, row) = (after.tenant.clone(), after.name.clone(), after.name.to_string());
        let connection = column_bytes(
            (TABLE, "connection"),
            &row,
            &connection_to_json(&after.connection),
        )?;
        let mut values = args![
            tenant.as_str(),
            name.as_str(),
            after.identity.uuid(),
            connection,
            after.credential.as_ref().map(bailiwick_base::Id::uuid),
            after.created_at,
            digest_of(&after)?,
        ];
        if let Some(before) = &before {
            let was = digest_of(before)?;
            if was == digest_of(&after)? {
                return Err(StoreError::Unchanged { table: TABLE, row });
            }
            values.extend(args![was]);
            if before.name != name || self.0.write(UPDATE, values).await? == 0 {
                return Err(StoreError::Conflict { table: TABLE, row });
            }
        } else if self.0.write(INSERT, values).await? == 0 {
            return Err(StoreError::Duplicate {
                table: TABLE,
                field: "name",
            });
        }
        self.write_pins(before.as_ref().map_or(&[][..], |b| &b.pins), &after)
            .await?;
        let objects = vec![object(before.as_ref(), Some(&after))?];
        self.0.enter(t.command, t.reason.as_deref(), objects).await?;
        self.0.facts.push(Fact::Server(Arc::new(after)));
        Ok(())
    }

    async fn write_pins(&mut self, before: &[ToolPin], after: &UpstreamServer) -> Result<(), StoreError> {
        let (tenant, server) = (after.tenant.as_str(), after.name.as_str());
        for gone in before
            .iter()
            .filter(|p| after.pins.iter().all(|q| q.name != p.name))
        {
            self.0
                .write(DELETE_PIN, args![tenant, server, gone.name.as_str()])
                .await?;
        }
        for pin in after.pins.iter().filter(|p| !before.contains(p)) {
            let values = args![
                tenant,
                server,
                pin.name.as_str(),
                pin.digest,
                pin.definition.as_slice(),
                pin.state.as_str()
            ];
            self.0.write(PUT_PIN, values).await?;
        }
        Ok(())
    }
}

fn sorted(mut server: UpstreamServer) -> UpstreamServer {
    server.pins.sort_by(|one, other| one.name.cmp(&other.name));
    server
}
