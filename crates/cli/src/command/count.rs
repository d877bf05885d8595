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
    paper.line(format!(
        "{} active machine identities in {} at log position {} ({})",
        paper.strong(&count.total.to_string()),
        count.tenant,
        count.position,
        count.as_of
    ));
    paper.line(format!(
        "registered {}, shadow {}; apart: suspended {}, retired {}; employees {}",
        count.registered, count.shadow, count.suspended, count.retired, count.employees
    ));
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
