//! What every aggregate keeps.

use bailiwick_base::{
    Clock, Composition, Digest, Epoch, Secret, ServerName, SigningAlgorithm, StatePos, TenantId, ToolName,
    Transition,
};
use bailiwick_credential::{Client, ClientProof, Task, TaskState, UpstreamCredential};
use bailiwick_decide::{Fact, Mark, MarkEffect, MarkScope};
use bailiwick_inventory::destination::methods_as_tools;
use bailiwick_inventory::{
    Connection, Kind, Limits, NewServer, Owner, SeenTool, State, activate, add_server, claim, close_tenant,
    compose, observe_tools, pin_tools, reassign, suspend,
};
use bailiwick_store::{IdentityFilter, Page, Reach, StoreError, TaskFilter, Tx};

use crate::bed::{Bed, whole_installation};

fn code<T: std::fmt::Debug>(result: Result<T, StoreError>) -> &'static str {
    result.expect_err("a refusal").code()
}

pub(crate) async fn tenants(bed: Bed) {
    let id = bed.tenant("acme").await;
    let mut reader = bed.store.reader(&id).await.unwrap();
    let (tenant, algorithm) = reader.tenant().require(&id).await.unwrap();
    assert_eq!(
        (tenant.id.as_str(), tenant.employees, algorithm),
        ("acme", 100, SigningAlgorithm::Rs256)
    );
    drop(reader);
    let again = Transition::made("tenant.add", tenant.clone());
    let twice = bed
        .tx(&id, async move |tx| {
            tx.tenant()
                .add(again.clone(), SigningAlgorithm::EdDsa, Vec::new())
                .await
        })
        .await;
    assert_eq!(code(twice), "store.duplicate");
    let closed = close_tenant(tenant, "moved away").unwrap();
    let after = closed.after.clone();
    let receipt = bed
        .tx(&id, async move |tx| tx.tenant().apply(closed.clone()).await)
        .await
        .unwrap();
    assert!(matches!(&receipt.facts[..], [Fact::Tenant(t, _), Fact::Position(..)] if **t == after));
    let mut reader = bed.store.reader(&id).await.unwrap();
    assert_eq!(reader.tenant().require(&id).await.unwrap().0, after);
    assert_eq!(reader.tenant().list().await.unwrap().len(), 1);
}

fn made_of(model: &str, prompt: &str) -> Composition {
    let part = |text: &str| Digest::of(text.as_bytes()).to_base64url();
    Composition::from_json(&serde_json::json!({"model": part(model), "prompt": part(prompt)})).unwrap()
}

pub(crate) async fn identities(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let made = bed.identity(&acme, "reader").await;
    let now = bed.clock.now();
    let active = activate(made.clone(), now).unwrap();
    bed.apply(&acme, active.clone()).await.unwrap();
    let stopped = suspend(active.after, "leak", now).unwrap();
    bed.apply(&acme, stopped.clone()).await.unwrap();
    let owner = Owner {
        team: "ops".to_owned(),
        contact: "ops@example.com".to_owned(),
    };
    let given = reassign(stopped.after, owner).unwrap();
    let receipt = bed.apply(&acme, given.clone()).await.unwrap();
    assert!(matches!(&receipt.facts[..], [Fact::Identity(i), Fact::Position(..)] if **i == given.after));
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(
        reader.identity().lookup(&made.id).await.unwrap(),
        Some(given.after.clone())
    );
    assert_eq!(
        reader.identity().find_by_name("reader").await.unwrap(),
        Some(given.after.clone())
    );
    let of = |filter| async move { filter };
    let filter = of(IdentityFilter {
        owner: Some("ops".to_owned()),
        ..Default::default()
    })
    .await;
    assert_eq!(
        reader.identity().list(&filter, Page::first(10)).await.unwrap(),
        std::slice::from_ref(&given.after)
    );
    let filter = IdentityFilter {
        state: Some("active"),
        ..Default::default()
    };
    assert_eq!(
        reader.identity().list(&filter, Page::first(10)).await.unwrap(),
        []
    );
    let filter = IdentityFilter {
        kind: Some(Kind::Agent),
        agent: made.labels.agent,
        ..Default::default()
    };
    assert_eq!(
        reader
            .identity()
            .list(&filter, Page::first(10))
            .await
            .unwrap()
            .len(),
        1
    );
}

