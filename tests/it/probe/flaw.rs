//! What can be wrong with a gateway: one thing for each, and the steps of a probe that must say so.

/// One thing that is wrong, or, for the first ones, allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    ClosesOnRefusal,
    RepliesInJson,
    LimitsFailures,
    EndsSoon,

    Expired,
    NotYetValid,
    ExpiredAbove,
    WrongName,
    MissingIntermediate,
    SelfSigned,
    UnknownAuthority,
    OldTls,
    NoTls,

    PostChallengeUnchecked,
    PostChallengeEmptyIsUnset,
    PostChallengeBySearch,
    PostChallengeByPattern,
    GetChallengeUnchecked,
    GetChallengeEmptyIsUnset,
    GetChallengeHeaderUnchecked,
    GetChallengeLastCounts,
    OnlyGetChallenge,
    OnlyPostChallenge,
    NoGetChallengeByHeader,
    ChallengeQuoted,
    ChallengeWithLineEnd,
    ChallengeAsPage,
    ChallengeCanned,
    ChallengeForwarded,
    ChallengeInRefusal,
    ChallengeCut,

    NoTokenPasses,
    EmptyTokenPasses,
    WrongTokenPasses,
    WrongTokenToDeadBackend,
    PrefixPasses,
    LongerPasses,
    EndingPasses,
    AnyCasePasses,
    FirstEightCount,
    LastIgnored,
    LengthCounts,
    BearerUnchecked,
    FirstOfTwoCounts,
    LastOfTwoCounts,
    SameTwicePasses,
    StumblesOnTwo,
    ListPasses,
    AliasCounts,
    AliasIgnored,
    TokenFromQuery,
    TokenFromBody,

    AnyMethod,
    PutPasses,
    DeletePasses,

    UnknownPaths,
    Slashes,
    Dot,
    Dots,
    EscapedDot,
    EscapedLetter,
    AnyCaseOfPath,
    AnyEndOfPath,

    LongHeaders,
    LengthAndChunked,
    TwoLengths,
    SpaceBeforeColon,
    BrokenNames,
    AsksForAnything,
    ClosesUnsaid,
    LeavesBodies,

    RedirectsRefusals,
    OkRefusals,
    TokenInRefusal,
    TokenInRefusalField,
    QueryInRefusal,
    CutsRefusals,
    CutsBodies,
    HangsOnMissing,
}

/// Which steps are wrong.
pub(super) enum Caught {
    /// These and no others.
    By(&'static [&'static str]),
    /// Each that a right gateway refuses.
    ByAllRefusals,
    /// Each that a right gateway refuses with 401.
    ByRefusals401,
}

/// Each challenge that has to be answered.
const ANSWERS: &[&str] = &[
    "challenge-post",
    "challenge-post-spaced",
    "challenge-get",
    "challenge-get-header",
    "connection-after",
];

/// Ways to be right.
pub(super) const RIGHT: [Flaw; 5] = [
    Flaw::None,
    Flaw::ClosesOnRefusal,
    Flaw::RepliesInJson,
    Flaw::LimitsFailures,
    Flaw::EndsSoon,
];

/// Ways to be wrong, and what tells.
pub(super) fn flaws() -> Vec<(Flaw, Caught)> {
    let mut flaws = certificates();
    flaws.extend(challenges());
    flaws.extend(tokens());
    flaws.extend(borders());
    flaws
}

fn certificates() -> Vec<(Flaw, Caught)> {
    use Caught::By;
    vec![
        (Flaw::Expired, By(&["certificate-days"])),
        (Flaw::NotYetValid, By(&["certificate-days"])),
        (Flaw::ExpiredAbove, By(&["certificate-chain"])),
        (Flaw::WrongName, By(&["certificate-name"])),
        (Flaw::MissingIntermediate, By(&["certificate-chain"])),
        (Flaw::SelfSigned, By(&["certificate-chain"])),
        (Flaw::UnknownAuthority, By(&["certificate-chain"])),
        (Flaw::OldTls, By(&["tls-old"])),
        (Flaw::NoTls, By(&["tls-handshake"])),
    ]
}

fn challenges() -> Vec<(Flaw, Caught)> {
    use Caught::By;
    vec![
        (
            Flaw::PostChallengeUnchecked,
            By(&[
                "challenge-post-wrong",
                "challenge-post-empty",
                "challenge-post-none",
                "challenge-post-nested",
            ]),
        ),
        (
            Flaw::PostChallengeEmptyIsUnset,
            By(&["challenge-post-empty", "challenge-post-none"]),
        ),
        (Flaw::PostChallengeBySearch, By(&["challenge-post-nested"])),
        (Flaw::PostChallengeByPattern, By(&["challenge-post-spaced"])),
        (
            Flaw::GetChallengeUnchecked,
            By(&[
                "challenge-get-wrong",
                "challenge-get-empty",
                "challenge-get-none",
                "challenge-get-header-wrong",
                "challenge-get-twice",
            ]),
        ),
        (
            Flaw::GetChallengeEmptyIsUnset,
            By(&["challenge-get-empty", "challenge-get-none"]),
        ),
        (
            Flaw::GetChallengeHeaderUnchecked,
            By(&["challenge-get-header-wrong"]),
        ),
        (Flaw::GetChallengeLastCounts, By(&["challenge-get-twice"])),
        (
            Flaw::OnlyGetChallenge,
            By(&[
                "challenge-post",
                "challenge-post-spaced",
                "connection-after",
            ]),
        ),
        (
            Flaw::OnlyPostChallenge,
            By(&["challenge-get", "challenge-get-header"]),
        ),
        (Flaw::NoGetChallengeByHeader, By(&["challenge-get-header"])),
        (Flaw::ChallengeQuoted, By(ANSWERS)),
        (Flaw::ChallengeWithLineEnd, By(ANSWERS)),
        (Flaw::ChallengeAsPage, By(ANSWERS)),
        (Flaw::ChallengeCanned, By(ANSWERS)),
        (Flaw::ChallengeForwarded, By(ANSWERS)),
        (Flaw::ChallengeCut, By(ANSWERS)),
        (
            Flaw::ChallengeInRefusal,
            By(&[
                "challenge-post-wrong",
                "challenge-post-empty",
                "challenge-post-none",
                "challenge-post-nested",
                "token-in-body",
            ]),
        ),
    ]
}

