//! One of each kind of fact, by hand and from generated parts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{
    AgentLabel, Composition, Digest, Epoch, Id, IdKind, IdentityId, ServerName, SigningAlgorithm, StatePos,
    Time, ToolName,
};
use bailiwick_credential::consent::{ClientSource, PublicClient};
use bailiwick_credential::signing_key::{KeyHolder, SigningKey};
use bailiwick_credential::trust::{IssuerKeys, Method, Trust, TrustedIssuer};
use bailiwick_credential::{Client, ClientProof, Task, TaskState};
use bailiwick_decide::{Fact, Mark, MarkEffect, MarkScope};
use bailiwick_grant::{Condition, Grant, Literal, Operator, Rate, Scope};
use bailiwick_inventory::{
    Composed, Connection, Identity, Kind, Labels, Origin, Owner, PinState, State, Tenant, TenantState,
    ToolPin, UpstreamServer,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::tenant;

pub(crate) const JWK: &str =
    r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

pub(crate) fn id<K: IdKind>(n: u128) -> Id<K> {
    Id::from_parts(tenant(), Uuid::from_u128(n))
}

fn any_id<K: IdKind>() -> impl Strategy<Value = Id<K>> {
    any::<u128>().prop_map(id)
}

/// Any text, what looks like syntax included.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-z\"\\\\{}\u{0}-\u{1f}]{0,12}".prop_map(|t| t)]
}

/// What a canonical number holds.
fn time() -> impl Strategy<Value = Time> {
    (-(1_i64 << 53)..=(1_i64 << 53)).prop_map(Time::from_micros)
}

fn number() -> impl Strategy<Value = u64> {
    0_u64..=(1 << 53)
}

fn epoch() -> impl Strategy<Value = Epoch> {
    number().prop_map(Epoch)
}

fn one<T: Clone + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    proptest::sample::select(all)
}

fn server_name() -> impl Strategy<Value = ServerName> {
    "[a-z0-9][a-z0-9_-]{0,62}".prop_map(|t| ServerName::parse(&t).unwrap())
}

fn tool_name() -> impl Strategy<Value = ToolName> {
    "[A-Za-z0-9_./-]{1,40}".prop_map(|t| ToolName::parse(&t).unwrap())
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn composition() -> impl Strategy<Value = Composition> {
    digest().prop_map(|d| {
        Composition::from_json(&serde_json::json!({"code": d.to_base64url(), "tools": d.to_base64url()}))
            .unwrap()
    })
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Active),
        Just(State::Probation),
        (any::<bool>(), text()).prop_map(|(was_active, reason)| State::Suspended { was_active, reason }),
        text().prop_map(|reason| State::Retired { reason }),
    ]
}

fn identity() -> impl Strategy<Value = Fact> {
    let names = (
        text(),
        text(),
        text(),
        text(),
        proptest::option::of(text()),
        text(),
    );
    let labels = (proptest::option::of("[a-z]{1,20}"), proptest::option::of(text()));
    let composed = proptest::option::of((composition(), proptest::option::of(composition()), time()));
    let kind = (one(&Kind::ALL), one(&Origin::ALL));
    (
        any_id(),
        names,
        labels,
        state(),
        composed,
        kind,
        (time(), time(), time()),
    )
        .prop_map(
            |(id, names, (agent, workflow), state, composed, (kind, origin), times)| {
                Fact::Identity(Arc::new(Identity {
                    id,
                    kind,
                    name: names.0,
                    platform: names.1,
                    owner: Owner {
                        team: names.2,
                        contact: names.3,
                    },
                    application: names.4,
                    purpose: names.5,
                    labels: Labels {
                        agent: agent.map(|a| AgentLabel::parse(&a).unwrap()),
                        workflow,
                    },
                    origin,
                    state,
                    composition: composed.map(|(present, former, since)| Composed {
                        present,
                        former,
                        since,
                    }),
                    created_at: times.0,
                    expires_at: times.1,
                    changed_at: times.2,
                }))
            },
        )
}

fn client() -> impl Strategy<Value = Fact> {
    let words = (one(&SigningAlgorithm::ALL), one(&ClientProof::ALL));
    (
        any_id(),
        any_id(),
        words,
        proptest::option::of(digest()),
        time(),
        time(),
    )
        .prop_map(
            |(id, identity, (algorithm, proof), certificate, created_at, expires_at)| {
                Fact::Client(Arc::new(Client {
                    id,
                    identity,
                    algorithm,
                    jwk: JWK.as_bytes().to_vec(),
                    created_at,
                    expires_at,
                    proof,
                    certificate,
                }))
            },
        )
}

