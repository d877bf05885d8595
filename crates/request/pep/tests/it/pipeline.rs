//! No record, no permit; no permit after a kill; no right without fresh word.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bailiwick_credential::TaskState;
use bailiwick_decide::{DenyReason, Door, Effect, Fact, MarkScope};
use bailiwick_pep::{NotRecorded, Outcome, Permit};
use proptest::prelude::*;
use serde_json::json;

use crate::recorder::Step;
use crate::world::{BUDGET, LEASE, World, at, facts, identity, kill, task, task_fact, tenant, token};

const CAN: &[&str] = &[r#"filesystem:read_text_file(path under "/srv/invoices")"#];

fn reason(answer: Result<Permit, bailiwick_pep::Denial>) -> Option<DenyReason> {
    answer.err().map(|denial| denial.reason)
}

#[tokio::test]
async fn a_permit_follows_its_record_and_ends_with_an_outcome() {
    let world = World::new(CAN);
    let permit = world.pep.permit(world.call()).await.unwrap();
    let id = permit.decision().id.clone();
    assert_eq!(world.log.written(), [(id.clone(), Effect::Permit)]);
    assert_eq!(permit.sequenced().index, 0);
    assert_eq!(world.pep.in_flight(|_| true), 1);
    assert_eq!(permit.must_stop(), None);
    permit.finish(Outcome::Returned);
    assert_eq!(world.pep.in_flight(|_| true), 0);
    let dropped = world.pep.permit(world.call()).await.unwrap();
    let second = dropped.decision().id.clone();
    drop(dropped);
    assert_eq!(
        world.log.outcomes(),
        [(id, Outcome::Returned), (second, Outcome::Cancelled)]
    );
}

#[tokio::test]
async fn a_denial_is_recorded_too() {
    let world = World::new(CAN);
    let answer = world
        .pep
        .permit(world.call_with("read_text_file", json!({"path": "/etc/passwd"})))
        .await;
    let denial = answer.err().unwrap();
    assert_eq!(denial.reason, DenyReason::ArgumentOutOfScope);
    assert_eq!(
        world.log.written(),
        [(denial.decision, Effect::Deny(DenyReason::ArgumentOutOfScope))]
    );
    assert_eq!(world.log.outcomes(), []);
}

#[tokio::test(start_paused = true)]
async fn without_a_record_in_time_there_is_no_permit() {
    let world = World::new(CAN);
    let unwritable = NotRecorded::Unwritable("no space left".to_owned());
    for step in [
        Step::Refuse(NotRecorded::QueueFull),
        Step::Refuse(unwritable),
        Step::Hang,
        Step::Written(BUDGET + Duration::from_millis(1)),
    ] {
        world.log.next(step);
        let denial = world.pep.permit(world.call()).await.err().unwrap();
        assert_eq!(denial.reason, DenyReason::NotRecorded);
        assert!(
            !denial.reason.kills_credential(),
            "the caller may try again with the same token"
        );
        assert!(
            !denial.text.contains("space"),
            "what is broken inside is not told to agents"
        );
    }
    assert_eq!(world.pep.in_flight(|_| true), 0);
    assert_eq!(world.log.outcomes(), []);
    world.log.next(Step::Written(BUDGET - Duration::from_millis(1)));
    assert!(world.pep.permit(world.call()).await.is_ok(), "in time is in time");
    world.log.next(Step::Hang);
    let evaluated = world.pep.evaluate(world.call()).await;
    assert_eq!(
        evaluated.err().map(|denial| denial.reason),
        Some(DenyReason::NotRecorded)
    );
    world.log.next(Step::Hang);
    let batch = world.pep.evaluate_all(vec![world.call(), world.call()]).await;
    assert_eq!(
        batch.err().map(|denial| denial.reason),
        Some(DenyReason::NotRecorded)
    );
}

#[tokio::test]
async fn a_kill_while_the_record_is_written_wins() {
    for scope in [
        MarkScope::Token(token()),
        MarkScope::Task(task()),
        MarkScope::Identity(identity()),
        MarkScope::Tenant(tenant()),
        MarkScope::All,
    ] {
        let world = World::new(CAN);
        let (cell, mark) = (world.cell.clone(), kill(scope));
        world.log.next(Step::While(Box::new(move || cell.mark(&mark))));
        let denial = world.pep.permit(world.call()).await.err().unwrap();
        assert_ne!(denial.reason, DenyReason::NotRecorded);
        assert_eq!(world.log.written(), [(denial.decision.clone(), Effect::Permit)]);
        assert_eq!(
            world.log.outcomes(),
            [(denial.decision, Outcome::Overtaken)],
            "its record says it never ran"
        );
        assert_eq!(world.pep.in_flight(|_| true), 0);
        assert!(
            world.pep.permit(world.call()).await.is_err(),
            "and the next call is refused"
        );
    }
}

#[tokio::test]
async fn facts_that_narrow_while_the_record_is_written_win_too() {
    let world = World::new(CAN);
    let cell = world.cell.clone();
    let closed = task_fact(
        TaskState::Closed {
            at: at(0),
            reason: "done".to_owned(),
        },
        CAN,
    );
    world
        .log
        .next(Step::While(Box::new(move || cell.publish([closed]).unwrap())));
    assert_eq!(
        reason(world.pep.permit(world.call()).await),
        Some(DenyReason::TaskClosed)
    );
    let reopened = World::new(CAN);
    let cell = reopened.cell.clone();
    let position = Fact::Position(bailiwick_base::StatePos(8), bailiwick_base::Epoch(5));
    reopened
        .log
        .next(Step::While(Box::new(move || cell.publish([position]).unwrap())));
    assert!(
        reopened.pep.permit(reopened.call()).await.is_ok(),
        "what narrows nothing stops nothing"
    );
}

#[tokio::test]
async fn a_call_in_flight_hears_of_its_end() {
    let world = World::new(CAN);
    let permit = Arc::new(world.pep.permit(world.call()).await.unwrap());
    let waiting = tokio::task::LocalSet::new();
    waiting
        .run_until(async {
            let mut revoked = Box::pin(permit.revoked());
            let watch = permit.watch();
            for _ in 0..3 {
                let quiet = tokio::select! { biased; _ = &mut revoked => false, () = tokio::task::yield_now() => true };
                assert!(quiet, "nothing happened yet");
                let other = MarkScope::Owner(tenant(), "somebody else".to_owned());
                world.cell.mark(&kill(other));
            }
            world.cell.mark(&kill(MarkScope::Identity(identity())));
            assert_eq!(permit.must_stop(), Some(DenyReason::IdentityRevoked));
            assert_eq!(revoked.await, DenyReason::IdentityRevoked);
            assert_eq!(watch.revoked().await, DenyReason::IdentityRevoked, "who watches from outside too");
        })
        .await;
}

#[tokio::test]
async fn time_running_out_ends_streams_and_not_calls() {
    let world = World::new(CAN);
    let permit = world.pep.permit(world.call()).await.unwrap();
    world.clock.advance(Duration::from_secs(1_000));
    world.hear();
    assert_eq!(
        permit.must_stop(),
        Some(DenyReason::TokenExpired),
        "asked for each message of a stream"
    );
    world
        .cell
        .mark(&kill(MarkScope::Owner(tenant(), "somebody else".to_owned())));
    let mut revoked = Box::pin(permit.revoked());
    let goes_on = tokio::select! { biased; _ = &mut revoked => false, () = tokio::task::yield_now() => true };
    assert!(goes_on, "a call that began in time may end in its own time");
}

#[tokio::test]
async fn without_fresh_word_nothing_is_permitted() {
    let world = World::new(CAN);
    let permit = world.pep.permit(world.call()).await.unwrap();
    world.clock.advance(LEASE);
    assert!(
        world.pep.permit(world.call()).await.is_ok(),
        "up to the end of the lease"
    );
    assert!(!world.cell.wake_if_stale(Duration::from_secs(1)));
    world.clock.advance(Duration::from_micros(1));
    let denial = world.pep.permit(world.call()).await.err().unwrap();
    assert_eq!(denial.reason, DenyReason::SnapshotStale);
    assert_eq!(
        world.log.written().last().unwrap().1,
        Effect::Deny(DenyReason::SnapshotStale)
    );
    let evaluated = world.pep.evaluate(world.call()).await.unwrap();
    assert_eq!(evaluated.value().effect, Effect::Deny(DenyReason::SnapshotStale));
    assert_eq!(
        permit.revoked().await,
        DenyReason::SnapshotStale,
        "open calls end as well"
    );
    world.hear();
    assert!(
        world.pep.permit(world.call()).await.is_ok(),
        "and it recovers by itself"
    );

    let unheard = bailiwick_pep::SnapshotCell::new(bailiwick_decide::Snapshot::empty(), LEASE);
    assert!(
        !unheard.is_fresh(Duration::ZERO),
        "before the first word there is no lease"
    );
    assert_eq!(unheard.age(Duration::from_secs(3)), None);
}

#[tokio::test]
async fn an_evaluation_overtaken_by_a_kill_is_taken_again() {
    let world = World::new(CAN);
    let (cell, mark) = (world.cell.clone(), kill(MarkScope::Task(task())));
    world.log.next(Step::While(Box::new(move || cell.mark(&mark))));
    let call = world.call();
    let id = call.id.clone();
    let recorded = world.pep.evaluate(call).await.unwrap();
    assert!(matches!(recorded.value().effect, Effect::Deny(_)));
    assert_eq!(
        recorded.sequenced().index,
        1,
        "the answer is the record that counts"
    );
    let effects: Vec<Effect> = world
        .log
        .written()
        .into_iter()
        .map(|(_, effect)| effect)
        .collect();
    assert_eq!(effects, [Effect::Permit, recorded.value().effect.clone()]);
    assert_eq!(world.log.outcomes(), [(id, Outcome::Overtaken)]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_once() {
    let world = World::new(CAN);
    let calls: Vec<_> = (0..32).map(|_| world.call()).collect();
    let ids: Vec<_> = calls.iter().map(|call| call.id.clone()).collect();
    for _ in 0..32 {
        world.log.next(Step::Written(Duration::from_millis(200)));
    }
    let answers = world.pep.evaluate_all(calls).await.unwrap();
    assert_eq!(
        world.log.most_waiting(),
        32,
        "all of it is handed over before anything is waited for"
    );
    let answered: Vec<_> = answers.iter().map(|answer| answer.value().id.clone()).collect();
    assert_eq!(answered, ids, "in the order of the questions");
    assert!(world.pep.evaluate_all(Vec::new()).await.unwrap().is_empty());

    let (cell, mark) = (world.cell.clone(), kill(MarkScope::All));
    world.log.next(Step::While(Box::new(move || cell.mark(&mark))));
    let overtaken = world
        .pep
        .evaluate_all(vec![world.call(), world.call()])
        .await
        .unwrap();
    assert!(
        overtaken
            .iter()
            .all(|answer| matches!(answer.value().effect, Effect::Deny(_)))
    );
}

#[tokio::test]
async fn rates_count_what_was_permitted() {
    let world = World::new(&[r#"filesystem:read_text_file(path under "/srv/invoices", rate 3/60s)"#]);
    let outside = || world.call_with("read_text_file", json!({"path": "/etc/passwd"}));
    let hypothetical = || bailiwick_decide::Call {
        door: Door::Check,
        ..world.call()
    };
    for _ in 0..3 {
        assert_eq!(
            reason(world.pep.permit(outside()).await),
            Some(DenyReason::ArgumentOutOfScope)
        );
        assert_eq!(
            world.pep.evaluate(hypothetical()).await.unwrap().value().effect,
            Effect::Permit
        );
        assert!(world.pep.permit(world.call()).await.is_ok());
    }
    for _ in 0..5 {
        assert_eq!(
            reason(world.pep.permit(world.call()).await),
            Some(DenyReason::RateExceeded)
        );
    }
    world.clock.advance(Duration::from_secs(60));
    world.hear();
    assert!(
        world.pep.permit(world.call()).await.is_ok(),
        "refused calls do not prolong the refusal"
    );
}

/// Threads publish facts and set marks at once: nothing is lost, and no mark waits for a publication.
#[test]
fn marks_and_publications_lose_nothing() {
    let world = World::new(CAN);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    world.cell.publish(facts(CAN)).unwrap();
                }
            });
        }
        for n in 0..300 {
            let owner = format!("team {n}");
            world.cell.mark(&kill(MarkScope::Owner(tenant(), owner)));
        }
        stop.store(true, Ordering::Relaxed);
    });
    world.cell.mark(&kill(MarkScope::Identity(identity())));
    world.cell.publish(facts(CAN)).unwrap();
    let snapshot = world.cell.load();
    assert!(
        snapshot.marked(&world.call()).is_some(),
        "a publication does not undo a mark"
    );
}

