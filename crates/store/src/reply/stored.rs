//! A reply as an item of the table.

use serde::{Deserialize, Serialize};
use tieline_core::agent::{AskedQuestion, Resume};
use tieline_core::budget::Pace;
use tieline_core::card::Card;
use tieline_core::conversation::Lease;
use tieline_core::ids::{ConversationId, IntegrationId, MessageId, OrganizationId, ReplyId, SenderId};
use tieline_core::notice::Notice;
use tieline_core::redaction::HeldBack;
use tieline_core::reply::{FilesProgress, Progress, ReplyFile, Stage};
use tieline_core::timestamp::Timestamp;

use super::{Outcome, ReplyRecord, Tried, WHAT};
use crate::Store;
use crate::error::StoreError;
use crate::item::Blob;
use crate::sealed_blob::{self, Body, Comparison};

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
pub(super) enum Stored {
    #[serde(rename = "1")]
    V1(StoredV1),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredV1 {
    o: OrganizationId,
    i: IntegrationId,
    c: ConversationId,
    m: MessageId,
    by: SenderId,
    #[serde(with = "tieline_core::timestamp::millis")]
    at: Timestamp,
    st: Stage,
    b: Body,
    /// The progress, sealed. Absent in items of earlier versions, which kept it in the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pg: Option<Blob>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<Notice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    out: Option<Outcome>,
    pace: Pace,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tried: Option<Tried>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    same: Option<ReplyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<Blob>,
    #[serde(
        with = "tieline_core::timestamp::millis::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    fin: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    go: Option<Resume>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    done: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<Lease>,
    f: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    rd: u32,
    n: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference to the field")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// The only attribute read before a long text is replaced.
#[derive(Debug, Deserialize)]
pub(super) struct BodyOnly {
    pub(super) b: Body,
}

/// The only attribute needed by the second process that ends polling.
#[derive(Debug, Deserialize)]
pub(super) struct EndOnly {
    pub(super) end: Blob,
}

/// The sealed body, as JSON. Fields that change least come first: so the pieces of a long text stay the same while it grows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Words<'a> {
    #[serde(rename = "1")]
    V1(WordsV1<'a>),
}

#[derive(Debug, Serialize, Deserialize)]
struct WordsV1<'a> {
    reasoning: std::borrow::Cow<'a, str>,
    text: std::borrow::Cow<'a, str>,
    files: std::borrow::Cow<'a, [ReplyFile]>,
    /// Only in items of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    #[serde(default, skip_serializing_if = "is_unbegun")]
    sent: std::borrow::Cow<'a, FilesProgress>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    card: Option<std::borrow::Cow<'a, Card>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    question: Option<std::borrow::Cow<'a, AskedQuestion>>,
    /// The message of a failed agent.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    failure: std::borrow::Cow<'a, str>,
    /// Text that may be a credential.
    #[serde(default, skip_serializing_if = "HeldBack::is_empty")]
    held: HeldBack,
}

#[expect(clippy::ptr_arg, reason = "serde gives a reference to the field")]
fn is_unbegun(sent: &std::borrow::Cow<'_, FilesProgress>) -> bool {
    **sent == FilesProgress::default()
}

#[expect(clippy::ptr_arg, reason = "serde gives a reference to the field")]
fn str_is_empty(text: &std::borrow::Cow<'_, str>) -> bool {
    text.is_empty()
}

/// The plaintext of a reply's body.
pub(super) fn plain(reply: &ReplyRecord) -> Result<Vec<u8>, StoreError> {
    sealed_blob::json(WHAT, &words(reply), reply.reasoning.len() + reply.text.len())
}

/// Compares the body of an earlier version of a reply with a new plaintext.
pub(super) fn compare<'a>(earlier: &ReplyRecord, plain: &'a [u8]) -> Result<Comparison<'a>, StoreError> {
    Comparison::of(WHAT, &words(earlier), plain)
}

fn words(reply: &ReplyRecord) -> Words<'_> {
    Words::V1(WordsV1 {
        reasoning: reply.reasoning.as_str().into(),
        text: reply.text.as_str().into(),
        files: reply.files.as_slice().into(),
        progress: None,
        sent: std::borrow::Cow::Borrowed(&reply.sent_files),
        card: reply.card.as_ref().map(std::borrow::Cow::Borrowed),
        question: reply.question.as_ref().map(std::borrow::Cow::Borrowed),
        failure: match &reply.outcome {
            Some(Outcome::Failed(failure)) => failure.message.as_str().into(),
            _ => "".into(),
        },
        held: reply.held_back.clone(),
    })
}

/// The outcome without the failure message, which is sealed with the text.
pub(super) fn wordless(outcome: Option<&Outcome>) -> Option<Outcome> {
    let mut outcome = outcome?.clone();
    if let Outcome::Failed(failure) = &mut outcome {
        failure.message.clear();
    }
    Some(outcome)
}

