//! What a file says when a secret is in it: for the configuration, and for whoever has to read the same file alike.

use std::io::{self, Read as _};

/// Largest secret file, in bytes; a header line that carries a token must fit into a request head.
const FILE_CAP: u64 = 4 * 1024;

/// Reads a secret out of its file: at most 4 KiB with its line break, which is dropped.
///
/// # Errors
/// When reading fails; of the kind `FileTooLarge` where there is more.
pub fn read_secret(file: impl io::Read) -> io::Result<Vec<u8>> {
    let mut secret = Vec::new();
    file.take(FILE_CAP + 1).read_to_end(&mut secret)?;
    if u64::try_from(secret.len()).is_ok_and(|length| length > FILE_CAP) {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    drop_line_break(&mut secret);
    Ok(secret)
}

/// Drops the one line break that editors and shells put at the end of a file; it belongs to no secret.
fn drop_line_break(secret: &mut Vec<u8>) {
    if secret.pop_if(|last| *last == b'\n').is_some() {
        secret.pop_if(|last| *last == b'\r');
    }
}
