//! What the report says of a certificate.

use std::time::Duration;

use super::{days, step_of};
use crate::probe::authority::{Chain, Shown};
use crate::probe::report::{Group, Step, Verdict};

/// From here on somebody should renew it; public authorities renew a month ahead.
const RENEW: u64 = 14;

/// One step for each of chain, name and dates.
pub(super) fn steps(shown: Option<&Shown>, now: u64) -> Vec<Step> {
    let mut steps = vec![
        step_of(
            "certificate-chain",
            Group::Tls,
            "look at the chain",
            "trusted",
        ),
        step_of(
            "certificate-name",
            Group::Tls,
            "look at the names",
            "has the host",
        ),
        step_of(
            "certificate-days",
            Group::Tls,
            "look at the dates",
            "14 days or more",
        ),
    ];
    let found = match shown {
        Some(shown) => [chain(shown), name(shown), dates(shown, now)],
        None => std::array::from_fn(|_| {
            (
                Verdict::Wrong,
                "unreadable".to_owned(),
                Some("what was sent as a certificate is none".to_owned()),
            )
        }),
    };
    for (step, (verdict, seen, advice)) in steps.iter_mut().zip(found) {
        step.verdict = verdict;
        step.seen = seen;
        step.advice = advice;
    }
    steps
}

type Found = (Verdict, String, Option<String>);

fn chain(shown: &Shown) -> Found {
    let (seen, advice) = match shown.chain {
        Chain::Trusted => {
            let ending = if shown.sent == 1 { "" } else { "s" };
            return (
                Verdict::Ok,
                format!("trusted, {} certificate{ending}", shown.sent),
                None,
            );
        }
        Chain::SelfSigned => (
            "self-signed",
            "no sender outside of a test accepts it; get one from a public authority, or name this very one with \
             --ca to probe the rest",
        ),
        Chain::IssuerMissing => (
            "issuer not sent",
            "browsers may fetch what is missing, senders do not: serve the whole chain (fullchain.pem), leaf first; \
             for an authority of your own use --ca",
        ),
        Chain::Untrusted => (
            "unknown authority",
            "the chain is whole but ends at an authority that is not trusted here; if it is your own, name it with --ca",
        ),
        Chain::OutOfDate => (
            "expired above the leaf",
            "an intermediate certificate is out of date; serve the chain that your authority offers today",
        ),
        Chain::Unusable => (
            "not for a server",
            "wrong purpose, wrong signature or broken; have it issued anew for server authentication",
        ),
    };
    (Verdict::Wrong, seen.to_owned(), Some(advice.to_owned()))
}

fn name(shown: &Shown) -> Found {
    let names = match shown.names.split_last() {
        None => "it names no host at all".to_owned(),
        Some((last, [])) => format!("it is for {last}"),
        Some((last, others)) => format!("it is for {} and {last}", others.join(", ")),
    };
    if shown.named {
        // An address that is named is not among the names of hosts.
        let names = (!shown.names.is_empty()).then_some(names);
        return (Verdict::Ok, "has the host".to_owned(), names);
    }
    let advice = format!(
        "{names}; senders compare it with the host of the URL and refuse; have the host added"
    );
    (Verdict::Wrong, "other names".to_owned(), Some(advice))
}

fn dates(shown: &Shown, now: u64) -> Found {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let distance = |from: i64, to: i64| {
        days(Duration::from_secs(
            u64::try_from(to.saturating_sub(from)).unwrap_or(0),
        ))
    };
    if now < shown.not_before {
        return (
            Verdict::Wrong,
            "not valid yet".to_owned(),
            Some("senders refuse it until it begins; is a clock wrong?".to_owned()),
        );
    }
    if now > shown.not_after {
        return (
            Verdict::Wrong,
            match distance(shown.not_after, now) {
                1 => "expired a day ago".to_owned(),
                days => format!("expired {days} days ago"),
            },
            Some("senders refuse the connection, so nothing arrives; renew it now".to_owned()),
        );
    }
    let left = distance(now, shown.not_after);
    let (verdict, advice) = if left < RENEW {
        let advice = "renew it: once it has expired, nothing arrives any more";
        (Verdict::Warning, Some(advice.to_owned()))
    } else {
        (Verdict::Ok, None)
    };
    let ending = if left == 1 { "" } else { "s" };
    (verdict, format!("{left} day{ending} left"), advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;

    fn shown() -> Shown {
        Shown {
            chain: Chain::Trusted,
            named: true,
            names: Vec::new(),
            not_before: 100 * DAY,
            not_after: 200 * DAY,
            sent: 2,
        }
    }

    #[test]
    fn days_are_counted_to_the_end() {
        for (day, verdict, seen) in [
            (99, Verdict::Wrong, "not valid yet"),
            (100, Verdict::Ok, "100 days left"),
            (186, Verdict::Ok, "14 days left"),
            (187, Verdict::Warning, "13 days left"),
            (199, Verdict::Warning, "1 day left"),
            (200, Verdict::Warning, "0 days left"),
            (201, Verdict::Wrong, "expired a day ago"),
            (203, Verdict::Wrong, "expired 3 days ago"),
        ] {
            let (found, said, advice) = dates(&shown(), day * 24 * 3600);
            assert_eq!((found, &*said), (verdict, seen));
            assert_eq!(advice.is_none(), verdict == Verdict::Ok);
        }
    }

    #[test]
    fn each_fault_is_told_by_its_own_step() {
        let verdicts = |shown: &Shown| -> Vec<Verdict> {
            let steps = steps(Some(shown), 150 * 24 * 3600);
            steps.iter().map(|step| step.verdict).collect()
        };
        let (ok, wrong) = (Verdict::Ok, Verdict::Wrong);
        assert_eq!(verdicts(&shown()), [ok, ok, ok]);
        for chain in [
            Chain::SelfSigned,
            Chain::IssuerMissing,
            Chain::Untrusted,
            Chain::OutOfDate,
            Chain::Unusable,
        ] {
            assert_eq!(verdicts(&Shown { chain, ..shown() }), [wrong, ok, ok]);
        }
        let said = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let (_, _, said) = name(&Shown { names, ..shown() });
            said
        };
        assert_eq!(said(&[]), None);
        assert_eq!(
            said(&["a.example.org"]).as_deref(),
            Some("it is for a.example.org")
        );
        assert_eq!(
            said(&["a.example.org", "*.b.example.org", "c.example.org"]).as_deref(),
            Some("it is for a.example.org, *.b.example.org and c.example.org")
        );
        let elsewhere = Shown {
            named: false,
            names: vec!["other.example.org".to_owned()],
            ..shown()
        };
        assert_eq!(verdicts(&elsewhere), [ok, wrong, ok]);
        assert!(steps(None, 0).iter().all(|step| step.verdict == wrong));
    }
}
