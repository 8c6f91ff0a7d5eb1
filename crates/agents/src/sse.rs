//! Incremental parser of server-sent events.
//!
//! A parser of our own, because the usual crate (`eventsource-stream` 0.2) can't be bounded from outside: after one byte of invalid UTF-8
//! it buffers everything that follows, it scans a long line from its start again with every chunk, and it panics at a byte order mark.
//!
//! See [HTML Standard/Server-sent events](https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream).

use bytes::{Buf as _, Bytes};

/// Longest event in bytes, from one blank line to the next, without comments.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// An event that has data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The value of `event:`; empty without one.
    pub name: String,
    /// The `data:` lines, joined by newlines. Invalid UTF-8 is replaced.
    pub data: String,
    /// The latest `id:` of the stream so far.
    pub id: Option<String>,
}

/// An event is longer than [`MAX_EVENT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {MAX_EVENT_BYTES} bytes")]
pub struct TooLong;

/// Parser of events. Buffers at most one unfinished event.
///
/// Lines end with `\n`, `\r\n` or `\r`. An event without data is skipped, as the standard requires.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    after_cr: bool,
    name: String,
    data: Option<Vec<u8>>,
    id: Option<String>,
}

impl Decoder {
    /// Consumes `input` until an event is complete; `None` if all of it is consumed.
    ///
    /// # Errors
    /// [`TooLong`], after which the stream is unusable.
    pub fn take(&mut self, input: &mut Bytes) -> Result<Option<Event>, TooLong> {
        while !input.is_empty() {
            if std::mem::take(&mut self.after_cr) && input[0] == b'\n' {
                input.advance(1);
                continue;
            }
            let Some(end) = input.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.hold(input)?;
                input.clear();
                return Ok(None);
            };
            self.hold(&input[..end])?;
            self.after_cr = input[end] == b'\r';
            input.advance(end + 1);
            if let Some(event) = self.end_line() {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// At the end of the stream, the event that lacks only its blank line, if there is one.
    ///
    /// The standard drops it, but hand-written agents forget that line. An incomplete line is dropped.
    pub fn finish(&mut self) -> Option<Event> {
        self.line.clear();
        self.end_event()
    }

    /// Bytes of the unfinished event.
    pub(crate) fn n_held(&self) -> usize {
        self.line.len() + self.data.as_ref().map_or(0, Vec::len)
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.n_held() + bytes.len() > MAX_EVENT_BYTES {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Option<Event> {
        if self.line.is_empty() {
            return self.end_event();
        }
        let line = std::mem::take(&mut self.line);
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (field, rest) = line.split_at(colon);
        let value = rest.strip_prefix(b":").unwrap_or(rest);
        self.set(field, value.strip_prefix(b" ").unwrap_or(value));
        None
    }

    fn set(&mut self, field: &[u8], value: &[u8]) {
        match field {
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            b"event" => self.name = text(value),
            b"id" if !value.contains(&0) => self.id = Some(text(value)),
            // Comments have an empty field name; `retry` and unknown fields are ignored.
            _ => {}
        }
    }

    fn end_event(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        let data = self.data.take()?;
        Some(Event {
            name,
            data: text(&data),
            id: self.id.clone(),
        })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<Vec<Event>, TooLong> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for piece in pieces {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(event) = decoder.take(&mut input)? {
                events.push(event);
            }
            assert!(input.is_empty());
        }
        events.extend(decoder.finish());
        Ok(events)
    }

    #[track_caller]
    fn check(stream: &str, expected: &[(&str, &str, Option<&str>)]) {
        let events = read(&[stream.as_bytes()]).expect("short enough");
        let seen: Vec<_> = events
            .iter()
            .map(|e| (e.name.as_str(), e.data.as_str(), e.id.as_deref()))
            .collect();
        assert_eq!(seen, expected, "{stream:?}");
    }

    #[test]
    fn every_kind_of_line_end_is_accepted() {
        for end in ["\n", "\r\n", "\r"] {
            check(
                &"data: a|data: b||data: c||".replace('|', end),
                &[("", "a\nb", None), ("", "c", None)],
            );
        }
        check("data: a\r\n\ndata: b\n\r\n", &[("", "a", None), ("", "b", None)]);
    }

    #[test]
    fn comments_and_events_without_data_are_left_out() {
        check(": keep-alive\n\nevent: ping\n\ndata: a\n\n", &[("", "a", None)]);
        check(
            "event: ping\n:x\ndata: a\nretry: 5\nwhat: b\n\n",
            &[("ping", "a", None)],
        );
    }

    #[test]
    fn space_after_the_colon_is_optional_and_only_one_is_removed() {
        check(
            "data:a\n\ndata:  b\n\ndata\n\n",
            &[("", "a", None), ("", " b", None), ("", "", None)],
        );
    }

    #[test]
    fn id_stays_until_the_next_one() {
        check(
            "id: 1\ndata: a\n\ndata: b\n\nid: 2\n\ndata: c\n\nid: 3\0\ndata: d\n\n",
            &[
                ("", "a", Some("1")),
                ("", "b", Some("1")),
                ("", "c", Some("2")),
                ("", "d", Some("2")),
            ],
        );
    }

    #[test]
    fn missing_last_blank_line_is_accepted_but_a_truncated_line_is_not() {
        check("data: a\n", &[("", "a", None)]);
        check("data: a\ndata: b", &[("", "a", None)]);
        check("data: a", &[]);
    }

    #[test]
    fn invalid_utf8_is_replaced_and_the_rest_is_kept() {
        let events = read(&[b"data: a\xff\n\ndata: \xe4\xbd", b"\xa0\n\n"]).expect("short enough");
        assert_eq!(
            events.iter().map(|e| e.data.as_str()).collect::<Vec<_>>(),
            ["a\u{fffd}", "你"]
        );
    }

    #[test]
    fn longest_event_is_accepted_and_one_byte_more_is_not() {
        let longest = format!("data:{}\n\n", "x".repeat(MAX_EVENT_BYTES - "data:".len()));
        assert_eq!(
            read(&[longest.as_bytes(), longest.as_bytes()]).map(|events| events.len()),
            Ok(2)
        );
        assert_eq!(read(&[format!("data:x{}", &longest[5..]).as_bytes()]), Err(TooLong));
        let line = format!("data:{}\n", "x".repeat(1000));
        assert_eq!(read(&[line.repeat(1100).as_bytes()]), Err(TooLong));
        assert_eq!(read(&[":".repeat(MAX_EVENT_BYTES + 1).as_bytes()]), Err(TooLong));
        let comments = format!(":{}\n", "x".repeat(1000)).repeat(1100);
        assert_eq!(read(&[comments.as_bytes()]), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            lines in prop::collection::vec("(data|event|id|:|x|)(:| |: |)[a-zé你😀]{0,4}(\n|\r\n|\r|\n\n|\r\r|\r\n\r\n)", 0..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let stream = lines.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
            let whole = read(&[&stream]);
            prop_assert_eq!(&read(&pieces), &whole);
            prop_assert_eq!(&read(&bytewise), &whole);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = read(&[&bytes]);
        }
    }
}
