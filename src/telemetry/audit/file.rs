//! The file of the chain: whole batches at its end, under a lock, from however many processes.
//!
//! There is one chain, through restarts, rotations and successors, and whichever process writes goes on where the last
//! one ended: with the lock held, a file whose length is another than this process left it is read at its end again.
//! Whoever holds the lock looks whether the file still is the one at its path. Where it is not (it was renamed), nobody
//! writes to it any more, and what its end is by then is what the new one goes on from.
//!
//! A record that other processes wrote is believed only if its number is higher than the last one known here: what
//! somebody took out of the file while this process runs stays missing for everybody to see.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::chain::{Link, Seal, hex, write_record};
use super::event::AuditEvent;
use super::notice::Notice;
use super::tail::{self, Torn};

/// Read and write for the owner alone: addresses of senders are in there.
const MODE: u32 = 0o600;
/// Longest wait for the lock. Others of ours hold it for one write; but anybody may who can read the file.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// From one look at the lock to the next.
const LOCK_AGAIN: Duration = Duration::from_millis(2);
/// How often a file may be renamed while it is being opened.
const OPEN_TRIES: usize = 4;

/// The process that writes, as its records tell.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    /// Random, another one at each start: 16 hexadecimal digits.
    pub(super) boot: String,
    /// Name of the host, where it is known.
    pub(super) host: Option<String>,
}

/// See the module.
pub(super) struct ChainFile {
    path: PathBuf,
    seal: Seal,
    writer: Writer,
    /// The last record that is known here.
    link: Link,
    open: Option<Open>,
}

struct Open {
    file: File,
    /// Device and inode.
    id: (u64, u64),
    /// Its length when it was last looked at.
    end: u64,
    /// Whether it has a length at all.
    regular: bool,
    /// What the next record has to be: an introduction, and why.
    introduction: Option<Introduction>,
    /// Whether a line break has to come first.
    unfinished: bool,
    /// Written, and maybe not on the disk yet.
    dirty: bool,
    /// Maybe not in its directory on the disk yet.
    fresh: bool,
}

/// What became of records.
pub(super) struct Appended {
    /// How many of them are in the file.
    pub(super) records: usize,
    /// Whether there is a `chain_started` before them.
    pub(super) introduced: bool,
    /// What went wrong with the next one.
    pub(super) result: io::Result<()>,
}

/// Why a `chain_started` record is due.
struct Introduction {
    /// The file has no record before it.
    new: bool,
    torn: Option<Torn>,
}

impl ChainFile {
    pub(super) fn new(path: PathBuf, seal: Seal, writer: Writer) -> Self {
        Self {
            path,
            seal,
            writer,
            link: Link::NONE,
            open: None,
        }
    }

    /// Opens the file and reads its end.
    ///
    /// # Errors
    /// When that cannot be, or when it holds something else than records.
    pub(super) fn open(&mut self) -> io::Result<()> {
        self.hold()?;
        self.let_go();
        Ok(())
    }

