//! Destinations: where a secret is put in, and which methods there are.

use bailiwick_inventory::destination::{Coding, HeaderTemplate, methods_as_tools};

fn code(text: &str) -> &'static str {
    HeaderTemplate::parse(text).expect_err(text).code()
}

#[test]
fn a_header_names_the_place_of_the_secret_once() {
    let bearer = HeaderTemplate::parse("Authorization: Bearer {secret}").unwrap();
    assert_eq!(
        (
            bearer.name.as_str(),
            bearer.before.as_str(),
            bearer.after.as_str()
        ),
        ("authorization", "Bearer ", "")
    );
    assert_eq!(bearer.coding, Coding::Plain);
    let basic = HeaderTemplate::parse("Authorization: Basic {basic:deploy}").unwrap();
    assert_eq!(basic.coding, Coding::Basic("deploy".to_owned()));
    let key = HeaderTemplate::parse("X-Api-Key:{secret}").unwrap();
    assert_eq!((key.name.as_str(), key.before.as_str()), ("x-api-key", ""));
    for refused in [
        "",
        "Authorization",
        "Authorization: Bearer",
        "Authorization: {secret}{secret}",
        "Authorization: {secret} {basic:u}",
        "Authorization: {basic:u} {secret}",
        "Authorization: {basic:u:v}",
        "Authorization: {basic:u",
        "Authorization: Bearer {secret}\r\nX-Other: 1",
        "Auth orization: {secret}",
        ": {secret}",
        "Host: {secret}",
        "content-length: {secret}",
        "Transfer-Encoding: {secret}",
        "Proxy-Authorization: {secret}",
        "X-Key: é{secret}",
    ] {
        assert_eq!(code(refused), "server.header-template", "{refused}");
    }
    assert_eq!(
        code(&format!("X-Key: {}{{secret}}", "x".repeat(2_000))),
        "text.too-long"
    );
}

#[test]
fn methods_are_named_one_by_one_and_the_tunnel_is_one_of_its_own() {
    let names = |methods: &[&str], tunnel| {
        let methods: Vec<String> = methods.iter().map(|m| (*m).to_owned()).collect();
        methods_as_tools(&methods, tunnel)
            .map(|tools| tools.iter().map(|t| t.name.to_string()).collect::<Vec<_>>())
            .map_err(|refusal| refusal.code())
    };
    assert_eq!(names(&["POST", "GET", "GET"], false).unwrap(), ["GET", "POST"]);
    assert_eq!(names(&["GET"], true).unwrap(), ["CONNECT", "GET"]);
    assert_eq!(names(&[], true).unwrap(), ["CONNECT"]);
    assert_eq!(names(&[], false), Err("server.methods-missing"));
    for unknown in ["get", "CONNECT", "TRACE", "*", ""] {
        assert_eq!(
            names(&[unknown], false),
            Err("server.method-unknown"),
            "{unknown}"
        );
    }
}
