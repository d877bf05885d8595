use xtask::rust::{items, tests, tokens};

fn words(source: &str) -> Vec<&str> {
    tokens(source).iter().map(|token| token.text).collect()
}

#[test]
fn comments_are_left_out_and_nested_ones_too() {
    assert_eq!(words("a // b\nc /* d /* e */ f */ g"), ["a", "c", "g"]);
}

#[test]
fn strings_are_one_token_each() {
    assert_eq!(
        words(r##"x("a \" fn b", r#"c " d"#, b"e")"##),
        [
            "x",
            "(",
            r#""a \" fn b""#,
            ",",
            r##"r#"c " d"#"##,
            ",",
            r#"b"e""#,
            ")"
        ]
    );
}

#[test]
fn a_lifetime_is_not_a_character() {
    assert_eq!(
        words("&'a str, 'x', '\\'', b'y'"),
        ["&", "'", "a", "str", ",", "'x'", ",", "'\\''", ",", "b'y'"]
    );
}

#[test]
fn lines_are_counted_through_everything() {
    let source = "/* 1\n2 */ \"3\n4\" fn\nlast";
    let last = tokens(source).last().map(|token| (token.text, token.line));
    assert_eq!(last, Some(("last", 4)));
}

#[test]
fn items_are_found_with_their_names() {
    let source = "pub const fn a() {}\nstruct B<'x>(fn(u8));\nmod c { enum D {} }\nconst E: u8 = 1;";
    let found: Vec<(String, usize)> = items(&tokens(source))
        .iter()
        .map(|item| (format!("{} {}", item.keyword, item.name), item.line))
        .collect();
    let expected = [
        ("fn a", 1),
        ("struct B", 2),
        ("mod c", 3),
        ("enum D", 3),
        ("const E", 4),
    ];
    assert_eq!(found, expected.map(|(item, line)| (item.to_owned(), line)));
}

#[test]
fn tests_are_the_functions_that_carry_the_attribute() {
    let source = "
        #[test] fn plain() {}
        #[tokio::test(flavor = \"current_thread\")] #[cfg(unix)] async fn with_more() {}
        proptest! { #![proptest_config(c())] #[test] fn inside(x in 0..9_u8) {} }
        #[cfg(test)] mod tests { fn helper() {} }
        // #[test] fn commented() {}
        #[derive(Debug)] struct S;
    ";
    assert_eq!(tests(&tokens(source)), ["plain", "with_more", "inside"]);
}
