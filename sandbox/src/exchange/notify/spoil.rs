//! Streams that misbehave on purpose.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::stream::error;
use crate::exchange::fault::EwsFault;
use crate::exchange::profile::Profile;
use crate::exchange::soap::envelope;

type Pieces = BoxStream<'static, io::Result<Bytes>>;

/// Changes a stream as the fault says; other faults leave it alone.
pub(crate) fn spoil(pieces: Pieces, fault: &EwsFault) -> Pieces {
    match fault {
        EwsFault::HalfOpen(bytes) => half_open(pieces, *bytes),
        EwsFault::Pieces(bytes) => {
            let size = *bytes;
            pieces
                .flat_map(move |piece| {
                    let cut: Vec<io::Result<Bytes>> = match piece {
                        Ok(piece) => piece
                            .chunks(size)
                            .map(|part| Ok(Bytes::copy_from_slice(part)))
                            .collect(),
                        Err(error) => vec![Err(error)],
                    };
                    stream::iter(cut)
                })
                .boxed()
        }
        EwsFault::Gather(time) => gather(pieces, *time),
        EwsFault::Bom => pieces
            .map(|piece| piece.map(|piece| [b"\xef\xbb\xbf".as_slice(), &piece].concat().into()))
            .boxed(),
        EwsFault::StreamError(code) => {
            let last = envelope(Profile::default(), &error(code, &[]));
            pieces
                .take(1)
                .chain(stream::iter([Ok(last.into())]))
                .boxed()
        }
        _ => pieces,
    }
}

fn half_open(pieces: Pieces, bytes: usize) -> Pieces {
    stream::unfold((pieces, bytes), |(mut pieces, left)| async move {
        if left == 0 {
            // Nobody is told of the end; the place among the open streams stays taken, as on a real server.
            return std::future::pending().await;
        }
        let piece = pieces.next().await?;
        match piece {
            Ok(piece) => {
                let cut = piece.slice(..piece.len().min(left));
                let left = left - cut.len();
                Some((Ok(cut), (pieces, left)))
            }
            Err(error) => Some((Err(error), (pieces, 0))),
        }
    })
    .boxed()
}

fn gather(pieces: Pieces, time: Duration) -> Pieces {
    stream::unfold((pieces, false), move |(mut pieces, ended)| async move {
        if ended {
            return None;
        }
        let mut all = BytesMut::from(pieces.next().await?.ok()?.as_ref());
        let until = tokio::time::Instant::now() + time;
        loop {
            match tokio::time::timeout_at(until, pieces.next()).await {
                Ok(Some(Ok(piece))) => all.extend_from_slice(&piece),
                Ok(Some(Err(_)) | None) => return Some((Ok(all.freeze()), (pieces, true))),
                Err(_) => return Some((Ok(all.freeze()), (pieces, false))),
            }
        }
    })
    .boxed()
}
