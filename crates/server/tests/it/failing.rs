//! Every call that the service makes of the disk of its logs, going wrong in every way, one at a time: nothing is
//! forwarded without a record, and what was acknowledged is there at the next start.
//!
//! All of them, side by side; `cargo xtask chaos faults` tries them in parts and keeps the results.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_journal::OsDisk;
use bailiwick_server::evidence::{LogReport, verify_folder};
use bailiwick_simulation::{Fault, FaultyDisk, Step};
use futures_util::FutureExt;
use serde_json::{Value, json};

use crate::bed::{Answer, Bed, Operator, claims_of};
use crate::desk::Desk;
use crate::flipped::copy_of;
use crate::tokens::{ASSERTION_TYPE, Client, FORM, form};

/// Which cases are tried: `FROM..UNTIL` of all of them. Without it, all.
const SHARD: &str = "IT_FAULT_SHARD";
const WITNESS: &str = "data.witness";
/// Installations that are tried side by side: most of the time of one is waiting for its disk.
const LANES: usize = 4;

/// An installation that was claimed, used and stopped, to be copied back before each run.
struct Prepared {
    whole: PathBuf,
    /// What the witness said then: it stands beside the data folder.
    word: Vec<u8>,
    data: PathBuf,
    folder: PathBuf,
    operator: Operator,
    desk: Desk,
    victim: Agent,
    worker: Agent,
    revoked: Agent,
    /// Whose token is revoked, by itself.
    client: Client,
    /// Owns the folder.
    _bed: Bed,
}

struct Agent {
    identity: String,
    token: String,
}

/// What somebody was told, and may rely on.
#[derive(Debug, Default)]
struct Told {
    decisions: BTreeSet<String>,
    /// Calls that the upstream server answered.
    called: usize,
    is_killed: bool,
    is_revoked: bool,
    opened: Option<String>,
    issued: Option<String>,
}

fn one_hour(config: &mut bailiwick_server::Config) {
    config.tokens.ttl_secs = 3_600;
}

async fn agent(bed: &Bed, name: &str) -> Agent {
    let identity = bed.add_identity("acme", name).await;
    let can = ["files:echo", "authzen:evaluate"];
    let (_, token) = bed.open_task("acme", &identity, &can).await;
    Agent { identity, token }
}

impl Prepared {
    async fn new() -> Self {
        let mut bed = Bed::start_with(one_hour).await;
        let desk = Desk::open().await;
        bed.add_tenant("acme").await;
        bed.add_server("acme", "files", &desk).await;
        let victim = agent(&bed, "victim").await;
        let worker = agent(&bed, "worker").await;
        let revoked = agent(&bed, "revoked").await;
        let client = Client::register(&bed, "acme", &revoked.identity).await;
        for agent in [&victim, &worker, &revoked] {
            assert!(is_served(&call(&bed, agent, 0).await), "before any fault");
        }
        bed.stop().await;
        let whole = bed.folder().join("whole");
        copy_of(&bed.data(), &whole);
        Self {
            whole,
            word: std::fs::read(bed.folder().join(WITNESS)).unwrap(),
            data: bed.data(),
            folder: bed.folder().to_owned(),
            operator: bed.operator.clone(),
            desk,
            victim,
            worker,
            revoked,
            client,
            _bed: bed,
        }
    }

    /// Puts the folder back as it was when it was stopped, and the witness with it.
    fn put_back(&self) {
        copy_of(&self.whole, &self.data);
        std::fs::write(self.folder.join(WITNESS), &self.word).unwrap();
    }

    /// As it was when it was stopped, not running.
    fn bed(&self) -> Bed {
        Bed::idle(self.folder.clone(), self.operator.clone(), one_hour)
    }
}

async fn call(bed: &Bed, agent: &Agent, n: usize) -> Answer {
    bed.call(&agent.token, "acme", "files", "echo", json!({ "n": n }))
        .await
}

fn is_served(answer: &Answer) -> bool {
    answer.status == 200 && answer.text().contains("\"result\"")
}

#[track_caller]
fn require_unrecorded(answer: &Answer, what: &str) {
    assert!(
        answer.text().contains("record.unavailable"),
        "{what}: {} {}",
        answer.status,
        answer.text()
    );
}