fn public_client() -> impl Strategy<Value = Fact> {
    let source = prop_oneof![
        (text(), proptest::collection::vec(text(), 0..3), any::<bool>()).prop_map(
            |(below, allow_addresses, danger_plaintext)| ClientSource::Documents {
                below,
                allow_addresses,
                danger_plaintext,
            }
        ),
        proptest::collection::vec(text(), 0..3).prop_map(|redirects| ClientSource::Registered { redirects }),
    ];
    (
        any_id(),
        text(),
        source,
        time(),
        time(),
        proptest::option::of(time()),
    )
        .prop_map(|(id, name, source, created_at, expires_at, removed_at)| {
            Fact::PublicClient(Arc::new(PublicClient {
                id,
                name,
                source,
                created_at,
                expires_at,
                removed_at,
            }))
        })
}

fn scope() -> impl Strategy<Value = MarkScope> {
    prop_oneof![
        Just(MarkScope::All),
        Just(MarkScope::Tenant(tenant())),
        any_id().prop_map(MarkScope::Token),
        any_id().prop_map(MarkScope::Task),
        any_id().prop_map(MarkScope::Identity),
        "[a-z]{1,9}".prop_map(|l| MarkScope::Agent(tenant(), AgentLabel::parse(&l).unwrap())),
        text().prop_map(|team| MarkScope::Owner(tenant(), team)),
        text().prop_map(|issuer| MarkScope::Issuer(tenant(), issuer)),
        server_name().prop_map(|server| MarkScope::Server(tenant(), server)),
        (server_name(), tool_name()).prop_map(|(server, tool)| MarkScope::Tool(tenant(), server, tool)),
    ]
}

fn mark() -> impl Strategy<Value = Fact> {
    (scope(), one(&MarkEffect::ALL), epoch())
        .prop_map(|(scope, effect, epoch)| Fact::Mark(Mark { scope, effect, epoch }))
}

fn connection() -> impl Strategy<Value = Connection> {
    let texts = || proptest::collection::vec(text(), 0..3);
    prop_oneof![
        (
            text(),
            texts(),
            any::<(bool, bool)>(),
            proptest::option::of(text()),
            proptest::option::of(text())
        )
            .prop_map(|(url, allow_addresses, (allow_plaintext, tunnel), header, ca)| {
                Connection::Destination {
                    url,
                    allow_addresses,
                    allow_plaintext,
                    header,
                    tunnel,
                    ca,
                }
            }),
        (
            text(),
            texts(),
            proptest::collection::vec((text(), digest()), 0..3)
        )
            .prop_map(|(program, args, digests)| Connection::Exec {
                program,
                args,
                digests,
            }),
        (text(), texts(), any::<bool>()).prop_map(|(url, allow_addresses, allow_plaintext)| {
            Connection::Http {
                url,
                allow_addresses,
                allow_plaintext,
            }
        }),
    ]
}

fn server() -> impl Strategy<Value = Fact> {
    let pin =
        (tool_name(), digest(), text(), one(&PinState::ALL)).prop_map(|(name, digest, definition, state)| {
            ToolPin {
                name,
                digest,
                definition: definition.into_bytes(),
                state,
            }
        });
    let pins = proptest::collection::vec(pin, 0..3);
    (
        server_name(),
        any_id(),
        connection(),
        proptest::option::of(any_id()),
        pins,
        time(),
    )
        .prop_map(|(name, identity, connection, credential, pins, created_at)| {
            Fact::Server(Arc::new(UpstreamServer {
                tenant: tenant(),
                name,
                identity,
                connection,
                credential,
                pins,
                created_at,
            }))
        })
}

fn signing_keys() -> impl Strategy<Value = Fact> {
    let maybe = || proptest::option::of(time());
    let words = (text(), one(&SigningAlgorithm::ALL), one(&KeyHolder::ALL), time());
    let later = (
        maybe(),
        proptest::option::of(number()),
        maybe(),
        maybe(),
        proptest::option::of(epoch()),
    );
    let key = (words, later).prop_map(|((kid, algorithm, holder, created_at), later)| SigningKey {
        tenant: tenant(),
        kid,
        algorithm,
        holder,
        created_at,
        active_from: later.0,
        entry: later.1,
        retired_at: later.2,
        removed_at: later.3,
        floor: later.4,
    });
    proptest::collection::vec(key, 0..4).prop_map(|keys| Fact::SigningKeys(tenant(), keys.into()))
}

