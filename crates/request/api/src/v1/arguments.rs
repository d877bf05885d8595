//! Whether a tool takes the arguments that a scope names: a condition on one that does not exist could never hold.

use bailiwick_base::nearest;
use serde_json::{Map, Value};

/// Where a schema may say more than its `properties` do.
const OPEN: [&str; 9] = [
    "$dynamicRef",
    "$ref",
    "allOf",
    "anyOf",
    "dependentSchemas",
    "if",
    "oneOf",
    "patternProperties",
    "then",
];

/// An argument that the tool does not take, and what it takes in that place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stranger {
    /// The name as far as it is not known: `a.b` of `a.b.c`.
    pub(super) name: String,
    /// Names that exist there, with the way to them.
    pub(super) known: Vec<String>,
}

impl Stranger {
    /// The known name that was probably meant, else all of them.
    pub(super) fn hint(&self) -> String {
        match nearest(&self.name, self.known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.known.is_empty() => "leave the condition out".to_owned(),
            None => format!("name one of `{}`", self.known.join("`, `")),
        }
    }
}

/// What a pinned definition says of its arguments.
pub(super) struct Arguments(Value);

impl Arguments {
    pub(super) fn of(definition: &[u8]) -> Self {
        let definition: Value = serde_json::from_slice(definition).unwrap_or_default();
        Self(definition.get("inputSchema").cloned().unwrap_or_default())
    }

    /// Looks `arg` (members with dots) up. A schema that may take more than it lists refuses nothing.
    pub(super) fn require_known(&self, arg: &str) -> Result<(), Stranger> {
        require_listed(&self.0, arg)
    }
}

fn require_listed(mut schema: &Value, arg: &str) -> Result<(), Stranger> {
    let mut way = String::new();
    for member in arg.split('.') {
        let Some(listed) = listed(schema) else {
            return Ok(());
        };
        let Some(next) = listed.get(member) else {
            return Err(Stranger {
                name: format!("{way}{member}"),
                known: listed.keys().map(|name| format!("{way}{name}")).collect(),
            });
        };
        schema = next;
        way = format!("{way}{member}.");
    }
    Ok(())
}

/// All the members an object of this schema is said to have; `None` where it may have others.
fn listed(schema: &Value) -> Option<&Map<String, Value>> {
    let schema = schema.as_object()?;
    let more = schema.get("additionalProperties").unwrap_or(&Value::Bool(false));
    if *more != Value::Bool(false) || OPEN.iter().any(|word| schema.contains_key(*word)) {
        return None;
    }
    schema.get("properties")?.as_object()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Arguments, Stranger};

    fn ask(schema: serde_json::Value, arg: &str) -> Result<(), Stranger> {
        let definition = json!({"name": "t", "inputSchema": schema});
        Arguments::of(definition.to_string().as_bytes()).require_known(arg)
    }

    #[test]
    fn what_a_schema_lists_is_known_and_nothing_else() {
        let schema = || {
            json!({"type": "object", "properties": {
                "path": {"type": "string"},
                "sendTo": {"type": "object", "properties": {"iban": {"type": "string"}}},
            }})
        };
        for known in ["path", "sendTo", "sendTo.iban", "path.X"] {
            assert_eq!(ask(schema(), known), Ok(()), "{known}");
        }
        let stranger = ask(schema(), "nosuch").unwrap_err();
        assert_eq!(stranger.known, ["path", "sendTo"]);
        assert_eq!(stranger.hint(), "name one of `path`, `sendTo`");
        let nested = ask(schema(), "sendTo.ibam").unwrap_err();
        assert_eq!(
            (nested.name.as_str(), nested.hint().as_str()),
            ("sendTo.ibam", "did you mean `sendTo.iban`?")
        );
        let nothing = ask(json!({"type": "object", "properties": {}}), "a").unwrap_err();
        assert_eq!(nothing.hint(), "leave the condition out");
    }

    #[test]
    fn a_schema_that_may_take_more_refuses_nothing() {
        let properties = json!({"a": {}});
        for open in [
            json!({"type": "object"}),
            json!(true),
            json!({"properties": properties, "additionalProperties": true}),
            json!({"properties": properties, "additionalProperties": {"type": "string"}}),
            json!({"properties": properties, "patternProperties": {"^x-": {}}}),
            json!({"properties": properties, "anyOf": [{}]}),
            json!({"properties": properties, "$ref": "#/$defs/x"}),
        ] {
            assert_eq!(ask(open.clone(), "b"), Ok(()), "{open}");
        }
        assert_eq!(Arguments::of(b"no json").require_known("b"), Ok(()));
    }
}
