//! The file as it is written; [`crate::read`] makes a manifest of it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) platform: Spanned<String>,
    pub(crate) title: Spanned<String>,
    pub(crate) reference: Spanned<String>,
    pub(crate) base: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) parameters: BTreeMap<String, Spanned<String>>,
    pub(crate) auth: Spanned<Auth>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) rate: Spanned<Rate>,
    #[serde(default)]
    pub(crate) errors: Vec<Spanned<String>>,
    pub(crate) sees: Spanned<Vec<String>>,
    pub(crate) blind: Spanned<Vec<String>>,
    pub(crate) sources: BTreeMap<String, Spanned<Source>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Auth {
    AwsSigv4,
    Bearer(Bearer),
    GoogleServiceAccount(Scopes),
    Header(Header),
    OauthClient(OauthClient),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bearer {
    pub(crate) what: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scopes {
    pub(crate) scopes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) prefix: Option<String>,
    pub(crate) what: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OauthClient {
    pub(crate) token_url: String,
    pub(crate) scopes: Vec<String>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    pub(crate) requests: u32,
    pub(crate) seconds: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    pub(crate) what: String,
    pub(crate) base: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) ask: Spanned<Ask>,
    pub(crate) for_each: Option<Spanned<ForEach>>,
    pub(crate) paging: Spanned<Paging>,
    pub(crate) rate: Option<Spanned<Rate>>,
    pub(crate) permission: Spanned<Vec<String>>,
    pub(crate) items: Spanned<String>,
    #[serde(default)]
    pub(crate) empty_page: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) leaves_out: Vec<Spanned<LeavesOut>>,
    pub(crate) becomes: Spanned<Vec<Spanned<Rule>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ask {
    Aws(Aws),
    Get(Get),
    Graphql(Graphql),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Aws {
    pub(crate) service: String,
    pub(crate) operation: String,
    #[serde(default)]
    pub(crate) input: BTreeMap<String, Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Get {
    pub(crate) path: Spanned<String>,
    #[serde(default)]
    pub(crate) query: BTreeMap<String, Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Graphql {
    pub(crate) path: Spanned<String>,
    pub(crate) query: String,
    #[serde(default)]
    pub(crate) variables: BTreeMap<String, Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForEach {
    pub(crate) source: Spanned<String>,
    pub(crate) take: BTreeMap<String, Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Paging {
    Cursor(Cursor),
    Link,
    NextUrl(NextUrl),
    None,
    Page(Page),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursor {
    pub(crate) from: Spanned<String>,
    pub(crate) send: String,
    pub(crate) more: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NextUrl {
    pub(crate) from: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    pub(crate) send: String,
    pub(crate) first: u32,
    pub(crate) size: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeavesOut {
    #[serde(default)]
    pub(crate) when: Vec<Spanned<Condition>>,
    pub(crate) because: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    pub(crate) text: Spanned<String>,
    pub(crate) is: Option<Vec<String>>,
    pub(crate) is_not: Option<Vec<String>>,
    pub(crate) present: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    #[serde(rename = "type")]
    pub(crate) type_name: Spanned<String>,
    pub(crate) kind: Spanned<BTreeMap<String, String>>,
    #[serde(default)]
    pub(crate) when: Vec<Spanned<Condition>>,
    pub(crate) id: Spanned<Choice>,
    #[serde(default)]
    pub(crate) also: Vec<Spanned<String>>,
    pub(crate) name: Option<Spanned<Choice>>,
    pub(crate) state: Option<Spanned<State>>,
    pub(crate) created: Option<Spanned<Instant>>,
    pub(crate) used: Option<Spanned<Instant>>,
    pub(crate) expires: Option<Spanned<Instant>>,
    #[serde(default)]
    pub(crate) owner: Vec<Spanned<Owner>>,
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, Spanned<Choice>>,
    #[serde(default)]
    pub(crate) relations: Vec<Spanned<Relation>>,
    #[serde(default)]
    pub(crate) each: Vec<Spanned<Each>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) from: Spanned<String>,
    #[serde(default)]
    pub(crate) table: BTreeMap<String, String>,
    pub(crate) absent: Option<String>,
    pub(crate) otherwise: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Instant {
    pub(crate) from: Spanned<Choice>,
    #[serde(rename = "as", default)]
    pub(crate) form: TimeForm,
    #[serde(default)]
    pub(crate) never: Vec<String>,
}

/// How a platform writes an instant.
#[derive(Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum TimeForm {
    /// RFC 3339 with its offset.
    #[default]
    Rfc3339,
    /// Whole seconds since 1970.
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
    /// RFC 3339 that may lack its offset, which then is UTC.
    Utc,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Owner {
    pub(crate) evidence: String,
    pub(crate) who: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Relation {
    pub(crate) edge: String,
    pub(crate) from: Option<Spanned<String>>,
    pub(crate) to: Option<Spanned<String>>,
    pub(crate) platform: Option<String>,
    #[serde(default)]
    pub(crate) when: Vec<Spanned<Condition>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Each {
    pub(crate) of: Spanned<String>,
    #[serde(default)]
    pub(crate) leaves_out: Vec<Spanned<LeavesOut>>,
    pub(crate) becomes: Spanned<Vec<Spanned<Rule>>>,
}

/// One text, or several of which the first that has a value counts.
pub(crate) struct Choice(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> serde::de::Visitor<'de> for Texts {
            type Value = Choice;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text, or a list of texts")
            }
            fn visit_str<E>(self, text: &str) -> Result<Choice, E> {
                Ok(Choice(vec![text.to_owned()]))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Choice, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element::<String>()? {
                    texts.push(text);
                }
                Ok(Choice(texts))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}
