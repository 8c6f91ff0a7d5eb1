use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::fixture::{list, text, vectors};
use super::*;

fn bytes(vector: &Value) -> Vec<u8> {
    hex::decode(text(vector, "hex")).unwrap()
}

fn shown(frame: &Frame) -> Value {
    let headers: Vec<_> = frame
        .headers
        .iter()
        .map(|header| json!([header.key, header.value]))
        .collect();
    json!({
        "SeqID": frame.seq_id,
        "LogID": frame.log_id,
        "service": frame.service,
        "method": frame.method,
        "headers": headers,
        "payload_encoding": frame.payload_encoding,
        "payload_type": frame.payload_type,
        "LogIDNew": frame.log_id_new,
    })
}

#[test]
fn frames_round_trip_to_the_same_bytes() {
    for vector in list(&vectors(), "frames", 16) {
        let name = text(vector, "name");
        let frame = Frame::read(&bytes(vector)).unwrap();
        let actual = shown(&frame);
        for (field, expected) in vector["decoded"].as_object().unwrap() {
            let actual = match field.as_str() {
                "payload_utf8" => json!(
                    frame
                        .payload
                        .clone()
                        .and_then(|payload| String::from_utf8(payload).ok())
                ),
                "payload_hex" => json!(frame.payload.as_deref().map(hex::encode)),
                field => actual[field].clone(),
            };
            assert_eq!(&actual, expected, "{name}: {field}");
        }
        assert_eq!(hex::encode(frame.bytes()), text(vector, "hex"), "{name}");
    }
}

#[test]
fn malformed_frames_are_refused() {
    for vector in list(&vectors(), "frames_invalid", 5) {
        let lenient = vector["decoder_that_ignores_required_may_accept"].as_bool().unwrap();
        let read = Frame::read(&bytes(vector));
        assert!(lenient || read.is_none(), "{}: {read:?}", text(vector, "name"));
    }
}

#[test]
fn ping_is_encoded_with_zero_fields() {
    let ping = "0800100018f681801020002a0c0a0474797065120470696e67";
    assert_eq!(hex::encode(Frame::ping(33_554_678).bytes()), ping);
}

#[test]
fn acknowledgements_match_the_vectors() {
    let vectors = vectors();
    let frames = list(&vectors, "frames", 16);
    let mut n_acks = 0;
    for ack in frames.iter().filter(|frame| !frame["answers"].is_null()) {
        let asked = frames.iter().find(|frame| frame["name"] == ack["answers"]).unwrap();
        let expected = Frame::read(&bytes(ack)).unwrap();
        let took = expected.number("biz_rt").unwrap();
        let payload = String::from_utf8(expected.payload.unwrap()).unwrap();
        let answered = Frame::read(&bytes(asked)).unwrap().answered(&payload, took as u128);
        assert_eq!(hex::encode(answered.bytes()), text(ack, "hex"), "{}", text(ack, "name"));
        n_acks += 1;
    }
    assert_eq!(n_acks, 6);
}

proptest! {
    #[test]
    fn decoded_frames_encode_to_an_equal_frame(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(frame) = Frame::read(&bytes) {
            prop_assert_eq!(Frame::read(&frame.bytes()), Some(frame));
        }
    }
}