    /// Writes these records. Without any it looks whether the file is still there, and introduces itself where that is
    /// due.
    pub(super) fn append<'r>(
        &mut self,
        records: impl Iterator<Item = &'r [u8]>,
        now: SystemTime,
    ) -> Appended {
        if let Err(error) = self.hold() {
            return Appended {
                records: 0,
                introduced: false,
                result: Err(error),
            };
        }
        let (introduction, batch) = self.batch(records, now);
        let (written, result) = self.write(&batch);
        self.let_go();
        let introduced = introduction && written > 0;
        Appended {
            records: written.saturating_sub(usize::from(introduced)),
            introduced,
            result,
        }
    }

    /// Has the disk take what was written.
    ///
    /// # Errors
    /// When it does not.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Some(open) = self.open.as_mut().filter(|open| open.dirty) else {
            return Ok(());
        };
        open.dirty = false;
        if std::mem::take(&mut open.fresh) {
            let directory = self.path.parent();
            let directory = directory.filter(|directory| !directory.as_os_str().is_empty());
            let directory = directory.unwrap_or(Path::new("."));
            // Where this user may not read it, or the file system has no such thing, the file itself is what counts.
            let _ = File::open(directory).and_then(|directory| directory.sync_all());
        }
        match open.file.sync_data() {
            // A device without a memory of its own has nothing to take.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => {
                open.dirty = result.is_err();
                result
            }
        }
    }

    /// Whether there is something that [`ChainFile::sync`] would do.
    pub(super) fn is_dirty(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.dirty)
    }

    /// Locks the file that is at the path, and knows its end.
    fn hold(&mut self) -> io::Result<()> {
        for _ in 0..OPEN_TRIES {
            if let Some(open) = &mut self.open {
                lock(&open.file)?;
                let seen = look(open, &mut self.link);
                if self.is_at_path() {
                    return seen.inspect_err(|_| self.let_go());
                }
            }
            // Nobody writes to the old one any more: whoever gets its lock sees that it is not at the path.
            let next = self.open_next().inspect_err(|_| self.let_go())?;
            // What a failing disk loses of the old one is missing there for whoever checks it.
            let _ = self.sync();
            self.open = Some(next);
        }
        Err(io::Error::other("it is renamed again and again"))
    }

    fn let_go(&self) {
        if let Some(open) = &self.open {
            // It is unlocked with the descriptor at the latest.
            let _ = open.file.unlock();
        }
    }

    fn is_at_path(&self) -> bool {
        let named = std::fs::symlink_metadata(&self.path);
        match (&self.open, named) {
            (Some(open), Ok(named)) => open.id == id(&named),
            (Some(_) | None, _) => false,
        }
    }

    fn open_next(&self) -> io::Result<Open> {
        if let Ok(named) = std::fs::symlink_metadata(&self.path) {
            check_kind(&named)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(MODE)
            .open(&self.path)?;
        let metadata = file.metadata()?;
        check_kind(&metadata)?;
        Ok(Open {
            id: id(&metadata),
            // No file is as long, so its end is read in any case.
            end: u64::MAX,
            regular: metadata.is_file(),
            introduction: None,
            unfinished: false,
            dirty: false,
            fresh: false,
            file,
        })
    }

    /// What is to be written, each record with its end and its link. Whether the first one is an introduction.
    fn batch<'r>(&self, records: impl Iterator<Item = &'r [u8]>, now: SystemTime) -> (bool, Batch) {
        let mut batch = Batch::default();
        let Some(open) = &self.open else {
            return (false, batch);
        };
        let introduction = open.introduction.as_ref();
        let introduction = introduction.map(|why| introduce(why, &self.writer, &self.seal, now));
        let introduced = introduction.is_some();
        let mut link = self.link;
        let mut add = |fields: &[u8]| {
            if batch.bytes.is_empty() && open.unfinished {
                batch.bytes.push(b'\n');
            }
            let (seal, boot) = (&self.seal, &self.writer.boot);
            link = write_record(&mut batch.bytes, seal, boot, link, fields);
            batch.ends.push((batch.bytes.len(), link));
        };
        introduction.as_deref().into_iter().for_each(&mut add);
        records.for_each(add);
        (introduced, batch)
    }

    /// Returns how many records of the batch are in the file. What is there of the next one is taken back.
    fn write(&mut self, batch: &Batch) -> (usize, io::Result<()>) {
        let Some(open) = &mut self.open else {
            return (0, Err(io::ErrorKind::NotFound.into()));
        };
        if batch.bytes.is_empty() {
            return (0, Ok(()));
        }
        let mut written = 0;
        let mut result = Ok(());
        while let Some(rest) = batch.bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match open.file.write(rest) {
                Ok(0) => result = Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => result = Err(error),
            }
            if result.is_err() {
                break;
            }
        }
        let whole = batch.ends.partition_point(|(end, _)| *end <= written);
        let last = whole.checked_sub(1).and_then(|last| batch.ends.get(last));
        let good = last.map_or(0, |(end, _)| *end);
        if let Some((_, link)) = last {
            self.link = *link;
            open.dirty = true;
            open.unfinished = false;
            open.introduction = None;
        }
        if open.regular {
            open.end = open
                .end
                .saturating_add(u64::try_from(good).unwrap_or(u64::MAX));
            if good < written {
                // Where this fails, as in a file that can only grow, the torn rest is told of at the next try.
                let _ = open.file.set_len(open.end);
            }
        }
        (whole, result)
    }
}

/// Bytes to write.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Where each record ends, and its place in the chain.
    ends: Vec<(usize, Link)>,
}

/// The lock of the file, if it is to be had soon.
fn lock(file: &File) -> io::Result<()> {
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                let message = "another process holds its lock, and does not give it back";
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_AGAIN),
        }
    }
}

/// Looks at the end of a locked file where it is not as this process left it.
fn look(open: &mut Open, link: &mut Link) -> io::Result<()> {
    let first = open.end == u64::MAX;
    if !open.regular {
        // A device has no end that could be read; what was written there is somewhere else by now.
        if first {
            open.end = 0;
            open.introduction = Some(Introduction {
                new: *link == Link::NONE,
                torn: None,
            });
        }
        return Ok(());
    }
    let length = open.file.metadata()?.len();
    if length == open.end {
        return Ok(());
    }
    let tail = tail::read(&open.file, length)?;
    let shorter = !first && length < open.end;
    let behind = tail.last.is_none_or(|last| last.seq < link.seq);
    if shorter || (!first && behind) {
        tracing::error!(
            "the audit file was cut or written to by somebody else; the chain goes on, and does not fit what is left"
        );
    }
    if let Some(last) = tail.last.filter(|last| last.seq > link.seq) {
        *link = last;
    }
    // One that is still due tells of the file as it is now: others may have written meanwhile.
    if first || shorter || tail.torn.is_some() || open.introduction.is_some() {
        open.introduction = Some(Introduction {
            new: tail.last.is_none(),
            torn: tail.torn,
        });
    }
    open.fresh |= first && length == 0;
    open.unfinished = tail.unfinished;
    open.end = length;
    Ok(())
}

