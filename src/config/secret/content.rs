//! What a file says when a secret is in it: for the configuration, and for whoever has to read the same file alike.

use std::io::{self, Read as _};

/// Largest secret file, in bytes; a header line that carries a token must fit into a request head.
const FILE_CAP: u64 = 4 * 1024;

/// Reads a secret out of its file: at most 4 KiB with its line break, which is dropped.
///
/// # Errors
/// When reading fails; of the kind `FileTooLarge` where there is more.
pub fn read_secret(file: impl io::Read) -> io::Result<Vec<u8>> {
    let mut secret = read_at_most(file, FILE_CAP)?;
    drop_line_break(&mut secret);
    Ok(secret)
}

/// Reads all of a file that has at most `cap` bytes.
///
/// # Errors
/// When reading fails; of the kind `FileTooLarge` where there is more.
pub fn read_at_most(file: impl io::Read, cap: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(cap + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > cap) {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Drops the one line break that editors and shells put at the end of a file; it belongs to no secret.
fn drop_line_break(secret: &mut Vec<u8>) {
    if secret.pop_if(|last| *last == b'\n').is_some() {
        secret.pop_if(|last| *last == b'\r');
    }
}