pub(crate) async fn compositions(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let made = bed.identity(&acme, "reader").await;
    let now = bed.clock.now();
    let active = activate(made.clone(), now).unwrap();
    bed.apply(&acme, active.clone()).await.unwrap();
    let declared = compose(active.after, made_of("m1", "p1"), now).unwrap();
    bed.apply(&acme, declared.clone()).await.unwrap();
    let changed = compose(declared.after, made_of("m1", "p2"), now).unwrap();
    let receipt = bed.apply(&acme, changed.clone()).await.unwrap();
    let opening = bed.store.opening(&acme, receipt.pos.0 - 1).await.unwrap();
    let payload = opening.unwrap().value().unwrap();
    for (side, prompt) in [("before", "p1"), ("after", "p2")] {
        let composition = made_of("m1", prompt);
        let mut said = composition.to_json();
        said.insert("digest".to_owned(), composition.digest().to_base64url().into());
        assert_eq!(
            payload["objects"][0][side]["composition"],
            serde_json::Value::Object(said)
        );
    }
    assert_eq!(payload["reason"], "composition changed: prompt");
    assert_eq!(changed.after.state, State::Probation);
    let mut reader = bed.store.reader(&acme).await.unwrap();
    let found = reader.identity().lookup(&made.id).await.unwrap();
    assert_eq!(found, Some(changed.after));
    drop(reader);
    let mut raw = bed.raw().await;
    raw.see("acme").await;
    // Another part, none of our form, and none at all: none of them passes for what was declared.
    for (column, flip) in [
        ("composition", "UPDATE identity SET composition = digest"),
        ("digest", "UPDATE identity SET composition = NULL"),
    ] {
        assert_eq!(raw.run(flip).await.unwrap(), 1);
        let mut reader = bed.store.reader(&acme).await.unwrap();
        let found = reader.identity().lookup(&made.id).await.unwrap_err();
        let named = matches!(&found, StoreError::RowCorrupt { column: c, .. } if *c == column);
        assert!(named, "{flip}: {found}");
    }
}

pub(crate) async fn clients(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let identity = bed.identity(&acme, "reader").await;
    let client = Client {
        id: bed.ids.mint(&acme).unwrap(),
        identity: identity.id.clone(),
        algorithm: SigningAlgorithm::EdDsa,
        jwk: br#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#.to_vec(),
        created_at: bed.clock.now(),
        expires_at: identity.expires_at,
        proof: ClientProof::Mtls,
        certificate: Some(bailiwick_base::Digest::of(b"der")),
    };
    let made = Transition::made("client.add", client.clone());
    bed.tx(&acme, async move |tx| tx.client().apply(made.clone()).await)
        .await
        .unwrap();
    let ended = Client {
        expires_at: bed.clock.now(),
        ..client.clone()
    };
    let change = Transition::changed("client.end", client.clone(), ended.clone());
    bed.tx(&acme, async move |tx| tx.client().apply(change.clone()).await)
        .await
        .unwrap();
    let other = Client {
        algorithm: SigningAlgorithm::Es256,
        ..ended.clone()
    };
    let change = Transition::changed("client.end", ended.clone(), other);
    let refused = bed
        .tx(&acme, async move |tx| tx.client().apply(change.clone()).await)
        .await;
    assert_eq!(
        code(refused),
        "store.conflict",
        "the algorithm of a client never changes"
    );
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(
        reader.client().lookup(&client.id).await.unwrap(),
        Some(ended.clone())
    );
    assert_eq!(
        reader
            .client()
            .list(Some(&identity.id), Page::first(5))
            .await
            .unwrap(),
        std::slice::from_ref(&ended)
    );
    assert_eq!(
        reader
            .client()
            .list(None, Page::after(&client.id, 5))
            .await
            .unwrap(),
        []
    );
}

