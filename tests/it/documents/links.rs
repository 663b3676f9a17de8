//! Links between the documents lead somewhere, and the index of `docs` has every page.

use std::path::{Component, Path, PathBuf};

use super::markdown::{Page, anchors, links, pages};
use super::root;

/// From the root of the checkout; `None` for what is outside of it.
fn resolve(page: &str, target: &str) -> Option<PathBuf> {
    let mut path = Path::new(page).parent()?.to_owned();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

fn problem(page: &Page, link: &str, all: &[Page]) -> Option<String> {
    if ["https://", "http://", "mailto:"]
        .iter()
        .any(|scheme| link.starts_with(scheme))
    {
        return None;
    }
    let (file, anchor) = link
        .split_once('#')
        .map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let path = if file.is_empty() {
        PathBuf::from(&page.path)
    } else {
        match resolve(&page.path, file) {
            Some(path) if root().join(&path).exists() => path,
            Some(_) | None => return Some("leads nowhere".to_owned()),
        }
    };
    let anchor = anchor?;
    let there = all.iter().find(|page| Path::new(&page.path) == path);
    match there {
        Some(there) if anchors(&there.text).iter().any(|known| known == anchor) => None,
        Some(_) | None => Some("has no such heading".to_owned()),
    }
}

#[test]
fn links_lead_somewhere() {
    let pages = pages(root());
    let mut problems = Vec::new();
    let mut count = 0;
    for page in &pages {
        for link in links(&page.text) {
            count += 1;
            if let Some(problem) = problem(page, &link, &pages) {
                problems.push(format!("{}: {link} {problem}", page.path));
            }
        }
    }
    assert!(count > 50, "only {count} links were found");
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn a_broken_link_is_found() {
    let page = Page {
        path: "docs/a.md".to_owned(),
        text: "# One thing\n".to_owned(),
    };
    let all = [page];
    let page = &all[0];
    for good in [
        "#one-thing",
        "a.md#one-thing",
        "../README.md",
        "https://example.org/x",
    ] {
        let target = if good.starts_with("a.md") {
            "#one-thing"
        } else {
            good
        };
        assert_eq!(problem(page, target, &all), None, "{good}");
    }
    for bad in [
        "#two",
        "b.md",
        "../../README.md",
        "/README.md",
        "../README.md#no-such",
    ] {
        assert!(problem(page, bad, &all).is_some(), "{bad}");
    }
}

#[test]
fn the_index_has_every_page() {
    let pages = pages(root());
    let index = pages
        .iter()
        .find(|page| page.path == "docs/README.md")
        .unwrap();
    let listed: Vec<PathBuf> = links(&index.text)
        .iter()
        .filter_map(|link| resolve(&index.path, link.split('#').next()?))
        .collect();
    let missing: Vec<&str> = pages
        .iter()
        .map(|page| page.path.as_str())
        .filter(|path| path.starts_with("docs/") || path.starts_with("deploy/"))
        .filter(|path| *path != index.path && !listed.contains(&PathBuf::from(path)))
        // One for each alert and task: the index has the list of them.
        .filter(|path| !path.starts_with("deploy/runbooks/") || path.ends_with("/README.md"))
        .collect();
    assert!(
        missing.is_empty(),
        "not in docs/README.md, with a line each: {missing:?}"
    );
}
