//! Frames: a length and JSON.

use std::io::{Error, ErrorKind, Read, Result};

use super::super::messages::Frame;

/// No message comes near it; a length beyond it is something else than a length (text on standard output).
const MOST: u32 = 256 * 1024 * 1024;

/// The next frame; none at the end.
pub(super) fn read(input: &mut impl Read) -> Result<Option<Frame>> {
    let mut length = [0; 4];
    let mut got = 0;
    while let Some(rest) = length.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(more) => got += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let length = u32::from_le_bytes(length);
    if length > MOST {
        return Err(Error::new(
            ErrorKind::InvalidData,
            "the length of a frame is impossible",
        ));
    }
    let mut body = Vec::new();
    let read = input.take(u64::from(length)).read_to_end(&mut body)?;
    if u64::try_from(read) != Ok(u64::from(length)) {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&body)
        .map(Some)
        // The text of the error could repeat what the frame holds.
        .map_err(|_| Error::new(ErrorKind::InvalidData, "a frame cannot be read"))
}

/// A frame as bytes.
pub(super) fn bytes(frame: &Frame) -> Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, frame)?;
    let length = u32::try_from(bytes.len() - 4)
        .ok()
        .filter(|length| *length <= MOST)
        .ok_or_else(|| Error::new(ErrorKind::InvalidData, "a message is too large"))?;
    if let Some(head) = bytes.get_mut(..4) {
        head.copy_from_slice(&length.to_le_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::messages::CancelFrame;
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let mut wire = Vec::new();
        for id in [1, 2] {
            let frame = Frame {
                cancel: Some(CancelFrame { id }),
                ..Frame::default()
            };
            wire.extend(bytes(&frame).unwrap());
        }
        assert_eq!(wire.get(..4).unwrap(), [19, 0, 0, 0]);
        let mut input = wire.as_slice();
        for id in [1, 2] {
            assert_eq!(read(&mut input).unwrap().unwrap().cancel.unwrap().id, id);
        }
        assert!(read(&mut input).unwrap().is_none());
    }

    #[test]
    fn half_a_frame_and_text_are_errors_and_a_newer_frame_is_empty() {
        assert!(read(&mut [5, 0].as_slice()).is_err());
        assert!(read(&mut [5, 0, 0, 0, b'{'].as_slice()).is_err());
        assert!(read(&mut "Loading the connector ...".as_bytes()).is_err());
        let newer = [&[14, 0, 0, 0][..], br#"{"new":{"a":1}"#, b"}"].concat();
        assert!(read(&mut newer.as_slice()).is_err());
        let newer = [&[15, 0, 0, 0][..], br#"{"new":{"a":1}}"#].concat();
        let frame = read(&mut newer.as_slice()).unwrap().unwrap();
        assert!(frame.call.is_none() && frame.answer.is_none());
    }
}