pub(crate) async fn tasks(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let identity = bed.identity(&acme, "reader").await;
    let (opened, grant) = bed.task(&identity.id);
    let (task, kept) = (opened.after.clone(), grant.clone());
    let receipt = bed
        .tx(&acme, async move |tx| {
            tx.task().open(opened.clone(), grant.clone()).await
        })
        .await
        .unwrap();
    assert!(
        matches!(&receipt.facts[..], [Fact::Task(t, g), Fact::Position(..)] if **t == task && **g == kept)
    );
    assert_eq!(receipt.entries.len(), 1, "a task and its grant are one entry");
    let now = bed.clock.now();
    let open = TaskFilter {
        identity: Some(identity.id.clone()),
        open_at: Some(now),
    };
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(
        reader.task().lookup(&task.id).await.unwrap(),
        Some((task.clone(), kept.clone()))
    );
    assert_eq!(reader.task().list(&open, Page::first(5)).await.unwrap().len(), 1);
    drop(reader);
    let closed = Task {
        state: TaskState::Closed {
            at: now,
            reason: "done".to_owned(),
        },
        ..task.clone()
    };
    let change = Transition::changed("task.close", task.clone(), closed.clone()).because("done");
    bed.tx(&acme, async move |tx| tx.task().apply(change.clone()).await)
        .await
        .unwrap();
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(
        reader.task().lookup(&task.id).await.unwrap(),
        Some((closed, kept))
    );
    assert_eq!(reader.task().list(&open, Page::first(5)).await.unwrap(), []);
    assert_eq!(
        reader
            .task()
            .list(&TaskFilter::default(), Page::first(5))
            .await
            .unwrap()
            .len(),
        1
    );
    drop(reader);
    let widened = Task {
        identity: bed.identity(&acme, "other").await.id,
        ..task.clone()
    };
    let change = Transition::changed("task.close", task, widened);
    let refused = bed
        .tx(&acme, async move |tx| tx.task().apply(change.clone()).await)
        .await;
    assert_eq!(code(refused), "store.conflict", "a task never changes hands");
}

fn tool(name: &str, definition: &str) -> SeenTool {
    let definition = definition.as_bytes().to_vec();
    SeenTool {
        name: ToolName::parse(name).unwrap(),
        digest: Digest::of(&definition),
        definition,
    }
}

pub(crate) async fn servers(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let t = bed.registration_of(&acme, "files", Kind::McpServer);
    let identity = t.after.clone();
    bed.apply(&acme, t).await.unwrap();
    let wanted = NewServer {
        name: ServerName::parse("files").unwrap(),
        identity: &identity,
        connection: Connection::Exec {
            program: "/usr/bin/node".to_owned(),
            args: vec!["/srv/mcp/index.js".to_owned(), "--x=\"ü\"".to_owned()],
            digests: vec![("/usr/bin/node".to_owned(), Digest::of(b"node"))],
        },
        credential: None,
        tools: vec![tool("write", "w1"), tool("Read", "r1"), tool("_list", "l1")],
    };
    let limits = Limits::default();
    let added = add_server(wanted, &limits, bed.clock.now()).unwrap();
    let first = added.after.clone();
    bed.tx(&acme, async move |tx| tx.server().apply(added.clone()).await)
        .await
        .unwrap();
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(
        reader.server().lookup(&first.name).await.unwrap(),
        Some(first.clone())
    );
    drop(reader);
    let seen = vec![tool("Read", "r2"), tool("fresh", "f1"), tool("_list", "l1")];
    let drifted = observe_tools(first, seen.clone(), &limits).unwrap().unwrap();
    let second = drifted.after.clone();
    bed.tx(&acme, async move |tx| tx.server().apply(drifted.clone()).await)
        .await
        .unwrap();
    let pinned = pin_tools(second.clone(), seen, None, &limits).unwrap();
    let third = pinned.after.clone();
    assert_eq!((second.pins.len(), third.pins.len()), (4, 3));
    bed.tx(&acme, async move |tx| tx.server().apply(pinned.clone()).await)
        .await
        .unwrap();
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(
        reader.server().list().await.unwrap(),
        std::slice::from_ref(&third)
    );
    drop(reader);
    let stale = Transition::changed("server.pin", second, third);
    let refused = bed
        .tx(&acme, async move |tx| tx.server().apply(stale.clone()).await)
        .await;
    assert_eq!(code(refused), "store.conflict");
    destinations(&bed, &acme).await;
}

