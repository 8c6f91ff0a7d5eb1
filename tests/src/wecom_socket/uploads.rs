//! Media that a client uploads in chunks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::book::Book;
use super::refusal::{Refusal, refusal, shape};

/// Limit of a chunk before it is encoded.
const MAX_CHUNK_BYTES: usize = 524_288;
/// Limit of a file's chunks.
const MAX_CHUNKS: u64 = 100;

/// An upload in progress.
pub(super) struct Upload {
    kind: String,
    size: u64,
    chunks: Vec<Option<Vec<u8>>>,
}

/// Begins an upload.
pub(super) fn init(body: &Value, bot: &str, book: &mut Book) -> Result<Value, Refusal> {
    let kind = body["type"].as_str().unwrap_or_default();
    if !["file", "image", "voice", "video"].contains(&kind) {
        return Err(shape("missing field type"));
    }
    let name = body["filename"].as_str().unwrap_or_default();
    let (size, n_chunks) = (body["total_size"].as_u64(), body["total_chunks"].as_u64());
    let (Some(size), Some(n_chunks), false) = (size, n_chunks, name.is_empty() || name.len() > 256) else {
        return Err(shape("missing field filename, total_size or total_chunks"));
    };
    let most = match kind {
        "image" | "video" => 10 << 20,
        "voice" => 2 << 20,
        _ => 20 << 20,
    };
    if !(5..=most).contains(&size) || !(1..=MAX_CHUNKS).contains(&n_chunks) {
        return Err(refusal(40006, format!("a {kind} of {size} bytes in {n_chunks} chunks")));
    }
    let id = book.fresh("upload");
    let upload = Upload {
        kind: kind.to_owned(),
        size,
        chunks: (0..n_chunks).map(|_| None).collect(),
    };
    book.bot(bot).uploads.insert(id.clone(), upload);
    Ok(json!({ "upload_id": id }))
}

/// Accepts a chunk. The first one has the number 0.
pub(super) fn chunk(body: &Value, bot: &str, book: &mut Book) -> Result<(), Refusal> {
    let id = body["upload_id"].as_str().unwrap_or_default();
    let upload = book.bot(bot).uploads.get_mut(id);
    let upload = upload.ok_or_else(|| refusal(846_611, "upload_id bad"))?;
    let index = body["chunk_index"].as_u64().and_then(|it| usize::try_from(it).ok());
    let slot = index.and_then(|index| upload.chunks.get_mut(index));
    let slot = slot.ok_or_else(|| refusal(846_612, "chunk index out of range"))?;
    let data = STANDARD.decode(body["base64_data"].as_str().unwrap_or_default());
    let data = data.map_err(|_| shape("base64_data"))?;
    if data.len() > MAX_CHUNK_BYTES {
        return Err(refusal(846_613, "chunk too large"));
    }
    *slot = Some(data);
    Ok(())
}

/// Ends an upload.
pub(super) fn finish(body: &Value, bot: &str, book: &mut Book) -> Result<Value, Refusal> {
    let id = body["upload_id"].as_str().unwrap_or_default();
    let upload = book.bot(bot).uploads.remove(id);
    let upload = upload.ok_or_else(|| refusal(846_611, "upload_id bad"))?;
    let all: Option<Vec<Vec<u8>>> = upload.chunks.into_iter().collect();
    let bytes = all.map(|all| all.concat()).unwrap_or_default();
    if bytes.len() as u64 != upload.size {
        return Err(refusal(846_616, "upload incomplete"));
    }
    let media = book.fresh("media");
    book.bot(bot).media.insert(media.clone());
    Ok(json!({ "type": upload.kind, "media_id": media, "created_at": 1_790_959_832 }))
}
