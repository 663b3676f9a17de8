//! Whole exchanges, from accepting a connection to the access line, by the real program with one worker.
//!
//! One request at a time, and the next after the last has ended: what the gateway does then hardly depends on how fast
//! anything is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::HandshakeKind;

use crate::callgrind;
use crate::stage::{
    Alpn, Backend, Gateway, HOME, Result, Site, TOKEN, Target, exchange, post, route,
};

/// Short enough to be looked at as a challenge, like most messages of Redox.
const BODY: usize = 2048;
/// For each step of a run. Two seconds of processor time for a start and ten for the requests are some minutes where
/// others have the processor; what is counted is the same however long it takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// One kind of exchange.
pub(crate) struct Exchange {
    pub(crate) name: &'static str,
    connection: Connection,
    token: &'static str,
    status: u16,
}

#[derive(Clone, Copy, PartialEq)]
enum Connection {
    /// One for all requests.
    Kept(Alpn),
    /// One for each request, TLS 1.3 and HTTP/1.1.
    Anew(HandshakeKind),
}

const WRONG: &str = "CANARY-wrong-0123456789abcdef";

pub(crate) const EXCHANGES: [Exchange; 6] = [
    Exchange {
        name: "HTTP/1.1 POST of 2 KiB",
        connection: Connection::Kept(Alpn::Http1),
        token: TOKEN,
        status: 200,
    },
    Exchange {
        name: "HTTP/1.1 POST of 2 KiB, wrong token",
        connection: Connection::Kept(Alpn::Http1),
        token: WRONG,
        status: 401,
    },
    Exchange {
        name: "HTTP/2 POST of 2 KiB",
        connection: Connection::Kept(Alpn::Http2),
        token: TOKEN,
        status: 200,
    },
    Exchange {
        name: "HTTP/2 POST of 2 KiB, wrong token",
        connection: Connection::Kept(Alpn::Http2),
        token: WRONG,
        status: 401,
    },
    Exchange {
        name: "new connection and POST of 2 KiB",
        connection: Connection::Anew(HandshakeKind::Full),
        token: TOKEN,
        status: 200,
    },
    Exchange {
        name: "resumed connection and POST of 2 KiB",
        connection: Connection::Anew(HandshakeKind::Resumed),
        token: TOKEN,
        status: 200,
    },
];

/// What all of them have in common.
pub(crate) struct Scene {
    program: PathBuf,
    folder: PathBuf,
    site: Site,
}

impl Scene {
    /// With callgrind's files in `folder`.
    pub(crate) fn new(program: &Path, folder: &Path) -> Result<Self> {
        let (site, backend) = (Site::new()?, Backend::start(20)?);
        site.configure(
            "127.0.0.1:0",
            "workers: 1\nfailed_verifications: off",
            &route("play", backend.address, ""),
        )?;
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            site,
        })
    }
}

impl Exchange {
    /// Instructions for one of them.
    pub(crate) fn count(&self, scene: &Scene, quick: bool) -> Result<u64> {
        let (few, many) = match (self.connection, quick) {
            (Connection::Kept(_), false) => (200, 1200),
            (Connection::Kept(_), true) => (100, 400),
            (Connection::Anew(_), false) => (20, 120),
            (Connection::Anew(_), true) => (10, 50),
        };
        let (start, end) = (self.run(scene, few)?, self.run(scene, many)?);
        Ok(end.saturating_sub(start) / (many - few))
    }

    /// Instructions of a gateway's whole life with this many requests.
    fn run(&self, scene: &Scene, requests: u64) -> Result<u64> {
        let out = callgrind::file(&scene.folder, self.name, requests);
        let mut command = callgrind::command(&out);
        command.arg(&scene.program);
        let mut gateway = Gateway::start_as(command, &scene.site, PATIENCE)?;
        let resume = self.connection == Connection::Anew(HandshakeKind::Resumed);
        let target = Target::new(&scene.site, &gateway)?.resuming(resume);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let sent = self.send(&target, requests);
            tokio::time::timeout(PATIENCE, sent).await?
        })?;
        // Ends the client's connections, so that there is nothing to wait for.
        drop(runtime);
        if !gateway.stop(PATIENCE)?.success() {
            return Err("the gateway did not end well".into());
        }
        callgrind::instructions(&out)
    }

    async fn send(&self, target: &Target, requests: u64) -> Result<()> {
        match self.connection {
            Connection::Kept(Alpn::Http1) => {
                let mut sender = target.http1(HOME).await?;
                for _ in 0..requests {
                    sender.ready().await?;
                    self.judge(sender.send_request(self.message(Alpn::Http1)).await?)
                        .await?;
                }
            }
            Connection::Kept(Alpn::Http2) => {
                let mut sender = target.http2(HOME).await?;
                for _ in 0..requests {
                    sender.ready().await?;
                    self.judge(sender.send_request(self.message(Alpn::Http2)).await?)
                        .await?;
                }
            }
            Connection::Anew(kind) => {
                for number in 0..requests {
                    // There is nothing to resume at first.
                    let expected = if number == 0 {
                        HandshakeKind::Full
                    } else {
                        kind
                    };
                    self.once(target, expected).await?;
                }
            }
        }
        Ok(())
    }

    async fn once(&self, target: &Target, expected: HandshakeKind) -> Result<()> {
        let stream = target.tls(HOME, Alpn::Http1).await?;
        let kind = stream.get_ref().1.handshake_kind();
        if kind != Some(expected) {
            return Err(format!("{kind:?} instead of {expected:?}").into());
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(self.message(Alpn::Http1)).await?;
        self.judge(response).await?;
        drop(sender);
        Ok(connection.await??)
    }

    fn message(&self, alpn: Alpn) -> Request<Full<bytes::Bytes>> {
        post(alpn, "/play", self.token, body().into())
    }

    async fn judge(&self, response: http::Response<hyper::body::Incoming>) -> Result<()> {
        let (status, _) = exchange(response).await?;
        if status == self.status {
            Ok(())
        } else {
            Err(format!("{}: answered with {status}", self.name).into())
        }
    }
}

/// A message of 2 KiB that is none.
pub(crate) fn body() -> Vec<u8> {
    let mut body = b"{\"Meta\":{\"DataModel\":\"Results\"},\"CANARY\":\"".to_vec();
    body.resize(BODY - 2, b'.');
    body.extend_from_slice(b"\"}");
    body
}
