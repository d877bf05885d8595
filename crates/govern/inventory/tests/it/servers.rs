//! Tenants, operators, upstream servers and the pinning of tools.

use std::time::Duration;

use bailiwick_base::{CredentialId, Digest, IdentityId, OperatorId, ServerName, TenantId, Time, ToolName};
use bailiwick_inventory::{
    Connection, Identity, Kind, Labels, Limits, NewServer, NewTenant, Owner, PinState, Refusal, Registration,
    SeenTool, TenantState, UpstreamServer, add_server, add_tenant, claim, close_tenant, forget_credential,
    installation, observe_tools, pin_tools, register, replace_credential, retire,
};

const NOW: Time = Time::from_secs(1_763_750_000);

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> &'static str {
    result.expect_err("a refusal").code()
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn tenant(slug: &str, name: &str, employees: u32, reference: &str) -> Result<TenantState, Refusal> {
    let id = TenantId::parse(slug).unwrap();
    let wanted = NewTenant {
        id,
        name: name.to_owned(),
        employees,
        reference: reference.to_owned(),
    };
    add_tenant(wanted, NOW).map(|t| t.after.state)
}

#[test]
fn tenants() {
    let reference = "0123456789abcdef";
    assert_eq!(tenant("acme", "Acme", 12, reference), Ok(TenantState::Active));
    assert_eq!(code(tenant("acme", " ", 12, reference)), "text.name-missing");
    assert_eq!(
        code(tenant("acme", "Acme", 0, reference)),
        "tenant.employees-missing"
    );
    for wrong in ["", "0123456789ABCDEF", "0123456789abcde", "0123456789abcdefg"] {
        assert_eq!(code(tenant("acme", "Acme", 1, wrong)), "tenant.reference-invalid");
    }
    for reserved in [installation().as_str(), "all", "all-tenants"] {
        assert_eq!(code(tenant(reserved, "Acme", 1, reference)), "tenant.reserved");
    }
    let wanted = NewTenant {
        id: acme(),
        name: "Acme".to_owned(),
        employees: 1,
        reference: reference.to_owned(),
    };
    let open = add_tenant(wanted, NOW).unwrap().after;
    assert_eq!(code(close_tenant(open.clone(), "")), "identity.reason-missing");
    let closed = close_tenant(open, "moved away").unwrap().after;
    assert_eq!(code(close_tenant(closed, "again")), "tenant.closed");
}

#[test]
fn operators() {
    let id = OperatorId::from_parts(installation(), uuid::Uuid::from_u128(1));
    assert_eq!(
        claim(id.clone(), " ada ", [1; 32], NOW).unwrap().after.name,
        "ada"
    );
    assert_eq!(code(claim(id, "", [1; 32], NOW)), "text.name-missing");
}

fn identity(kind: Kind) -> Identity {
    let wanted = Registration {
        id: IdentityId::from_parts(acme(), uuid::Uuid::from_u128(7)),
        kind,
        name: "files".to_owned(),
        platform: "bailiwick".to_owned(),
        owner: Some(Owner {
            team: "ops".to_owned(),
            contact: "ops@example.com".to_owned(),
        }),
        application: None,
        purpose: Some("serves files".to_owned()),
        labels: Labels::default(),
        expires_at: Some(NOW.after(Duration::from_secs(60))),
    };
    register(wanted, &Limits::default(), NOW).unwrap().after
}

fn tool(name: &str, definition: &str) -> SeenTool {
    let definition = definition.as_bytes().to_vec();
    SeenTool {
        name: ToolName::parse(name).unwrap(),
        digest: Digest::of(&definition),
        definition,
    }
}

fn add(connection: Connection, tools: Vec<SeenTool>) -> Result<UpstreamServer, Refusal> {
    let identity = identity(Kind::McpServer);
    let name = ServerName::parse("files").unwrap();
    let wanted = NewServer {
        name,
        identity: &identity,
        connection,
        credential: None,
        tools,
    };
    add_server(wanted, &Limits::default(), NOW).map(|t| t.after)
}

fn http(url: &str) -> Connection {
    Connection::Http {
        url: url.to_owned(),
        allow_addresses: Vec::new(),
        allow_plaintext: false,
    }
}

