//! The policies: which are asked, what they see, and what their answers mean.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bailiwick_base::limits::shown;
use bailiwick_grant::{namesake, vocabulary};
use cedar_policy::{
    AuthorizationError, Authorizer, Context, Effect as CedarEffect, Entities, Entity, EntityId,
    EntityTypeName, EntityUid, PolicyId, PolicySet, Request,
};
use serde_json::{Map, Value};
use smallvec::SmallVec;

use crate::call::{ItemKind, NamedEntity};
use crate::context::{Material, supplied};
use crate::decide::{Established, Granted, Refused};
use crate::decision::{ApprovalDemand, Effect, Reasons};
use crate::engine::{Members, Question, Raw, evaluate};
use crate::entity::{self, IdentityEntity, NOTHING, gathered, item_entity};
use crate::explain;
use crate::policy::Part;
use crate::policy::compiled::{Compiled, Needs};
use crate::policy::index::Keyed;
use crate::reason::DenyReason;
use crate::view::{Aim, Caller};

/// Members of `arguments`, those of objects in it too. Each that a policy reads is looked for among all of them
/// in every spelling.
const MEMBERS_MAX: usize = 4_096;

/// Whether the plain way is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plainly {
    No,
    Yes,
}

/// One side of a call as Cedar sees it.
struct Side<'a> {
    uid: Cow<'a, EntityUid>,
    groups: Cow<'a, [EntityUid]>,
    source: Source<'a>,
}

/// Where the entity of a side comes from, if a policy reads it.
enum Source<'a> {
    Identity(&'a IdentityEntity),
    Item,
    Bare,
    Supplied(Members),
}

/// Asks the policies.
pub(crate) fn judge(found: &Established<'_>, plainly: Plainly) -> Result<Granted, Refused> {
    require_loaded(found)?;
    let tenant = &found.space.policies;
    let principal = principal(found)?;
    let (action, resource) = aimed(found)?;
    let grants = granted(found)?;
    let material = material(found);
    let sliced = sliced(found, &action, &principal, &resource);
    let concerned: SmallVec<[&Compiled; 8]> = sliced.chain(grants.iter().map(|(_, c)| *c)).collect();
    require_one_spelling(&concerned, &material.arguments)?;
    let candidates: SmallVec<[&Compiled; 8]> = match plainly {
        Plainly::Yes => tenant
            .policies
            .iter()
            .chain(found.space.grant_policies())
            .collect(),
        Plainly::No => concerned,
    };
    let raw = match plainly {
        Plainly::No => asked(&principal, &action, &resource, &material, &candidates),
        Plainly::Yes => plainly_evaluated(&principal, &action, &resource, &material, &candidates)?,
    };
    answer(found, &grants, &raw)
}

/// Refuses what no argument could save: asked are the policies that read none. What passes may still be refused when
/// the arguments are known.
pub(crate) fn require_unbarred(found: &Established<'_>) -> Result<(), Refused> {
    require_loaded(found)?;
    let principal = principal(found)?;
    let (action, resource) = aimed(found)?;
    let candidates: SmallVec<[&Compiled; 8]> = sliced(found, &action, &principal, &resource)
        .filter(|c| !reads_arguments(&c.needs, &found.aim))
        .collect();
    let raw = asked(&principal, &action, &resource, &material(found), &candidates);
    require_unforbidden(&raw)
}

/// Whether a policy reads what only the call itself says. The name of a prompt and the address of a resource are known
/// without it.
fn reads_arguments(needs: &Needs, aim: &Aim<'_>) -> bool {
    let known = match aim {
        Aim::Item(item) if item.kind == ItemKind::Prompt => "name",
        Aim::Item(item) if item.kind == ItemKind::Resource => "uri",
        _ => return !(needs.args.is_empty() && needs.views.is_empty() && needs.whole.is_empty()),
    };
    !needs.whole.is_empty() || needs.args.iter().any(|(_, arg)| arg != known)
}

