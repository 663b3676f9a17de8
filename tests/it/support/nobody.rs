//! An address where nobody listens.
//!
//! Not one that was taken and given back: the next test that asks for any port may be given that one, and then somebody
//! listens there after all.

use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// Refuses connections, and keeps everybody else from the address, for as long as it is held.
pub(crate) struct Nobody {
    /// Bound and not listening: the kernel resets who comes, and gives the port to nobody else.
    socket: Socket,
}

impl Nobody {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        Self { socket }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap().as_socket().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// From now on somebody listens.
    pub(super) fn listen(self) -> TcpListener {
        self.socket.listen(128).unwrap();
        self.socket.into()
    }
}
