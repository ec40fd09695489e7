//! What receipt codes, faults and HTTP statuses mean, in one place.
//!
//! STAR does not publish the list of receipt codes. What is known comes from how Kommuneklienten, STAR's own
//! client, treated them; where that was silent, the choice is told here.
//!
//! | receipt code | on create | on update | on delete |
//! |---|---|---|---|
//! | 0 | done | done | done |
//! | 8, already there | conflict: Planner has it | refused | refused |
//! | 10, not there | refused | conflict: Planner lacks it | done |
//! | 13, Planner's own | foreign | foreign | foreign |
//! | 15, 16 | later | later | later |
//! | any other | refused | refused | refused |
//!
//! "Already there" makes no sense as an answer to an update or a delete, nor "not there" to a create: they are
//! refusals, for trying again would bring the same answer for ever.
//!
//! | condition of a call | code | event outcomes |
//! |---|---|---|
//! | nothing was sent: DNS, refused, TLS, proxy, HTTP 401, 403, 404, 400 about certificates | 6901 | later |
//! | HTTP 400, 413 | 6901 | unknown; the next calls are smaller |
//! | SOAP fault without details | 6902 | unknown: it may have been done |
//! | FaultDetails that speak of the certificate, the user or the authority | 6903 | unknown |
//! | other FaultDetails | 6903 | unknown; refused if the event stood alone, the code may be a refusal and the service took other calls |
//! | any other fault, if the event stood alone and the service took other calls | 6902, 6903 | done if Planner lists it so, else later, which counts as a try |
//! | no answer in time, HTTP 504 | 6904 | unknown |
//! | broken connection, answer that cannot be read, HTTP 502, 503 | 6905 | unknown |
//! | HTTP 429 | 6905 | later |

use calbridge_core::connector::Op;

/// Nothing could be sent, or the service does not let us in.
pub(crate) const CALL_FAILED: &str = "6901";
/// SOAP fault without details.
pub(crate) const FAULT: &str = "6902";
/// SOAP fault with details.
pub(crate) const FAULT_DETAILS: &str = "6903";
/// No answer in time.
pub(crate) const TIMEOUT: &str = "6904";
/// The web, not the service, failed.
pub(crate) const WEB: &str = "6905";
/// An address that Planner lists more than once.
pub(crate) const DUPLICATE_ADDRESS: &str = "3201";
/// Planner lists no resources.
pub(crate) const NO_RESOURCES: &str = "3202";
/// Some calendars could not be listed.
pub(crate) const CHUNK_FAILED: &str = "3936";

/// The notice that Planner mailed somebody because of a conflict.
pub(crate) const CONFLICT_NOTICE: &str = "conflict-notice";

/// What a receipt means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As asked.
    Done,
    /// Planner has such an event already.
    Exists,
    /// Planner has no such event.
    Missing,
    /// The event belongs to Planner.
    Foreign,
    /// Not now.
    Later,
    /// No, and no again.
    Refused,
}

/// What a receipt's code means for an operation.
pub(crate) fn verdict(op: Op, code: i64) -> Verdict {
    match (op, code) {
        (_, 0) | (Op::Delete, 10) => Verdict::Done,
        (Op::Create, 8) => Verdict::Exists,
        (Op::Update, 10) => Verdict::Missing,
        (_, 13) => Verdict::Foreign,
        (_, 15 | 16) => Verdict::Later,
        _ => Verdict::Refused,
    }
}

/// Kommuneklienten's warning for a receipt's code: 6200 and the code, within the documented range.
pub(crate) fn warning(code: i64) -> String {
    let offset = if (0..=49).contains(&code) { code } else { 49 };
    (6200 + offset).to_string()
}

/// Why the service does not let us act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// The certificate is known, and not opened for the service.
    NotOpened,
    /// The certificate may not act for the jobcenter.
    WrongAuthority,
    /// The user in the header is not the certificate's holder.
    WrongUser,
}

/// Words by which a refusal of access is known, in Danish and English; the first row that fits counts.
///
/// The numbers of such faults are not published, so they cannot be gone by.
const ACCESS_WORDS: [(Access, &[&str]); 3] = [
    (
        Access::NotOpened,
        &[
            "opened",
            "not open",
            "åbnet",
            "oprettet",
            "ikke godkendt",
            "not approved",
        ],
    ),
    (
        Access::WrongUser,
        &[
            "user identifier",
            "useridentifier",
            "brugeridentifikation",
            "bruger-id",
            "brugerid",
        ],
    ),
    (
        Access::WrongAuthority,
        &[
            "organisation",
            "organization",
            "authority",
            "myndighed",
            "jobcenter",
            "autoris",
        ],
    ),
];

