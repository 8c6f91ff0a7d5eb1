//! A reply as it is kept.

use serde::{Deserialize, Serialize};
use tieline_core::agent::Resume;
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
use crate::sealed_blob::{self, Body};

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
    /// The progress, sealed. Absent in what earlier versions wrote: they kept it with the words.
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

/// The only attribute that is read before a long text is replaced.
#[derive(Debug, Deserialize)]
pub(super) struct BodyOnly {
    pub(super) b: Body,
}

/// The only attribute that matters to the second process that ends polling.
#[derive(Debug, Deserialize)]
pub(super) struct EndOnly {
    pub(super) end: Blob,
}

/// What is sealed, as JSON. What changes least comes first: the pieces of a long text stay as they are while it grows.
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
    /// Only in what earlier versions wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    #[serde(default, skip_serializing_if = "is_unbegun")]
    sent: std::borrow::Cow<'a, FilesProgress>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    card: Option<std::borrow::Cow<'a, Card>>,
    /// What a failed agent said.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    failure: std::borrow::Cow<'a, str>,
    /// What may be a credential.
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

/// What of a reply is sealed.
pub(super) fn plain(reply: &ReplyRecord) -> Result<Vec<u8>, StoreError> {
    let words = Words::V1(WordsV1 {
        reasoning: reply.reasoning.as_str().into(),
        text: reply.text.as_str().into(),
        files: reply.files.as_slice().into(),
        progress: None,
        sent: std::borrow::Cow::Borrowed(&reply.sent_files),
        card: reply.card.as_ref().map(std::borrow::Cow::Borrowed),
        failure: match &reply.outcome {
            Some(Outcome::Failed(failure)) => failure.message.as_str().into(),
            _ => "".into(),
        },
        held: reply.held_back.clone(),
    });
    sealed_blob::json(WHAT, &words, reply.reasoning.len() + reply.text.len())
}

/// What an agent came to, without its words: those are sealed with the text.
pub(super) fn wordless(outcome: Option<&Outcome>) -> Option<Outcome> {
    let mut outcome = outcome?.clone();
    if let Outcome::Failed(failure) = &mut outcome {
        failure.message.clear();
    }
    Some(outcome)
}

/// Puts its words back. Earlier versions kept them with it.
fn with_words(outcome: Option<Outcome>, words: &str) -> Option<Outcome> {
    let mut outcome = outcome?;
    if let Outcome::Failed(failure) = &mut outcome
        && failure.message.is_empty()
    {
        words.clone_into(&mut failure.message);
    }
    Some(outcome)
}

/// What the fetching ended with, sealed. As bytes, because "nothing" is a progress too and a table would take it for absent.
pub(super) fn seal_end(store: &Store, id: &ReplyId, end: &Progress) -> Result<Blob, StoreError> {
    let plain = serde_json::to_vec(end).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    Ok(Blob(store.keyring.seal_bytes(&plain, &about_end(id))))
}

/// Opens what [`seal_end`] made.
pub(super) fn open_end(store: &Store, id: &ReplyId, end: &Blob) -> Result<Progress, StoreError> {
    let plain = store.keyring.open_bytes(&end.0, &about_end(id))?;
    serde_json::from_slice(&plain).map_err(|_| StoreError::Unreadable { what: WHAT })
}

pub(crate) fn about_end(id: &ReplyId) -> String {
    format!("{id} end")
}

/// The progress, sealed. Apart from the words, for it changes more often.
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

/// The reply of an item.
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
    fn progress_that_an_earlier_version_kept_with_the_words_is_read() {
        let words = r#"{"v":"1","reasoning":"","text":"a","files":[],"progress":{"card":"c"}}"#;
        let Words::V1(words) = serde_json::from_str(words).unwrap();
        assert_eq!(words.progress, Some(Progress::write(&serde_json::json!({"card": "c"}))));
    }
}