/// What a destination is, is read back as it was written.
async fn destinations(bed: &Bed, acme: &TenantId) {
    for (name, tunnel, ca) in [("opaque", true, None), ("private", false, Some("-----BEGIN\nü"))] {
        let t = bed.registration_of(acme, name, Kind::ApiKey);
        let identity = t.after.clone();
        bed.apply(acme, t).await.unwrap();
        let wanted = NewServer {
            name: ServerName::parse(name).unwrap(),
            identity: &identity,
            connection: Connection::Destination {
                url: "https://api.example.com:8443".to_owned(),
                allow_addresses: vec!["10.0.0.0/8".to_owned()],
                allow_plaintext: false,
                header: (!tunnel).then(|| "X-Key: {secret}".to_owned()),
                tunnel,
                ca: ca.map(str::to_owned),
            },
            credential: (!tunnel).then(|| bed.ids.mint(acme).unwrap()),
            tools: methods_as_tools(&["GET".to_owned()], tunnel).unwrap(),
        };
        let added = add_server(wanted, &Limits::default(), bed.clock.now()).unwrap();
        let made = added.after.clone();
        bed.tx(acme, async move |tx| tx.server().apply(added.clone()).await)
            .await
            .unwrap();
        let mut reader = bed.store.reader(acme).await.unwrap();
        assert_eq!(
            reader.server().lookup(&made.name).await.unwrap(),
            Some(made.clone())
        );
        if let Some(id) = &made.credential {
            assert_eq!(reader.server().opened_with(id).await.unwrap(), Some(made.name));
        }
    }
    let nobodys = bed.ids.mint(acme).unwrap();
    let mut reader = bed.store.reader(acme).await.unwrap();
    assert_eq!(reader.server().opened_with(&nobodys).await.unwrap(), None);
}

pub(crate) async fn credentials(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let identity = bed.identity(&acme, "files").await;
    let known = |fingerprint: &str| UpstreamCredential {
        id: bed.ids.mint(&acme).unwrap(),
        identity: identity.id.clone(),
        fingerprint: fingerprint.to_owned(),
        created_at: bed.clock.now(),
        expires_at: identity.expires_at,
    };
    let (one, two) = (known("aa"), known("bb"));
    for (credential, secret) in [(one.clone(), "correct horse"), (two.clone(), "battery staple")] {
        let t = Transition::made("credential.add", credential);
        let sealing = async move |tx: &mut Tx| {
            let secret = Secret::new(secret.as_bytes().to_vec());
            tx.credential().seal(t.clone(), &secret).await
        };
        bed.tx(&acme, sealing).await.unwrap();
    }
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(
        reader.credential().lookup(&one.id).await.unwrap(),
        Some(one.clone())
    );
    assert_eq!(
        reader
            .credential()
            .list(Some(&identity.id), Page::first(9))
            .await
            .unwrap()
            .len(),
        2
    );
    let secret = reader.credential().reveal(&one.id).await.unwrap().unwrap();
    assert_eq!(secret.reveal(), b"correct horse");
    drop(reader);
    // A sealed secret that is copied to another row does not open.
    let mut raw = bed.raw().await;
    raw.see("acme").await;
    let copy = "UPDATE credential SET secret = (SELECT c.secret FROM credential AS c WHERE c.fingerprint = 'aa') \
                WHERE fingerprint = 'bb'";
    assert_eq!(raw.run(copy).await.unwrap(), 1);
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(
        reader.credential().reveal(&two.id).await.err().unwrap().code(),
        "store.seal"
    );
    drop(reader);
    let gone = one.clone();
    bed.tx(&acme, async move |tx| {
        tx.credential().forget(&gone, "rotated").await
    })
    .await
    .unwrap();
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert!(reader.credential().reveal(&one.id).await.unwrap().is_none());
}