fn require_loaded(found: &Established<'_>) -> Result<(), Refused> {
    match &found.space.policies.broken {
        None => Ok(()),
        Some(problem) => Err(Refused::new(
            DenyReason::EvaluationFailed,
            format!("the tenant's policies do not load: {problem}"),
        )),
    }
}

/// The tenant's policies whose head can match.
fn sliced<'a>(
    found: &Established<'a>,
    action: &EntityUid,
    principal: &Side<'_>,
    resource: &Side<'_>,
) -> impl Iterator<Item = &'a Compiled> + use<'a> {
    let tenant = &found.space.policies;
    let positions = tenant.index.matching(
        Keyed {
            uid: action,
            groups: &[],
        },
        Keyed {
            uid: &principal.uid,
            groups: &principal.groups,
        },
        Keyed {
            uid: &resource.uid,
            groups: &resource.groups,
        },
    );
    positions.into_iter().filter_map(|n| tenant.policies.get(n))
}

/// Cedar's answer of these policies, each given only what one of them reads.
fn asked<'p>(
    principal: &Side<'_>,
    action: &EntityUid,
    resource: &Side<'_>,
    material: &Material<'_>,
    candidates: &[&'p Compiled],
) -> Raw<'p> {
    let reads = |f: fn(&Compiled) -> bool| candidates.iter().any(|c| f(c));
    let entities = loaded(
        principal,
        resource,
        reads(|c| c.needs.principal),
        reads(|c| c.needs.resource),
    );
    let question = Question {
        principal: &principal.uid,
        action,
        resource: &resource.uid,
        context: material.projected(candidates.iter().map(|c| &c.needs)),
    };
    evaluate(question, &entities, candidates.iter().copied())
}

/// An argument that a policy reads has one spelling: a server that compares names more laxly than we do would
/// take another one, neither granted nor forbidden, for it.
fn require_one_spelling(concerned: &[&Compiled], arguments: &Map<String, Value>) -> Result<(), Refused> {
    require_few_members(arguments)?;
    let mut seen = BTreeSet::new();
    let mut read = concerned
        .iter()
        .flat_map(|compiled| compiled.needs.args.iter().map(move |(_, arg)| (*compiled, arg)))
        .filter(|(_, arg)| seen.insert(*arg));
    let found = read.find_map(|(compiled, arg)| Some((compiled, arg, namesake(arguments, arg)?)));
    let Some((compiled, arg, other)) = found else {
        return Ok(());
    };
    Err(Refused {
        reason: DenyReason::ArgumentOutOfScope,
        policies: std::iter::once(compiled.id.clone()).collect(),
        text: format!(
            "argument `{}` could be read as `{}`, on which it depends: leave it out, or spell it so",
            shown(other),
            shown(arg)
        ),
    })
}

/// Looking for spellings takes as long as there are members, for each argument that policies read.
fn require_few_members(arguments: &Map<String, Value>) -> Result<(), Refused> {
    let mut members = 0_usize;
    let mut open: SmallVec<[&Map<String, Value>; 4]> = SmallVec::new();
    open.push(arguments);
    while let Some(map) = open.pop() {
        members = members.saturating_add(map.len());
        if members > MEMBERS_MAX {
            return Err(Refused::new(
                DenyReason::ArgumentOutOfScope,
                format!("`arguments` has more than {MEMBERS_MAX} members: send fewer at a time"),
            ));
        }
        open.extend(map.values().filter_map(Value::as_object));
    }
    Ok(())
}

fn ids(list: &[&Compiled]) -> SmallVec<[String; 2]> {
    let mut ids: SmallVec<[String; 2]> = list.iter().map(|c| c.id.clone()).collect();
    ids.sort();
    ids
}

