//! The kill switch on one node (goals c2, c3 and c6).
//!
//! Quiet: nobody calls, one kill after the other. Busy: 64 workers call without pause at the gateway, at the
//! AuthZEN door and for new tokens, always as the identity that is killed next; calls that began after the
//! acknowledgement and were let through are counted. Workers and the one who kills share one clock.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bailiwick_wire as wire;
use serde_json::json;
use tokio::task::LocalSet;

use crate::gateway::{Scene, call, call_body};
use crate::gauge::{Sample, count, figure, micros};
use crate::http::{Connection, request};
use crate::installation::Installation;

const TENANT: &str = "acme";
const SERVER_CORE: usize = 0;
const WORKERS: usize = 64;
/// How long the workers go on after the acknowledgement before they turn to the next identity.
const AFTER: Duration = Duration::from_millis(20);

struct Victim {
    identity: String,
    task: String,
    token: String,
}

/// Microseconds of receipts.
#[derive(Default)]
struct Receipts {
    denied: Sample,
    committed: Sample,
    /// From committed to contained: what the witness adds, where there is no other node.
    witnessed: Sample,
    refusal: Sample,
    points: usize,
}

impl Receipts {
    fn take(&mut self, receipt: &wire::KillReceipt) -> anyhow::Result<()> {
        #[expect(clippy::cast_precision_loss, reason = "microseconds are far below 2^52")]
        let float = |micros: u64| micros as f64;
        self.denied.push(float(receipt.denied_us));
        self.committed.push(float(receipt.committed_us));
        let contained = receipt.contained_us.context("a kill was not contained")?;
        self.witnessed.push(float(contained));
        // Every point has refused when the last of them has.
        let last = receipt.points.iter().map(|point| point.refusal_us).max();
        self.refusal.push(last.map_or(f64::NAN, float));
        self.points = receipt.points.len();
        Ok(())
    }

    fn print(&mut self, name: &str) {
        self.denied.print(&format!("{name} denied"));
        self.refusal.print(&format!("{name} refusal"));
        self.committed.print(&format!("{name} committed"));
        self.witnessed.print(&format!("{name} witnessed"));
        figure(&format!("{name} points"), count(self.points), "points");
    }
}

pub(crate) async fn run(folder: &Path, limits: &Path, kills: usize, calls: usize) -> anyhow::Result<()> {
    let scene = Scene::set(folder, limits, SERVER_CORE).await?;
    let mut victims = Vec::with_capacity(2 * kills);
    for number in 0..2 * kills {
        let identity = scene
            .installation
            .add_identity(TENANT, &format!("victim-{number}"))
            .await?;
        let (task, token) = scene
            .installation
            .open_task(TENANT, &identity, &["limits:echo"], &[])
            .await?;
        victims.push(Victim {
            identity,
            task,
            token,
        });
    }
    let busy = victims.split_off(kills);
    let mut quiet = Receipts::default();
    for victim in &victims {
        quiet.take(&kill(&scene.installation, victim).await?)?;
    }
    quiet.print("kill quiet");
    under_load(scene, busy, calls).await
}

async fn kill(installation: &Installation, victim: &Victim) -> anyhow::Result<wire::KillReceipt> {
    let body = wire::KillRequest {
        scope: wire::SelectorKind::Identity,
        name: victim.identity.clone(),
        reason: "measured".to_owned(),
        level: None,
        suspend: false,
        dry_run: false,
        break_glass: false,
    };
    installation
        .post(&format!("/v1/tenants/{TENANT}/kill"), &body)
        .await
}

/// What one enforcement point did with the calls of the present victim.
#[derive(Default)]
struct Point {
    calls: Cell<usize>,
    allowed: Cell<usize>,
    /// When the last allowed call began.
    last_allowed: Cell<Option<Instant>>,
    /// When the first refusal of this victim arrived.
    first_refused: Cell<Option<Instant>>,
    /// Allowed calls that began after an acknowledgement.
    late: Cell<usize>,
}

/// The request at each point for one victim.
struct Requests {
    number: usize,
    of_points: [Vec<u8>; 3],
}

struct Shared {
    address: String,
    present: RefCell<Rc<Requests>>,
    points: [Point; 3],
    /// When the present victim's kill was acknowledged.
    acknowledged: Cell<Option<Instant>>,
    done: Cell<bool>,
    failed: RefCell<Option<String>>,
}

const POINTS: [&str; 3] = ["gateway", "authzen", "issue"];

fn requests(address: &str, number: usize, victim: &Victim, pep: &str, body: &str) -> Requests {
    let json_headers = |token: &str| {
        [
            ("authorization".to_owned(), format!("Bearer {token}")),
            ("content-type".to_owned(), "application/json".to_owned()),
        ]
    };
    let post = |token: &str, path: &str, body: &str| {
        let headers = json_headers(token);
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        request("POST", address, path, &headers, body)
    };
    let question = json!({
        "subject": {"type": "identity", "id": victim.identity},
        "action": {"name": "tools/call"},
        "resource": {"type": "tool", "id": "limits/echo"},
        "context": {"task": victim.task, "args": {"text": "x"}},
    });
    let renew = format!("/v1/tenants/{TENANT}/tasks/{}/tokens", victim.task);
    Requests {
        number,
        of_points: [
            call(address, &format!("/t/{TENANT}/mcp/limits"), &victim.token, body),
            post(pep, "/access/v1/evaluation", &question.to_string()),
            post(&victim.token, &renew, "{\"count\":1}"),
        ],
    }
}

