//! Encrypted XML callbacks and the responses to them: a signature in the query, `<Encrypt>` in the body.
//!
//! See [WeCom Docs/加解密方案说明](https://developer.work.weixin.qq.com/document/path/90968) and
//! [WeChat Docs/消息加解密](https://developers.weixin.qq.com/doc/oplatform/developers/dev/push/encryption.md).

use subtle::ConstantTimeEq as _;
use tieline_core::connector::{Context, Rejection};
use tieline_core::http_types::{WebhookAnswer, WebhookRequest};
use tieline_core::secret::Secret;

use crate::callback_cipher::{self, CallbackKey, CipherError, Opened};
use crate::xml::{self, cdata};

/// Keys that authenticate and decrypt callbacks.
pub(crate) struct CallbackKeys {
    pub(crate) token: Secret,
    pub(crate) key: CallbackKey,
    /// Receiver that callbacks are encrypted for: the company or the account.
    pub(crate) receiver: String,
}

/// Query parameters covered by the signature, besides the token.
pub(crate) struct SignedQuery {
    pub(crate) timestamp: String,
    pub(crate) nonce: String,
}

impl SignedQuery {
    /// Reads the parameters. Nothing is authenticated yet.
    pub(crate) fn read(request: &WebhookRequest) -> Result<Self, Rejection> {
        Ok(Self {
            timestamp: required(request, "timestamp")?,
            nonce: required(request, "nonce")?,
        })
    }

    /// When the request was signed, in seconds.
    pub(crate) fn signed_at(&self) -> Result<i64, Rejection> {
        let digits = self.timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = self.timestamp.parse().ok().filter(|_| digits);
        seconds.ok_or(Rejection::Malformed("`timestamp` is not a number of seconds"))
    }
}

/// A required query parameter.
pub(crate) fn required(request: &WebhookRequest, name: &'static str) -> Result<String, Rejection> {
    request.query_value(name).ok_or(Rejection::Missing(name))
}

/// Whether `claimed` is the signature of these values. Compares in constant time.
pub(crate) fn is_signature<const N: usize>(values: [&str; N], claimed: &str) -> bool {
    let signature = callback_cipher::signature(values.map(str::as_bytes));
    bool::from(signature.as_slice().ct_eq(claimed.as_bytes()))
}

/// The encrypted part of a body.
pub(crate) fn sealed_part(body: &[u8]) -> Result<String, Rejection> {
    let fields = xml::read(body).map_err(|_| Rejection::Malformed("the body is not XML with `Encrypt`"))?;
    let sealed = fields.some("Encrypt").ok_or(Rejection::Missing("Encrypt"))?;
    Ok(sealed.to_owned())
}

impl CallbackKeys {
    /// Verifies `msg_signature` over the encrypted content, then decrypts it.
    pub(crate) fn open(
        &self,
        sealed: &str,
        query: &SignedQuery,
        request: &WebhookRequest,
    ) -> Result<Opened, Rejection> {
        let claimed = required(request, "msg_signature")?;
        if !is_signature([self.token.expose(), &query.timestamp, &query.nonce, sealed], &claimed) {
            return Err(Rejection::BadSignature);
        }
        self.key.open(sealed, &self.receiver).map_err(|error| match error {
            CipherError::Receiver => Rejection::WrongReceiver,
            other => Rejection::BadCipher(other.reason()),
        })
    }

    /// Encrypts a response.
    pub(crate) fn seal(&self, message: &str, nonce: &str, cx: &Context<'_>) -> WebhookAnswer {
        let mut random = [0; 16];
        random.copy_from_slice(&cx.random[..16]);
        let encrypt = self.key.seal(random, message.as_bytes(), &self.receiver);
        let time = cx.now.as_secs().to_string();
        let values = [self.token.expose(), &time, nonce, &encrypt].map(str::as_bytes);
        let signature = callback_cipher::signature(values);
        let signature = std::str::from_utf8(&signature).expect("hex digits are ASCII");
        answer(&format!(
            "<xml><Encrypt>{}</Encrypt><MsgSignature>{}</MsgSignature><TimeStamp>{time}</TimeStamp><Nonce>{}</Nonce></xml>",
            cdata(&encrypt),
            cdata(signature),
            cdata(nonce),
        ))
    }
}

/// A response with status 200 and XML.
pub(crate) fn answer(xml: &str) -> WebhookAnswer {
    WebhookAnswer {
        status: 200,
        content_type: Some("application/xml; charset=utf-8"),
        body: xml.as_bytes().to_vec(),
    }
}

/// A message as the response to a callback. `content` is the element that the type requires.
///
/// See [WeCom Docs/被动回复消息格式](https://developer.work.weixin.qq.com/document/path/90241).
pub(crate) fn passive(to: &str, from: &str, kind: &str, content: &str, cx: &Context<'_>) -> String {
    format!(
        "<xml><ToUserName>{}</ToUserName><FromUserName>{}</FromUserName><CreateTime>{}</CreateTime><MsgType>{}</MsgType>{content}</xml>",
        cdata(to),
        cdata(from),
        cx.now.as_secs(),
        cdata(kind),
    )
}