/// Words without which a fault is not about access at all: one about an event must not pass for one.
const CREDENTIAL_WORDS: [&str; 5] = ["certifi", "authoris", "authoriz", "autoris", "bemyndig"];

/// Whether a fault's text says that we may not act at all, rather than that something is wrong with an event.
pub(crate) fn access(text: &str) -> Option<Access> {
    let text = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if !has(&CREDENTIAL_WORDS) {
        return None;
    }
    ACCESS_WORDS
        .iter()
        .find(|(_, words)| has(words))
        .map(|(access, _)| *access)
}

/// Whether a fault's ErrorCode may be the refusal of an event.
///
/// That the number means in a fault what it means in a receipt is documented nowhere: an outage may carry the
/// same. So it refuses an event only where the service is seen to work beside it. Other numbers never do.
pub(crate) fn may_refuse_an_event(code: Option<i64>) -> bool {
    matches!(code, Some(1..=7 | 9 | 11 | 12 | 14))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPS: [Op; 3] = [Op::Create, Op::Update, Op::Delete];

    #[test]
    fn k066_to_k072_the_table_of_receipt_codes() {
        for op in OPS {
            assert_eq!(verdict(op, 0), Verdict::Done, "K066");
            assert_eq!(verdict(op, 13), Verdict::Foreign, "K071");
            for code in [15, 16] {
                assert_eq!(verdict(op, code), Verdict::Later, "K069");
            }
            for code in [1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 14, 17, -1, 70_000] {
                assert_eq!(verdict(op, code), Verdict::Refused, "K070: {code}");
            }
        }
        assert_eq!(verdict(Op::Create, 8), Verdict::Exists, "K067");
        assert_eq!(verdict(Op::Update, 10), Verdict::Missing, "K068");
        assert_eq!(verdict(Op::Delete, 10), Verdict::Done, "K072");
        for (op, code) in [(Op::Update, 8), (Op::Delete, 8), (Op::Create, 10)] {
            assert_eq!(verdict(op, code), Verdict::Refused);
        }
    }

    #[test]
    fn k089_codes_out_of_range_have_the_last_warning_id() {
        for code in [70_000, -1, i64::MAX, i64::MIN] {
            assert_eq!(warning(code), "6249");
        }
        assert_eq!(warning(7), "6207");
        assert_eq!(warning(49), "6249");
    }

    #[test]
    fn k090_a_clients_own_code_stays_inside_the_documented_range() {
        assert_eq!(warning(6904), "6249");
        assert_eq!(warning(50), "6249");
    }

    #[test]
    fn refusals_of_access_are_known_by_their_words() {
        for (text, expected) in [
            (
                "Access has not been opened for the certificate.",
                Some(Access::NotOpened),
            ),
            (
                "Certifikatet er endnu ikke oprettet",
                Some(Access::NotOpened),
            ),
            (
                "The certificate may not act for the organisation.",
                Some(Access::WrongAuthority),
            ),
            (
                "Certifikatet har ikke bemyndigelse fra denne myndighed",
                Some(Access::WrongAuthority),
            ),
            (
                "The user identifier does not match the certificate.",
                Some(Access::WrongUser),
            ),
            (
                "Brugeren er ikke autoriseret til organisationen",
                Some(Access::WrongAuthority),
            ),
            ("Ikke autoriseret", Some(Access::WrongAuthority)),
            ("The event could not be stored.", None),
            ("Jobcenter 10100 has no such resource", None),
            ("The calendar could not be opened", None),
            ("", None),
        ] {
            assert_eq!(access(text), expected, "{text}");
        }
    }

    #[test]
    fn k074_only_known_refusals_let_a_fault_speak_of_the_event() {
        for code in [
            None,
            Some(0),
            Some(8),
            Some(10),
            Some(13),
            Some(15),
            Some(4711),
        ] {
            assert!(!may_refuse_an_event(code), "{code:?}");
        }
        for code in [1, 7, 9, 14] {
            assert!(may_refuse_an_event(Some(code)), "{code}");
        }
    }
}
