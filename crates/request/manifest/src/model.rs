//! A manifest that was read: every path parsed, every word known.

use std::collections::BTreeMap;

use bailiwick_inventory::observation::{Edge, End, Evidence, ObservedKind, PlatformState};

use crate::document::TimeForm;
use crate::path::Path;
use crate::text::Text;

/// A platform: what is asked of it and what its answers mean.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Name of the folder, and of the platform in every observation.
    pub platform: String,
    /// Name for people.
    pub title: String,
    /// Where the platform describes its interface.
    pub reference: String,
    /// Parameters that an operator gives, with what each is.
    pub parameters: BTreeMap<String, String>,
    /// How a request is authenticated.
    pub auth: Auth,
    /// Headers of every request.
    pub headers: BTreeMap<String, String>,
    /// Members that only an answer with an error has.
    pub(crate) errors: Vec<Path>,
    /// What these sources show.
    pub sees: Vec<String>,
    /// What they cannot show, whatever the permission.
    pub blind: Vec<String>,
    /// What is asked, by name.
    pub sources: BTreeMap<String, Source>,
}

/// How a request is authenticated.
#[derive(Debug, Clone)]
pub enum Auth {
    /// AWS Signature Version 4.
    AwsSigv4,
    /// `Authorization: Bearer`.
    Bearer {
        /// What sort of token it is.
        what: String,
    },
    /// A service account's signed assertion, exchanged for a token with these scopes.
    GoogleServiceAccount {
        /// OAuth scopes, the least that the sources need.
        scopes: Vec<String>,
    },
    /// A header of the platform's own.
    Header {
        /// Its name.
        name: String,
        /// What stands before the credential in it.
        prefix: String,
        /// What sort of credential it is.
        what: String,
    },
    /// OAuth client credentials.
    OauthClient {
        /// The token endpoint, with parameters.
        token_url: Text,
        /// Scopes.
        scopes: Vec<String>,
    },
}

/// So many requests in so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests.
    pub requests: u32,
    /// Seconds.
    pub seconds: u32,
}

/// One list that a platform gives.
#[derive(Debug, Clone)]
pub struct Source {
    /// What it lists.
    pub what: String,
    /// Headers of its requests, beside those of the platform.
    pub headers: BTreeMap<String, String>,
    /// The request.
    pub ask: Ask,
    /// Asked once for each item of another source.
    pub for_each: Option<ForEach>,
    /// How the next page is asked for.
    pub paging: Paging,
    /// What the platform allows.
    pub rate: Rate,
    /// The least that the credential must be allowed.
    pub permission: Vec<String>,
    /// The list in a page, or its one item.
    pub(crate) container: Path,
    /// The items in a page.
    pub(crate) items: Path,
    /// Whether a whole answer is the list.
    pub(crate) is_bare: bool,
    /// Whether an answer has one item and no list.
    pub(crate) is_single: bool,
    /// Members that a page without items may have; `None` where every page has the list.
    pub(crate) empty_page: Option<Vec<String>>,
    pub(crate) becomes: Becomes,
}

/// A request.
#[derive(Debug, Clone)]
pub enum Ask {
    /// An operation of an AWS service; the answer is its documented output as JSON.
    Aws {
        /// The service's signing name.
        service: String,
        /// The operation.
        operation: String,
        /// Members of its input.
        input: BTreeMap<String, Text>,
    },
    /// `GET` of an address.
    Get {
        /// The address, with parameters.
        url: Text,
        /// Query parameters.
        query: BTreeMap<String, Text>,
    },
    /// A GraphQL query by `POST`.
    Graphql {
        /// The address, with parameters.
        url: Text,
        /// The query.
        query: String,
        /// Its variables.
        variables: BTreeMap<String, Text>,
    },
}

/// One request for each item of another source.
#[derive(Debug, Clone)]
pub struct ForEach {
    /// The other source.
    pub source: String,
    /// What is taken from its item, by parameter.
    pub take: BTreeMap<String, Text>,
}

/// How the next page is asked for.
#[derive(Debug, Clone)]
pub enum Paging {
    /// A value of the page is sent back.
    Cursor {
        /// Where it is.
        from: Path,
        /// The query parameter, input member or variable that takes it.
        send: String,
        /// A truth value that says whether there is a next page; without it, the cursor's presence does.
        more: Option<Path>,
    },
    /// The `Link` header with `rel="next"` (RFC 8288).
    Link,
    /// The page holds the next address.
    NextUrl {
        /// Where.
        from: Path,
    },
    /// There is one page.
    None,
    /// Pages have numbers; one with fewer items than its size is the last.
    Page {
        /// The query parameter with the number.
        send: String,
        /// Number of the first page.
        first: u32,
        /// Items of a full page.
        size: u32,
    },
}

/// What an item becomes.
#[derive(Debug, Clone)]
pub(crate) struct Becomes {
    pub(crate) leaves_out: Vec<LeavesOut>,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
pub(crate) struct LeavesOut {
    pub(crate) when: Vec<Condition>,
    pub(crate) because: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) text: Text,
    pub(crate) test: Test,
}

#[derive(Debug, Clone)]
pub(crate) enum Test {
    Is(Vec<String>),
    IsNot(Vec<String>),
    Present(bool),
}

/// One sort of observation.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) type_name: String,
    pub(crate) kind: ObservedKind,
    pub(crate) when: Vec<Condition>,
    pub(crate) id: Vec<Text>,
    pub(crate) also: Vec<Text>,
    pub(crate) name: Vec<Text>,
    pub(crate) state: Option<State>,
    pub(crate) created: Option<Instant>,
    pub(crate) used: Option<Instant>,
    pub(crate) expires: Option<Instant>,
    pub(crate) owner: Vec<(Evidence, Text)>,
    pub(crate) attributes: Vec<(String, Vec<Text>)>,
    pub(crate) relations: Vec<RelationRule>,
    pub(crate) each: Vec<Each>,
}

#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) from: Text,
    pub(crate) table: BTreeMap<String, PlatformState>,
    pub(crate) absent: PlatformState,
    /// For a word that is not in the table; without it that is told.
    pub(crate) otherwise: Option<PlatformState>,
}

#[derive(Debug, Clone)]
pub(crate) struct Instant {
    pub(crate) from: Vec<Text>,
    pub(crate) form: TimeForm,
    /// Texts by which the platform says that there is no such time.
    pub(crate) never: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct RelationRule {
    pub(crate) edge: Edge,
    pub(crate) end: End,
    pub(crate) other: Text,
    pub(crate) platform: Option<String>,
    pub(crate) when: Vec<Condition>,
}

#[derive(Debug, Clone)]
pub(crate) struct Each {
    /// The path as written, which names the place of an item in a message.
    pub(crate) written: String,
    pub(crate) of: Path,
    pub(crate) becomes: Becomes,
}