/// The fields of the record with which a process begins in a file.
fn introduce(why: &Introduction, writer: &Writer, seal: &Seal, now: SystemTime) -> Vec<u8> {
    let file = if why.new { "new" } else { "continued" };
    let mut notice = Notice::new(AuditEvent::ChainStarted, now)
        .text("file", Some(file))
        .text("version", Some(env!("CARGO_PKG_VERSION")))
        .text("host", writer.host.as_deref())
        .number("process", u64::from(std::process::id()))
        .flag("keyed", seal.is_keyed());
    if let Some(torn) = &why.torn {
        notice = notice
            .number("torn_bytes", torn.bytes)
            .text("torn_sha256", Some(&hex(&torn.hash)));
    }
    notice.line
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// A link could lead the trail to where others look, and a pipe keeps nothing.
fn check_kind(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_file() || kind.is_char_device() {
        return Ok(());
    }
    let what = if kind.is_symlink() {
        "it is a symbolic link, and has to be the file itself"
    } else if kind.is_dir() {
        "it is a directory"
    } else {
        "it is neither a file nor a device"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::audit::verify::Verifier;
    use std::path::Path;

    const RECORD: &[u8] = b"\"event\":\"ready\"";

    fn writer(path: &Path, boot: u64) -> ChainFile {
        let writer = Writer {
            boot: format!("{boot:016x}"),
            host: None,
        };
        ChainFile::new(path.to_owned(), Seal::Plain, writer)
    }

    fn write(file: &mut ChainFile, count: usize) {
        let appended = file.append(std::iter::repeat_n(RECORD, count), SystemTime::UNIX_EPOCH);
        appended.result.unwrap();
        assert_eq!(appended.records, count);
    }

    /// Kinds of all breaks of these files.
    fn damage(paths: &[&Path]) -> Vec<&'static str> {
        let mut verifier = Verifier::new(vec![Seal::Plain], Vec::new());
        for path in paths {
            let bytes = std::fs::read(path).unwrap();
            verifier.file("file", bytes.as_slice()).unwrap();
        }
        let breaks = verifier.finish(false).breaks;
        breaks.iter().map(|found| found.kind.label()).collect()
    }

    #[test]
    fn writers_take_turns_in_one_chain_and_over_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("a"), folder.path().join("a.1"));
        let (mut one, mut two) = (writer(&path, 1), writer(&path, 2));
        for count in 1..4 {
            write(&mut one, count);
            write(&mut two, 2 * count);
        }
        assert_eq!(damage(&[&path]), [""; 0]);
        std::fs::rename(&path, &old).unwrap();
        write(&mut two, 1);
        write(&mut one, 1);
        write(&mut two, 1);
        assert_eq!(damage(&[&old, &path]), [""; 0]);
        assert_eq!(one.link.seq + 1, two.link.seq);
    }

    #[test]
    fn what_is_torn_is_told_of_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&mut writer(&path, 1), 2);
        let mut text = std::fs::read(&path).unwrap();
        text.truncate(text.len() - 30);
        std::fs::write(&path, text).unwrap();
        let (mut one, mut two) = (writer(&path, 2), writer(&path, 3));
        // It has seen the torn bytes, and writes only when the other one has told of them.
        one.open().unwrap();
        write(&mut two, 1);
        write(&mut one, 1);
        assert_eq!(damage(&[&path]), [""; 0]);
    }

    #[test]
    fn what_is_cut_while_a_process_runs_stays_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut file = writer(&path, 1);
        write(&mut file, 5);
        let text = std::fs::read_to_string(&path).unwrap();
        let end = text
            .split_inclusive('\n')
            .take(3)
            .map(str::len)
            .sum::<usize>();
        std::fs::write(&path, &text[..end]).unwrap();
        write(&mut file, 1);
        assert_eq!(damage(&[&path]), ["removed"]);
    }

    #[test]
    fn a_file_emptied_by_a_copying_rotation_goes_on_from_the_copy() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("a"), folder.path().join("a.1"));
        let mut file = writer(&path, 1);
        write(&mut file, 5);
        std::fs::copy(&path, &copy).unwrap();
        File::options()
            .write(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        write(&mut file, 1);
        assert_eq!(damage(&[&copy, &path]), [""; 0]);
    }

    #[test]
    fn a_file_that_became_something_else_is_not_kept_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut file = writer(&path, 1);
        write(&mut file, 1);
        let mut other = File::options().append(true).open(&path).unwrap();
        other.write_all(&b"no record\n".repeat(200_000)).unwrap();
        let appended = file.append(std::iter::once(RECORD), SystemTime::UNIX_EPOCH);
        assert!(appended.result.is_err());
        other.try_lock().unwrap();
    }

    #[test]
    fn links_directories_and_foreign_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("directory")).unwrap();
        std::os::unix::fs::symlink("target", at("link")).unwrap();
        std::fs::write(at("foreign"), "a\nb\n").unwrap();
        for (name, expected) in [
            ("directory", "it is a directory"),
            ("link", "it is a symbolic link"),
            ("foreign", "it holds something else"),
        ] {
            let error = writer(&at(name), 1).open().unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
        assert!(!at("target").exists(), "nothing was made behind the link");
        assert_eq!(std::fs::read(at("foreign")).unwrap(), b"a\nb\n");
    }
}
