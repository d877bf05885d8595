//! The names that policies use: entity types, actions and the attributes of the context. The schema in
//! `content/policies/schema.cedarschema` declares the same names; a test holds the two together.

/// Entity type of a registered identity, the principal of our own calls.
pub const IDENTITY: &str = "Identity";
/// Entity type of an owner; identities are in it.
pub const TEAM: &str = "Team";
/// Entity type of a logical agent; identities with its label are in it.
pub const AGENT: &str = "Agent";
/// Entity type of an upstream server; its tools, prompts and resources are in it.
pub const SERVER: &str = "Server";
/// Entity type of a tool; its id is `server/tool`.
pub const TOOL: &str = "Tool";
/// Entity type of a prompt; its id is `server/prompt`.
pub const PROMPT: &str = "Prompt";
/// Entity type of an MCP resource; its id is `server/uri`.
pub const RESOURCE: &str = "Resource";
/// Entity type of a task, the resource of `token.issue`.
pub const TASK: &str = "Task";
/// Entity type of actions.
pub const ACTION: &str = "Action";

/// Entity types that an AuthZEN subject or resource cannot claim by name, with [`IDENTITY`] and [`TOOL`].
pub const OWN_TYPES: [&str; 9] = [
    IDENTITY, TEAM, AGENT, SERVER, TOOL, PROMPT, RESOURCE, TASK, ACTION,
];

/// Issue or renew an access token.
pub const TOKEN_ISSUE: &str = "token.issue";
/// Call a tool.
pub const TOOLS_CALL: &str = "tools/call";
/// Fetch one prompt.
pub const PROMPTS_GET: &str = "prompts/get";
/// Read one resource.
pub const RESOURCES_READ: &str = "resources/read";
/// Be told when one resource changes (legacy era).
pub const RESOURCES_SUBSCRIBE: &str = "resources/subscribe";
/// Stop being told.
pub const RESOURCES_UNSUBSCRIBE: &str = "resources/unsubscribe";

/// Methods that name one item of a server and therefore need a grant.
pub const ITEM_METHODS: [&str; 5] = [
    TOOLS_CALL,
    PROMPTS_GET,
    RESOURCES_READ,
    RESOURCES_SUBSCRIBE,
    RESOURCES_UNSUBSCRIBE,
];

/// Item methods that a scope can name instead of a tool.
pub const SCOPE_METHODS: [&str; 4] = [
    PROMPTS_GET,
    RESOURCES_READ,
    RESOURCES_SUBSCRIBE,
    RESOURCES_UNSUBSCRIBE,
];

/// Methods that concern a server as a whole; the default policies permit them to a bearer that has any scope
/// on the server.
pub const SERVER_METHODS: [&str; 24] = [
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/elicitation/complete",
    "notifications/initialized",
    "notifications/message",
    "notifications/progress",
    "notifications/roots/list_changed",
    "ping",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "response",
    "server/discover",
    "session/end",
    "session/stream",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/list",
];

/// `context.task`: the id of the task the call is made under; empty without a task.
pub const CONTEXT_TASK: &str = "task";
/// `context.server`: the upstream server; empty where the call has none.
pub const CONTEXT_SERVER: &str = "server";
/// `context.scoped`: whether the caller holds any scope on that server.
pub const CONTEXT_SCOPED: &str = "scoped";
/// `context.door`: the kind of enforcement point.
pub const CONTEXT_DOOR: &str = "door";
/// `context.count`: tokens asked for (`token.issue`).
pub const CONTEXT_COUNT: &str = "count";
/// `context.delegated`: whether the token carries an act chain.
pub const CONTEXT_DELEGATED: &str = "delegated";

/// The prefix of attributes that nobody has vouched for.
pub const UNTRUSTED: &str = "untrusted_";

/// A typed view of the arguments: a record of the context whose members are the arguments of that type.
///
/// The name of a member is the name of the argument, with dots for members of objects. An argument that is
/// missing, or that has no exact form of the type, is absent from the view; so a policy that asks with `has`
/// first can never fail to evaluate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// `context.decimal`: numbers with at most four digits behind the point, whole ones too.
    Decimal,
    /// `context.flag`: `true` and `false`.
    Flag,
    /// `context.integer`: whole numbers of 64 bits.
    Integer,
    /// `context.path`: an absolute path or URI without `..` segment, NUL or backslash (and in a URI without
    /// `%`, `?` and `#`); for a list of such, the longest path that holds all of them.
    Path,
    /// `context.text`: text.
    Text,
    /// `context.texts`: lists of text.
    Texts,
}

impl View {
    /// Every view.
    pub const ALL: [Self; 6] = [
        Self::Decimal,
        Self::Flag,
        Self::Integer,
        Self::Path,
        Self::Text,
        Self::Texts,
    ];

    /// The name of the record in the context.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decimal => "decimal",
            Self::Flag => "flag",
            Self::Integer => "integer",
            Self::Path => "path",
            Self::Text => "text",
            Self::Texts => "texts",
        }
    }

    /// The view of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.name() == name)
    }
}

/// The id of the entity that stands for an item of a server. Server names hold no `/`, so two different
/// items never get the same id.
#[must_use]
pub fn item_id(server: &str, item: &str) -> String {
    let mut id = String::with_capacity(server.len() + item.len() + 1);
    id.push_str(server);
    id.push('/');
    id.push_str(item);
    id
}
