//! Giving a task its grant.

use bailiwick_base::Time;
use bailiwick_credential::{Task, TaskState};
use bailiwick_grant::{Refusal, open, parse_scope};

use crate::made;

fn task() -> Task {
    let grant = made::grant(vec![]);
    Task {
        id: grant.task,
        identity: grant.identity,
        purpose: "monthly close".to_owned(),
        requested_by: "operator".to_owned(),
        opens_at: Time::from_secs(0),
        closes_at: Time::from_secs(1000),
        state: TaskState::Open,
        may_act: Vec::new(),
    }
}

#[test]
fn a_grant_belongs_to_its_task_and_names_coarse_scopes() {
    let scopes = vec![
        parse_scope("s:t(a = 1, rate 1/1s)").unwrap(),
        parse_scope("s:*").unwrap(),
    ];
    let id = made::grant(vec![]).id;
    let grant = open(id, &task(), scopes, Time::from_secs(1000), Time::from_secs(10)).unwrap();
    assert_eq!((&grant.task, &grant.identity), (&task().id, &task().identity));
    assert_eq!(grant.coarse_scopes().to_string(), "s:* s:t");
}

#[test]
fn what_cannot_be_granted_is_refused_with_a_code() {
    let id = || made::grant(vec![]).id;
    let scopes = || vec![parse_scope("s:t").unwrap()];
    let (now, end) = (Time::from_secs(10), Time::from_secs(1000));
    let closed = Task {
        state: TaskState::Closed {
            at: now,
            reason: "done".to_owned(),
        },
        ..task()
    };
    let code = |r: Result<_, Refusal>| r.map(|_: bailiwick_grant::Grant| ()).unwrap_err().code();
    assert_eq!(code(open(id(), &closed, scopes(), end, now)), "grant.task-closed");
    assert_eq!(code(open(id(), &task(), scopes(), end, end)), "grant.task-closed");
    assert_eq!(code(open(id(), &task(), vec![], end, now)), "grant.no-scope");
    let many = vec![parse_scope("s:t").unwrap(); 129];
    assert_eq!(code(open(id(), &task(), many, end, now)), "grant.too-many-scopes");
    assert_eq!(
        code(open(id(), &task(), scopes(), Time::from_secs(1001), now)),
        "grant.beyond-task"
    );
    assert_eq!(code(open(id(), &task(), scopes(), now, now)), "grant.ended");
    let mut broken = scopes();
    broken[0].conditions.push(bailiwick_grant::Condition {
        arg: "a".to_owned(),
        operator: bailiwick_grant::Operator::Equal,
        values: vec![],
    });
    assert_eq!(code(open(id(), &task(), broken, end, now)), "grant.scope-invalid");
}
