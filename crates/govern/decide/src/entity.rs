//! Entities of Cedar for what the snapshot holds, made when facts are taken in and not for each call.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, OnceLock};

use bailiwick_base::{Digest, ServerName};
use bailiwick_grant::vocabulary::{self, item_id};
use bailiwick_inventory::{Identity, State};
use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use smallvec::SmallVec;

static OWN: LazyLock<BTreeMap<&'static str, EntityTypeName>> = LazyLock::new(|| {
    vocabulary::OWN_TYPES
        .iter()
        .filter_map(|name| Some((*name, name.parse().ok()?)))
        .collect()
});

static ACTIONS: LazyLock<BTreeMap<&'static str, EntityUid>> = LazyLock::new(|| {
    std::iter::once(vocabulary::TOKEN_ISSUE)
        .chain(vocabulary::ITEM_METHODS)
        .chain(vocabulary::SERVER_METHODS)
        .map(|name| (name, uid(vocabulary::ACTION, name)))
        .collect()
});

/// No entity at all: what most decisions need.
pub(crate) static NOTHING: LazyLock<Entities> = LazyLock::new(Entities::empty);

/// The entity `kind::"id"`; `kind` is one of [`vocabulary::OWN_TYPES`].
pub(crate) fn uid(kind: &str, id: &str) -> EntityUid {
    let name = OWN.get(kind).cloned().unwrap_or_else(unnamed);
    EntityUid::from_type_name_and_id(name, EntityId::new(id))
}

/// Never a type that a policy can name: what a name that is no Cedar name would become.
#[expect(
    clippy::expect_used,
    reason = "a constant, parsed in every test that makes an entity"
)]
fn unnamed() -> EntityTypeName {
    static NAME: LazyLock<EntityTypeName> =
        LazyLock::new(|| "Unnamed".parse().expect("`Unnamed` is a Cedar name"));
    NAME.clone()
}

/// The entity of an item of a server.
pub(crate) fn item(kind: &str, server: &ServerName, name: &str) -> EntityUid {
    uid(kind, &item_id(server.as_str(), name))
}

/// The entity of one of our actions; `None` for a name that is not ours.
pub(crate) fn action(name: &str) -> Option<&'static EntityUid> {
    ACTIONS.get(name)
}

/// An identity and its entity.
#[derive(Debug)]
pub(crate) struct IdentityEntity {
    pub(crate) identity: Arc<Identity>,
    pub(crate) uid: EntityUid,
    /// What the identity is in: its owner, and its logical agent.
    pub(crate) groups: SmallVec<[EntityUid; 2]>,
    /// The digest of what it is declared to be made of.
    pub(crate) composition: Option<Digest>,
    /// Made when the first policy asks for it.
    entities: OnceLock<Entities>,
}

impl IdentityEntity {
    pub(crate) fn new(identity: Arc<Identity>) -> Self {
        let mut groups = SmallVec::new();
        groups.push(uid(vocabulary::TEAM, &identity.owner.team));
        if let Some(agent) = &identity.labels.agent {
            groups.push(uid(vocabulary::AGENT, agent.as_str()));
        }
        let uid = uid(vocabulary::IDENTITY, &identity.id.to_string());
        let composed = identity.composition.as_ref();
        Self {
            composition: composed.map(|composed| composed.present.digest()),
            identity,
            uid,
            groups,
            entities: OnceLock::new(),
        }
    }

    /// The entity with its attributes and what it is in.
    pub(crate) fn entity(&self) -> Entity {
        let identity = &self.identity;
        let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
        let mut attributes = vec![
            ("kind".to_owned(), text(identity.kind.as_str())),
            ("name".to_owned(), text(&identity.name)),
            ("platform".to_owned(), text(&identity.platform)),
            (
                "probation".to_owned(),
                RestrictedExpression::new_bool(matches!(identity.state, State::Probation)),
            ),
        ];
        if let Some(application) = &identity.application {
            attributes.push(("application".to_owned(), text(application)));
        }
        if let Some(workflow) = &identity.labels.workflow {
            attributes.push(("workflow".to_owned(), text(workflow)));
        }
        Entity::new_with_tags(self.uid.clone(), attributes, self.groups.iter().cloned(), [])
            .unwrap_or_else(|_| Entity::with_uid(self.uid.clone()))
    }

    /// The identity alone.
    pub(crate) fn entities(&self) -> &Entities {
        self.entities.get_or_init(|| gathered([self.entity()]))
    }
}

/// An item that is in its server.
pub(crate) fn item_entity(item: &EntityUid, server: &EntityUid) -> Entity {
    Entity::new_with_tags(item.clone(), [], [server.clone()], [])
        .unwrap_or_else(|_| Entity::with_uid(item.clone()))
}

/// These entities together. They are never twice the same and never in a cycle; if Cedar refuses them
/// nevertheless, there are none, and what reads them fails to evaluate, which denies.
pub(crate) fn gathered(entities: impl IntoIterator<Item = Entity>) -> Entities {
    Entities::from_entities(entities, None).unwrap_or_else(|_| Entities::empty())
}
