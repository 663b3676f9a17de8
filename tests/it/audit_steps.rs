//! What `audit verify` says after each series of damages in `tests/vectors/audit`, beside a plain reading of the files.

use countersign::telemetry::{Seal, Verdict, Verifier};
use proptest::prelude::*;
use serde::Deserialize;

#[expect(unreachable_pub, reason = "it is the fuzz targets' as well")]
#[path = "../../fuzz/src/trail.rs"]
mod trail;

use trail::Trails;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Damage {
    name: String,
    pub(crate) steps: Vec<[u8; 4]>,
    /// Kind of the first break; none where it is whole.
    kind: Option<String>,
}

pub(crate) fn all() -> Vec<Damage> {
    serde_yaml::from_str(include_str!("../vectors/audit/damages.yaml")).unwrap()
}

fn verify(files: &[Vec<u8>]) -> Verdict {
    let mut verifier = Verifier::new(vec![Seal::Plain], Vec::new());
    for file in files {
        verifier.file("file", file.as_slice()).unwrap();
    }
    verifier.finish(false)
}

#[test]
fn each_series_of_damages_is_found() {
    let trails = Trails::default();
    let mut wrong = Vec::new();
    for damage in all() {
        let files = trails.damaged(damage.steps.as_flattened());
        let verdict = verify(&files);
        assert_eq!(
            verdict.is_whole(),
            trails.are_whole(&files),
            "{}",
            damage.name
        );
        let kind = verdict.breaks.first().map(|found| found.kind.label());
        if kind != damage.kind.as_deref() {
            wrong.push((damage.name, damage.kind, kind));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

proptest! {
    #[test]
    fn no_series_of_damages_passes(steps in prop::collection::vec(any::<[u8; 4]>(), 0..8)) {
        let trails = Trails::default();
        let files = trails.damaged(steps.as_flattened());
        prop_assert_eq!(verify(&files).is_whole(), trails.are_whole(&files), "{:?}", steps);
    }
}