/// Decides at both doors, kills, revokes, opens a task with a token. The store works: what needs only the store
/// must succeed.
async fn work(bed: &Bed, prepared: &Prepared, told: &mut Told, what: &str) {
    let question = json!({
        "subject": {"type": "identity", "id": prepared.worker.identity}, "action": {"name": "read"},
        "resource": {"type": "document", "id": "1"},
    });
    let asked = bed
        .bearing(&prepared.worker.token, "/access/v1/evaluation", &question)
        .await;
    if asked.status == 200 {
        let id = asked.json()["context"]["evaluation_id"]
            .as_str()
            .unwrap()
            .to_owned();
        told.decisions.insert(id);
    } else {
        require_unrecorded(&asked, what);
    }
    for n in 1..4 {
        let called = call(bed, &prepared.worker, n).await;
        if is_served(&called) {
            told.called += 1;
        } else {
            require_unrecorded(&called, what);
        }
    }
    let killed = bed.kill("acme", "identity", &prepared.victim.identity).await;
    assert_eq!(killed.status, 200, "{what}: kill: {}", killed.text());
    told.is_killed = true;
    open_task(bed, prepared, told, what).await;
    // An assertion that could have been used before this start is put off; nothing but decisions needs fresh word.
    bed.clock.advance(Duration::from_secs(7));
    let assertion = prepared.client.assertion(bed, "acme");
    let parameters = [
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion.as_str()),
        ("token", prepared.revoked.token.as_str()),
    ];
    let revoked = bed
        .send(
            "POST",
            "/t/acme/revoke",
            &[("content-type", FORM)],
            form(&parameters),
        )
        .await;
    assert_eq!(revoked.status, 200, "{what}: revoke: {}", revoked.text());
    told.is_revoked = true;
    for dead in [&prepared.victim, &prepared.revoked] {
        let answer = call(bed, dead, 9).await;
        assert!(!is_served(&answer), "{what}: a dead token is served");
    }
}

async fn open_task(bed: &Bed, prepared: &Prepared, told: &mut Told, what: &str) {
    let mut wanted = crate::bed::task(&prepared.worker.identity, &["files:echo"]);
    wanted["issue"] = json!(false);
    let opened = bed.post("/v1/tenants/acme/tasks", &wanted).await;
    assert!(opened.status.is_success(), "{what}: task: {}", opened.text());
    let task = opened.json()["task"]["id"].as_str().unwrap().to_owned();
    let issued = bed
        .post(
            &format!("/v1/tenants/acme/tasks/{task}/tokens"),
            &json!({"count": 1}),
        )
        .await;
    if issued.status.is_success() {
        let token = issued.json()["tokens"][0]["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        told.issued = Some(claims_of(&token)["jti"].as_str().unwrap().to_owned());
    } else {
        require_unrecorded(&issued, what);
    }
    told.opened = Some(task);
}

fn permits_of_calls(entries: &[Value]) -> usize {
    let is_permit = |e: &&Value| e["payload"]["effect"] == "permit" && e["payload"]["action"] == "tools/call";
    entries.iter().filter(is_permit).count()
}

/// Opens what the run left, on a disk that works.
async fn check(prepared: &Prepared, told: &Told, arrived: usize, permits_before: usize, what: &str) {
    let mut bed = prepared.bed();
    bed.try_serve()
        .await
        .unwrap_or_else(|why| panic!("{what}: it does not start again: {why}"));
    let entries = bed.entries("decisions").await;
    for id in &told.decisions {
        let found = entries.iter().any(|e| e["payload"]["decision"] == id.as_str());
        assert!(found, "{what}: decision {id} is lost");
    }
    let permits = permits_of_calls(&entries) - permits_before;
    assert!(
        arrived <= permits,
        "{what}: {arrived} calls arrived, {permits} have a record"
    );
    assert!(
        told.called <= arrived,
        "{what}: {} answers for {arrived} calls",
        told.called
    );
    if let Some(jti) = &told.issued {
        let found = entries
            .iter()
            .any(|e| e["leaf"]["kind"] == "token.issue" && e["payload"]["issue"]["jti"][0] == jti.as_str());
        assert!(found, "{what}: the issue of {jti} is lost");
    }
    if let Some(task) = &told.opened {
        let found = bed.get(&format!("/v1/tenants/acme/tasks/{task}")).await;
        assert_eq!(found.status, 200, "{what}: task {task}: {}", found.text());
    }
    for (is_dead, agent) in [
        (told.is_killed, &prepared.victim),
        (told.is_revoked, &prepared.revoked),
    ] {
        let answer = call(&bed, agent, 10).await;
        assert!(
            !is_dead || answer.status == 401,
            "{what}: it lives: {}",
            answer.text()
        );
    }
    let alive = call(&bed, &prepared.worker, 11).await;
    assert!(is_served(&alive), "{what}: {}", alive.text());
    bed.stop().await;
    let reports = verify_folder(&prepared.data, &[]).unwrap();
    assert!(reports.iter().all(LogReport::is_sound), "{what}: {reports:?}");
}

/// One run from the prepared folder on this disk; false where the service did not start.
async fn run(prepared: &Prepared, disk: &FaultyDisk, told: &mut Told, what: &str) -> bool {
    prepared.put_back();
    let mut bed = prepared.bed();
    bed.disk = Arc::new(disk.clone());
    if let Err(why) = bed.try_serve().await {
        assert!(!why.contains("panicked"), "{what}: {why}");
        return false;
    }
    work(&bed, prepared, told, what).await;
    bed.stop().await;
    true
}

fn over_this() -> FaultyDisk {
    FaultyDisk::over(Arc::new(OsDisk))
}

/// Permits for tool calls that the prepared folder has.
async fn permits(prepared: &Prepared) -> usize {
    prepared.put_back();
    let mut bed = prepared.bed();
    bed.try_serve().await.unwrap();
    let permits = permits_of_calls(&bed.entries("decisions").await);
    bed.stop().await;
    permits
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command that tries all cases says which of them are for this process"
)]
fn shard() -> Option<(usize, usize)> {
    let given = std::env::var(SHARD).ok()?;
    let (from, until) = given.split_once("..").unwrap();
    Some((from.parse().unwrap(), until.parse().unwrap()))
}

