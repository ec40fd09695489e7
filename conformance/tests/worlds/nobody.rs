//! An address at which nobody answers.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A port of this machine that is taken and not listened on, so that nobody else comes to listen there either.
pub struct Nobody(TcpSocket);

impl Nobody {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}
