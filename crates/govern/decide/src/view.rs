//! A call in the words of the decision: who acts, and at what it aims.

use std::borrow::Cow;

use bailiwick_base::{IdentityId, ServerName, TaskId};
use bailiwick_credential::Claims;
use bailiwick_grant::vocabulary;
use serde_json::{Map, Value, json};

use crate::call::{Call, ItemKind, Named, NamedEntity, Principal, Target};

/// Who acts.
#[derive(Debug, Clone)]
pub(crate) enum Caller<'a> {
    /// The bearer of a token.
    Bearer(&'a Claims),
    /// An identity without a token.
    Identity(Cow<'a, IdentityId>, Option<&'a TaskId>),
    /// A subject that is no identity of ours.
    Named(&'a Named),
    /// A subject that cannot be read; only marks on the tenant apply.
    Outside,
}

impl Caller<'_> {
    pub(crate) fn identity(&self) -> Option<&IdentityId> {
        match self {
            Self::Bearer(claims) => Some(&claims.nhi),
            Self::Identity(id, _) => Some(id),
            Self::Named(_) | Self::Outside => None,
        }
    }

    pub(crate) fn task(&self) -> Option<&TaskId> {
        match self {
            Self::Bearer(claims) => Some(&claims.task),
            Self::Identity(_, task) => *task,
            Self::Named(_) | Self::Outside => None,
        }
    }
}

/// Who acts in `call`. An AuthZEN subject of type `identity` is one of our identities, with everything that
/// is known about it; an id that is none of ours is an error, never an unknown subject.
pub(crate) fn caller_of(call: &Call) -> Result<Caller<'_>, String> {
    match &call.principal {
        Principal::Bearer(bearer) => Ok(Caller::Bearer(&bearer.claims)),
        Principal::Identity { id, task } => Ok(Caller::Identity(Cow::Borrowed(id), task.as_ref())),
        Principal::Named(named) if is_type(&named.subject, vocabulary::IDENTITY) => {
            let id = IdentityId::parse(call.tenant(), &named.subject.id).map_err(|e| e.to_string())?;
            Ok(Caller::Identity(Cow::Owned(id), named.task.as_ref()))
        }
        Principal::Named(named) => Ok(Caller::Named(named)),
    }
}

/// Our type names are taken without regard to case: `tool` and `Tool` are one type.
fn is_type(entity: &NamedEntity, own: &str) -> bool {
    entity.kind.eq_ignore_ascii_case(own)
}

/// At what a call aims.
#[derive(Debug, Clone)]
pub(crate) enum Aim<'a> {
    /// Tokens for a task.
    Issue(&'a TaskId, u32),
    /// One item of a server.
    Item(Item<'a>),
    /// A server as a whole.
    Server(Cow<'a, ServerName>, &'a str),
    /// An action and a resource that are not ours.
    Named(NamedAim<'a>),
    /// Something that no policy can speak of; the sentence says why.
    Unknown(String),
}

/// One item of a server.
#[derive(Debug, Clone)]
pub(crate) struct Item<'a> {
    pub(crate) server: Cow<'a, ServerName>,
    pub(crate) method: &'a str,
    pub(crate) kind: ItemKind,
    pub(crate) name: &'a str,
}

/// An AuthZEN action and resource.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NamedAim<'a> {
    pub(crate) action: &'a str,
    pub(crate) action_properties: &'a Map<String, Value>,
    pub(crate) resource: &'a NamedEntity,
    pub(crate) context: &'a Map<String, Value>,
}

impl<'a> Item<'a> {
    /// How a scope names the item: a tool by its name, everything else by the method.
    pub(crate) fn scope_name(&self) -> &'a str {
        match self.kind {
            ItemKind::Tool => self.name,
            ItemKind::Prompt | ItemKind::Resource => self.method,
        }
    }

    /// What conditions are held against: the arguments of a tool; for a prompt or a resource the parameters
    /// of the method, so `name` or `uri`, and `arguments.…`. An enforcement point outside that asks through
    /// AuthZEN gives the arguments as `context.args`.
    pub(crate) fn arguments(&self, call: &'a Call) -> Cow<'a, Map<String, Value>> {
        let given = match &call.target {
            Target::Named { context, .. } if call.arguments.values.is_empty() => context
                .get("args")
                .and_then(Value::as_object)
                .unwrap_or(&call.arguments.values),
            _ => &call.arguments.values,
        };
        let name = match self.kind {
            ItemKind::Tool => return Cow::Borrowed(given),
            ItemKind::Prompt => "name",
            ItemKind::Resource => "uri",
        };
        let mut params = Map::new();
        params.insert(name.to_owned(), json!(self.name));
        params.insert("arguments".to_owned(), Value::Object(given.clone()));
        Cow::Owned(params)
    }
}

