//! Decisions in process (goals b1, b2 and c5).
//!
//! `known` and `fresh` take the whole way of a call: body parsed, token verified (remembered, or for the
//! first time), decided against all policies and grants, record sealed and queued, marks looked at again,
//! permit given and finished. `decide` is the decision alone.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bailiwick_base::{
    Clock, Epoch, Ids, NodeName, Sealer, Secret, SigningAlgorithm, StatePos, TenantId, Time, json, limits,
};
use bailiwick_decide::{
    Arguments, Call, Door, Effect, Fact, ItemKind, Mark, MarkEffect, MarkScope, Principal, Target, decide,
};
use bailiwick_journal::{DecisionLog, LogConfig};
use bailiwick_keys::{Keyring, SystemEntropy, Unseal, jws};
use bailiwick_pep::token::{KeySource, Verifier, VerifierConfig};
use bailiwick_pep::{Outcome, Pep, SnapshotCell};
use serde_json::Value;
use smallvec::SmallVec;

use crate::clock::Machine;
use crate::gauge::{self, Sample, figure, micros, thread_cpu};
use crate::recorder::Queued;
use crate::world::{BASE, World, ask, body, tool};

const SPAN: Duration = Duration::from_millis(120);
/// Calls of one sample of the whole way.
const CALLS: usize = 4_000;
const SAMPLES: usize = 5;
/// Identities of the tenant that is stopped as a whole.
const CROWD: usize = 100_000;

pub(crate) fn run(folder: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let now = Machine::new().now();
    let small = World::new("acme", 1_000, now)?;
    let sliced = small.sliced(500)?;
    gauge::cpu("cedar sliced to 2", SAMPLES, SPAN, || {
        black_box(ask(&sliced));
    });
    let plain = small.plain(500)?;
    gauge::cpu("cedar plain 1000", SAMPLES, SPAN, || {
        black_box(ask(&plain));
    });
    drop(plain);
    for n in [1_000, 10_000] {
        let world = World::new("acme", n, now)?;
        let snapshot = world.snapshot()?;
        let call = call_of(&world, n / 2, &body(n / 2))?;
        let decision = decide(&snapshot, &call, now);
        anyhow::ensure!(
            decision.effect == Effect::Permit,
            "the call is not permitted: {}",
            decision.reasons.text
        );
        gauge::cpu(&format!("decide {n}"), SAMPLES, SPAN, || {
            black_box(decide(&snapshot, &call, now));
        });
        let room = Room::open(&folder.join(format!("world-{n}")), &world)?;
        runtime.block_on(room.measure(&world, n))?;
    }
    width(now)
}

/// What a call costs that a stop refuses, by how much the stop covers (goal c5): one identity, the identities of one
/// owner (a twentieth), a tenant of so many.
fn width(now: Time) -> anyhow::Result<()> {
    let world = World::crowd("acme", CROWD, now)?;
    let snapshot = world.snapshot()?;
    let n = world.middle();
    let call = call_of(&world, n, &body(n))?;
    let owner = format!("team-{}", n % 20);
    for (name, scope) in [
        ("identity", MarkScope::Identity(world.id(n))),
        ("owner", MarkScope::Owner(world.tenant.clone(), owner)),
        ("tenant", MarkScope::Tenant(world.tenant.clone())),
    ] {
        let mark = Mark {
            scope,
            effect: MarkEffect::Kill,
            epoch: Epoch(6),
        };
        let stopped = snapshot.apply([Fact::Mark(mark), Fact::Position(StatePos(8), Epoch(6))])?;
        let decision = decide(&stopped, &call, now);
        anyhow::ensure!(
            matches!(decision.effect, Effect::Deny(_)),
            "a killed {name} is let through: {}",
            decision.reasons.text
        );
        gauge::cpu(&format!("refuse {name}"), SAMPLES, SPAN, || {
            black_box(decide(&stopped, &call, now));
        });
    }
    Ok(())
}

