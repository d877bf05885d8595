//! Questions in the other direction: which may be put to a caller at all.

use serde_json::{Map, Value};

/// Spellings under which a form asks for a secret, without separators.
const SECRET: [&str; 14] = [
    "accesskey",
    "accesstoken",
    "apikey",
    "apitoken",
    "authtoken",
    "credential",
    "cvv",
    "onetimecode",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "secret",
];

/// Why a question is not put to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskRefusal {
    /// MCP: no secrets in form mode.
    AsksForSecret,
    /// The address is not the server's own.
    ForeignAddress,
    /// The caller did not declare it.
    NotOffered,
}

impl AskRefusal {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::AsksForSecret => "a form may not ask for a secret",
            Self::ForeignAddress => "an address outside of the server's own host is not opened",
            Self::NotOffered => "this client offers no such method",
        }
    }
}

/// Whether a question of a server may be put to a caller who declared `capabilities`.
pub(crate) fn require_askable(
    method: &str,
    params: &Value,
    capabilities: &Map<String, Value>,
    host: Option<&str>,
) -> Result<(), AskRefusal> {
    let declared = match method {
        "elicitation/create" => capabilities.get("elicitation"),
        "roots/list" => capabilities.get("roots"),
        "sampling/createMessage" => capabilities.get("sampling"),
        _ => None,
    };
    let declared = declared.ok_or(AskRefusal::NotOffered)?;
    if method != "elicitation/create" {
        return Ok(());
    }
    let modes = declared.as_object();
    let offers = |mode: &str| modes.is_some_and(|m| m.contains_key(mode));
    if params.get("mode").and_then(Value::as_str) == Some("url") {
        return if offers("url") {
            require_own_address(params, host)
        } else {
            Err(AskRefusal::NotOffered)
        };
    }
    // A declaration without modes means forms.
    let forms = offers("form") || !offers("url");
    if !forms {
        return Err(AskRefusal::NotOffered);
    }
    if asks_for_secret(params.get("requestedSchema").unwrap_or(&Value::Null)) {
        return Err(AskRefusal::AsksForSecret);
    }
    Ok(())
}

/// The questions of an `input_required` result, each judged.
pub(crate) fn require_askable_inputs(
    result: &Map<String, Value>,
    capabilities: &Map<String, Value>,
    host: Option<&str>,
) -> Result<(), AskRefusal> {
    let Some(inputs) = result.get("inputRequests").and_then(Value::as_object) else {
        return Ok(());
    };
    for input in inputs.values() {
        let method = input.get("method").and_then(Value::as_str).unwrap_or_default();
        require_askable(
            method,
            input.get("params").unwrap_or(&Value::Null),
            capabilities,
            host,
        )?;
    }
    Ok(())
}

fn require_own_address(params: &Value, host: Option<&str>) -> Result<(), AskRefusal> {
    let url = params.get("url").and_then(Value::as_str).unwrap_or_default();
    let endpoint = bailiwick_outbound::Endpoint::parse(url, false).map_err(|_| AskRefusal::ForeignAddress)?;
    if host == Some(endpoint.host.as_str()) {
        Ok(())
    } else {
        Err(AskRefusal::ForeignAddress)
    }
}

fn asks_for_secret(schema: &Value) -> bool {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return false;
    };
    properties.iter().any(|(name, property)| {
        let text = |member: &str| property.get(member).and_then(Value::as_str).unwrap_or_default();
        text("format") == "password"
            || [name.as_str(), text("title"), text("description")]
                .into_iter()
                .any(names_secret)
    })
}

fn names_secret(text: &str) -> bool {
    let plain: String = text
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    SECRET.iter().any(|secret| plain.contains(secret))
}
