//! What of another system one credential's rotation alone may touch: two that did would revoke each other's secret.

use std::collections::BTreeSet;

use crate::place::{EndpointOverride, Target};

impl Target {
    /// The slots of this place, as texts that are equal where the slots are.
    ///
    /// Login roles of PostgreSQL belong to the whole server, whatever the database. The name of an IAM user says
    /// nothing without its account, which the manager of its keys stands for.
    #[must_use]
    pub fn slots(&self) -> BTreeSet<String> {
        match self {
            Self::Aws(aws) => {
                let at = endpoint(aws.danger_endpoint_override.as_ref());
                let (user, manager, id) = (&aws.user, &aws.manager_key, &aws.manager);
                BTreeSet::from([
                    format!("aws {at} key {}", aws.key),
                    format!("aws {at} user {user} by {manager}"),
                    format!("aws {at} user {user} with {id}"),
                ])
            }
            Self::GithubApp(app) => {
                let at = endpoint(app.danger_endpoint_override.as_ref());
                BTreeSet::from([format!("github-app {at} {}", app.app)])
            }
            Self::Http(http) => BTreeSet::from([format!("http {} {}", plain(&http.url), http.key)]),
            Self::Pg(pg) => {
                let at = format!("{}:{}", plain(&pg.host), pg.port);
                pg.logins
                    .iter()
                    .map(|login| format!("postgres {at} {login}"))
                    .collect()
            }
        }
    }
}

fn endpoint(over: Option<&EndpointOverride>) -> String {
    over.map_or_else(|| "its own".to_owned(), |over| plain(&over.url))
}

/// The same however it is written.
fn plain(place: &str) -> String {
    place.trim_end_matches(['/', '.']).to_ascii_lowercase()
}
