use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

#[track_caller]
fn masked(text: &str, expected: &str) {
    let masked = Detector::default().mask(text);
    assert_eq!(masked.as_deref().unwrap_or(text), expected);
}

const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P";

#[test]
fn keys_of_vendors_are_masked() {
    let key = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8";
    for secret in [
        format!("sk-{key}"),
        format!("sk-ant-api03-{key}"),
        "AKIAIOSFODNN7EXAMPLE".into(),
        format!("ghp_{key}"),
        format!("github_pat_{key}"),
        "xoxb-1234567890-abcdef".into(),
        format!("AIza{key}"),
        JWT.into(),
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into(),
        "7012345678:AAE-demo_token_0123456789abcdefghij".into(),
        "LTAI4GExampleKey1".into(),
    ] {
        masked(&format!("my key is {secret}."), "my key is [redacted].");
        masked(&format!("密钥{secret}，谢谢"), "密钥[redacted]，谢谢");
        masked(&format!("KEY={secret}\nnext"), "KEY=[redacted]\nnext");
    }
}

#[test]
fn values_are_masked_by_their_names() {
    masked("password: hunter22!", "password: [redacted]");
    masked("DB_PASSWORD=\"c0rrect-horse\";", "DB_PASSWORD=\"[redacted]\";");
    masked(
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG",
        "aws_secret_access_key = [redacted]",
    );
    masked("密码：abc12345。", "密码：[redacted]。");
    masked("Authorization: Bearer abcDEF123456", "Authorization: Bearer [redacted]");
    masked(
        "postgres://app:p4ss@db/x and https://a@b",
        "postgres://app:[redacted]@db/x and https://a@b",
    );
    masked("{\"apiKey\": \"0123456789abcdef\"}", "{\"apiKey\": \"[redacted]\"}");
}

#[test]
fn texts_that_only_look_like_credentials_stay() {
    for text in [
        "How do I reset my password: is there a page?",
        "password: ${DB_PASSWORD_2024}",
        "the secret of success: patience and time",
        "task-1234567890abcdefghijklmn is done",
        "sk-short",
        "https://example.com/a:b@c?x=1",
        "a bearer of good news",
        "order 4111111111111112, 1760000000001",
        "2026-11-22 09:00:00 +08:00",
    ] {
        masked(text, text);
    }
}

#[test]
fn card_numbers_are_masked() {
    masked("pay with 4111 1111 1111 1111 please", "pay with [redacted] please");
    masked("5500-0000-0000-0004", "[redacted]");
    masked("卡号378282246310005。", "卡号[redacted]。");
    masked("id4111111111111111", "id4111111111111111");
}

#[test]
fn private_keys_are_masked_whole() {
    let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\nAAAA\n-----END RSA PRIVATE KEY-----";
    masked(&format!("here:\n{key}\nthanks"), "here:\n[redacted]\nthanks");
    // A truncated key is masked all the same, and a mere mention is not.
    let half = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\nAASC";
    masked(&format!("here: {half}"), "here: [redacted]");
    masked(&format!("here: {half}\n。谢谢"), "here: [redacted]\n。谢谢");
    let mention = "It begins with `-----BEGIN PRIVATE KEY-----`. Then comes base64.";
    masked(mention, mention);
    masked(
        "-----BEGIN CERTIFICATE-----\nMIIB\n",
        "-----BEGIN CERTIFICATE-----\nMIIB\n",
    );
}

#[test]
fn own_patterns_are_masked_within_a_line() {
    let detector = Detector::new(&["EMP-[0-9]{4,}".into(), "(?i)project\\s+\\w+".into()]);
    let text = "EMP-1234 works on Project Falcon\nproject\nx";
    assert_eq!(
        detector.mask(text).unwrap(),
        "[redacted] works on [redacted]\nproject\nx"
    );
    assert_eq!(format!("{detector:?}"), "Detector(..)");
}

#[test]
fn patterns_that_can_not_be_used_are_refused() {
    for wrong in [
        "",
        "(",
        "a*",
        "(?=a)",
        &"a".repeat(MAX_PATTERN_BYTES + 1),
        "(a{100}){100}{100}",
    ] {
        assert!(
            check_patterns(&["x".into(), wrong.into()]).is_err_and(|(at, _)| at == 1),
            "{wrong}"
        );
    }
    assert_eq!(check_patterns(&["EMP-[0-9]+".into()]), Ok(()));
}

#[test]
fn patterns_that_are_too_large_together_are_refused() {
    let usual = |n: usize| format!("(?i)\\bproject-{n}-[a-z]{{3}}-\\d{{4,6}}\\b");
    let usual: Vec<String> = (0..MAX_PATTERNS).map(usual).collect();
    assert_eq!(check_patterns(&usual), Ok(()));
    let large = vec!["a{1,200}b".to_owned(); 4];
    assert!(check_patterns(&large[..3]).is_ok());
    assert!(check_patterns(&large).is_err_and(|(at, _)| at == 3));
}

#[test]
fn long_line_is_masked_to_its_end_after_fewer_matches() {
    let detector = Detector::new(&["E[0-9]".into()]);
    let text = format!("E1 E2 E3 {}", "x".repeat(LONG_LINE * MAX_MATCHES));
    assert_eq!(detector.mask(&text).unwrap(), "[redacted] [redacted]");
}