#[test]
fn an_endpoint_is_https_without_credentials() {
    for url in [
        "https://mcp.example.com/mcp",
        "https://mcp.example.com:8443/?x=1",
        "https://[2001:db8::1]:443/mcp",
    ] {
        assert!(add(http(url), Vec::new()).is_ok(), "{url}");
    }
    let refused = [
        "http://mcp.example.com/mcp",
        "ftp://mcp.example.com/",
        "mcp.example.com",
        "https://",
        "https:///mcp",
        "https://:8443/mcp",
        "https://?x",
        "https://user:secret@mcp.example.com/",
        "https://mcp.example.com/#fragment",
        "https://mcp.example.com/ x",
        "https://mcp.example.com\\@evil.example/",
        "https://mcp.example.com/\u{0}",
    ];
    for url in refused {
        assert_eq!(code(add(http(url), Vec::new())), "server.url-invalid", "{url}");
    }
    let shown = add(http("https://user:hunter2@host/"), Vec::new()).unwrap_err();
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    let plain = |allow_plaintext| Connection::Http {
        url: "http://127.0.0.1:3000/mcp".to_owned(),
        allow_addresses: vec!["127.0.0.0/8".to_owned(), "fd00::/8".to_owned()],
        allow_plaintext,
    };
    assert!(add(plain(true), Vec::new()).is_ok());
    assert_eq!(code(add(plain(false), Vec::new())), "server.url-invalid");
    for range in [
        "10.0.0.0",
        "10.0.0.0/33",
        "fd00::/129",
        "host/8",
        "10.0.0.0/+8",
        "10.0.0.0/",
    ] {
        let connection = Connection::Http {
            url: "https://host/".to_owned(),
            allow_addresses: vec![range.to_owned()],
            allow_plaintext: false,
        };
        assert_eq!(
            code(add(connection, Vec::new())),
            "server.address-range-invalid",
            "{range}"
        );
    }
}

fn exec(program: &str, digests: &[&str]) -> Connection {
    let digests = digests
        .iter()
        .map(|path| ((*path).to_owned(), Digest::of(b"x")))
        .collect();
    Connection::Exec {
        program: program.to_owned(),
        args: vec!["--flag".to_owned()],
        digests,
    }
}

