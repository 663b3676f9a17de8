//! The permit: proof that a request was verified.
//!
//! Its fields and its constructor are private to the verification core, it is neither `Clone` nor `Default`,
//! and the forwarder takes it by value. So forwarding what was not verified does not compile:
//!
//! ```compile_fail
//! use countersign::verify::Permit;
//! let forged = Permit { token: 0, hide_authorization: false };
//! ```
//!
//! ```compile_fail
//! use countersign::verify::Permit;
//! let forged = Permit::new(0, false);
//! ```
//!
//! ```compile_fail
//! fn twice(permit: countersign::verify::Permit) {
//!     let spare = permit.clone();
//! }
//! ```

/// Leave to forward exactly one request.
#[derive(Debug)]
#[must_use = "a permit that is dropped forwards nothing"]
pub struct Permit {
    token: usize,
    hide_authorization: bool,
}

impl Permit {
    pub(in crate::verify) fn new(token: usize, hide_authorization: bool) -> Self {
        Self {
            token,
            hide_authorization,
        }
    }

    /// Which of the route's tokens matched, counted from zero in configured order.
    pub fn token(&self) -> usize {
        self.token
    }

    /// Whether `Authorization` carries one of the route's tokens, so that it has to stay here too.
    pub fn hide_authorization(&self) -> bool {
        self.hide_authorization
    }
}