pub(crate) async fn policies(bed: Bed) {
    let acme = bed.tenant("acme").await;
    for body in [
        "permit (principal, action, resource);",
        "forbid (principal, action, resource);",
    ] {
        let receipt = bed
            .tx(&acme, async move |tx| tx.policy().replace(body).await.map(drop))
            .await
            .unwrap();
        assert!(
            matches!(&receipt.facts[..], [Fact::Policies(t, text), Fact::Position(..)]
            if *t == acme && &**text == body)
        );
    }
    let same = "forbid (principal, action, resource);";
    let again = bed
        .tx(&acme, async move |tx| tx.policy().replace(same).await.map(drop))
        .await;
    assert_eq!(code(again), "store.unchanged");
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(reader.policy().latest().await.unwrap().unwrap().version, 2);
    assert!(
        reader
            .policy()
            .version(1)
            .await
            .unwrap()
            .unwrap()
            .body
            .starts_with("permit")
    );
    drop(reader);
    let long = "x".repeat(1024 * 1024 + 1);
    let refused = bed
        .tx(&acme, async move |tx| tx.policy().replace(&long).await.map(drop))
        .await;
    assert_eq!(code(refused), "store.limit");
}

pub(crate) async fn marks(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let identity = bed.identity(&acme, "reader").await;
    let server = ServerName::parse("files").unwrap();
    let scopes = [
        MarkScope::Token(bed.ids.mint(&acme).unwrap()),
        MarkScope::Task(bed.ids.mint(&acme).unwrap()),
        MarkScope::Identity(identity.id.clone()),
        MarkScope::Agent(acme.clone(), bailiwick_base::AgentLabel::parse("a: b").unwrap()),
        MarkScope::Owner(acme.clone(), "team: north".to_owned()),
        MarkScope::Issuer(acme.clone(), "https://host/t/acme".to_owned()),
        MarkScope::Server(acme.clone(), server.clone()),
        MarkScope::Tool(acme.clone(), server, ToolName::parse("read/it").unwrap()),
        MarkScope::Tenant(acme.clone()),
    ];
    for (epoch, scope) in (1..).zip(scopes.clone()) {
        let expected = Mark {
            scope: scope.clone(),
            effect: MarkEffect::Suspend,
            epoch: Epoch(epoch),
        };
        let set = async move |tx: &mut Tx| {
            tx.mark()
                .set(scope.clone(), MarkEffect::Suspend, "drill")
                .await
                .map(drop)
        };
        let receipt = bed.tx(&acme, set).await.unwrap();
        assert_eq!(
            receipt.epoch,
            Epoch(epoch),
            "one more with every committed revocation"
        );
        assert!(
            matches!(&receipt.facts[..], [Fact::Mark(m), Fact::Position(_, e)] if *m == expected && e.0 == epoch)
        );
    }
    let all = async |tx: &mut Tx| {
        tx.mark()
            .set(MarkScope::All, MarkEffect::Kill, "drill")
            .await
            .map(drop)
    };
    assert_eq!(
        code(bed.tx(&acme, all).await),
        "store.other-tenant",
        "a tenant cannot stop the installation"
    );
    assert_eq!(bed.tx(Reach::Installation, all).await.unwrap().epoch, Epoch(10));
    let mut reader = bed.store.reader(&acme).await.unwrap();
    let listed = reader.mark().newest(100).await.unwrap().0;
    assert_eq!(listed.len(), scopes.len());
    for set in &listed {
        let order = reader.mark().order(set).await.unwrap().unwrap();
        assert_eq!(order.reason.as_deref(), Some("drill"), "{set:?}");
    }
}

