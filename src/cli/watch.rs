//! Watching files by their content.
//!
//! Polled and compared, because notices of the kernel miss what matters most here: Kubernetes swaps a link somewhere
//! above the file, and network file systems tell nothing. A change counts once the content has stood still from one
//! look to the next, so that a certificate and its key, written one after the other, arrive together.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

/// Time between two looks. Kubernetes takes a minute to bring a change to the file, so this adds nothing that counts.
const POLL: Duration = Duration::from_secs(2);
/// No file that a configuration names is larger; what follows is not looked at.
const FILE_CAP: u64 = 1024 * 1024;

/// What was in each file; nothing where it could not be read.
pub(super) type Contents = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// Looks into files.
pub(super) fn contents(files: impl IntoIterator<Item = PathBuf>) -> Contents {
    let look = |file: PathBuf| {
        let content = digest(&file);
        (file, content)
    };
    files.into_iter().map(look).collect()
}

fn digest(file: &PathBuf) -> Option<[u8; 32]> {
    let mut bytes = Vec::new();
    let file = File::open(file).ok()?;
    file.take(FILE_CAP).read_to_end(&mut bytes).ok()?;
    Some(Sha256::digest(&bytes).into())
}

/// The watch on the files of the configuration in force; ends when dropped.
pub(super) struct Watch {
    tried: Arc<Mutex<Contents>>,
    changes: mpsc::Receiver<()>,
}

impl Watch {
    /// Watches from now on. `tried` is what was there when the files were last read.
    ///
    /// # Errors
    /// When no thread can be had.
    pub(super) fn start(tried: Contents) -> std::io::Result<Self> {
        let tried = Arc::new(Mutex::new(tried));
        let (sender, changes) = mpsc::channel(1);
        let shared = Arc::clone(&tried);
        let thread = std::thread::Builder::new().name("watch".to_owned());
        thread.spawn(move || {
            let mut looks = Looks::default();
            while !sender.is_closed() {
                std::thread::sleep(POLL);
                let tried = shared
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                // A full channel means that a change is waiting to be looked at already.
                if looks.look(&tried, contents(tried.keys().cloned())) {
                    let _ = sender.try_send(());
                }
            }
        })?;
        Ok(Self { tried, changes })
    }

    /// Completes when something has changed since the files were last read, and stands still.
    ///
    /// # Cancel safety
    /// Safe: no change is lost.
    pub(super) async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            // The thread is gone, which it told the log itself.
            std::future::pending::<()>().await;
        }
    }

    /// The files have been read, with this in them; from here on these are watched.
    pub(super) fn tried(&self, contents: Contents) {
        *self.tried.lock().unwrap_or_else(PoisonError::into_inner) = contents;
    }
}

/// What the last look showed.
#[derive(Default)]
struct Looks(Contents);

impl Looks {
    /// Whether what is there now differs from what was tried and is the same as at the last look.
    fn look(&mut self, tried: &Contents, now: Contents) -> bool {
        let settled = now != *tried && now == self.0;
        self.0 = now;
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_once_it_stands_still() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["certificate", "key"].map(|name| folder.path().join(name));
        let look = || contents(files.iter().cloned());
        std::fs::write(&files[0], "old").unwrap();
        let tried = look();
        assert_eq!(tried[&files[1]], None);
        let mut looks = Looks::default();
        assert!(!looks.look(&tried, look()));
        std::fs::write(&files[0], "new").unwrap();
        assert!(!looks.look(&tried, look()), "seen once");
        std::fs::write(&files[1], "key").unwrap();
        assert!(!looks.look(&tried, look()), "still changing");
        assert!(looks.look(&tried, look()));
        assert!(!looks.look(&look(), look()), "tried");
        std::fs::write(&files[0], "old").unwrap();
        std::fs::remove_file(&files[1]).unwrap();
        assert!(!looks.look(&tried, look()), "as it was");
    }
}