fn require_unforbidden(raw: &Raw<'_>) -> Result<(), Refused> {
    if !raw.errors.is_empty() {
        return Err(Refused {
            reason: DenyReason::EvaluationFailed,
            policies: ids(&raw.errors),
            text: "a policy could not be evaluated, so nothing is permitted".to_owned(),
        });
    }
    if raw.forbids.is_empty() {
        return Ok(());
    }
    let policies = ids(&raw.forbids);
    let text = format!("policy `{}` forbids it", policies.join("`, `"));
    Err(Refused {
        reason: DenyReason::ForbiddenByPolicy,
        policies,
        text,
    })
}

/// What the answers mean: an error denies, then a forbid, then a permit grants.
fn answer(found: &Established<'_>, grants: &[(usize, &Compiled)], raw: &Raw<'_>) -> Result<Granted, Refused> {
    require_unforbidden(raw)?;
    let mut permits: SmallVec<[&Compiled; 2]> = SmallVec::new();
    let mut exceeded: SmallVec<[(usize, &Compiled); 1]> = SmallVec::new();
    for permit in &raw.permits {
        match grants.iter().find(|(_, c)| std::ptr::eq(*c, *permit)) {
            Some((scope, _)) if explain::exceeds(found, *scope) => exceeded.push((*scope, permit)),
            _ => permits.push(permit),
        }
    }
    if permits.is_empty() {
        return Err(match exceeded.first() {
            Some((scope, compiled)) => Refused {
                reason: DenyReason::RateExceeded,
                policies: std::iter::once(compiled.id.clone()).collect(),
                text: explain::rate(found, *scope),
            },
            None => explain::ungranted(found, grants),
        });
    }
    let policies = ids(&permits);
    let text = format!("permitted by `{}`", policies.join("`, `"));
    let held = permits.iter().find(|c| c.hold.is_some()).map(|c| c.id.clone());
    Ok(Granted {
        effect: held.map_or(Effect::Permit, |policy| Effect::Hold(ApprovalDemand { policy })),
        reasons: Reasons { policies, text },
    })
}

/// The policies of the grant that name what is called, with the positions of their scopes.
fn granted<'a>(found: &Established<'a>) -> Result<SmallVec<[(usize, &'a Compiled); 4]>, Refused> {
    let (Some(task), Some((server, name))) = (found.task, found.aim.scope_name()) else {
        return Ok(SmallVec::new());
    };
    let policies = task.policies().map_err(|problem| {
        Refused::new(
            DenyReason::EvaluationFailed,
            format!("the grant of the task does not compile: {problem}"),
        )
    })?;
    Ok(task
        .scopes(server, name)
        .filter_map(|n| Some((n, policies.get(n)?)))
        .collect())
}

fn principal<'a>(found: &Established<'a>) -> Result<Side<'a>, Refused> {
    match &found.caller {
        Caller::Bearer(_) | Caller::Identity(..) => {
            let entry = found.caller.identity().and_then(|id| found.space.identity(id));
            let entry = entry.ok_or_else(|| {
                Refused::new(DenyReason::IdentityUnknown, "no such identity in this tenant")
            })?;
            Ok(Side {
                uid: Cow::Borrowed(&entry.uid),
                groups: Cow::Borrowed(&entry.groups),
                source: Source::Identity(entry),
            })
        }
        Caller::Named(named) => {
            let properties = &named.subject.properties;
            let attributes = supplied(
                &found.space.policies.supplied,
                Part::Subject,
                &named.pep,
                properties,
            );
            foreign(&named.subject, attributes)
        }
        Caller::Outside => Err(Refused::new(
            DenyReason::IdentityUnknown,
            "the caller cannot be read",
        )),
    }
}

/// An entity of a type that is not ours.
fn foreign(entity: &NamedEntity, attributes: Members) -> Result<Side<'static>, Refused> {
    let uid = foreign_uid(&entity.kind, &entity.id)?;
    Ok(Side {
        uid: Cow::Owned(uid),
        groups: Cow::Owned(Vec::new()),
        source: Source::Supplied(attributes),
    })
}

