//! What the other side of an HTTP exchange sends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mote_abi::http::{
    Failure, FrameHead, HEAD_MAX, PAYLOAD_MAX, RequestHead, ResponseHead, decode_fields, encode_fields, frame,
};

fuzz_target!(|data: &[u8]| {
    let Some((head, payload)) = data.split_first_chunk::<8>() else { return };
    if let Ok(head) = FrameHead::from_bytes(*head) {
        assert_eq!(FrameHead::from_bytes(head.to_bytes()), Ok(head));
        assert!(head.len <= if head.kind == frame::BODY { PAYLOAD_MAX } else { HEAD_MAX });
    }
    // What is read is written as it was.
    let mut out = Vec::new();
    if let Ok(request) = RequestHead::decode(payload) {
        assert!(request.encode(&mut out).is_err() || out[8..] == *payload);
    }
    out.clear();
    if let Ok(response) = ResponseHead::decode(payload) {
        assert!(response.encode(&mut out).is_err() || out[8..] == *payload);
    }
    out.clear();
    if let Ok(fields) = decode_fields(payload) {
        assert!(encode_fields(&fields, &mut out).is_err() || out[8..] == *payload);
    }
    out.clear();
    if let Ok(failure) = Failure::decode(payload) {
        failure.encode(&mut out);
        assert!(failure.text.len() > 4096 || out[8..] == *payload);
    }
});
