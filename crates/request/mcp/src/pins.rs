//! Tool definitions: read from the upstream server, digested, compared with what an operator pinned.

use std::collections::BTreeMap;
use std::time::Duration;

use bailiwick_base::{Digest, ServerName, TenantId, ToolName, canonical, json};
use bailiwick_decide::{PinState, ToolPin, UpstreamServer};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::UpstreamError;

/// Tools of one server.
pub(crate) const TOOLS_MAX: usize = 4_096;
/// Pages of a tool list.
pub(crate) const PAGES_MAX: usize = 64;
/// Bytes of one definition.
const DEFINITION_MAX: usize = 256 * 1024;

/// A tool as its server defines it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenTool {
    /// Name.
    pub name: ToolName,
    /// SHA-256 of the canonical definition.
    pub digest: Digest,
    /// The canonical definition (RFC 8785).
    pub definition: Vec<u8>,
}

/// What differs between a server's tools and its pins. Reported when it changes, not each time it is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinReport {
    /// Tenant of the server.
    pub tenant: TenantId,
    /// The server.
    pub server: ServerName,
    /// Pinned before, with another definition now: to become `Drifted`.
    pub drifted: Vec<SeenTool>,
    /// Never pinned: to become `New`.
    pub new: Vec<SeenTool>,
    /// Names or definitions that cannot be used at all (cut and escaped for show); never shown, never called.
    pub unusable: Vec<String>,
    /// Pinned, but not offered any more.
    pub missing: Vec<ToolName>,
}

impl PinReport {
    /// Whether the state log has to change.
    #[must_use]
    pub fn changes_pins(&self) -> bool {
        !self.drifted.is_empty() || !self.new.is_empty()
    }
}

/// What a server said when an operator added or pinned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The protocol revision it speaks.
    pub protocol: String,
    /// `serverInfo`, as the server gave it; untrusted text.
    pub server: Value,
    /// Its tools, sorted by name.
    pub tools: Vec<SeenTool>,
    /// Tools that cannot be used (cut and escaped for show), each with the reason.
    pub unusable: Vec<String>,
}

/// The digest and the canonical form of a tool definition. Every member counts: name, title, description,
/// schemas, annotations, icons, `_meta`.
///
/// # Errors
/// When the definition has no canonical form.
pub fn digest_of_definition(definition: &Value) -> Result<(Digest, Vec<u8>), canonical::CanonicalError> {
    let bytes = canonical::to_vec(definition)?;
    Ok((Digest::of(&bytes), bytes))
}

/// One tool of a catalog, with the text it is shown in.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) tool: SeenTool,
    pub(crate) raw: Bytes,
}

/// The tools of one server as read at one moment.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) read_at: Duration,
    pub(crate) tools: BTreeMap<String, Entry>,
    pub(crate) unusable: Vec<String>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
    #[serde(rename = "nextCursor", default)]
    next_cursor: Option<String>,
}

impl Catalog {
    /// Takes one page of `tools/list` in; the cursor of the next page.
    pub(crate) fn add_page(&mut self, result: &Bytes) -> Result<Option<String>, UpstreamError> {
        let page: Page<'_> = std::str::from_utf8(result)
            .ok()
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or(UpstreamError::NotMcp("a tool list without tools"))?;
        for raw in page.tools {
            if self.tools.len() + self.unusable.len() >= TOOLS_MAX {
                return Err(UpstreamError::NotMcp("more tools than are taken"));
            }
            match read_tool(result.slice_ref(raw.get().as_bytes())) {
                Ok(entry) => self.add(entry),
                Err(why) => self.unusable.push(why),
            }
        }
        Ok(page.next_cursor)
    }

    fn add(&mut self, entry: Entry) {
        let name = entry.tool.name.to_string();
        // Two definitions under one name: neither can be meant.
        if self.tools.remove(&name).is_some() || self.unusable.contains(&twice(&name)) {
            self.unusable.push(twice(&name));
        } else {
            self.tools.insert(name, entry);
        }
    }

    /// What has to be reported about this catalog.
    pub(crate) fn compare(&self, server: &UpstreamServer) -> PinReport {
        let mut report = PinReport {
            tenant: server.tenant.clone(),
            server: server.name.clone(),
            drifted: Vec::new(),
            new: Vec::new(),
            unusable: self.unusable.clone(),
            missing: Vec::new(),
        };
        let pins: BTreeMap<_, _> = server.pins.iter().map(|pin| (&pin.name, pin)).collect();
        for entry in self.tools.values() {
            match pins.get(&entry.tool.name) {
                Some(pin) if pin.digest == entry.tool.digest => {}
                None => report.new.push(entry.tool.clone()),
                Some(pin) if pin.state == PinState::New => report.new.push(entry.tool.clone()),
                Some(_) => report.drifted.push(entry.tool.clone()),
            }
        }
        let gone = server.pins.iter().filter(|pin| pin.state.is_pinned());
        let gone = gone.filter(|pin| !self.tools.contains_key(pin.name.as_str()));
        report.missing = gone.map(|pin| pin.name.clone()).collect();
        report
    }

    /// Whether the tool of this pin is offered now exactly as it is pinned.
    pub(crate) fn is_as_pinned(&self, pin: &ToolPin) -> bool {
        let entry = self.tools.get(pin.name.as_str());
        pin.state.is_pinned() && entry.is_some_and(|entry| entry.tool.digest == pin.digest)
    }

    pub(crate) fn into_inspection(self, protocol: String, server: Value) -> Inspection {
        let tools = self.tools.into_values().map(|entry| entry.tool).collect();
        Inspection {
            protocol,
            server,
            tools,
            unusable: self.unusable,
        }
    }
}

fn twice(name: &str) -> String {
    format!("`{}`: defined twice", crate::answer::shown(name))
}

/// Reads one definition. The error names the tool and the reason.
fn read_tool(raw: Bytes) -> Result<Entry, String> {
    let value = json::parse(&raw, DEFINITION_MAX).map_err(|e| format!("a definition is unusable: {e}"))?;
    let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
    let unusable = |why: &str| format!("`{}`: {why}", crate::answer::shown(name));
    let parsed =
        ToolName::parse(name).map_err(|_| unusable("the name has characters that no tool name may have"))?;
    require_schema(&value, "inputSchema", true).map_err(unusable)?;
    require_schema(&value, "outputSchema", false).map_err(unusable)?;
    crate::param_headers::of_schema(value.get("inputSchema").unwrap_or(&Value::Null))
        .map_err(|e| unusable(&e))?;
    let (digest, definition) =
        digest_of_definition(&value).map_err(|_| unusable("it has no canonical form"))?;
    Ok(Entry {
        tool: SeenTool {
            name: parsed,
            digest,
            definition,
        },
        raw,
    })
}

/// A schema is an object whose `type`, if it has one, is `object`. It is never evaluated and its references are
/// never followed here.
fn require_schema(tool: &Value, member: &str, required: bool) -> Result<(), &'static str> {
    match tool.get(member) {
        None if !required => Ok(()),
        Some(Value::Object(schema)) => match schema.get("type") {
            None => Ok(()),
            Some(Value::String(kind)) if kind == "object" || !required => Ok(()),
            Some(_) => Err("its schema is not the schema of an object"),
        },
        _ => Err("its schema is not an object"),
    }
}