impl Aim<'_> {
    pub(crate) fn server(&self) -> Option<&ServerName> {
        match self {
            Self::Item(item) => Some(&item.server),
            Self::Server(server, _) => Some(server),
            Self::Issue(..) | Self::Named(_) | Self::Unknown(_) => None,
        }
    }

    pub(crate) fn scope_name(&self) -> Option<(&ServerName, &str)> {
        match self {
            Self::Item(item) => Some((&item.server, item.scope_name())),
            _ => None,
        }
    }
}

/// At what `call` aims.
pub(crate) fn aim_of(call: &Call) -> Aim<'_> {
    match &call.target {
        // A method of a destination is decided like a tool of a server: one grammar of scopes, one set of policies.
        Target::Http {
            server: Some(server),
            method,
            ..
        } => mcp(
            Cow::Borrowed(server),
            vocabulary::TOOLS_CALL,
            Some((ItemKind::Tool, method)),
        ),
        Target::Http { place, .. } => unknown(no_destination(place)),
        Target::Issue { claims, tokens, .. } => {
            Aim::Issue(&claims.task, u32::try_from(tokens.len()).unwrap_or(u32::MAX))
        }
        Target::Mcp { server, method, item } => {
            let item = item.as_ref().map(|(kind, name)| (*kind, name.as_str()));
            mcp(Cow::Borrowed(server), method, item)
        }
        Target::Named {
            action,
            action_properties,
            resource,
            context,
        } => own(action, resource).unwrap_or(Aim::Named(NamedAim {
            action,
            action_properties,
            resource,
            context,
        })),
    }
}

/// An AuthZEN resource of one of our types is what it says: a `tool` with the id `server/tool` and the action
/// `tools/call` is decided like the call itself.
fn own<'a>(action: &'a str, resource: &'a NamedEntity) -> Option<Aim<'a>> {
    let kinds = [
        (vocabulary::TOOL, Some(ItemKind::Tool)),
        (vocabulary::PROMPT, Some(ItemKind::Prompt)),
        (vocabulary::RESOURCE, Some(ItemKind::Resource)),
        (vocabulary::SERVER, None),
    ];
    let Some((_, kind)) = kinds.into_iter().find(|(own, _)| is_type(resource, own)) else {
        let reserved = vocabulary::OWN_TYPES.iter().any(|own| is_type(resource, own));
        return reserved.then(|| {
            unknown(format!(
                "a resource of type `{}` cannot be asked about",
                resource.kind
            ))
        });
    };
    let (server, item) = match kind {
        None => (resource.id.as_str(), None),
        Some(kind) => match resource.id.split_once('/') {
            Some((server, name)) => (server, Some((kind, name))),
            None => return Some(unknown("the id of an item is `server/name`".to_owned())),
        },
    };
    Some(match ServerName::parse(server) {
        Ok(server) => mcp(Cow::Owned(server), action, item),
        Err(error) => unknown(error.to_string()),
    })
}

fn mcp<'a>(server: Cow<'a, ServerName>, method: &'a str, item: Option<(ItemKind, &'a str)>) -> Aim<'a> {
    let wanted = match method {
        vocabulary::TOOLS_CALL => Some(ItemKind::Tool),
        vocabulary::PROMPTS_GET => Some(ItemKind::Prompt),
        vocabulary::RESOURCES_READ | vocabulary::RESOURCES_SUBSCRIBE | vocabulary::RESOURCES_UNSUBSCRIBE => {
            Some(ItemKind::Resource)
        }
        _ => None,
    };
    let shown = bailiwick_base::limits::shown(method);
    match (wanted, item) {
        (Some(wanted), Some((kind, name))) if wanted == kind => Aim::Item(Item {
            server,
            method,
            kind,
            name,
        }),
        (Some(_), _) => unknown(format!(
            "method `{shown}` names one item, and this call names none of that kind"
        )),
        (None, None) if vocabulary::SERVER_METHODS.contains(&method) => Aim::Server(server, method),
        (None, None) => unknown(format!("method `{shown}` is not known here")),
        (None, Some(_)) => unknown(format!("method `{shown}` names no item")),
    }
}

/// What is said of a place that no destination stands for.
pub(crate) fn no_destination(place: &str) -> String {
    let place = bailiwick_base::limits::shown(place);
    format!("no destination of this tenant is at `{place}`")
}

fn unknown(text: String) -> Aim<'static> {
    Aim::Unknown(text)
}
