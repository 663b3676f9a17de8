//! Instructions for each operation, held against limits: steady where clocks are noisy, so that a regression shows.
//!
//! Whole exchanges run through the real program under `valgrind --tool=callgrind`, once with few and once with many
//! requests; the difference, divided, is what one more request costs. Pieces are called by this program itself,
//! started again under callgrind. A figure more than 5 % above its limit in `limits.yaml`, or without one, ends this
//! program with 1; one more than 5 % below asks for a lower limit.
//!
//! Not here: time. An instruction is no nanosecond, and the kernel's share is not counted at all. What is counted are
//! the instructions of valgrind's synthetic processor, which has AES-NI and AVX2 where the real one has them, but
//! neither SHA extensions nor ADX nor AVX-512: handshakes and hashes cost more of them here than in life. So figures
//! are good for comparing a build with another, with the same profile, toolchain and kind of processor. The limits
//! are for the release profile on x86-64 with AVX2.
//!
//! `cargo bench --profile release --bench instructions`; `-- --quick` with fewer requests, `-- write` to make the
//! figures the limits, `-- only=verdict` for the names that contain it, `-- program=PATH` for another build,
//! `-- keep=FOLDER` for the files that `callgrind_annotate` reads, to see where a figure comes from.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program that prints what it measured, and may end at its first mistake"
)]

mod callgrind;
mod exchanges;
mod limits;
mod pieces;
#[allow(dead_code, unused_imports, reason = "no program uses all of it")]
#[path = "../stage/mod.rs"]
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use exchanges::{EXCHANGES, Scene};
use limits::{Comparison, Limits};
use pieces::PIECES;
use stage::{Core, Result, on, raise_limit};

/// What was asked for.
struct Wish {
    quick: bool,
    write: bool,
    only: String,
    program: PathBuf,
    keep: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let counted = match arguments.as_slice() {
        [first, name] if first == pieces::FLAG => pieces::run(name).map(|()| true),
        _ if !arguments.iter().any(|argument| argument == "--bench") => {
            println!("a play, not a test: cargo bench --profile release --bench instructions");
            return ExitCode::SUCCESS;
        }
        _ if !has_avx2() => {
            println!("skipped: the limits are for x86-64 with AVX2");
            return ExitCode::SUCCESS;
        }
        _ if !callgrind::is_here() => {
            println!("skipped: no valgrind here (Debian: apt-get install valgrind)");
            return ExitCode::SUCCESS;
        }
        _ => Wish::from(&arguments).and_then(|wish| count(&wish)),
    };
    match counted {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => println!(
            "verdict: instructions: above a limit, or without one. Was it built with `--profile release`? If the \
             figure is meant, `-- write` makes it the limit."
        ),
        Err(error) => println!("verdict: instructions: could not be counted: {error}"),
    }
    ExitCode::FAILURE
}

/// Whether this processor is one of the kind that the limits are for: valgrind's has AES-NI and AVX2 only where it has.
fn has_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

impl Wish {
    fn from(arguments: &[String]) -> Result<Self> {
        let mut wish = Self {
            quick: false,
            write: false,
            only: String::new(),
            program: env!("CARGO_BIN_EXE_countersign").into(),
            keep: None,
        };
        for argument in arguments {
            match argument.split_once('=') {
                Some(("only", text)) => text.clone_into(&mut wish.only),
                Some(("program", path)) => wish.program = path.into(),
                Some(("keep", path)) => wish.keep = Some(path.into()),
                None if argument == "--quick" => wish.quick = true,
                None if argument == "write" => wish.write = true,
                None if argument == "--bench" => {}
                _ => {
                    let known = "--quick, write, only=TEXT, program=PATH or keep=FOLDER";
                    return Err(format!("{known}, not {argument}").into());
                }
            }
        }
        Ok(wish)
    }
}

/// Counts and compares; whether every figure is within its limit.
fn count(wish: &Wish) -> Result<bool> {
    raise_limit()?;
    on(Core::Load)?;
    let wanted = |name: &str| name.contains(&wish.only);
    let temporary = tempfile::tempdir()?;
    let folder = wish.keep.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder)?;
    let mut limits = Limits::read()?;
    let mut within = true;
    println!(
        "{:42} {:>12} {:>12} {:>8}",
        "instructions for one", "counted", "limit", "change"
    );
    let mut tell = |name: &str, counted: u64| {
        let (line, comparison) = limits.compare(name, counted);
        println!("{line}");
        within &= matches!(comparison, Comparison::Within | Comparison::Below);
    };
    for piece in PIECES.iter().filter(|piece| wanted(piece.name)) {
        tell(piece.name, piece.count(folder)?);
    }
    let scene = Scene::new(&wish.program, folder)?;
    for exchange in EXCHANGES.iter().filter(|exchange| wanted(exchange.name)) {
        tell(exchange.name, exchange.count(&scene, wish.quick)?);
    }
    if wish.write {
        limits.write()?;
        println!("verdict: instructions: these are the limits now");
        return Ok(true);
    }
    if within {
        println!("verdict: instructions: every figure within its limit");
    }
    Ok(within)
}
