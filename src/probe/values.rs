//! Values that no gateway can know before: challenges and wrong tokens, all from one seed.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// What the values come from: 32 random bytes.
pub struct Seed(pub [u8; 32]);

impl fmt::Debug for Seed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Seed(…)")
    }
}

/// Gives one value after the other.
pub(super) struct Values {
    seed: [u8; 32],
    given: u64,
}

impl Values {
    pub(super) fn new(seed: &Seed) -> Self {
        Self {
            seed: seed.0,
            given: 0,
        }
    }

    /// 32 bytes.
    pub(super) fn bytes(&mut self) -> [u8; 32] {
        self.given += 1;
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(self.given.to_be_bytes());
        hash.finalize().into()
    }

    /// 64 hexadecimal digits.
    pub(super) fn hex(&mut self) -> String {
        self.bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// A challenge, in the form that senders use.
    pub(super) fn challenge(&mut self) -> String {
        let hex = self.hex();
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!(
            "{}-{}-4{}-8{}-{}",
            part(0, 8),
            part(8, 12),
            part(12, 15),
            part(15, 18),
            part(18, 30)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_look_like_a_senders_and_differ() {
        let mut values = Values::new(&Seed([1; 32]));
        let (one, next) = (values.challenge(), values.challenge());
        let other = Values::new(&Seed([2; 32])).challenge();
        assert_eq!(one.len(), 36);
        assert!(one != next && one != other && next != other);
        let parts: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
    }
}