pub(crate) async fn a_lifted_suspension_leaves_a_kill(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let scope = MarkScope::Identity(bed.identity(&acme, "reader").await.id);
    let both = scope.clone();
    let both = async move |tx: &mut Tx| {
        tx.mark().set(both.clone(), MarkEffect::Suspend, "drill").await?;
        tx.mark().set(both.clone(), MarkEffect::Kill, "drill").await?;
        tx.mark().lift(&both, None).await
    };
    let receipt = bed.tx(&acme, both).await.unwrap();
    let (epoch, entries) = (receipt.epoch, receipt.entries.len());
    assert_eq!((epoch, entries), (Epoch(2), 3), "lifting widens: the epoch stays");
    let mut reader = bed.store.reader(&acme).await.unwrap();
    let left = reader.mark().lookup(&scope).await.unwrap();
    let left: Vec<_> = left.iter().map(|m| (m.mark.effect, m.mark.epoch)).collect();
    assert_eq!(left, [(MarkEffect::Kill, Epoch(2))]);
    drop(reader);
    let twice = async move |tx: &mut Tx| tx.mark().lift(&scope, None).await;
    assert_eq!(code(bed.tx(&acme, twice).await), "store.conflict");
}

pub(crate) async fn the_floor_rises_for_everybody(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let scope = MarkScope::Tenant(acme.clone());
    let kill = async move |tx: &mut Tx| {
        tx.mark()
            .set(scope.clone(), MarkEffect::Kill, "drill")
            .await
            .map(drop)
    };
    bed.tx(&acme, kill).await.unwrap();
    let floor = async |tx: &mut Tx| tx.mark().raise_floor("restored", Epoch(0)).await.map(drop);
    assert_eq!(code(bed.tx(&acme, floor).await), "store.other-tenant");
    let receipt = bed.tx(Reach::Installation, floor).await.unwrap();
    assert_eq!(receipt.epoch, Epoch(2));
    assert!(matches!(
        &receipt.facts[..],
        [Fact::EpochFloor(Epoch(2)), Fact::Position(_, Epoch(2))]
    ));
    let bed = bed.reopened(true).await;
    assert_eq!(bed.store.epoch_floor().await.unwrap(), Epoch(2));
    assert_eq!(bed.store.position().await.unwrap().1, Epoch(2));
}

/// What another node must hear, in the words of a fact.
fn told(facts: &[Fact]) -> Vec<String> {
    facts.iter().map(|fact| format!("{fact:?}")).collect()
}

pub(crate) async fn another_node_catches_up(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let identity = bed.identity(&acme, "reader").await;
    let (since, _) = bed.store.position().await.unwrap();
    let follower = Bed::node(bed.place.clone(), "node-2", 2).await;
    assert_eq!(
        told(&follower.store.changes(since).await.unwrap().facts),
        told(&[Fact::Position(since, Epoch(0))])
    );
    let (opened, grant) = bed.task(&identity.id);
    let (task, kept) = (opened.after.clone(), grant.clone());
    let active = activate(identity.clone(), bed.clock.now()).unwrap();
    let (changed, server) = (active.after.clone(), ServerName::parse("files").unwrap());
    let scopes = [
        MarkScope::Server(acme.clone(), server),
        MarkScope::Identity(identity.id.clone()),
    ];
    let (stop, lift) = (scopes[0].clone(), scopes[1].clone());
    let everything = async move |tx: &mut Tx| {
        tx.identity().apply(active.clone()).await?;
        tx.task().open(opened.clone(), grant.clone()).await?;
        tx.mark().set(stop.clone(), MarkEffect::Suspend, "drill").await?;
        tx.mark().set(lift.clone(), MarkEffect::Suspend, "drill").await?;
        tx.mark().lift(&lift, None).await?;
        tx.policy()
            .replace("permit (principal, action, resource);")
            .await
            .map(drop)
    };
    bed.tx(&acme, everything).await.unwrap();
    bed.tx(Reach::Installation, async |tx| {
        tx.mark().raise_floor("restored", Epoch(0)).await.map(drop)
    })
    .await
    .unwrap();
    let other = bed.tenant("other").await;
    let (pos, epoch) = bed.store.position().await.unwrap();
    let mut reader = bed.store.reader(&other).await.unwrap();
    let (added, algorithm) = reader.tenant().require(&other).await.unwrap();
    drop(reader);
    let mut heard = told(&follower.store.changes(since).await.unwrap().facts);
    let [stopped, lifted] = scopes;
    // Whatever milder mark was there before has gone.
    let stopped_anew = stopped.clone();
    let mut expected = told(&[
        Fact::Identity(changed.into()),
        Fact::Task(task.into(), kept.into()),
        Fact::Mark(Mark {
            scope: stopped,
            effect: MarkEffect::Suspend,
            epoch: Epoch(1),
        }),
        Fact::MarkLifted(stopped_anew),
        Fact::MarkLifted(lifted),
        Fact::Policies(acme, "permit (principal, action, resource);".into()),
        Fact::EpochFloor(Epoch(3)),
        Fact::Tenant(added.into(), algorithm),
        Fact::Position(pos, epoch),
    ]);
    assert_eq!(heard.last(), expected.last(), "the position comes last");
    heard.sort();
    expected.sort();
    assert_eq!(heard, expected);
    let behind = follower.store.changes(StatePos(pos.0 + 1)).await;
    assert_eq!(code(behind), "log.no-such-position");
}

