//! Refresh tokens: replaced with every use, ended by their reuse, and what a restart or two uses at once leave of them.

use serde_json::{Value, json};

use crate::bed::Answer;
use crate::consenting::{REDIRECT, register, text, world};
use crate::tokens::form;

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_is_replaced_with_every_use_and_its_reuse_ends_the_family() {
    let world = world().await;
    let first = world.tokens().await;
    let second = world.refresh(text(&first["refresh_token"]), &[]).await.ok();
    let third = world
        .refresh(text(&second["refresh_token"]), &[("scope", "files:echo")])
        .await
        .ok();
    assert_eq!(third["scope"], "files:echo");
    let whole = world.refresh(text(&third["refresh_token"]), &[]).await.ok();
    assert_eq!(
        whole["scope"], "files:echo files:read_text_file",
        "narrowing is of one token"
    );
    let wide = [("scope", "files:*")];
    world
        .refresh(text(&whole["refresh_token"]), &wide)
        .await
        .refused(400, "invalid_scope");
    assert!(world.lives(&whole["access_token"]).await);
    // The one before the last, and everything is over.
    let reused = world.refresh(text(&third["refresh_token"]), &[]).await;
    reused.refused(400, "invalid_grant");
    for dead in [&first, &second, &third, &whole] {
        assert!(!world.lives(&dead["access_token"]).await);
    }
    world
        .refresh(text(&whole["refresh_token"]), &[])
        .await
        .refused(400, "invalid_grant");
    // Another client that shows it ends it as well.
    let tokens = world.tokens().await;
    let other = register(&world.bed, &[REDIRECT]).await;
    world
        .refresh(text(&tokens["refresh_token"]), &[("client_id", &other)])
        .await
        .refused(400, "invalid_grant");
    assert!(!world.lives(&tokens["access_token"]).await);
    // What was never made here is nobody's: nothing ends.
    let tokens = world.tokens().await;
    let mut forged = text(&tokens["refresh_token"]).to_owned();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'Q' } else { 'A' });
    world.refresh(&forged, &[]).await.refused(400, "invalid_grant");
    assert!(world.lives(&tokens["access_token"]).await);
    // An access token of a consent is not renewed round its refresh token.
    let path = format!("/v1/tenants/acme/tasks/{}/tokens", world.task);
    let renewed = world
        .bed
        .bearing(text(&tokens["access_token"]), &path, &json!({"count": 1}))
        .await;
    assert!(matches!(renewed.status.as_u16(), 401 | 403), "{}", renewed.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_uses_of_one_refresh_token_at_once_leave_no_two_successors() {
    let world = world().await;
    for _ in 0..5 {
        let tokens = world.tokens().await;
        let shown = text(&tokens["refresh_token"]);
        let (one, other) = tokio::join!(world.refresh(shown, &[]), world.refresh(shown, &[]));
        let live: Vec<Value> = [one, other]
            .into_iter()
            .filter(|a| a.status.is_success())
            .map(Answer::ok)
            .collect();
        assert!(live.len() <= 1, "two successors");
        for tokens in live {
            world
                .refresh(text(&tokens["refresh_token"]), &[])
                .await
                .refused(400, "invalid_grant");
            assert!(!world.lives(&tokens["access_token"]).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_lives_through_a_restart_and_a_dead_one_stays_dead() {
    let mut world = world().await;
    let kept = world.tokens().await;
    let rotated = world.tokens().await;
    let next = world.refresh(text(&rotated["refresh_token"]), &[]).await.ok();
    let revoked = world.tokens().await;
    let form = form(&[
        ("client_id", &world.client),
        ("token", text(&revoked["refresh_token"])),
    ]);
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    let answer = world.bed.send("POST", "/t/acme/revoke", &kind, form).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(
        !world.lives(&revoked["access_token"]).await,
        "its access tokens die with it"
    );
    world.bed.restart().await;
    assert!(!world.lives(&revoked["access_token"]).await);
    world
        .refresh(text(&revoked["refresh_token"]), &[])
        .await
        .refused(400, "invalid_grant");
    let after = world.refresh(text(&kept["refresh_token"]), &[]).await.ok();
    assert!(world.lives(&after["access_token"]).await);
    let last = world.refresh(text(&next["refresh_token"]), &[]).await.ok();
    world
        .refresh(text(&rotated["refresh_token"]), &[])
        .await
        .refused(400, "invalid_grant");
    assert!(!world.lives(&last["access_token"]).await);
}