fn foreign_uid(kind: &str, id: &str) -> Result<EntityUid, Refused> {
    let shown = bailiwick_base::limits::shown(kind);
    let own = vocabulary::OWN_TYPES
        .iter()
        .any(|own| own.eq_ignore_ascii_case(kind));
    match kind.parse::<EntityTypeName>() {
        Ok(name) if !own => Ok(EntityUid::from_type_name_and_id(name, EntityId::new(id))),
        _ => Err(Refused::new(
            DenyReason::NoGrant,
            format!("no policy can name a subject or resource of type `{shown}`"),
        )),
    }
}

fn aimed<'a>(found: &Established<'a>) -> Result<(Cow<'a, EntityUid>, Side<'a>), Refused> {
    let bare = |uid| Side {
        uid,
        groups: Cow::Owned(Vec::new()),
        source: Source::Bare,
    };
    let own = |name: &str| {
        entity::action(name).map(Cow::Borrowed).ok_or_else(|| {
            Refused::new(
                DenyReason::NoGrant,
                format!("`{}` is not known here", bailiwick_base::limits::shown(name)),
            )
        })
    };
    match (&found.aim, found.server, found.issue) {
        (Aim::Issue(..), _, Some(task)) => {
            Ok((own(vocabulary::TOKEN_ISSUE)?, bare(Cow::Borrowed(&task.uid))))
        }
        (Aim::Server(_, method), Some(server), _) => Ok((own(method)?, bare(Cow::Borrowed(&server.uid)))),
        (Aim::Item(item), Some(server), _) => {
            let uid = match (item.kind, server.tools.get(item.name)) {
                (ItemKind::Tool, Some(tool)) => Cow::Borrowed(&tool.uid),
                (ItemKind::Tool, None) => {
                    return Err(Refused::new(DenyReason::ToolNotPinned, "the tool is not pinned"));
                }
                (ItemKind::Prompt, _) => {
                    Cow::Owned(entity::item(vocabulary::PROMPT, &item.server, item.name))
                }
                (ItemKind::Resource, _) => {
                    Cow::Owned(entity::item(vocabulary::RESOURCE, &item.server, item.name))
                }
            };
            let groups = Cow::Borrowed(std::slice::from_ref(&server.uid));
            Ok((
                own(item.method)?,
                Side {
                    uid,
                    groups,
                    source: Source::Item,
                },
            ))
        }
        (Aim::Named(named), _, _) => {
            let Caller::Named(caller) = &found.caller else {
                let side = foreign(named.resource, Members::new())?;
                return Ok((Cow::Owned(entity::uid(vocabulary::ACTION, named.action)), side));
            };
            let properties = &named.resource.properties;
            let attributes = supplied(
                &found.space.policies.supplied,
                Part::Resource,
                &caller.pep,
                properties,
            );
            let side = foreign(named.resource, attributes)?;
            Ok((Cow::Owned(entity::uid(vocabulary::ACTION, named.action)), side))
        }
        (Aim::Unknown(text), _, _) => Err(Refused::new(DenyReason::NoGrant, text.clone())),
        _ => Err(Refused::new(DenyReason::NoGrant, "nothing grants this")),
    }
}

fn material<'a>(found: &'a Established<'a>) -> Material<'a> {
    let declared = &found.space.policies.supplied;
    let (action_properties, caller_context) = match (&found.aim, &found.caller) {
        (Aim::Named(aim), Caller::Named(caller)) => (
            supplied(declared, Part::Action, &caller.pep, aim.action_properties),
            supplied(declared, Part::Context, &caller.pep, aim.context),
        ),
        _ => (Members::new(), Members::new()),
    };
    Material {
        arguments: match &found.aim {
            Aim::Item(item) => item.arguments(found.call),
            _ => Cow::Borrowed(&found.call.arguments.values),
        },
        count: match found.aim {
            Aim::Issue(_, count) => count,
            _ => 0,
        },
        delegated: matches!(&found.caller, Caller::Bearer(claims) if !claims.act.is_empty()),
        door: found.call.door.as_str(),
        scoped: found.scoped,
        server: found.aim.server().map_or("", |s| s.as_str()),
        task: found.task.or(found.issue).map_or("", |t| t.text.as_str()),
        action_properties,
        caller_context,
    }
}

