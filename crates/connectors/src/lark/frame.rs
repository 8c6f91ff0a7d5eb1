//! Binary frames of the long connection: protobuf, proto2, package `pbbp2`.
//!
//! Fields are `required` where the vendor's schema says so: they are written even if they are zero, because otherwise the platform's
//! decoder refuses the frame. See the official client's
//! [ws/pbbp2.pb.go](https://github.com/larksuite/oapi-sdk-go/blob/v3_main/ws/pbbp2.pb.go).

use prost::Message as _;

/// `method` of a ping or pong.
pub(super) const CONTROL: i32 = 0;
/// `method` of an event and of its acknowledgement.
pub(super) const DATA: i32 = 1;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Header {
    #[prost(string, required, tag = "1")]
    pub key: String,
    #[prost(string, required, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Frame {
    #[prost(uint64, required, tag = "1")]
    pub seq_id: u64,
    #[prost(uint64, required, tag = "2")]
    pub log_id: u64,
    #[prost(int32, required, tag = "3")]
    pub service: i32,
    #[prost(int32, required, tag = "4")]
    pub method: i32,
    #[prost(message, repeated, tag = "5")]
    pub headers: Vec<Header>,
    #[prost(string, optional, tag = "6")]
    pub payload_encoding: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub payload_type: Option<String>,
    #[prost(bytes = "vec", optional, tag = "8")]
    pub payload: Option<Vec<u8>>,
    #[prost(string, optional, tag = "9")]
    pub log_id_new: Option<String>,
}

impl Frame {
    pub(super) fn ping(service: i32) -> Self {
        Self {
            service,
            method: CONTROL,
            headers: vec![header("type", "ping")],
            ..Self::default()
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes).ok()
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    pub(super) fn header(&self, key: &str) -> Option<&str> {
        let header = self.headers.iter().find(|header| header.key == key)?;
        Some(&header.value)
    }

    /// A header with a numeric value.
    pub(super) fn number(&self, key: &str) -> Option<usize> {
        self.header(key)?.parse().ok()
    }

    /// The acknowledgement of this frame: the same frame with all its headers, the processing time, and another payload.
    pub(super) fn answered(mut self, payload: &str, took_ms: u128) -> Self {
        self.headers.push(header("biz_rt", &took_ms.to_string()));
        self.payload = Some(payload.as_bytes().to_vec());
        self
    }
}

fn header(key: &str, value: &str) -> Header {
    Header {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

#[cfg(test)]
mod tests;
