//! Tells the program what it was built for and from.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=COUNTERSIGN_REVISION");
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/refs/heads");
    let target = std::env::var("TARGET").unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo:rustc-env=COUNTERSIGN_TARGET={target}");
    let given = std::env::var("COUNTERSIGN_REVISION").ok();
    let revision = given
        .or_else(git_revision)
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=COUNTERSIGN_REVISION={revision}");
    let compiler = compiler_version().unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=COUNTERSIGN_RUSTC={compiler}");
}

/// The compiler's version, such as 1.90.0.
fn compiler_version() -> Option<String> {
    let compiler = std::env::var_os("RUSTC")?;
    let output = Command::new(compiler).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().nth(1).map(str::to_owned)
}

/// The commit of the checkout; none where there is no checkout, as in a release archive.
fn git_revision() -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
