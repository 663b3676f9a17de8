//! Statuses as a closed list of labels: some by themselves, the others by their class.

/// Statuses have three digits.
const STATUSES: usize = 1000;

/// Which label each status has.
#[derive(Debug)]
pub(super) struct Codes {
    labels: &'static [&'static str],
    positions: Box<[Option<u8>]>,
}

impl Codes {
    /// Labels such as `204`, `2xx` and `other`; a status without any of them is not counted.
    pub(super) fn new(labels: &'static [&'static str]) -> Self {
        let find = |wanted: &str| {
            let position = labels.iter().position(|label| *label == wanted);
            position.and_then(|position| u8::try_from(position).ok())
        };
        let positions = (0..STATUSES).map(|status| {
            find(&format!("{status:03}"))
                .or_else(|| find(&format!("{}xx", status / 100)))
                .or_else(|| find("other"))
        });
        Self {
            labels,
            positions: positions.collect(),
        }
    }

    pub(super) fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    /// Position of the label of a status.
    pub(super) fn position(&self, status: u16) -> Option<usize> {
        let position = self.positions.get(usize::from(status))?;
        position.map(usize::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_its_own_label_or_its_class() {
        let codes = Codes::new(&["200", "404", "2xx", "4xx", "other"]);
        let label = |status| Some(codes.labels[codes.position(status)?]);
        for (status, expected) in [
            (200, "200"),
            (204, "2xx"),
            (404, "404"),
            (418, "4xx"),
            (500, "other"),
            (101, "other"),
            (999, "other"),
        ] {
            assert_eq!(label(status), Some(expected));
        }
        assert_eq!(label(1000), None);
        assert_eq!(Codes::new(&["200"]).position(201), None);
    }
}
