//! Encrypted XML callbacks as the platforms send them, and the encrypted answers that they accept.
//!
//! An independent implementation of the format: nothing here uses the connectors.

use anyhow::{Context as _, ensure};
use tieline_core::http_types::WebhookRequest;

use crate::wecom::Cipher;
use crate::wecom::cipher::{nonce, now};

/// `text` as character data.
#[must_use]
pub fn cdata(text: &str) -> String {
    format!("<![CDATA[{}]]>", text.replace("]]>", "]]]]><![CDATA[>"))
}

/// A document of elements with character data.
#[must_use]
pub fn document(fields: &[(&str, &str)]) -> String {
    let fields: String = fields
        .iter()
        .map(|(name, text)| format!("<{name}>{}</{name}>", cdata(text)))
        .collect();
    format!("<xml>{fields}</xml>")
}

/// The text of an element of a document, which must be well-formed.
#[must_use]
pub fn field(document: &str, name: &str) -> Option<String> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inner.replace("<![CDATA[", "").replace("]]>", ""))
}

/// The request that delivers an encrypted document. Also returns the nonce.
#[must_use]
pub fn request(cipher: &Cipher, receiver: &str, document: &str) -> (WebhookRequest, String) {
    let (timestamp, nonce) = (now().to_string(), nonce());
    let sealed = cipher.encrypt(document, receiver);
    let signature = cipher.sign(&timestamp, &nonce, &sealed);
    let request = WebhookRequest {
        method: "POST".to_owned(),
        query: format!("msg_signature={signature}&timestamp={timestamp}&nonce={nonce}"),
        headers: vec![("content-type".to_owned(), "text/xml".to_owned())],
        body: document_around(receiver, &sealed).into_bytes(),
    };
    (request, nonce)
}

fn document_around(receiver: &str, sealed: &str) -> String {
    document(&[("ToUserName", receiver), ("Encrypt", sealed)])
}

/// The request by which a console verifies the callback address.
#[must_use]
pub fn check(cipher: &Cipher, receiver: &str, echo: &str) -> WebhookRequest {
    let (timestamp, nonce) = (now().to_string(), nonce());
    let sealed = cipher.encrypt(echo, receiver);
    let signature = cipher.sign(&timestamp, &nonce, &sealed);
    let escaped: String = url::form_urlencoded::byte_serialize(sealed.as_bytes()).collect();
    WebhookRequest {
        method: "GET".to_owned(),
        query: format!("msg_signature={signature}&timestamp={timestamp}&nonce={nonce}&echostr={escaped}"),
        ..WebhookRequest::default()
    }
}

/// Decrypts an answer.
///
/// # Errors
/// If the platform would not accept it.
pub fn open_answer(cipher: &Cipher, receiver: &str, body: &str) -> anyhow::Result<String> {
    let part = |name: &str| field(body, name).with_context(|| format!("the answer has no {name}: {body}"));
    let (sealed, signature, timestamp, nonce) = (
        part("Encrypt")?,
        part("MsgSignature")?,
        part("TimeStamp")?,
        part("Nonce")?,
    );
    ensure!(
        signature == cipher.sign(&timestamp, &nonce, &sealed),
        "the answer's signature is wrong"
    );
    cipher.decrypt(&sealed, receiver)
}