#[test]
fn a_program_is_absolute_and_has_a_digest() {
    assert!(
        add(
            exec("/usr/bin/node", &["/usr/bin/node", "/srv/index.js"]),
            Vec::new()
        )
        .is_ok()
    );
    assert_eq!(
        code(add(exec("/usr/bin/node", &["/srv/index.js"]), Vec::new())),
        "server.digest-missing"
    );
    for path in [
        "node",
        "",
        "/",
        "/usr/../bin/sh",
        "/usr//bin/sh",
        "/usr/./sh",
        "/usr/bin/",
        "/a\nb",
    ] {
        assert_eq!(
            code(add(exec(path, &[path]), Vec::new())),
            "server.path-not-absolute",
            "{path:?}"
        );
    }
    let nul = Connection::Exec {
        program: "/bin/x".to_owned(),
        args: vec!["a\0b".to_owned()],
        digests: vec![("/bin/x".to_owned(), Digest::of(b"x"))],
    };
    assert_eq!(code(add(nul, Vec::new())), "text.control-character");
    let many: Vec<String> = (0..65).map(|n| format!("/f{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(code(add(exec("/f0", &many), Vec::new())), "limit.too-many");
}

#[test]
fn a_server_has_an_identity_of_its_kind_and_tenant() {
    let name = ServerName::parse("files").unwrap();
    let with = |identity: &Identity, credential| {
        let wanted = NewServer {
            name: name.clone(),
            identity,
            connection: http("https://host/"),
            credential,
            tools: Vec::new(),
        };
        add_server(wanted, &Limits::default(), NOW)
    };
    assert_eq!(code(with(&identity(Kind::Agent), None)), "server.identity-kind");
    let retired = retire(identity(Kind::McpServer), "done", NOW).unwrap().after;
    assert_eq!(code(with(&retired, None)), "identity.retired");
    let id = uuid::Uuid::from_u128(3);
    let foreign = CredentialId::from_parts(TenantId::parse("other").unwrap(), id);
    assert_eq!(
        code(with(&identity(Kind::McpServer), Some(foreign.clone()))),
        "tenant.other"
    );
    let server = with(&identity(Kind::McpServer), None).unwrap().after;
    assert_eq!(
        code(forget_credential(server.clone())),
        "server.credential-missing"
    );
    assert_eq!(code(replace_credential(server.clone(), foreign)), "tenant.other");
    let given = replace_credential(server.clone(), CredentialId::from_parts(acme(), id))
        .unwrap()
        .after;
    assert_eq!(forget_credential(given).unwrap().after, server);
}

#[test]
fn a_server_cannot_take_a_word_of_the_installations_own_scopes() {
    let named = |name: &str| {
        let identity = identity(Kind::McpServer);
        let wanted = NewServer {
            name: ServerName::parse(name).unwrap(),
            identity: &identity,
            connection: http("https://host/"),
            credential: None,
            tools: Vec::new(),
        };
        add_server(wanted, &Limits::default(), NOW)
    };
    for own in ["authzen", "token"] {
        assert_eq!(code(named(own)), "server.reserved", "{own}");
    }
    for free in ["tokens", "authzen-1", "files"] {
        assert_eq!(named(free).unwrap().after.name.as_str(), free);
    }
}

fn states(server: &UpstreamServer) -> Vec<(String, PinState)> {
    server
        .pins
        .iter()
        .map(|p| (p.name.to_string(), p.state))
        .collect()
}

#[test]
fn drift_is_hidden_until_it_is_pinned() {
    let limits = Limits::default();
    let server = add(
        http("https://host/"),
        vec![tool("write", "w1"), tool("read", "r1")],
    )
    .unwrap();
    assert_eq!(
        states(&server),
        [
            ("read".to_owned(), PinState::Pinned),
            ("write".to_owned(), PinState::Pinned)
        ]
    );
    let same = vec![tool("read", "r1"), tool("write", "w1")];
    assert_eq!(
        observe_tools(server.clone(), same.clone(), &limits).unwrap(),
        None
    );
    assert_eq!(
        observe_tools(server.clone(), Vec::new(), &limits).unwrap(),
        None,
        "a tool that is away stays pinned"
    );
    assert_eq!(
        code(pin_tools(server.clone(), same.clone(), None, &limits)),
        "server.tools-unchanged"
    );
    let changed = vec![tool("read", "r2"), tool("fresh", "f1"), tool("write", "w1")];
    let drifted = observe_tools(server, changed.clone(), &limits)
        .unwrap()
        .unwrap()
        .after;
    let expected = [
        ("fresh", PinState::New),
        ("read", PinState::Drifted),
        ("write", PinState::Pinned),
    ];
    assert_eq!(states(&drifted), expected.map(|(n, s)| (n.to_owned(), s)));
    let read = drifted.pins.iter().find(|p| p.name.as_str() == "read").unwrap();
    assert_eq!(
        read.definition, b"r1",
        "what was pinned is kept for the comparison"
    );
    assert_eq!(
        observe_tools(drifted.clone(), same, &limits).unwrap(),
        None,
        "going back does not heal a drift"
    );
    let only = [ToolName::parse("read").unwrap()];
    let one = pin_tools(drifted.clone(), changed.clone(), Some(&only), &limits)
        .unwrap()
        .after;
    let expected = [
        ("fresh", PinState::New),
        ("read", PinState::Pinned),
        ("write", PinState::Pinned),
    ];
    assert_eq!(states(&one), expected.map(|(n, s)| (n.to_owned(), s)));
    let all = pin_tools(drifted, changed, None, &limits).unwrap().after;
    assert!(all.pins.iter().all(|p| p.state == PinState::Pinned));
    assert_eq!(
        all.pins
            .iter()
            .find(|p| p.name.as_str() == "read")
            .unwrap()
            .definition,
        b"r2"
    );
}

#[test]
fn a_hostile_list_of_tools_is_refused() {
    let limits = Limits {
        tools_max: 2,
        definition_max: 4,
        ..Limits::default()
    };
    let server = add(http("https://host/"), Vec::new()).unwrap();
    let twice = vec![tool("a", "1"), tool("a", "2")];
    assert_eq!(
        code(observe_tools(server.clone(), twice, &limits)),
        "server.tool-twice"
    );
    let many = vec![tool("a", "1"), tool("b", "2"), tool("c", "3")];
    assert_eq!(
        code(observe_tools(server.clone(), many, &limits)),
        "limit.too-many"
    );
    assert_eq!(
        code(pin_tools(server, vec![tool("a", "12345")], None, &limits)),
        "text.too-long"
    );
}
