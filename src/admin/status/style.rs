//! How the page looks, and the policy that lets a browser apply this style and load nothing else at all.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use sha2::{Digest as _, Sha256};

/// Stands in the page as it is.
pub(super) const STYLE: &str = include_str!("style.css");

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    );
    // Without the hash the page would be plain, and no less safe.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The `Content-Security-Policy` of the page.
pub(in crate::admin) fn content_security_policy() -> HeaderValue {
    POLICY.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// The colours of a theme: the first block of `:root` is for light, the second for dark.
    fn colours(theme: usize) -> HashMap<&'static str, [f64; 3]> {
        let block = STYLE.split(":root {").nth(theme + 1).unwrap();
        let block = block.split('}').next().unwrap();
        let lines = block
            .lines()
            .filter_map(|line| line.trim().strip_prefix("--"));
        let colours = lines.filter_map(|line| {
            let (name, value) = line.trim_end_matches(';').split_once(": #")?;
            let part = |at: usize| f64::from(u8::from_str_radix(&value[at..at + 2], 16).unwrap());
            Some((name, [part(0), part(2), part(4)]))
        });
        colours.collect()
    }

    /// WCAG 2.2: relative luminance, and the contrast of two.
    fn luminance(colour: [f64; 3]) -> f64 {
        let [red, green, blue] = colour.map(|part| {
            let part = part / 255.0;
            if part <= 0.04045 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn every_text_stands_out_from_what_is_behind_it() {
        let white = [255.0; 3];
        assert!((contrast(white, [0.0; 3]) - 21.0).abs() < 0.01);
        for theme in [0, 1] {
            let colours = colours(theme);
            for text in ["text", "muted", "good", "warn", "bad"] {
                for ground in ["page", "panel"] {
                    let contrast = contrast(colours[text], colours[ground]);
                    assert!(
                        contrast >= 4.5,
                        "{text} on {ground}, theme {theme}: {contrast}"
                    );
                }
            }
            for (text, ground) in [
                ("good", "good-soft"),
                ("warn", "warn-soft"),
                ("bad", "bad-soft"),
                ("text", "bad-soft"),
                ("text", "warn-soft"),
                ("text", "good-soft"),
                ("muted", "bad-soft"),
                ("muted", "warn-soft"),
                ("muted", "good-soft"),
            ] {
                let contrast = contrast(colours[text], colours[ground]);
                assert!(
                    contrast >= 4.5,
                    "{text} on {ground}, theme {theme}: {contrast}"
                );
            }
            // WCAG 1.4.11: graphics need 3.
            for bar in ["bar-good", "bar-warn", "bar-bad"] {
                let contrast = contrast(colours[bar], colours["panel"]);
                assert!(contrast >= 3.0, "{bar}, theme {theme}: {contrast}");
            }
        }
    }

    #[test]
    fn the_style_asks_for_nothing_from_elsewhere() {
        for word in ["url(", "@import", "<", "http"] {
            assert!(!STYLE.contains(word), "{word}");
        }
    }
}