/// What the gateway makes of a body, without HTTP.
fn call_of(world: &World, n: usize, body: &str) -> anyhow::Result<Call> {
    let ids = Ids::new(Arc::new(Machine::new()), Arc::new(SystemEntropy));
    Ok(Call {
        id: ids.mint(&world.tenant)?,
        door: Door::Gateway,
        principal: Principal::Bearer(world.bearer(n)),
        target: Target::Mcp {
            server: world.server()?,
            method: "tools/call".to_owned(),
            item: Some((ItemKind::Tool, tool(n))),
        },
        arguments: arguments(body.as_bytes())?,
        rates: SmallVec::new(),
    })
}

fn arguments(body: &[u8]) -> anyhow::Result<Arguments> {
    let mut message = json::parse(body, limits::BODY_MAX)?;
    let arguments = message.pointer_mut("/params/arguments").map(Value::take);
    match arguments {
        Some(Value::Object(values)) => Ok(Arguments { values, digest: None }),
        _ => anyhow::bail!("no arguments"),
    }
}

/// The parts that a call passes.
struct Room {
    keyring: Arc<Keyring>,
    keys: Arc<KeySource>,
    pep: Arc<Pep>,
    clock: Arc<dyn Clock>,
    recorder: Arc<Queued>,
}

impl Room {
    fn open(folder: &Path, world: &World) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let clock: Arc<dyn Clock> = Arc::new(Machine::new());
        let ids = Ids::new(Arc::clone(&clock), Arc::new(SystemEntropy));
        let unseal = Unseal::Bytes(Secret::new([7; 32]));
        let keyring = Arc::new(Keyring::open(
            &folder.join("keys"),
            unseal,
            Arc::new(SystemEntropy),
        )?);
        let origin = "bench.invalid/decisions/node-1";
        let sealer: Arc<dyn Sealer> = keyring.clone();
        let deps = bailiwick_journal::Deps {
            clock: Arc::clone(&clock),
            sealer,
            key: crate::note::key(&keyring, origin)?,
            disk: Arc::new(bailiwick_journal::OsDisk),
        };
        let mut config = LogConfig::new(NodeName::parse("node-1")?, origin);
        config.queue_records_max = 65_536;
        let log = Arc::new(DecisionLog::open(&folder.join("log"), config, deps)?.0);
        let cell = Arc::new(SnapshotCell::new(world.snapshot()?, Duration::from_secs(3_600)));
        cell.heard(clock.monotonic() + Duration::from_micros(1));
        let recorder = Arc::new(Queued::new(log, Arc::clone(&cell)));
        let budget = Duration::from_secs(1);
        let pep = Arc::new(Pep::new(
            cell,
            Arc::clone(&recorder) as _,
            Arc::clone(&clock),
            ids,
            budget,
        ));
        let keys = Arc::new(KeySource::new());
        Ok(Self {
            keyring,
            keys,
            pep,
            clock,
            recorder,
        })
    }

    /// A signed token of identity `n`, and what its bare verification costs.
    fn token(&self, world: &World, algorithm: SigningAlgorithm, number: u128) -> anyhow::Result<Vec<u8>> {
        // Tokens of the world's tenant, signed by a key of the algorithm that is asked for.
        let signing = TenantId::parse(&algorithm.as_str().to_lowercase())?;
        let signer = self.keyring.signer(&signing)?;
        let claims = world.claims(world.middle(), number).to_json();
        Ok(jws::encode(&signer, jws::ACCESS_TOKEN, &claims)?.into_bytes())
    }

    async fn measure(&self, world: &World, n: usize) -> anyhow::Result<()> {
        let body = body(n / 2);
        self.keyring
            .create_tenant(&world.tenant, SigningAlgorithm::EdDsa)?;
        for algorithm in SigningAlgorithm::ALL {
            let signing = TenantId::parse(&algorithm.as_str().to_lowercase())?;
            self.keyring.create_tenant(&signing, algorithm)?;
            let published = self.keyring.jwks(&signing)?;
            let published = published
                .into_iter()
                .map(|jwk| (jwk.kid().to_owned(), Arc::clone(jwk.key())));
            let issuer = format!("{BASE}/t/{}", world.tenant);
            self.keys
                .publish(&issuer, &world.tenant, &format!("{issuer}/mcp"), published);
            let tokens: Vec<Vec<u8>> = (0..CALLS as u128)
                .map(|number| self.token(world, algorithm, number))
                .collect::<anyhow::Result<_>>()?;
            if n == 1_000 {
                self.bare(&signing, tokens.first().context("a token")?, algorithm)?;
                self.fresh(world, &body, &tokens, algorithm).await?;
            }
            if algorithm == SigningAlgorithm::Es256 {
                self.known(world, n, &body, &tokens).await?;
            }
        }
        figure(
            &format!("queue full {n}"),
            f64::from(u32::try_from(self.recorder.waits()).unwrap_or(u32::MAX)),
            "times",
        );
        Ok(())
    }

    fn bare(&self, tenant: &TenantId, token: &[u8], algorithm: SigningAlgorithm) -> anyhow::Result<()> {
        let signer = self.keyring.signer(tenant)?;
        let text = std::str::from_utf8(token)?;
        let (input, _) = text.rsplit_once('.').context("no signature")?;
        let signature = signer.sign(input.as_bytes())?;
        let bare = gauge::cpu(&format!("bare verify {algorithm}"), SAMPLES, SPAN, || {
            let _ = black_box(
                signer
                    .public_key()
                    .verify(black_box(input.as_bytes()), &signature),
            );
        });
        // Goal b1: at most 1.1 times the bare verification and 7 µs.
        figure(&format!("fresh bound {algorithm}"), bare.mul_add(1.1, 7.0), "us");
        Ok(())
    }

    async fn known(&self, world: &World, n: usize, body: &str, tokens: &[Vec<u8>]) -> anyhow::Result<()> {
        let verifier = Verifier::new(Arc::clone(&self.keys), VerifierConfig::default());
        let token = tokens.first().context("a token")?;
        let mut cpu = Sample::default();
        let mut wall = Sample::default();
        for round in 0..=SAMPLES {
            let before = thread_cpu();
            for _ in 0..CALLS {
                let start = Instant::now();
                self.pass(&verifier, world, token, body).await?;
                if round > 0 {
                    wall.push(micros(start.elapsed()));
                }
            }
            if round > 0 {
                cpu.push(micros(thread_cpu().saturating_sub(before)) / gauge::count(CALLS));
            }
        }
        figure(&format!("known {n} cpu"), cpu.quantile(0.5), "us");
        wall.print(&format!("known {n}"));
        Ok(())
    }

    async fn fresh(
        &self,
        world: &World,
        body: &str,
        tokens: &[Vec<u8>],
        algorithm: SigningAlgorithm,
    ) -> anyhow::Result<()> {
        let mut cpu = Sample::default();
        for _ in 0..SAMPLES {
            // A verifier without a memory of these tokens.
            let verifier = Verifier::new(Arc::clone(&self.keys), VerifierConfig::default());
            let before = thread_cpu();
            for token in tokens {
                self.pass(&verifier, world, token, body).await?;
            }
            cpu.push(micros(thread_cpu().saturating_sub(before)) / gauge::count(tokens.len()));
        }
        figure(&format!("fresh {algorithm} cpu"), cpu.quantile(0.5), "us");
        Ok(())
    }

    /// One call, from the bytes of its token and its body to the end of its permit.
    async fn pass(&self, verifier: &Verifier, world: &World, token: &[u8], body: &str) -> anyhow::Result<()> {
        let now = self.clock.now();
        let verified = verifier.verify(&world.tenant, token, now)?;
        let call = Call {
            id: self.pep.next_id(&world.tenant)?,
            door: Door::Gateway,
            principal: Principal::Bearer(verified.bearer()),
            target: Target::Mcp {
                server: world.server()?,
                method: "tools/call".to_owned(),
                item: Some((ItemKind::Tool, tool(world.middle()))),
            },
            arguments: arguments(body.as_bytes())?,
            rates: SmallVec::new(),
        };
        match self.pep.permit(call).await {
            Ok(permit) => {
                permit.finish(Outcome::Returned);
                Ok(())
            }
            Err(denial) => anyhow::bail!("refused: {}", denial.text),
        }
    }
}