/// The entities, as far as policies read them. What has no attributes and no groups needs no entity.
fn loaded<'a>(
    principal: &Side<'a>,
    resource: &Side<'a>,
    reads_principal: bool,
    reads_resource: bool,
) -> Cow<'a, Entities> {
    let resource_counts = reads_resource && !matches!(resource.source, Source::Bare);
    match (&principal.source, reads_principal, resource_counts) {
        (_, false, false) => Cow::Borrowed(&*NOTHING),
        (Source::Identity(entry), true, false) => Cow::Borrowed(entry.entities()),
        _ => Cow::Owned(everything(principal, resource)),
    }
}

fn everything(principal: &Side<'_>, resource: &Side<'_>) -> Entities {
    let mut all: Vec<Entity> = Vec::new();
    for entity in [principal.entity(), resource.entity()].into_iter().flatten() {
        // One and the same entity on both sides has what both sides say of it.
        if all.iter().all(|e| e.uid() != entity.uid()) {
            all.push(entity);
        }
    }
    gathered(all)
}

impl Side<'_> {
    fn entity(&self) -> Option<Entity> {
        match &self.source {
            Source::Identity(entry) => Some(entry.entity()),
            Source::Item => self.groups.first().map(|server| item_entity(&self.uid, server)),
            Source::Bare => None,
            Source::Supplied(members) => {
                let attributes = members
                    .iter()
                    .map(|(name, value)| (name.to_string(), crate::engine::expression(value)));
                Some(
                    Entity::new_with_tags(self.uid.as_ref().clone(), attributes, [], [])
                        .unwrap_or_else(|_| Entity::with_uid(self.uid.as_ref().clone())),
                )
            }
        }
    }
}

/// The plain way: one policy set, Cedar's own request and authorizer.
fn plainly_evaluated<'p>(
    principal: &Side<'_>,
    action: &EntityUid,
    resource: &Side<'_>,
    material: &Material<'_>,
    candidates: &[&'p Compiled],
) -> Result<Raw<'p>, Refused> {
    let failed = |text: String| Refused::new(DenyReason::EvaluationFailed, text);
    let set = PolicySet::from_policies(candidates.iter().map(|c| c.policy.clone()))
        .map_err(|e| failed(e.to_string()))?;
    let pairs = material
        .complete()
        .into_iter()
        .map(|(name, value)| (name.to_string(), crate::engine::expression(&value)));
    let context = Context::from_pairs(pairs).map_err(|e| failed(e.to_string()))?;
    let asked = Request::new(
        principal.uid.as_ref().clone(),
        action.clone(),
        resource.uid.as_ref().clone(),
        context,
        None,
    )
    .map_err(|e| failed(e.to_string()))?;
    let response = Authorizer::new().is_authorized(&asked, &set, &everything(principal, resource));
    let by_id = |id: &PolicyId| candidates.iter().copied().find(|c| c.policy.id() == id);
    let mut raw = Raw::default();
    for compiled in response.diagnostics().reason().filter_map(by_id) {
        match compiled.effect {
            CedarEffect::Permit => raw.permits.push(compiled),
            CedarEffect::Forbid => raw.forbids.push(compiled),
        }
    }
    for AuthorizationError::PolicyEvaluationError(error) in response.diagnostics().errors() {
        raw.errors.extend(by_id(error.policy_id()));
    }
    Ok(raw)
}
