//! Which page of the runbooks tells what to do; the name of its file in `deploy/runbooks`, without the ending.

use serde::Serialize;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Runbook(&'static str);

impl Runbook {
    pub(super) const AUDIT: Self = Self("CountersignAuditWriteFailing");
    pub(super) const CERTIFICATE: Self = Self("CountersignCertExpiring");
    pub(super) const FAILING: Self = Self("CountersignFeedStalled");
    pub(super) const REFUSING: Self = Self("CountersignRejectingRedox");
    pub(super) const RELOAD: Self = Self("CountersignReloadFailed");
    pub(super) const TOKEN: Self = Self("token-rotation");
    pub(super) const UNSTEADY: Self = Self("CountersignUpstreamErrorRatio");

    pub(super) fn name(self) -> &'static str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_is_there() {
        let pages = [
            Runbook::AUDIT,
            Runbook::CERTIFICATE,
            Runbook::FAILING,
            Runbook::REFUSING,
            Runbook::RELOAD,
            Runbook::TOKEN,
            Runbook::UNSTEADY,
        ];
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/runbooks");
        for page in pages {
            let file = folder.join(format!("{}.md", page.name()));
            assert!(file.is_file(), "{}", file.display());
        }
    }
}
