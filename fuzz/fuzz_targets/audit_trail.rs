//! A trail whose files somebody changed without the means to make a record passes only where what is left is a piece of
//! it: whole records in order, from the beginning of a file on. And bytes of any kind are read to their end.

#![no_main]

use std::sync::LazyLock;

use countersign::telemetry::{Seal, Verdict, Verifier};
use countersign_fuzz::trail::Trails;
use libfuzzer_sys::fuzz_target;

static TRAILS: LazyLock<Trails> = LazyLock::new(Trails::default);

fn verify(files: &[Vec<u8>]) -> Verdict {
    let mut verifier = Verifier::new(vec![Seal::Plain], Vec::new());
    for file in files {
        verifier
            .file("file", file.as_slice())
            .expect("memory can be read");
    }
    verifier.finish(false)
}

fuzz_target!(|input: &[u8]| {
    let files = TRAILS.damaged(input);
    let verdict = verify(&files);
    assert_eq!(verdict.is_whole(), TRAILS.are_whole(&files), "{verdict:?}");
    assert!(verdict.breaks.len() <= 100 && verdict.notes.len() <= 100);

    // As the file itself, and behind one that is good.
    let alone = verify(&[input.to_vec()]);
    assert!(!alone.is_whole(), "{alone:?}");
    let whole = TRAILS.damaged(&[]).concat();
    let behind = verify(&[[whole, input.to_vec()].concat()]);
    assert_eq!(behind.is_whole(), input.is_empty(), "{behind:?}");
});
