//! Which tools only read, and what leaves.

use bailiwick_base::{Digest, IdentityId, ServerName, TenantId, Time, ToolName};
use bailiwick_inventory::{Connection, PinState, Refusal, ToolPin, UpstreamServer, say_reads};

#[test]
fn only_an_address_that_is_not_public_stays_inside() {
    let leaves = |url: &str| {
        let connection = Connection::Http {
            url: url.to_owned(),
            allow_addresses: vec![],
            allow_plaintext: true,
        };
        connection.leaves()
    };
    for inside in [
        "http://127.0.0.1:9/mcp",
        "http://localhost/mcp",
        "https://10.1.2.3/mcp",
        "https://[::1]:8443/mcp",
        "https://[fd00::1]/mcp",
        "https://[::ffff:10.0.0.1]/mcp",
    ] {
        assert!(!leaves(inside), "{inside}");
    }
    for outside in [
        "https://mcp.example/",
        "https://8.8.8.8/mcp",
        "https://[2001:db8::1]/mcp",
        "https://127.0.0.1@mcp.example/",
        "https://127.0.0.1.example/",
        "https://mcp.example/127.0.0.1",
        "not a url",
    ] {
        assert!(leaves(outside), "{outside}");
    }
}

fn pinned(name: &str, annotations: &str) -> ToolPin {
    let definition = format!("{{\"name\":\"{name}\",\"annotations\":{annotations}}}").into_bytes();
    ToolPin {
        name: ToolName::parse(name).unwrap(),
        digest: Digest::of(&definition),
        definition,
        state: PinState::Pinned,
    }
}

fn server() -> UpstreamServer {
    let tenant = TenantId::parse("acme").unwrap();
    UpstreamServer {
        identity: IdentityId::from_parts(tenant.clone(), uuid::Uuid::from_u128(1)),
        tenant,
        name: ServerName::parse("files").unwrap(),
        connection: Connection::Exec {
            program: "/bin/true".to_owned(),
            args: vec![],
            digests: vec![],
        },
        credential: None,
        pins: vec![
            pinned("plain", "{}"),
            pinned("reader", "{\"readOnlyHint\":true}"),
            pinned("liar", "{\"readOnlyHint\":true,\"destructiveHint\":true}"),
            pinned("writer", "{\"readOnlyHint\":false}"),
        ],
        created_at: Time::from_secs(1),
    }
}

fn reading(server: &UpstreamServer) -> Vec<&str> {
    let reads = server.pins.iter().filter(|p| p.state == PinState::Reads);
    reads.map(|p| p.name.as_str()).collect()
}

#[test]
fn a_servers_own_word_counts_only_where_an_operator_takes_it_over() {
    let name = |n: &str| ToolName::parse(n).unwrap();
    assert_eq!(reading(&server()), [""; 0]);
    let hinted = say_reads(server(), &[], true).unwrap().after;
    assert_eq!(reading(&hinted), ["reader"]);
    let named = say_reads(server(), &[name("plain")], false).unwrap().after;
    assert_eq!(reading(&named), ["plain"], "an operator's word needs no hint");
    let back = say_reads(named, &[], false).unwrap().after;
    assert_eq!(reading(&back), [""; 0], "what is said replaces what was said");
    for wrong in ["writer", "liar"] {
        let refused = say_reads(server(), &[name(wrong)], false);
        assert!(matches!(refused, Err(Refusal::ToolWrites(_))), "{wrong}");
    }
    assert!(matches!(
        say_reads(server(), &[name("none")], false),
        Err(Refusal::ToolUnknown(_))
    ));
    assert!(matches!(
        say_reads(server(), &[], false),
        Err(Refusal::ToolsUnchanged)
    ));
}
