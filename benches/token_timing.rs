//! Does the time of the token check tell anything about the secret?
//!
//! A program, not a test, because it needs an optimised build and a minute: `cargo bench --bench token_timing`.
//! It exits with 1 when the check leaks, and also when the method could not have seen a leak.
//!
//! Method, after "Dude, is my code constant time?" (Reparaz, Balasch, Verbauwhede, 2017): two classes of input
//! that must be indistinguishable, measured one at a time in random order; Welch's t over the two samples. Below
//! 4.5 there is no evidence of a difference. Scheduling and interrupts make a long tail that has nothing to do
//! with the input, so what lies above the 90th percentile of both classes together is left out.
//!
//! * The presented value always stands in the same buffer, and a configured set is copied to the same place
//!   before each measurement, so that no difference can come from addresses or caches.
//! * How long the presented value is does show, since it is hashed; its sender knows it. What must not show is
//!   how long the *configured* token is, so there the presented value is the same in both classes.
//! * Each comparison is made a second time against a naive check (plain values, length first, byte by byte with
//!   an early exit, first match wins). That one must be caught, or "no evidence" means nothing.

#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use countersign::verify::{Match, Token, TokenSet, UnixTime};

const MEASUREMENTS_PER_CLASS: usize = 1_000_000;
const WARM_UP: usize = 20_000;
const KEPT_PERCENT: usize = 90;
const THRESHOLD: f64 = 4.5;
const NOW: UnixTime = UnixTime(1_795_478_400);

/// Every presented value is this long.
const LENGTH: usize = 64;
type Presented = [u8; LENGTH];

/// A check under test: built from configured secrets, asked about a presented value.
trait Check: Clone {
    fn configure(secrets: &[Vec<u8>]) -> Self;
    /// Position of the matching token.
    fn find(&self, presented: &[u8]) -> Option<usize>;
}

/// The one that is shipped.
struct Ours(TokenSet);

impl Clone for Ours {
    fn clone(&self) -> Self {
        let tokens: Vec<Token> = self.0.iter().cloned().collect();
        Self(TokenSet::new(tokens).unwrap_or_else(|_| unreachable!("copied from a set")))
    }
}

impl Check for Ours {
    fn configure(secrets: &[Vec<u8>]) -> Self {
        let token = |secret: &Vec<u8>| Token::from_value("id", secret, None);
        let set = TokenSet::new(secrets.iter().map(token).collect());
        Self(set.unwrap_or_else(|_| unreachable!("every comparison configures a token")))
    }

    fn find(&self, presented: &[u8]) -> Option<usize> {
        match self.0.find(presented, NOW) {
            Match::Valid(position) => Some(position),
            Match::Expired(_) | Match::None => None,
        }
    }
}

/// What a hurried author writes.
#[derive(Clone)]
struct Naive(Vec<Vec<u8>>);

impl Check for Naive {
    fn configure(secrets: &[Vec<u8>]) -> Self {
        Self(secrets.to_vec())
    }

    fn find(&self, presented: &[u8]) -> Option<usize> {
        self.0.iter().position(|secret| equal(secret, presented))
    }
}

fn equal(secret: &[u8], presented: &[u8]) -> bool {
    if secret.len() != presented.len() {
        return false;
    }
    for (own, other) in secret.iter().zip(presented) {
        // Keeps the compiler from making one wide comparison of it, which would be less naive.
        if black_box(*own) != black_box(*other) {
            return false;
        }
    }
    true
}

/// One class of a comparison: what is configured and what is presented.
struct Class {
    secrets: Vec<Vec<u8>>,
    presented: Presented,
}

struct Comparison {
    name: &'static str,
    classes: [Class; 2],
}

fn letters(seed: u8) -> Presented {
    std::array::from_fn(|at| {
        let step = u8::try_from(at % 26).unwrap_or(0);
        b'a' + (step * 7 + seed) % 26
    })
}

fn last_wrong(mut value: Presented) -> Presented {
    if let Some(byte) = value.last_mut() {
        *byte ^= 1;
    }
    value
}

fn first_wrong(mut value: Presented) -> Presented {
    if let Some(byte) = value.first_mut() {
        *byte ^= 1;
    }
    value
}

fn comparison(
    name: &'static str,
    one: (Vec<Vec<u8>>, Presented),
    other: (Vec<Vec<u8>>, Presented),
) -> Comparison {
    let class = |(secrets, presented)| Class { secrets, presented };
    Comparison {
        name,
        classes: [class(one), class(other)],
    }
}

