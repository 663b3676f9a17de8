//! What a probe prints, kept: of a right gateway all of it, of each broken one what is wrong.
//!
//! The whole tables of one run are left in `target/tmp/probe`, for people.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use countersign::probe::{Report, Verdict};

/// See the module.
#[derive(Default)]
pub(super) struct Tables {
    whole: String,
    wrong: String,
}

impl Tables {
    pub(super) fn add(&mut self, title: &str, report: &Report) {
        let title = format!("==> {title}\n");
        self.whole += &format!("{title}{}\n", report.text(false));
        let mut shorter = still(report);
        shorter.steps.retain(|step| step.verdict == Verdict::Wrong);
        // The same advice for many steps is read once.
        let mut given = BTreeSet::new();
        for step in &mut shorter.steps {
            step.advice = step
                .advice
                .take()
                .filter(|advice| given.insert(advice.clone()));
        }
        let text = shorter.text(false);
        // Without the line of the address and the summary.
        let lines: Vec<&str> = text.lines().skip(1).collect();
        let lines = &lines[..lines.len() - 2];
        self.wrong += &format!("{title}{}\n", lines.join("\n"));
    }

    /// Leaves the whole tables, and compares what is wrong with what was kept as `name`.
    pub(super) fn compare(&self, name: &str) {
        leave(name, &self.whole);
        compare(name, &self.wrong);
    }
}

/// Leaves the table of a report and compares all of it with what was kept as `name`.
pub(super) fn compare_whole(name: &str, report: &Report) {
    leave(name, &report.text(false));
    compare(name, &still(report).text(false));
}

/// Without what is another in each run: times, and the port that the kernel gave.
fn still(report: &Report) -> Report {
    let mut report = report.clone();
    "https://localhost:8443/redox".clone_into(&mut report.url);
    report.address = Some(([127, 0, 0, 1], 8443).into());
    report.duration = Duration::ZERO;
    for step in &mut report.steps {
        step.latency = None;
    }
    report
}

fn leave(name: &str, text: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{name}.txt")), text).unwrap();
}

fn compare(name: &str, text: &str) {
    insta::with_settings!({ snapshot_path => "../../probe", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}
