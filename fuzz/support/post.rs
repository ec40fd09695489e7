//! A request over a real socket, on one connection for as long as it lives.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

pub struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
        }
    }

    /// Sends a body and reads the answer; `head` holds further header lines, each with its line break.
    pub fn post(&mut self, path: &str, head: &str, body: &[u8]) -> Vec<u8> {
        let mut stream = self.stream.take().unwrap_or_else(|| {
            let stream = TcpStream::connect(self.address).expect("the server listens");
            stream.set_nodelay(true).expect("no delay");
            stream
        });
        let length = body.len();
        let mut request =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\n{head}content-length: {length}\r\n\r\n")
                .into_bytes();
        request.extend_from_slice(body);
        stream.write_all(&request).expect("sent");
        let (mut answer, mut buffer) = (Vec::new(), [0; 65_536]);
        loop {
            let read = match stream.read(&mut buffer) {
                Ok(read) => read,
                // The fuzzer's own alarm clock.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => panic!("no answer: {error}"),
            };
            // The sandbox has no faults switched on, so it must answer whole.
            assert!(read > 0, "the server hung up");
            answer.extend_from_slice(&buffer[..read]);
            if let Some(body) = whole(&answer) {
                self.stream = Some(stream);
                return body;
            }
        }
    }
}

fn whole(answer: &[u8]) -> Option<Vec<u8>> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |length| length.trim().parse().expect("a length"));
    answer.get(end..end + length).map(<[u8]>::to_vec)
}
