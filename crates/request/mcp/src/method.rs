//! The methods of both eras: which exist, and what each names.

use bailiwick_decide::ItemKind;

/// The current, stateless revision.
pub(crate) const MODERN: &str = "2026-07-28";
/// The revision with sessions.
pub(crate) const LEGACY: &str = "2025-11-25";
/// Revisions with sessions that differ from [`LEGACY`] in nothing the gateway looks at.
pub(crate) const LEGACY_SPOKEN: [&str; 2] = [LEGACY, "2025-06-18"];
/// Older revisions that an upstream server may answer with.
pub(crate) const LEGACY_UPSTREAM: [&str; 4] = [LEGACY, "2025-06-18", "2025-03-26", "2024-11-05"];

pub(crate) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub(crate) const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
pub(crate) const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
pub(crate) const META_LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
pub(crate) const META_SERVER: &str = "io.modelcontextprotocol/serverInfo";
pub(crate) const META_SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// Which revision a side speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    Legacy,
    Modern,
}

/// What a method is to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Call,
    Complete,
    Discover,
    Initialize,
    List,
    Listen,
    Ping,
    PromptOf,
    Read,
    SetLevel,
    Subscribe,
    Task,
    ToolList,
    Unsubscribe,
}

/// The verb of `method` in `era`; `None` when the revision has no such method. Names are compared exactly.
pub(crate) fn verb(era: Era, method: &str) -> Option<Verb> {
    let both = match method {
        "completion/complete" => Some(Verb::Complete),
        "prompts/get" => Some(Verb::PromptOf),
        "prompts/list" | "resources/list" | "resources/templates/list" => Some(Verb::List),
        "resources/read" => Some(Verb::Read),
        "tools/call" => Some(Verb::Call),
        "tools/list" => Some(Verb::ToolList),
        _ => None,
    };
    both.or(match (era, method) {
        (Era::Modern, "server/discover") => Some(Verb::Discover),
        (Era::Modern, "subscriptions/listen") => Some(Verb::Listen),
        (Era::Legacy, "initialize") => Some(Verb::Initialize),
        (Era::Legacy, "logging/setLevel") => Some(Verb::SetLevel),
        (Era::Legacy, "ping") => Some(Verb::Ping),
        (Era::Legacy, "resources/subscribe") => Some(Verb::Subscribe),
        (Era::Legacy, "resources/unsubscribe") => Some(Verb::Unsubscribe),
        (Era::Legacy, "tasks/get" | "tasks/result" | "tasks/list" | "tasks/cancel") => Some(Verb::Task),
        _ => None,
    })
}

/// Results of these methods carry `ttlMs` and `cacheScope` in 2026-07-28.
pub(crate) fn is_cacheable(verb: Verb) -> bool {
    matches!(verb, Verb::Discover | Verb::List | Verb::Read | Verb::ToolList)
}

/// Methods whose result may ask for input (MRTR).
pub(crate) fn may_ask(verb: Verb) -> bool {
    matches!(verb, Verb::Call | Verb::PromptOf | Verb::Read)
}

/// The member of `params` that names the item, and what kind it is.
pub(crate) fn item(verb: Verb) -> Option<(&'static str, ItemKind)> {
    match verb {
        Verb::Call => Some(("name", ItemKind::Tool)),
        Verb::PromptOf => Some(("name", ItemKind::Prompt)),
        Verb::Read | Verb::Subscribe | Verb::Unsubscribe => Some(("uri", ItemKind::Resource)),
        _ => None,
    }
}
