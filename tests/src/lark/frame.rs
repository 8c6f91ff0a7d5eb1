//! Frames of the long connection: `pbbp2.Frame`, proto2, with every required field written and required.

use anyhow::{Context as _, bail, ensure};

/// Heartbeats.
pub(super) const CONTROL: i32 = 0;
/// Events.
pub(super) const DATA: i32 = 1;

/// One frame. Absent and empty optional texts differ on the wire, but have the same meaning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// `SeqID`.
    pub(super) seq_id: u64,
    /// `LogID`.
    pub(super) log_id: u64,
    /// `service`.
    pub(super) service: i32,
    /// [`CONTROL`] or [`DATA`].
    pub(super) method: i32,
    /// Keys and values, in order.
    pub(super) headers: Vec<(String, String)>,
    /// `payload`.
    pub(super) payload: Option<Vec<u8>>,
    /// `LogIDNew`.
    pub(super) log_id_new: Option<String>,
}

impl Frame {
    /// The value of a header.
    #[must_use]
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Encodes it, with fields in the order of their numbers.
    #[must_use]
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        number(&mut out, 1, self.seq_id);
        number(&mut out, 2, self.log_id);
        number(&mut out, 3, i64::from(self.service).cast_unsigned());
        number(&mut out, 4, i64::from(self.method).cast_unsigned());
        for (key, value) in &self.headers {
            let mut header = Vec::new();
            bytes(&mut header, 1, key.as_bytes());
            bytes(&mut header, 2, value.as_bytes());
            bytes(&mut out, 5, &header);
        }
        if let Some(payload) = &self.payload {
            bytes(&mut out, 8, payload);
        }
        if let Some(id) = &self.log_id_new {
            bytes(&mut out, 9, id.as_bytes());
        }
        out
    }

    /// Decodes one as the vendor's own decoder does: a missing required field is an error.
    ///
    /// # Errors
    /// If it is not a frame.
    pub(super) fn decode(mut input: &[u8]) -> anyhow::Result<Self> {
        let mut frame = Self::default();
        let mut seen = [false; 5];
        while !input.is_empty() {
            let (field, value) = field(&mut input)?;
            if let Some(seen) = usize::try_from(field).ok().and_then(|field| seen.get_mut(field)) {
                *seen = true;
            }
            match (field, value) {
                (1, Value::Number(it)) => frame.seq_id = it,
                (2, Value::Number(it)) => frame.log_id = it,
                (3, Value::Number(it)) => frame.service = truncated(it),
                (4, Value::Number(it)) => frame.method = truncated(it),
                (5, Value::Bytes(it)) => frame.headers.push(header(it)?),
                (8, Value::Bytes(it)) => frame.payload = Some(it.to_vec()),
                (9, Value::Bytes(it)) => frame.log_id_new = Some(text(it)?),
                (1..=9, value) if !matches!((field, &value), (6 | 7, Value::Bytes(_))) => {
                    bail!("field {field} has a wrong type")
                }
                _ => {}
            }
        }
        ensure!(seen[1..].iter().all(|it| *it), "a required field is missing: {seen:?}");
        Ok(frame)
    }
}

/// An int32 is encoded in up to ten bytes.
const fn truncated(number: u64) -> i32 {
    number as i32
}

fn header(mut input: &[u8]) -> anyhow::Result<(String, String)> {
    let (mut key, mut value) = (None, None);
    while !input.is_empty() {
        match field(&mut input)? {
            (1, Value::Bytes(it)) => key = Some(text(it)?),
            (2, Value::Bytes(it)) => value = Some(text(it)?),
            _ => bail!("unknown field of a header"),
        }
    }
    Ok((
        key.context("a header without key")?,
        value.context("a header without value")?,
    ))
}

fn text(bytes: &[u8]) -> anyhow::Result<String> {
    Ok(std::str::from_utf8(bytes)?.to_owned())
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn field<'a>(input: &mut &'a [u8]) -> anyhow::Result<(u64, Value<'a>)> {
    let tag = varint(input)?;
    let value = match tag & 7 {
        0 => Value::Number(varint(input)?),
        2 => {
            let length = usize::try_from(varint(input)?)?;
            ensure!(length <= input.len(), "a field is cut off");
            let (bytes, rest) = input.split_at(length);
            *input = rest;
            Value::Bytes(bytes)
        }
        other => bail!("unsupported wire type {other}"),
    };
    Ok((tag >> 3, value))
}

fn varint(input: &mut &[u8]) -> anyhow::Result<u64> {
    let mut number = 0_u64;
    for shift in (0..70).step_by(7) {
        let (first, rest) = input.split_first().context("a number is cut off")?;
        *input = rest;
        if shift < 64 {
            number |= u64::from(first & 0x7f) << shift;
        }
        if first & 0x80 == 0 {
            return Ok(number);
        }
    }
    bail!("a number of more than ten bytes")
}

fn number(out: &mut Vec<u8>, field: u8, number: u64) {
    out.push(field << 3);
    write_varint(out, number);
}

fn bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push((field << 3) | 2);
    write_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