/// Restores the failure message. Earlier versions kept it with the outcome.
fn with_words(outcome: Option<Outcome>, words: &str) -> Option<Outcome> {
    let mut outcome = outcome?;
    if let Outcome::Failed(failure) = &mut outcome
        && failure.message.is_empty()
    {
        words.clone_into(&mut failure.message);
    }
    Some(outcome)
}

/// The progress with which polling ended, sealed. As bytes, because an empty progress is valid too and a table would treat it as absent.
pub(super) fn seal_end(store: &Store, id: &ReplyId, end: &Progress) -> Result<Blob, StoreError> {
    let plain = serde_json::to_vec(end).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    Ok(Blob(store.keyring.seal_bytes(&plain, &about_end(id))))
}

/// Opens the result of [`seal_end`].
pub(super) fn open_end(store: &Store, id: &ReplyId, end: &Blob) -> Result<Progress, StoreError> {
    let plain = store.keyring.open_bytes(&end.0, &about_end(id))?;
    serde_json::from_slice(&plain).map_err(|_| StoreError::Unreadable { what: WHAT })
}

pub(crate) fn about_end(id: &ReplyId) -> String {
    format!("{id} end")
}

/// The progress, sealed. Separate from the body, for it changes more often.
pub(super) fn seal_progress(store: &Store, reply: &ReplyRecord) -> Result<Blob, StoreError> {
    let plain = serde_json::to_vec(&reply.progress).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    Ok(Blob(store.keyring.seal_bytes(&plain, &about_progress(&reply.id))))
}

fn open_progress(store: &Store, id: &ReplyId, sealed: &Blob) -> Result<Progress, StoreError> {
    let plain = store.keyring.open_bytes(&sealed.0, &about_progress(id))?;
    serde_json::from_slice(&plain).map_err(|_| StoreError::Unreadable { what: WHAT })
}

pub(crate) fn about_progress(id: &ReplyId) -> String {
    format!("{id} progress")
}

/// A new reply as its item, without the key.
pub(super) fn close(store: &Store, reply: &ReplyRecord, body: Body) -> Result<Stored, StoreError> {
    let end = reply.closed.as_ref().map(|end| seal_end(store, &reply.id, end));
    let is_blank = reply.progress == Progress::default();
    let progress = (!is_blank).then(|| seal_progress(store, reply)).transpose()?;
    Ok(Stored::V1(StoredV1 {
        o: reply.organization.clone(),
        i: reply.integration.clone(),
        c: reply.conversation.clone(),
        m: reply.message.clone(),
        by: reply.asker.clone(),
        at: reply.received_at,
        st: reply.stage,
        b: body,
        pg: progress,
        note: reply.notice,
        out: wordless(reply.outcome.as_ref()),
        pace: reply.pace.clone(),
        tried: reply.tried.clone(),
        same: reply.same_as.clone(),
        end: end.transpose()?,
        fin: reply.final_at,
        go: reply.resume.clone(),
        done: reply.delivered,
        lease: reply.lease.clone(),
        f: reply.fence,
        rd: reply.redrive,
        n: 1,
    }))
}

/// Reads the reply of an item.
pub(super) async fn open(store: &Store, id: &ReplyId, Stored::V1(stored): Stored) -> Result<ReplyRecord, StoreError> {
    let plain = sealed_blob::get(store, id.as_str(), &stored.b).await?;
    let words = serde_json::from_slice(&plain).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    let Words::V1(words) = words;
    let closed = stored.end.map(|end| open_end(store, id, &end));
    let progress = match &stored.pg {
        Some(sealed) => open_progress(store, id, sealed)?,
        None => words.progress.unwrap_or_default(),
    };
    Ok(ReplyRecord {
        id: id.clone(),
        organization: stored.o,
        integration: stored.i,
        conversation: stored.c,
        message: stored.m,
        asker: stored.by,
        received_at: stored.at,
        stage: stored.st,
        text: words.text.into_owned(),
        reasoning: words.reasoning.into_owned(),
        held_back: words.held,
        files: words.files.into_owned(),
        card: words.card.map(std::borrow::Cow::into_owned),
        question: words.question.map(std::borrow::Cow::into_owned),
        notice: stored.note,
        outcome: with_words(stored.out, &words.failure),
        progress,
        sent_files: words.sent.into_owned(),
        pace: stored.pace,
        tried: stored.tried,
        same_as: stored.same,
        closed: closed.transpose()?,
        final_at: stored.fin,
        resume: stored.go,
        delivered: stored.done,
        lease: stored.lease,
        fence: stored.f,
        redrive: stored.rd,
        version: stored.n,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_in_the_body_of_an_earlier_version_is_read() {
        let words = r#"{"v":"1","reasoning":"","text":"a","files":[],"progress":{"card":"c"}}"#;
        let Words::V1(words) = serde_json::from_str(words).unwrap();
        assert_eq!(words.progress, Some(Progress::write(&serde_json::json!({"card": "c"}))));
    }
}
