//! `countersign demo`: the main job on one machine, with nothing installed.
//!
//! Three real parts on loopback: a small legacy backend that knows nothing of tokens, the gateway before it with
//! a throw-away certificate and a fresh token, and a sender that plays Redox over TLS and checks the
//! certificate like any client. Each case says what was sent, what came back, and whether the backend saw it.

mod backend;
mod play;
mod sender;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use rustls_pki_types::CertificateDer;

use self::backend::Backend;
use self::sender::Sender;
use super::serve::{Serving, Start, start};
use super::{fail, print, say, token};
use crate::clock;
use crate::config::{self, Environment, Unusable};
use crate::server::Stop;

/// The variable that the demo's configuration names.
const TOKEN_VARIABLE: &str = "REDOX_TOKEN";

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Leave after the play: 0 if every verdict was right, 1 if not
    #[arg(long)]
    once: bool,
}

pub(super) fn demo(arguments: &Demo) -> ExitCode {
    match Stage::set() {
        Ok(stage) => stage.show(arguments.once),
        Err(error) => fail(&format!("the demo cannot start: {error}"), ""),
    }
}

/// Everything the demo consists of.
struct Stage {
    folder: Folder,
    backend: Backend,
    serving: Serving,
    gateway: SocketAddr,
    certificate: CertificateDer<'static>,
    token: String,
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

impl Stage {
    fn set() -> Result<Self> {
        let token = token::fresh().ok_or("no random numbers")?;
        let folder = Folder::make()?;
        let certificate = folder.write_certificate()?;
        let backend = Backend::start()?;
        let file = folder.path.join("gateway.yaml");
        std::fs::write(&file, configuration(backend.address()))?;
        let machine = Machine {
            token: token.clone(),
        };
        let report = config::load(&file, &machine, clock::unix_now());
        let compiled = report
            .compiled
            .ok_or_else(|| report_text(&report.findings))?;
        let serving = start(compiled, Start::default())?;
        let gateway = *serving.addresses().first().ok_or("no listener")?;
        Ok(Self {
            folder,
            backend,
            serving,
            gateway,
            certificate,
            token,
        })
    }

    fn show(self, once: bool) -> ExitCode {
        let sender = match Sender::new(self.gateway, self.certificate.clone()) {
            Ok(sender) => sender,
            Err(error) => return fail(&format!("the demo's sender cannot start: {error}"), ""),
        };
        print(&format!(
            "A legacy backend listens on {}, countersign before it on {}.\n\n",
            self.backend.address(),
            self.gateway
        ));
        let all_right = play::play(&sender, &self.backend, &self.token);
        if once {
            self.strike();
            return if all_right {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
        print(&self.invitation());
        let waited = wait_for_signal();
        self.strike();
        match waited {
            Ok(()) if all_right => ExitCode::SUCCESS,
            Ok(()) => ExitCode::FAILURE,
            Err(error) => fail(&format!("cannot listen for signals: {error}"), ""),
        }
    }

    /// What to try next.
    fn invitation(&self) -> String {
        let (gateway, token) = (self.gateway, &self.token);
        let certificate = self.folder.path.join("certificate.pem");
        let curl = format!(
            "curl --cacert {} --resolve localhost:{port}:127.0.0.1 https://localhost:{port}/redox",
            certificate.display(),
            port = gateway.port()
        );
        let program = std::env::current_exe();
        let program = program.map_or_else(
            |_| "countersign".to_owned(),
            |path| path.display().to_string(),
        );
        let probe = format!(
            "{TOKEN_VARIABLE}={token} {program} probe https://localhost:{port}/redox --token-env {TOKEN_VARIABLE} \
             --ca {} --resolve localhost:{port}:127.0.0.1",
            certificate.display(),
            port = gateway.port()
        );
        let admin = self.serving.admin_address().map(|address| {
            format!(
                "\nMetrics: curl http://{address}/metrics\nHealth:  curl http://{address}/readyz\nStatus:  http://{address}/status\n"
            )
        });
        format!(
            "\nStill running. Try it yourself; this token is good until the demo ends:\n\n\
             # the challenge, as a POST and as a GET\n\
             {curl} -d '{{\"verification-token\":\"{token}\",\"challenge\":\"hello\"}}'\n\
             {curl}'?challenge=hello&verification-token={token}'\n\n\
             # a message, with the token and without\n\
             {curl} -H 'verification-token: {token}' -d '{{\"Meta\":{{\"DataModel\":\"Results\"}}}}'\n\
             {curl} -d '{{\"Meta\":{{\"DataModel\":\"Results\"}}}}'\n\n\
             # all that a sender may do, well and badly, in one table\n\
             {probe}\n{}\n\
             Ctrl-C ends it.\n",
            admin.unwrap_or_default()
        )
    }

    fn strike(self) {
        self.serving.stop(Stop::Now);
        self.serving.join();
    }
}

fn report_text(findings: &[config::Finding]) -> String {
    format!("its own configuration has findings: {findings:?}")
}

fn configuration(backend: SocketAddr) -> String {
    format!(
        "listeners:\n  - name: demo\n    address: 127.0.0.1:0\n    tls: {{ certificate: certificate.pem, key: key.pem }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         log: {{ access: false }}\n\
         routes:\n  - name: redox\n    path: /redox\n    \
         verify: {{ scheme: redox, tokens: [{{ id: demo, env: {TOKEN_VARIABLE} }}] }}\n    \
         upstream: {{ url: \"http://{backend}\" }}\n"
    )
}

/// This machine, with one more variable.
struct Machine {
    token: String,
}

impl Environment for Machine {
    fn variable(&self, name: &str) -> std::result::Result<String, Unusable> {
        if name == TOKEN_VARIABLE {
            Ok(self.token.clone())
        } else {
            Err(Unusable::Unset)
        }
    }

    fn resolve(&self, host: &str) -> Vec<std::net::IpAddr> {
        config::Process.resolve(host)
    }

    fn trust_roots(&self) -> Vec<CertificateDer<'static>> {
        config::Process.trust_roots()
    }

    fn processors(&self) -> usize {
        config::Process.processors()
    }
}

/// A folder of the demo's own, gone when the demo is.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn make() -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let name = token::fresh().ok_or("no random numbers")?;
        let path = std::env::temp_dir().join(format!("countersign-demo-{name}"));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path })
    }

    fn write_certificate(&self) -> Result<CertificateDer<'static>> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let certificate = made.cert.der().clone();
        write_private(&self.path.join("certificate.pem"), &made.cert.pem())?;
        write_private(
            &self.path.join("key.pem"),
            &made.signing_key.serialize_pem(),
        )?;
        Ok(certificate)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover in the temporary folder is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

fn wait_for_signal() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        say("ending the demo");
        Ok(())
    })
}
