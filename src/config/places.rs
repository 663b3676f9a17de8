//! Where each setting stands, for findings of the later stages.
//!
//! Those stages count list members as they see them, after the ones with mistakes were taken out; findings name them
//! as the file counts them.

use std::collections::HashMap;

use super::diagnostic::{At, quoted};
use super::mark::Mark;
use super::tree::{Kind, Node, item_path, key_path};

/// All settings by path.
#[derive(Debug)]
pub(super) struct Places(HashMap<String, Place>);

#[derive(Clone, Debug)]
struct Place {
    /// As the file counts.
    path: String,
    mark: Mark,
    /// The value as the file has it.
    raw: Option<String>,
    lost: bool,
}

impl Places {
    pub(super) fn new(root: &Node) -> Self {
        let mut places = Self(HashMap::new());
        places.visit(root, "", "");
        places
    }

    /// The place of a setting; of the nearest one around it where it is not in the file.
    pub(super) fn at(&self, path: &str) -> At {
        let place = self.nearest(path);
        let shown = match place {
            // The remainder is a default, which counts the same in both.
            Some((known, place)) => {
                let rest = path.get(known.len()..).unwrap_or_default();
                let rest = if place.path.is_empty() {
                    rest.trim_start_matches('.')
                } else {
                    rest
                };
                format!("{}{rest}", place.path)
            }
            None => path.to_owned(),
        };
        At {
            mark: place.map_or_else(Mark::start, |(_, place)| place.mark),
            path: shown,
        }
    }

    /// Whether the file has this setting.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Whether something in there was wrong and has been taken out.
    pub(super) fn lost(&self, path: &str) -> bool {
        self.nearest(path).is_some_and(|(_, place)| place.lost)
    }

    /// The value of a setting as the file has it, before variables were put in.
    pub(super) fn shown(&self, path: &str) -> String {
        let raw = self.0.get(path).and_then(|place| place.raw.as_deref());
        quoted(raw.unwrap_or_default())
    }

    fn nearest<'p>(&self, path: &'p str) -> Option<(&'p str, &Place)> {
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return Some((path, place));
            }
            if path.is_empty() {
                return None;
            }
            let end = path.rfind(['.', '[']).unwrap_or(0);
            path = path.get(..end)?;
        }
    }

    fn visit(&mut self, node: &Node, path: &str, shown: &str) {
        let raw = match &node.kind {
            Kind::Scalar(scalar) => Some(scalar.raw.clone()),
            Kind::List(_) | Kind::Map(_) => None,
        };
        let place = Place {
            path: shown.to_owned(),
            mark: node.mark,
            raw,
            lost: node.lost,
        };
        self.0.insert(path.to_owned(), place);
        match &node.kind {
            Kind::Scalar(_) => {}
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = item_path(path, index);
                    self.visit(&item.node, &path, &item_path(shown, item.index));
                }
            }
            Kind::Map(entries) => {
                for entry in entries {
                    let path = key_path(path, &entry.key);
                    self.visit(&entry.node, &path, &key_path(shown, &entry.key));
                }
            }
        }
    }
}
