//! `bailiwick tenant`.

use bailiwick_wire::{NewTenant, Page, Tenant as Row};

use super::Done;
use crate::args::{Global, Tenant};
use crate::client::Client;
use crate::output::{Output, exit};

pub(crate) async fn run(command: Tenant, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    match command {
        Tenant::Add {
            slug,
            name,
            employees,
            algorithm,
        } => {
            let body = NewTenant {
                tenant: slug,
                name,
                employees,
                algorithm: Some(algorithm),
            };
            let added: Row = client.post("/v1/tenants", &body).await?;
            output.result(&added, |paper| {
                paper.pairs(&[
                    ("tenant", paper.strong(&added.tenant)),
                    ("issuer", added.issuer.clone()),
                    ("algorithm", added.algorithm.clone()),
                    ("employees", added.employees.to_string()),
                ]);
            });
        }
        Tenant::Ls => {
            let page: Page<Row> = client.get("/v1/tenants").await?;
            output.result(&page, |paper| {
                let rows = page.items.iter().map(|t| {
                    vec![
                        t.tenant.clone(),
                        t.name.clone(),
                        t.employees.to_string(),
                        t.algorithm.clone(),
                        crate::output::state(&t.effective, &t.state, t.stopped_by.as_ref()),
                    ]
                });
                paper.table(
                    &["tenant", "name", "employees", "algorithm", "state"],
                    rows.collect(),
                    "no tenants yet: bailiwick tenant add SLUG --name NAME --employees N",
                );
            });
        }
    }
    Ok(exit::OK)
}