async fn under_load(scene: Scene, victims: Vec<Victim>, calls: usize) -> anyhow::Result<()> {
    let installation = &scene.installation;
    let pep = installation.add_identity(TENANT, "outside-pep").await?;
    let (_, pep) = installation
        .open_task(TENANT, &pep, &["authzen:evaluate"], &[])
        .await?;
    let address = installation.service.address.clone();
    let body = call_body();
    let of = |number: usize| -> anyhow::Result<Rc<Requests>> {
        let victim = victims.get(number).context("no victim")?;
        Ok(Rc::new(requests(&address, number, victim, &pep, &body)))
    };
    let shared = Rc::new(Shared {
        address: address.clone(),
        present: RefCell::new(of(0)?),
        points: Default::default(),
        acknowledged: Cell::new(None),
        done: Cell::new(false),
        failed: RefCell::new(None),
    });
    let local = LocalSet::new();
    for number in 0..WORKERS {
        // 28 at the gateway, 28 at AuthZEN, 8 for tokens.
        let point = match number {
            0..28 => 0,
            28..56 => 1,
            _ => 2,
        };
        let shared = Rc::clone(&shared);
        local.spawn_local(async move {
            if let Err(error) = work(&shared, point).await {
                shared.failed.borrow_mut().get_or_insert(format!("{error:#}"));
            }
        });
    }
    local
        .run_until(revoke(installation, &victims, &shared, &of, calls))
        .await?;
    local.await;
    if let Some(failed) = shared.failed.take() {
        anyhow::bail!("a worker failed: {failed}");
    }
    let total = |part: fn(&Point) -> &Cell<usize>| {
        let numbers = shared.points.iter().map(|point| part(point).get());
        count(numbers.sum())
    };
    figure("kill calls", total(|point| &point.calls), "calls");
    figure("kill calls allowed", total(|point| &point.allowed), "calls");
    figure("kill late calls", total(|point| &point.late), "calls");
    Ok(())
}

async fn revoke(
    installation: &Installation,
    victims: &[Victim],
    shared: &Shared,
    of: &impl Fn(usize) -> anyhow::Result<Rc<Requests>>,
    calls: usize,
) -> anyhow::Result<()> {
    let mut receipts = Receipts::default();
    let mut seen: [Sample; 3] = Default::default();
    let mut acknowledged = Sample::default();
    let made = || shared.points.iter().map(|point| point.calls.get()).sum::<usize>();
    for (number, victim) in victims.iter().enumerate() {
        let share = calls * (number + 1) / victims.len();
        // Everybody calls as this victim, until its share of the calls is made.
        while made() < share && shared.failed.borrow().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let sent = Instant::now();
        receipts.take(&kill(installation, victim).await?)?;
        let answered = Instant::now();
        shared.acknowledged.set(Some(answered));
        acknowledged.push(micros(answered - sent));
        tokio::time::sleep(AFTER).await;
        for (point, seen) in shared.points.iter().zip(&mut seen) {
            if let Some(first) = point.first_refused.take() {
                seen.push(micros(first.saturating_duration_since(sent)));
            }
            point.last_allowed.set(None);
        }
        if number + 1 < victims.len() {
            shared.acknowledged.set(None);
            shared.present.replace(of(number + 1)?);
        }
    }
    shared.done.set(true);
    receipts.print("kill busy");
    acknowledged.print("kill busy client acknowledged");
    for (name, mut seen) in POINTS.iter().zip(seen) {
        seen.print(&format!("kill busy client refused {name}"));
    }
    Ok(())
}

async fn work(shared: &Shared, place: usize) -> anyhow::Result<()> {
    let mut connection = Connection::open(&shared.address).await?;
    let point = shared.points.get(place).context("no point")?;
    while !shared.done.get() {
        let present = Rc::clone(&shared.present.borrow());
        let request = present.of_points.get(place).context("no request")?;
        let begun = Instant::now();
        let status = connection.exchange(request).await?;
        let body = connection.body();
        let allowed = match place {
            0 => status == 200 && holds(body, b"\"result\""),
            1 => status == 200 && holds(body, b"\"decision\":true"),
            _ => status == 200,
        };
        point.calls.set(point.calls.get() + 1);
        // The victim may have been changed while this call ran; its answer is about the one before.
        let still = shared.present.borrow().number == present.number;
        if allowed {
            point.allowed.set(point.allowed.get() + 1);
            point.last_allowed.set(Some(begun));
            let late = still && shared.acknowledged.get().is_some_and(|at| begun > at);
            point.late.set(point.late.get() + usize::from(late));
        } else if still && point.first_refused.get().is_none() {
            point.first_refused.set(Some(Instant::now()));
        }
    }
    Ok(())
}

fn holds(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|window| window == text)
}