fn tokens() -> Vec<(Flaw, Caught)> {
    use Caught::By;
    let any = &[
        "token-wrong",
        "token-last",
        "token-longer",
        "token-before",
        "token-shorter",
        "token-start",
        "token-case",
        "token-list",
    ];
    vec![
        (
            Flaw::NoTokenPasses,
            By(&[
                "token-none",
                "bearer-wrong",
                "token-in-query",
                "token-in-body",
            ]),
        ),
        (Flaw::EmptyTokenPasses, By(&["token-empty"])),
        (Flaw::WrongTokenPasses, By(any)),
        (Flaw::WrongTokenToDeadBackend, By(any)),
        (Flaw::PrefixPasses, By(&["token-shorter", "token-start"])),
        (Flaw::LongerPasses, By(&["token-longer"])),
        (Flaw::EndingPasses, By(&["token-before", "token-list"])),
        (Flaw::AnyCasePasses, By(&["token-case"])),
        (
            Flaw::FirstEightCount,
            By(&["token-last", "token-longer", "token-shorter", "token-start"]),
        ),
        (Flaw::LastIgnored, By(&["token-last"])),
        (
            Flaw::LengthCounts,
            By(&["token-wrong", "token-last", "token-case"]),
        ),
        (Flaw::BearerUnchecked, By(&["bearer-wrong"])),
        (
            Flaw::FirstOfTwoCounts,
            By(&["token-right-wrong", "token-right-right"]),
        ),
        (
            Flaw::LastOfTwoCounts,
            By(&["token-wrong-right", "token-right-right"]),
        ),
        (Flaw::SameTwicePasses, By(&["token-right-right"])),
        (
            Flaw::StumblesOnTwo,
            By(&[
                "token-right-wrong",
                "token-wrong-right",
                "token-right-right",
            ]),
        ),
        (Flaw::ListPasses, By(&["token-list"])),
        (Flaw::AliasCounts, By(&["alias-alone"])),
        (Flaw::AliasIgnored, By(&["alias-beside"])),
        (Flaw::TokenFromQuery, By(&["token-in-query"])),
        (Flaw::TokenFromBody, By(&["token-in-body"])),
    ]
}

fn borders() -> Vec<(Flaw, Caught)> {
    use Caught::By;
    vec![
        (
            Flaw::AnyMethod,
            By(&["method-get", "method-head", "method-options"]),
        ),
        (Flaw::PutPasses, By(&["method-put"])),
        (Flaw::DeletePasses, By(&["method-delete"])),
        (
            Flaw::UnknownPaths,
            By(&[
                "path-unknown",
                "path-slashes",
                "path-dot",
                "path-dots",
                "path-escaped-dot",
                "path-escaped",
                "path-case",
                "path-end",
            ]),
        ),
        (Flaw::Slashes, By(&["path-slashes"])),
        (Flaw::Dot, By(&["path-dot"])),
        (Flaw::Dots, By(&["path-dots"])),
        (Flaw::EscapedDot, By(&["path-escaped-dot"])),
        (Flaw::EscapedLetter, By(&["path-escaped"])),
        (Flaw::AnyCaseOfPath, By(&["path-case"])),
        (Flaw::AnyEndOfPath, By(&["path-end"])),
        (Flaw::LongHeaders, By(&["header-long"])),
        (Flaw::LengthAndChunked, By(&["length-and-chunked"])),
        (Flaw::TwoLengths, By(&["length-twice"])),
        (Flaw::SpaceBeforeColon, By(&["header-space"])),
        (Flaw::BrokenNames, By(&["header-broken"])),
        (Flaw::AsksForAnything, By(&["length-announced"])),
        (Flaw::ClosesUnsaid, By(&["connection-after"])),
        (Flaw::LeavesBodies, By(&["connection-after"])),
        (Flaw::RedirectsRefusals, Caught::ByAllRefusals),
        (Flaw::OkRefusals, Caught::ByAllRefusals),
        (Flaw::TokenInRefusal, Caught::ByRefusals401),
        (Flaw::TokenInRefusalField, Caught::ByRefusals401),
        (
            Flaw::QueryInRefusal,
            By(&[
                "challenge-get-wrong",
                "challenge-get-empty",
                "challenge-get-none",
                "challenge-get-header-wrong",
                "challenge-get-twice",
                "token-in-query",
            ]),
        ),
        (Flaw::CutsRefusals, Caught::ByRefusals401),
        (Flaw::CutsBodies, Caught::ByRefusals401),
        (Flaw::HangsOnMissing, By(&["token-none"])),
    ]
}
