//! What the gateway counts, read from its admin listener.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Result;

const PATIENCE: Duration = Duration::from_secs(10);

/// All series at one moment.
pub(crate) struct Metrics(String);

impl Metrics {
    pub(crate) fn read(admin: SocketAddr) -> Result<Self> {
        let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        if !text.starts_with("HTTP/1.1 200") {
            return Err("no metrics".into());
        }
        Ok(Self(text))
    }

    /// The series of this name whose labels contain all of these texts, added up; `None` without any.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let values = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (series, value) = rest.trim_end().rsplit_once(' ')?;
            let whole = series.is_empty() || series.starts_with('{');
            let wanted = labels.iter().all(|label| series.contains(label));
            (whole && wanted).then(|| value.parse::<f64>().ok())?
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// Values of one label of a series, with their sums.
    pub(crate) fn by(&self, name: &str, label: &str) -> Vec<(String, f64)> {
        let mut found: Vec<String> = Vec::new();
        let start = format!("{label}=\"");
        for line in self.0.lines().filter(|line| line.starts_with(name)) {
            let value = line
                .split_once(&start)
                .and_then(|(_, rest)| rest.split_once('"'));
            if let Some((value, _)) = value
                && !found.iter().any(|known| known == value)
            {
                found.push(value.to_owned());
            }
        }
        let sum = |value: String| {
            let labels = format!("{start}{value}\"");
            let sum = self.sum(name, &[&labels]).unwrap_or(0.0);
            (value, sum)
        };
        found.into_iter().map(sum).collect()
    }
}