#[test]
fn secret_is_never_shown_in_part() {
    let detector = Detector::default();
    let text = format!("the key: {JWT}, the card 4111 1111 1111 1111\nand password: hunter22 ok");
    let whole = detector.mask(&text).unwrap();
    let mut redactor = Redactor::default();
    let mut shown = String::new();
    for character in text.chars() {
        shown.push_str(&redactor.push(&detector, character.encode_utf8(&mut [0; 4])));
        assert!(whole.starts_with(&shown), "{shown}");
    }
    shown.push_str(&redactor.finish(&detector));
    assert_eq!(shown, whole);
    assert_eq!(redactor.n_redacted(), 3);
    let _ = redactor.push(&detector, "password: hun");
    assert_eq!(format!("{redactor:?}"), "Redactor(3 bytes held back, 3 redacted)");
}

#[test]
fn words_are_shown_as_they_end() {
    let (detector, mut redactor) = (Detector::default(), Redactor::default());
    assert_eq!(redactor.push(&detector, "Hello wor"), "Hello ");
    assert_eq!(redactor.push(&detector, "ld, 你好"), "world, 你好");
    assert_eq!(redactor.push(&detector, "，in 2026 "), "，in ");
    assert_eq!(redactor.push(&detector, "we"), "2026 ");
    assert_eq!(redactor.finish(&detector), "we");
}

#[test]
fn snapshot_replaces_the_earlier_text() {
    let (detector, mut redactor) = (Detector::default(), Redactor::default());
    let _ = redactor.push(&detector, "password: hun");
    assert_eq!(redactor.replace(&detector, "all is well "), "all is well ");
    assert_eq!(redactor.push(&detector, "ter22"), "");
    assert_eq!(redactor.finish(&detector), "ter22");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test measures time")]
fn long_hostile_texts_take_little_time() {
    let detector = Detector::new(&["(a|aa)+$".into()]);
    for piece in [
        "sk-",
        "eyJa.",
        "whsec_=",
        "password=",
        "://a:",
        "4 ",
        "-----BEGIN ",
        ":AA",
        "aaaa",
        "pwd",
        "bearer ",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----a-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----a-----END ",
    ] {
        let text = piece.repeat(200_000 / piece.len());
        let begun = Instant::now();
        let _ = Detector::default().mask(&text);
        assert!(begun.elapsed() < Duration::from_secs(5), "{piece}");
    }
    let begun = Instant::now();
    let _ = detector.mask(&"a".repeat(20_000));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test measures time")]
fn long_hostile_answers_take_little_time() {
    // The second one's pattern would read to the end of the line for each of its characters.
    let own = Detector::new(&["[a-z]*!|[a-z]".into()]);
    for (detector, piece) in [
        (&Detector::default(), "a"),
        (&Detector::default(), "a "),
        (&Detector::default(), "4 "),
        (&own, "a"),
        (&own, "a\n"),
    ] {
        let (mut redactor, begun, mut n_shown) = (Redactor::default(), Instant::now(), 0);
        for part in std::iter::once("-----BEGIN PRIVATE KEY-----").chain(std::iter::repeat_n(piece, 20_000)) {
            n_shown += redactor.push(detector, part).len();
        }
        n_shown += redactor.finish(detector).len();
        assert!(n_shown > 0 && begun.elapsed() < Duration::from_secs(10), "{piece:?}");
    }
}

#[test]
fn line_full_of_matches_is_masked_to_its_end() {
    let detector = Detector::new(&["E[0-9]".into()]);
    let text = format!("{}and the rest\nE1 next", "E1 ".repeat(MAX_MATCHES + 1));
    let masked = detector.mask(&text).unwrap();
    assert_eq!(
        masked,
        format!("{}[redacted]\n[redacted] next", "[redacted] ".repeat(MAX_MATCHES))
    );
}

/// Adjacent marks as one: credentials without anything between them may be masked together or apart.
fn once(text: &str) -> String {
    let mut text = text.to_owned();
    while text.contains("[redacted][redacted]") {
        text = text.replace("[redacted][redacted]", MARK);
    }
    text
}

proptest! {
    #[test]
    fn pieces_yield_the_same_as_the_whole_text(
        words in proptest::collection::vec(
            prop_oneof![
                "[a-z ,.\n]{0,12}", Just(JWT.to_owned()), Just("password: hunter22".to_owned()), Just("4111 1111 1111 1111".to_owned()),
                Just("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----".to_owned()), Just("你好".to_owned()),
                Just("sk-a1B2c3D4e5F6g7H8i9J0k1L2".to_owned()), "[0-9 ]{0,24}", Just("EMP-1234".to_owned()),
            ], 0..8),
        cuts in proptest::collection::vec(1_usize..9, 1..40),
        own in any::<bool>(),
    ) {
        let patterns = if own { vec!["EMP-[0-9]+".to_owned()] } else { vec![] };
        let detector = Detector::new(&patterns);
        let text: String = words.concat();
        let whole = detector.mask(&text).unwrap_or_else(|| text.clone());
        let mut redactor = Redactor::default();
        let (mut shown, mut rest, mut cuts) = (String::new(), text.chars().peekable(), cuts.into_iter().cycle());
        while rest.peek().is_some() {
            let piece: String = rest.by_ref().take(cuts.next().unwrap_or(1)).collect();
            shown.push_str(&redactor.push(&detector, &piece));
            prop_assert!(once(&whole).starts_with(&once(&shown)), "{shown:?} of {whole:?}");
        }
        shown.push_str(&redactor.finish(&detector));
        prop_assert_eq!(once(&shown), once(&whole));
    }
}
