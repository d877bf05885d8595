//! `bailiwick count`.

use bailiwick_wire::Count as Answer;

use super::Done;
use super::id::encoded;
use crate::args::{Count, Global};
use crate::client::Client;
use crate::output::{Output, Paper, exit};

pub(crate) async fn run(command: Count, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    let named = !command.all_tenants && client.tenant().is_ok();
    let mut path = if named {
        client.path("count")?
    } else {
        "/v1/all-tenants/count".to_owned()
    };
    path.push_str(&format!("?explain={}", command.explain));
    if let Some(at) = &command.at {
        path.push_str(&format!("&at={}", encoded(at)));
    }
    let count: Answer = client.get(&path).await?;
    output.result(&count, |paper| show(paper, &count));
    let unequal = count.explained.as_ref().is_some_and(|e| !e.equal);
    Ok(if unequal { exit::UNVERIFIED } else { exit::OK })
}

fn show(paper: &mut Paper, count: &Answer) {
    let place = match &count.as_of {
        Some(as_of) => format!("log position {} ({as_of})", count.position),
        None => "log position 0, before the first entry".to_owned(),
    };
    paper.line(format!(
        "{} machine {} in service in {} at {place}",
        paper.strong(&count.total.to_string()),
        if count.total == 1 {
            "identity"
        } else {
            "identities"
        },
        count.tenant,
    ));
    let parts = count.split();
    let expired = match count.expired {
        Some(expired) => format!("; past their expiry, so that calls are denied: {expired}"),
        None => String::new(),
    };
    paper.line(format!(
        "of these active {}, in probation {}{expired}",
        parts.active, parts.probation
    ));
    if !count.held.is_empty() {
        let held = count.held.iter().map(|(by, of)| format!("{by} {of}"));
        paper.line(format!(
            "of these held back by a mark (`bailiwick kill ls`): {}",
            held.collect::<Vec<_>>().join(", ")
        ));
    }
    paper.line(format!(
        "registered {}, shadow {}; apart: suspended {}, retired {}; employees {}",
        count.registered, count.shadow, count.suspended, count.retired, count.employees
    ));
    tenants(paper, count);
    let rows = count.kinds.iter().map(|k| {
        vec![
            k.kind.clone(),
            (k.registered.probation + k.registered.active).to_string(),
            (k.shadow.probation + k.shadow.active).to_string(),
            (k.registered.suspended + k.shadow.suspended).to_string(),
            (k.registered.retired + k.shadow.retired).to_string(),
        ]
    });
    paper.table(
        &["kind", "registered", "shadow", "suspended", "retired"],
        rows.collect(),
        "",
    );
    if let Some(explained) = &count.explained {
        paper.line("");
        paper.pairs(&[
            ("query", explained.query.clone()),
            (
                "recount",
                format!("{} from {} log entries", explained.recount, explained.entries),
            ),
            (
                "equal",
                if explained.equal {
                    "yes, in every cell".to_owned()
                } else {
                    "NO".to_owned()
                },
            ),
            ("covers", explained.coverage.clone()),
        ]);
    }
}

/// A line per tenant, where all are counted.
fn tenants(paper: &mut Paper, count: &Answer) {
    if count.tenants.is_empty() {
        return;
    }
    let rows = count.tenants.iter().map(|t| {
        vec![
            t.tenant.clone(),
            t.total.to_string(),
            t.states.active.to_string(),
            t.states.probation.to_string(),
            t.states.suspended.to_string(),
            t.states.retired.to_string(),
            t.employees.to_string(),
        ]
    });
    let head = [
        "tenant",
        "in service",
        "active",
        "probation",
        "suspended",
        "retired",
        "employees",
    ];
    paper.table(&head, rows.collect(), "");
    let listed: u64 = count.tenants.iter().map(|t| t.total).sum();
    if listed < count.total {
        paper.line(format!("{} more in tenants not listed", count.total - listed));
    }
    paper.line("");
}