fn comparisons() -> Vec<Comparison> {
    let token = letters(0);
    let one = |secret: &[u8]| vec![secret.to_vec()];
    let longer = [&token[..], b"-and-more"].concat();
    let (shorter, _) = token.split_at(LENGTH / 2);
    let ten: Vec<Presented> = (0..10).map(letters).collect();
    let all: Vec<Vec<u8>> = ten.iter().map(|token| token.to_vec()).collect();
    let (first, last) = (letters(0), letters(9));
    vec![
        comparison(
            "presented: right but for its last byte / wrong from its first",
            (one(&token), last_wrong(token)),
            (one(&token), first_wrong(token)),
        ),
        comparison(
            "configured: same but for its last byte / different from its first",
            (one(&last_wrong(token)), token),
            (one(&first_wrong(token)), token),
        ),
        comparison(
            "configured: as long as presented / longer",
            (one(&last_wrong(token)), token),
            (one(&longer), token),
        ),
        comparison(
            "configured: as long as presented / shorter",
            (one(&last_wrong(token)), token),
            (one(shorter), token),
        ),
        comparison(
            "of ten, the first matches / the last matches",
            (all.clone(), first),
            (all, last),
        ),
    ]
}

/// xorshift64*: order must be random, not unpredictable.
struct Random(u64);

impl Random {
    fn bit(&mut self) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 63 == 1)
    }
}

/// Nanoseconds of each measurement, per class.
fn measure<C: Check>(comparison: &Comparison) -> [Vec<u32>; 2] {
    let checks = comparison.classes.each_ref();
    let checks = checks.map(|class| C::configure(&class.secrets));
    let mut samples = [(); 2].map(|()| Vec::with_capacity(MEASUREMENTS_PER_CLASS * 2));
    let mut buffer: Presented = [0; LENGTH];
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for round in 0..WARM_UP + 2 * MEASUREMENTS_PER_CLASS {
        let which = random.bit();
        let (Some(class), Some(check), Some(sample)) = (
            comparison.classes.get(which),
            checks.get(which),
            samples.get_mut(which),
        ) else {
            continue;
        };
        buffer.copy_from_slice(&class.presented);
        let check = black_box(check.clone());
        let start = Instant::now();
        black_box(check.find(black_box(&buffer)));
        let taken = start.elapsed().subsec_nanos();
        if round >= WARM_UP {
            sample.push(taken);
        }
    }
    samples
}

/// Number, mean and variance of what is not above `limit`.
fn moments(sample: &[u32], limit: u32) -> (f64, f64, f64) {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for &taken in sample.iter().filter(|taken| **taken <= limit) {
        count += 1.0;
        let distance = f64::from(taken) - mean;
        mean += distance / count;
        squares += distance * (f64::from(taken) - mean);
    }
    (count, mean, squares / (count - 1.0))
}

struct Finding {
    t: f64,
    /// Difference of the means, in nanoseconds.
    difference: f64,
    /// Smallest difference that would have been seen.
    visible: f64,
    mean: f64,
}

fn welch(samples: &[Vec<u32>; 2]) -> Finding {
    let mut pooled = samples.concat();
    let at = pooled.len() * KEPT_PERCENT / 100;
    let (_, limit, _) = pooled.select_nth_unstable(at);
    let [(n, mean, variance), (m, other_mean, other_variance)] =
        samples.each_ref().map(|sample| moments(sample, *limit));
    let error = (variance / n + other_variance / m).sqrt();
    Finding {
        t: (mean - other_mean) / error,
        difference: mean - other_mean,
        visible: THRESHOLD * error,
        mean,
    }
}

fn report<C: Check>(who: &str, comparison: &Comparison) -> bool {
    let found = welch(&measure::<C>(comparison));
    println!(
        "  {who:5}  t = {:8.2}   difference {:7.3} ns of {:5.1} ns   visible from {:.3} ns",
        found.t, found.difference, found.mean, found.visible
    );
    found.t.abs() < THRESHOLD
}

fn main() -> ExitCode {
    // `cargo test --all-targets` starts this as well, without the flag, and has no minute to spare.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("run with: cargo bench --bench token_timing");
        return ExitCode::SUCCESS;
    }
    println!("{MEASUREMENTS_PER_CLASS} measurements per class, the slowest tenth left out");
    let mut sound = true;
    for comparison in comparisons() {
        println!("{}", comparison.name);
        let quiet = report::<Ours>("ours", &comparison);
        let caught = !report::<Naive>("naive", &comparison);
        sound &= quiet && caught;
    }
    println!("threshold |t| < {THRESHOLD} for ours, not for naive");
    if sound {
        println!("no evidence of a leak");
        ExitCode::SUCCESS
    } else {
        println!("FAILED: ours leaks, or the method has no power here");
        ExitCode::FAILURE
    }
}
