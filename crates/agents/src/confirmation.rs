//! Confirmations: whether a person's answer approves what an agent wants to do.

/// Words that confirm; any other answer doesn't.
const CONFIRMATIONS: &[&str] = &[
    "confirm", "yes", "y", "ok", "okay", "approve", "确认", "同意", "是", "好", "好的", "可以",
];

/// Whether an answer is nothing but a word that confirms.
pub(crate) fn is_confirmed(answer: &str) -> bool {
    let answer = answer.trim().trim_end_matches(['.', '!', '。', '！']).to_lowercase();
    CONFIRMATIONS.contains(&answer.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_explicit_confirmations_confirm() {
        for (answer, expected) in [
            ("Yes.", true),
            (" 确认！", true),
            ("no", false),
            ("yes but not today", false),
            ("", false),
        ] {
            assert_eq!(is_confirmed(answer), expected, "{answer}");
        }
    }
}