/// After the mark is set, no call that begins is permitted, whatever the threads do.
#[test]
fn no_call_that_begins_after_the_kill_is_permitted() {
    let world = Arc::new(World::new(CAN));
    let (killed, after, before) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .unwrap();
                for _ in 0..400 {
                    let began_after = killed.load(Ordering::SeqCst);
                    let permitted = runtime.block_on(world.pep.permit(world.call())).is_ok();
                    assert!(!(began_after && permitted), "a call passed after the kill");
                    if began_after { &after } else { &before }.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        while before.load(Ordering::SeqCst) < 50 {
            std::thread::yield_now();
        }
        world.cell.mark(&kill(MarkScope::Identity(identity())));
        killed.store(true, Ordering::SeqCst);
    });
    assert!(
        after.load(Ordering::SeqCst) > 0,
        "the kill came too late to be tested"
    );
}

#[derive(Debug, Clone, Copy)]
enum Recording {
    Fails,
    Hangs,
    KilledMeanwhile,
    Late,
    Written(u64),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A permit exists exactly for those calls whose record was durable in time and that nothing stopped.
    #[test]
    fn a_permit_means_a_record_in_time_and_no_kill(
        recordings in proptest::collection::vec(
            prop_oneof![
                Just(Recording::Fails),
                Just(Recording::Hangs),
                Just(Recording::Late),
                (0_u64..250).prop_map(Recording::Written),
                Just(Recording::KilledMeanwhile),
            ],
            1..12,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let world = World::new(CAN);
            let mut killed = false;
            for recording in recordings {
                let cell = world.cell.clone();
                world.log.next(match recording {
                    Recording::Fails => Step::Refuse(NotRecorded::QueueFull),
                    Recording::Hangs => Step::Hang,
                    Recording::Late => Step::Written(BUDGET + Duration::from_millis(5)),
                    Recording::Written(ms) => Step::Written(Duration::from_millis(ms)),
                    Recording::KilledMeanwhile => {
                        Step::While(Box::new(move || cell.mark(&kill(MarkScope::Task(task())))))
                    }
                });
                let records = world.log.written().len();
                let answer = world.pep.permit(world.call()).await;
                let expected = matches!(recording, Recording::Written(_)) && !killed;
                prop_assert_eq!(answer.is_ok(), expected, "{:?} killed {}", recording, killed);
                if let Ok(permit) = answer {
                    let written = world.log.written();
                    prop_assert_eq!(written.len(), records + 1);
                    prop_assert_eq!(&written[records], &(permit.decision().id.clone(), Effect::Permit));
                }
                killed |= matches!(recording, Recording::KilledMeanwhile);
            }
            Ok(())
        })?;
    }
}