/// The cases for this process, and which they are.
fn chosen(all: Vec<Case>) -> (Vec<Case>, String) {
    let total = all.len();
    let (from, until) = shard().unwrap_or((0, total));
    let until = until.min(total);
    let cases = all.into_iter().take(until).skip(from).collect();
    (cases, format!("{from}..{until} of {total}"))
}

/// A call, its path as below the folder of the installation, and how it goes wrong.
type Case = (Step, Fault);

/// Every case of a run without a fault.
async fn every_case(prepared: &Prepared) -> Vec<Case> {
    let good = over_this();
    let mut told = Told::default();
    assert!(run(prepared, &good, &mut told, "without a fault").await);
    assert_eq!((told.decisions.len(), told.called), (1, 3));
    assert!(told.issued.is_some());
    let of = |mut step: Step| -> Vec<Case> {
        let below = step.path.strip_prefix(&prepared.folder).map(PathBuf::from);
        step.path = below.unwrap_or(step.path);
        let fitting = Fault::ALL.into_iter().filter(|fault| fault.fits(step.verb));
        fitting.map(|fault| (step.clone(), fault)).collect()
    };
    good.steps().into_iter().flat_map(of).collect()
}

/// What some cases came to.
#[derive(Debug, Default)]
struct Tally {
    missed: usize,
    refused: usize,
    broken: Vec<String>,
}

/// One case: whether the fault was met, and whether the service started with it.
async fn attempt(prepared: &Prepared, (step, fault): &Case, permits_before: usize) -> (bool, bool) {
    let what = format!("{fault:?} at {step}");
    let disk = over_this();
    let mut step = step.clone();
    step.path = prepared.folder.join(step.path);
    disk.arm(step, *fault);
    let before = prepared.desk.calls();
    let mut told = Told::default();
    let has_started = run(prepared, &disk, &mut told, &what).await;
    let arrived = prepared.desk.calls() - before;
    check(prepared, &told, arrived, permits_before, &what).await;
    (disk.has_fired(), has_started)
}

/// Every `LANES`th of the cases from the `lane`th on, in an installation of their own.
async fn attempts(prepared: Prepared, cases: Arc<Vec<Case>>, lane: usize) -> Tally {
    let permits_before = permits(&prepared).await;
    let mut tally = Tally::default();
    for case in cases.iter().skip(lane).step_by(LANES) {
        let tried = attempt(&prepared, case, permits_before);
        match AssertUnwindSafe(tried).catch_unwind().await {
            Ok((was_met, has_started)) => {
                tally.missed += usize::from(!was_met);
                tally.refused += usize::from(!has_started);
            }
            Err(_) => tally.broken.push(format!("{:?} at {}", case.1, case.0)),
        }
    }
    tally
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_call_of_a_disk_goes_wrong_no_act_is_unrecorded_and_nothing_acknowledged_is_lost() {
    let first = Prepared::new().await;
    let (cases, which) = chosen(every_case(&first).await);
    let cases = Arc::new(cases);
    let mut lanes = vec![crate::spawn(attempts(first, Arc::clone(&cases), 0))];
    for lane in 1..LANES {
        let prepared = Prepared::new().await;
        lanes.push(crate::spawn(attempts(prepared, Arc::clone(&cases), lane)));
    }
    let mut whole = Tally::default();
    for lane in lanes {
        let Tally {
            missed,
            refused,
            broken,
        } = lane.await.unwrap();
        whole.missed += missed;
        whole.refused += refused;
        whole.broken.extend(broken);
    }
    let Tally {
        missed,
        refused,
        broken,
    } = whole;
    println!(
        "service disk faults: {which}, {} cases, {refused} starts refused, {missed} not reached, {} broken",
        cases.len(),
        broken.len()
    );
    assert!(broken.is_empty(), "{broken:#?}");
    // Which tiles are written together, and under which name, depends on the time that things took.
    assert!(
        missed * 3 <= cases.len(),
        "{missed} of {} calls were not made again",
        cases.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_disk_of_the_logs_full_a_kill_and_a_revocation_are_acknowledged_and_hold() {
    let prepared = Prepared::new().await;
    prepared.put_back();
    let permits_before = permits(&prepared).await;
    let disk = over_this();
    let mut bed = prepared.bed();
    bed.disk = Arc::new(disk.clone());
    bed.try_serve().await.unwrap();
    disk.fill();
    let before = prepared.desk.calls();
    let mut told = Told::default();
    work(&bed, &prepared, &mut told, "full").await;
    assert!(told.is_killed && told.is_revoked);
    bed.stop().await;
    let arrived = prepared.desk.calls() - before;
    check(&prepared, &told, arrived, permits_before, "full").await;
}