fn granted() -> impl Strategy<Value = Scope> {
    const OPERATORS: &[Operator] = &[
        Operator::Equal,
        Operator::In,
        Operator::AtLeast,
        Operator::AtMost,
        Operator::Under,
    ];
    let literal = prop_oneof![
        any::<bool>().prop_map(Literal::Bool),
        any::<i64>().prop_map(Literal::Decimal),
        any::<i64>().prop_map(Literal::Integer),
        text().prop_map(Literal::Text),
    ];
    let condition = (text(), one(OPERATORS), proptest::collection::vec(literal, 0..3)).prop_map(
        |(arg, operator, values)| Condition {
            arg,
            operator,
            values,
        },
    );
    let rate = (any::<u32>(), 0_u64..=86_400_000).prop_map(|(calls, ms)| Rate {
        calls,
        window: Duration::from_millis(ms),
    });
    let conditions = proptest::collection::vec(condition, 0..3);
    (
        server_name(),
        proptest::option::of(tool_name()),
        conditions,
        proptest::option::of(rate),
    )
        .prop_map(|(server, action, conditions, rate)| Scope {
            server,
            action,
            conditions,
            rate,
        })
}

fn task() -> impl Strategy<Value = Fact> {
    let state = prop_oneof![
        Just(TaskState::Open),
        (time(), text()).prop_map(|(at, reason)| TaskState::Closed { at, reason }),
    ];
    let who = (
        any_id(),
        any_id(),
        any_id(),
        proptest::collection::vec(any_id(), 0..3),
    );
    let scopes = proptest::collection::vec(granted(), 0..3);
    (who, (text(), text()), (time(), time(), time()), state, scopes).prop_map(
        |((id, identity, grant, may_act), (purpose, requested_by), times, state, scopes)| {
            let identity: IdentityId = identity;
            let task = Task {
                id,
                identity: identity.clone(),
                purpose,
                requested_by,
                opens_at: times.0,
                closes_at: times.1,
                state,
                may_act,
            };
            let grant = Grant {
                id: grant,
                task: task.id.clone(),
                identity,
                scopes,
                expires_at: times.2,
            };
            Fact::Task(Arc::new(task), Arc::new(grant))
        },
    )
}

fn of_tenant() -> impl Strategy<Value = Fact> {
    let words = (one(&TenantState::ALL), one(&SigningAlgorithm::ALL));
    (text(), any::<u32>(), text(), words, time()).prop_map(
        |(name, employees, reference, (state, algorithm), created_at)| {
            let tenant = Tenant {
                id: tenant(),
                name,
                employees,
                reference,
                state,
                created_at,
            };
            Fact::Tenant(Arc::new(tenant), algorithm)
        },
    )
}

fn trust() -> impl Strategy<Value = Fact> {
    let named = || proptest::collection::btree_map(text(), text(), 0..3);
    let keys = prop_oneof![
        Just(IssuerKeys::Discovery),
        text().prop_map(IssuerKeys::Given),
        text().prop_map(IssuerKeys::Url),
    ];
    let issuer = (
        one(&Method::ALL),
        text(),
        keys,
        proptest::collection::vec(text(), 0..3),
        any::<bool>(),
    )
        .prop_map(
            |(method, url, keys, allow_addresses, danger_plaintext)| TrustedIssuer {
                method,
                url,
                keys,
                allow_addresses,
                danger_plaintext,
            },
        );
    let ids = (any_id(), any_id());
    let times = (time(), time(), proptest::option::of(time()));
    let maps: (_, _) = (named(), named());
    (ids, issuer, maps, times).prop_map(|((id, identity), issuer, (realm, attributes), times)| {
        let (realm, attributes): (BTreeMap<_, _>, BTreeMap<_, _>) = (realm, attributes);
        Fact::Trust(Arc::new(Trust {
            id,
            issuer,
            realm,
            attributes,
            identity,
            created_at: times.0,
            expires_at: times.1,
            removed_at: times.2,
        }))
    })
}

/// Any fact of the tenant or of the installation.
pub(crate) fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        client(),
        epoch().prop_map(Fact::EpochFloor),
        identity(),
        mark(),
        scope().prop_map(Fact::MarkLifted),
        text().prop_map(|policies| Fact::Policies(tenant(), policies.into())),
        (number(), epoch()).prop_map(|(position, epoch)| Fact::Position(StatePos(position), epoch)),
        public_client(),
        server(),
        signing_keys(),
        task(),
        of_tenant(),
        trust(),
    ]
}