pub(crate) async fn operators(bed: Bed) {
    let home = whole_installation();
    let now = bed.clock.now();
    let t = claim(bed.ids.mint(&home).unwrap(), "ada", [7; 32], now).unwrap();
    let (ada, again) = (
        t.after.clone(),
        claim(bed.ids.mint(&home).unwrap(), "eve", [7; 32], now).unwrap(),
    );
    bed.tx(Reach::Installation, async move |tx| {
        tx.operator().claim(t.clone()).await
    })
    .await
    .unwrap();
    let refused = bed
        .tx(Reach::Installation, async move |tx| {
            tx.operator().claim(again.clone()).await
        })
        .await;
    assert_eq!(code(refused), "store.duplicate", "one key is one operator");
    let mut reader = bed.store.reader(Reach::Installation).await.unwrap();
    assert_eq!(
        reader.operator().lookup(&ada.id).await.unwrap(),
        Some(ada.clone())
    );
    assert_eq!(
        reader.operator().find_by_name("ada").await.unwrap(),
        Some(ada.clone())
    );
    assert_eq!(reader.operator().list().await.unwrap(), [ada]);
    assert_eq!(reader.operator().count().await.unwrap(), 1);
    drop(reader);
    let acme = bed.tenant("acme").await;
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(
        reader.operator().count().await.unwrap(),
        0,
        "operators are not a tenant's"
    );
}

pub(crate) async fn the_snapshot_starts_from_every_row(bed: Bed) {
    let (acme, other) = (bed.tenant("acme").await, bed.tenant("other").await);
    let identity = bed.identity(&acme, "reader").await;
    bed.identity(&other, "reader").await;
    let (opened, grant) = bed.task(&identity.id);
    let body = "forbid (principal, action, resource);";
    let scope = MarkScope::Identity(identity.id.clone());
    let everything = async move |tx: &mut Tx| {
        tx.task().open(opened.clone(), grant.clone()).await?;
        tx.policy()
            .replace("permit (principal, action, resource);")
            .await?;
        tx.policy().replace(body).await?;
        tx.mark()
            .set(scope.clone(), MarkEffect::Kill, "drill")
            .await
            .map(drop)
    };
    bed.tx(&acme, everything).await.unwrap();
    let bed = bed.reopened(true).await;
    let facts = bed.store.facts().await.unwrap();
    let count = |which: fn(&Fact) -> bool| facts.iter().filter(|f| which(f)).count();
    assert_eq!(count(|f| matches!(f, Fact::Tenant(..))), 2);
    assert_eq!(count(|f| matches!(f, Fact::Identity(_))), 2);
    assert_eq!(count(|f| matches!(f, Fact::Task(..))), 1);
    assert_eq!(count(|f| matches!(f, Fact::Mark(_))), 1);
    let policies: Vec<_> = facts.iter().filter(|f| matches!(f, Fact::Policies(..))).collect();
    assert!(matches!(&policies[..], [Fact::Policies(t, text)] if *t == acme && &**text == body));
    assert!(matches!(facts.first(), Some(Fact::EpochFloor(Epoch(0)))));
    assert!(matches!(
        facts.last(),
        Some(Fact::Position(StatePos(8), Epoch(1)))
    ));
}
