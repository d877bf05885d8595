//! `bailiwick id`.

use bailiwick_wire::{Activation, Identity, Labels, NewIdentity, Owner, Page, StateChange};

use super::{Done, composition};
use crate::args::{Global, Id, NewIdentity as NewArgs};
use crate::client::Client;
use crate::output::{Failure, Output, Paper, day, exit, state};

pub(crate) async fn run(command: Id, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    match command {
        Id::Add(new) => {
            let body = body_of(new)?;
            let added: Identity = client.post(&client.path("identities")?, &body).await?;
            output.result(&added, |paper| show(paper, &added));
        }
        Id::Ls => {
            let page: Page<Identity> = client.get(&client.path("identities")?).await?;
            let tenant = client.tenant()?;
            output.result(&page, |paper| list(paper, &page, tenant));
        }
        Id::Get { id } => {
            let found: Identity = client
                .get(&client.path(&format!("identities/{}", encoded(&id)))?)
                .await?;
            output.result(&found, |paper| show(paper, &found));
        }
        Id::Compose { id, parts } => {
            let path = client.path(&format!("identities/{}/composition", encoded(&id)))?;
            let changed: Identity = client.put(&path, &composition::digests(&parts)?).await?;
            output.result(&changed, |paper| show(paper, &changed));
        }
        Id::Activate { id, composition } => {
            let path = client.path(&format!("identities/{}/activate", encoded(&id)))?;
            let reason = None;
            let body = Activation { reason, composition };
            let changed: Identity = client.post(&path, &body).await?;
            output.result(&changed, |paper| show(paper, &changed));
        }
        Id::Suspend { id, reason } => change(&client, output, &id, "suspend", Some(reason)).await?,
        Id::Resume { id } => change(&client, output, &id, "resume", None).await?,
        Id::Retire { id, reason } => change(&client, output, &id, "retire", Some(reason)).await?,
    }
    Ok(exit::OK)
}

fn body_of(new: NewArgs) -> Result<NewIdentity, Failure> {
    Ok(NewIdentity {
        name: new.name,
        kind: new.kind,
        owner: owner(new.owner, new.contact),
        application: new.application,
        purpose: new.purpose,
        expires_at: new.expires.as_deref().map(expiry).transpose()?,
        platform: None,
        labels: Labels {
            agent: new.agent,
            workflow: new.workflow,
        },
    })
}

async fn change(
    client: &Client,
    output: &Output,
    id: &str,
    verb: &str,
    reason: Option<String>,
) -> Result<(), Failure> {
    let path = client.path(&format!("identities/{}/{verb}", encoded(id)))?;
    let changed: Identity = client.post(&path, &StateChange { reason }).await?;
    output.result(&changed, |paper| show(paper, &changed));
    Ok(())
}

/// An owner, when any part of one was given: the service names what is missing.
pub(crate) fn owner(team: Option<String>, contact: Option<String>) -> Option<Owner> {
    if team.is_none() && contact.is_none() {
        return None;
    }
    Some(Owner {
        team: team.unwrap_or_default(),
        contact: contact.unwrap_or_default(),
    })
}

/// RFC 3339, or a span from now.
pub(crate) fn expiry(text: &str) -> Result<String, Failure> {
    if let Ok(span) = crate::args::parse_span(text) {
        return Ok(bailiwick_server::now().after(span).to_string());
    }
    bailiwick_base::Time::parse(text)
        .map(|t| t.to_string())
        .map_err(|error| Failure::usage(error.to_string()).hint("write --expires 90d, or an RFC 3339 time"))
}

/// A path segment.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn list(paper: &mut Paper, page: &Page<Identity>, tenant: &str) {
    let rows = page.items.iter().map(|i| {
        // That its own mark stops it needs no second id.
        let mark = i.stopped_by.as_ref().filter(|mark| !mark.contains(&i.id));
        let why = mark.or(i.state_reason.as_ref());
        vec![
            i.id.clone(),
            i.name.clone(),
            i.kind.clone(),
            state(&i.effective, &i.state, why),
            day(&i.changed_at),
            i.owner.team.clone(),
            day(&i.expires_at),
        ]
    });
    paper.table(
        &["id", "name", "kind", "state", "since", "owner", "expires"],
        rows.collect(),
        &format!(
            "no identities yet: bailiwick -t {tenant} id add NAME --kind agent --owner TEAM --owner-contact ADDRESS \
             --purpose TEXT --expires 90d"
        ),
    );
    if page.total > page.items.len() as u64 {
        paper.line(format!("{} of {}", page.items.len(), page.total));
    }
}

fn show(paper: &mut Paper, identity: &Identity) {
    let state = state(&identity.effective, &identity.state, identity.stopped_by.as_ref());
    let mut pairs = vec![
        ("id", paper.strong(&identity.id)),
        ("name", identity.name.clone()),
        ("kind", identity.kind.clone()),
        ("state", state),
        ("since", identity.changed_at.clone()),
        ("reason", identity.state_reason.clone().unwrap_or_default()),
        (
            "owner",
            format!("{} <{}>", identity.owner.team, identity.owner.contact),
        ),
        ("purpose", identity.purpose.clone()),
        ("created", identity.created_at.clone()),
        ("expires", identity.expires_at.clone()),
    ];
    if let Some(application) = &identity.application {
        pairs.push(("application", application.clone()));
    }
    if let Some(agent) = &identity.labels.agent {
        pairs.push(("agent", agent.clone()));
    }
    if let Some(workflow) = &identity.labels.workflow {
        pairs.push(("workflow", workflow.clone()));
    }
    pairs.extend(identity.composition.iter().flat_map(composition::pairs));
    pairs.retain(|(_, value)| !value.is_empty());
    paper.pairs(&pairs);
}
