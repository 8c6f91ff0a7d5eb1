//! `tieline notify`, and notifications in a file.

use crate::bridge::Bridge;

#[test]
fn notifications_are_set_shown_tested_and_removed() {
    let bridge = Bridge::start();
    assert_eq!(bridge.tieline(&["notify", "show"]).good(), "notifications are off\n");
    let nowhere = "http://127.0.0.1:9/hook";
    let secret = ["--secret", "0123456789abcdef", "--language", "en"];
    let set = bridge
        .tieline(&[&["notify", "webhook", nowhere][..], &secret].concat())
        .good();
    assert_eq!(set, format!("notifications go to the webhook {nowhere}, in en\n"));
    let tested = bridge.tieline(&["notify", "test"]);
    assert_eq!(tested.code, Some(1));
    assert!(tested.out.starts_with("not sent: "), "{}", tested.out);
    assert!(
        bridge
            .tieline(&["notify", "webhook", nowhere, "--secret", "short"])
            .bad()
            .contains("16 characters")
    );

    let exported = bridge.tieline(&["export"]).good();
    assert!(
        exported.contains("notify:") && !exported.contains("0123456789abcdef"),
        "{exported}"
    );
    let refused = bridge.tieline(&["notify", "end"]).bad();
    assert!(refused.contains(nowhere) && refused.contains("add --yes"), "{refused}");
    assert!(bridge.tieline(&["notify", "show"]).good().contains(nowhere));
    assert_eq!(
        bridge.tieline(&["notify", "end", "--yes"]).good(),
        "notifications ended\n"
    );
    assert_eq!(bridge.tieline(&["notify", "end"]).good(), "notifications are off\n");
    let file = bridge.file("notify.yaml", &exported.replace("'***'", "fedcba9876543210"));
    let applied = bridge.tieline(&["apply", "-f", &file]).good();
    assert!(applied.contains("+ notifications of default"), "{applied}");
    assert!(bridge.tieline(&["notify", "show"]).good().contains(nowhere));
}

#[test]
fn a_chat_for_notifications_is_named_by_its_bot() {
    let bridge = Bridge::start();
    let bot = "integrations: [{name: Desk, platform: telegram, enabled: false, credentials: {botToken: '4711:abc'}}]\n";
    bridge.tieline(&["apply", "-f", &bridge.file("bot.yaml", bot)]).good();
    let set = bridge.tieline(&["notify", "chat", "Desk", "--user", "42"]).good();
    assert!(
        set.starts_with("notifications go to 42 by int_") && set.ends_with("in zh-CN\n"),
        "{set}"
    );
    assert_eq!(bridge.tieline(&["notify", "chat", "Desk"]).code, Some(2));
    assert!(bridge.tieline(&["export"]).good().contains("integration: Desk"));
}
