//! The job of countersign as a user of Pingora would write it: TLS with HTTP/2, one token, one backend.
//!
//! `side_by_side_pingora LISTEN BACKEND CERTIFICATE KEY TOKEN [ACCESS_LOG]`. Pingora brings `ring`; AWS-LC is faster, so it
//! is chosen before Pingora can. One line for each request goes into the access log, through a buffer of 64 KiB that is
//! written when it is full.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::proxy::http_proxy_service;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::Peer as _;

struct Gateway {
    backend: HttpPeer,
    token: String,
    access: Option<Mutex<BufWriter<File>>>,
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Instant;

    fn new_ctx(&self) -> Instant {
        Instant::now()
    }

    async fn request_filter(&self, session: &mut Session, _: &mut Instant) -> Result<bool> {
        let head = session.req_header();
        let token = head.headers.get("verification-token");
        let (status, text) = if head.uri.path() != "/redox" {
            (404, "not found\n")
        } else if token.is_none_or(|token| token.as_bytes() != self.token.as_bytes()) {
            (401, "not verified\n")
        } else {
            return Ok(false);
        };
        // Not `respond_error`, which closes the connection, as does any answer before the body is read without this.
        session.set_close_on_response_before_downstream_finish(false);
        let mut answer = ResponseHeader::build(status, Some(2))?;
        answer.insert_header("Content-Type", "text/plain")?;
        answer.insert_header("Content-Length", text.len().to_string())?;
        session
            .write_response_header(Box::new(answer), false)
            .await?;
        session.write_response_body(Some(text.into()), true).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Instant) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.backend.clone()))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut Instant,
    ) -> Result<()> {
        request.remove_header("verification-token");
        request.insert_header("X-Forwarded-Proto", "https")?;
        if let Some(peer) = session.client_addr().and_then(|address| address.as_inet()) {
            request.insert_header("X-Forwarded-For", peer.ip().to_string())?;
        }
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "that rule is for the rooms of countersign"
    )]
    async fn logging(&self, session: &mut Session, _: Option<&Error>, start: &mut Instant) {
        let Some(access) = &self.access else { return };
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let peer = session.client_addr().map(ToString::to_string);
        let status = session
            .response_written()
            .map_or(0, |answer| answer.status.as_u16());
        let head = session.req_header();
        let mut access = access.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(
            access,
            r#"{{"time":{:.6},"client":"{}","method":"{}","path":"{}","status":{status},"received_bytes":{},"sent_bytes":{},"duration_s":{:.6},"upstream":"{}"}}"#,
            time.as_secs_f64(),
            peer.unwrap_or_default(),
            head.method,
            head.uri.path(),
            session.body_bytes_read(),
            session.body_bytes_sent(),
            start.elapsed().as_secs_f64(),
            self.backend.address(),
        );
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, backend, certificate, key, token, access @ ..] = arguments.as_slice() else {
        return Err("LISTEN BACKEND CERTIFICATE KEY TOKEN [ACCESS_LOG]".into());
    };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let access = access.first().map(File::create).transpose()?;
    let gateway = Gateway {
        backend: HttpPeer::new(backend.as_str(), false, String::new()),
        token: token.clone(),
        access: access.map(|file| Mutex::new(BufWriter::with_capacity(64 * 1024, file))),
    };
    let settings = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: 20_000,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, settings);
    let mut service = http_proxy_service(&Arc::clone(&server.configuration), gateway);
    let mut tls = TlsSettings::intermediate(certificate, key)?;
    tls.enable_h2();
    service.add_tls_with_settings(listen, None, tls);
    server.bootstrap();
    server.add_service(service);
    server.run_forever()
}
