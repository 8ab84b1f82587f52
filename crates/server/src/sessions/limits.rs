//! How much an agent, or a replica that passes sessions on, may say: it is measured before it is taken in.

use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_state::{TAINTS_MAX, Violation};

/// Attempts that an agent may claim when it registers.
const CLAIMS_MAX: usize = 20_000;
/// Labels of a node: its user's, and what its agent found out.
const LABELS_MAX: usize = 128;
/// Bytes of each text that an agent chooses freely: ids of boot and machine, join tokens, keys and values of labels.
const TEXT_BYTES_MAX: usize = 256;
/// Reports in one message.
const REPORTS_PER_MESSAGE_MAX: usize = 4_096;
/// Reports of what attempts use in one message.
const USAGES_PER_MESSAGE_MAX: usize = 1_024;
/// Renewals in one message of a replica that passes sessions on.
pub(super) const RENEWALS_PER_MESSAGE_MAX: usize = 4_096;
/// Bytes of the words of a process about its progress; more are cut off.
const PROGRESS_WORDS_BYTES_MAX: usize = 256;
/// Metrics of one attempt; more are left out.
const METRICS_MAX: usize = 16;
/// Bytes of the words in a report; more are cut off.
const REPORT_WORDS_BYTES_MAX: usize = 1_024;

/// Refuses a registration that is too large; all that is too large in it is named.
pub(super) fn check_hello(hello: &v1::Hello) -> Result<(), ApiError> {
    let counts = [
        ("attempts", hello.attempts.len(), "CLAIMS_MAX", CLAIMS_MAX),
        ("labels", hello.labels.len(), "LABELS_MAX", LABELS_MAX),
        ("offer.taints", hello.offer.as_ref().map_or(0, |offer| offer.taints.len()), "TAINTS_MAX", TAINTS_MAX),
    ];
    let counts = counts.into_iter().filter_map(|(field, count, limit, max)| too_many(field, count, limit, max));
    let labels = hello.labels.iter().take(LABELS_MAX).enumerate();
    let labels = labels.flat_map(|(at, label)| {
        [(format!("labels[{at}].key"), &label.key), (format!("labels[{at}].value"), &label.value)]
    });
    let texts = [
        ("boot_id", &hello.boot_id),
        ("machine_id", &hello.machine_id),
        ("cluster_id", &hello.cluster_id),
        ("join_token", &hello.join_token),
    ];
    let texts = texts.into_iter().map(|(field, text)| (field.to_owned(), text)).chain(labels);
    let texts = texts.filter(|(_, text)| text.len() > TEXT_BYTES_MAX).map(|(field, text)| Violation {
        field,
        message: format!("has {} bytes, TEXT_BYTES_MAX is {TEXT_BYTES_MAX}", text.len()),
    });
    none(counts.chain(texts).collect())
}

/// Refuses a message of too many reports, and cuts what they say in words.
pub(super) fn bound_reports(reports: &mut v1::Reports) -> Result<(), ApiError> {
    let count = reports.reports.len();
    none(too_many("reports", count, "REPORTS_PER_MESSAGE_MAX", REPORTS_PER_MESSAGE_MAX).into_iter().collect())?;
    reports.reports.iter_mut().for_each(|report| cut_to(&mut report.message, REPORT_WORDS_BYTES_MAX));
    Ok(())
}

/// Refuses a message that says of too many attempts what they use, and cuts what they say of their progress.
pub(super) fn bound_usages(usages: &mut v1::UsageReports) -> Result<(), ApiError> {
    let count = usages.reports.len();
    none(too_many("reports", count, "USAGES_PER_MESSAGE_MAX", USAGES_PER_MESSAGE_MAX).into_iter().collect())?;
    for progress in usages.reports.iter_mut().filter_map(|report| report.progress.as_mut()) {
        cut_to(&mut progress.words, PROGRESS_WORDS_BYTES_MAX);
        progress.metrics.truncate(METRICS_MAX);
        progress.metrics.iter_mut().for_each(|metric| cut_to(&mut metric.name, TEXT_BYTES_MAX));
    }
    Ok(())
}

/// Refuses a message of too many renewals.
pub(super) fn check_renewals(message: &v1::RelayedRenewals) -> Result<(), ApiError> {
    let count = message.renewals.len();
    none(too_many("renewals", count, "RENEWALS_PER_MESSAGE_MAX", RENEWALS_PER_MESSAGE_MAX).into_iter().collect())
}

fn too_many(field: &str, count: usize, limit: &str, max: usize) -> Option<Violation> {
    let message = || format!("has {count} entries, {limit} is {max}");
    (count > max).then(|| Violation { field: field.into(), message: message() })
}

fn none(violations: Vec<Violation>) -> Result<(), ApiError> {
    if violations.is_empty() { Ok(()) } else { Err(ApiError::Invalid(violations)) }
}

fn cut_to(words: &mut String, bytes_max: usize) {
    if words.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|at| words.is_char_boundary(*at));
        words.truncate(end.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(key: usize, value: usize) -> v1::Label {
        v1::Label { key: "k".repeat(key), value: "v".repeat(value) }
    }

    /// The largest registration there may be.
    fn full() -> v1::Hello {
        v1::Hello {
            boot_id: "b".repeat(TEXT_BYTES_MAX),
            machine_id: "m".repeat(TEXT_BYTES_MAX),
            labels: vec![label(TEXT_BYTES_MAX, TEXT_BYTES_MAX); LABELS_MAX],
            attempts: vec![v1::AttemptClaim::default(); CLAIMS_MAX],
            ..v1::Hello::default()
        }
    }

    #[test]
    fn a_registration_up_to_every_limit_is_taken_and_one_more_names_the_limit() {
        check_hello(&full()).unwrap();
        for (change, field, limit) in [
            (
                (|hello| hello.attempts.push(v1::AttemptClaim::default())) as fn(&mut v1::Hello),
                "attempts",
                "CLAIMS_MAX",
            ),
            (|hello| hello.labels.push(label(1, 1)), "labels", "LABELS_MAX"),
            (|hello| hello.boot_id.push('b'), "boot_id", "TEXT_BYTES_MAX"),
            (|hello| hello.machine_id.push('m'), "machine_id", "TEXT_BYTES_MAX"),
            (|hello| hello.join_token = "t".repeat(TEXT_BYTES_MAX + 1), "join_token", "TEXT_BYTES_MAX"),
            (|hello| hello.cluster_id = "c".repeat(TEXT_BYTES_MAX + 1), "cluster_id", "TEXT_BYTES_MAX"),
            (|hello| hello.labels[1].key.push('k'), "labels[1].key", "TEXT_BYTES_MAX"),
            (|hello| hello.labels[2].value.push('v'), "labels[2].value", "TEXT_BYTES_MAX"),
        ] {
            let mut hello = full();
            change(&mut hello);
            let Err(ApiError::Invalid(found)) = check_hello(&hello) else { panic!("{field} must be refused") };
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].field, field);
            assert!(found[0].message.contains(limit), "{limit} is not named in {:?}", found[0].message);
        }
    }

    #[test]
    fn too_many_reports_are_refused_and_long_words_are_cut_between_characters() {
        let words = format!("x{}", "é".repeat(REPORT_WORDS_BYTES_MAX));
        let long = v1::AttemptReport { message: words, ..v1::AttemptReport::default() };
        let mut reports = v1::Reports { reports: vec![long; REPORTS_PER_MESSAGE_MAX], ..v1::Reports::default() };
        bound_reports(&mut reports).unwrap();
        for report in &reports.reports {
            assert_eq!(report.message.len(), REPORT_WORDS_BYTES_MAX - 1, "the last character has two bytes");
        }
        reports.reports.push(v1::AttemptReport::default());
        let Err(ApiError::Invalid(found)) = bound_reports(&mut reports) else { panic!("one too many") };
        assert!(found[0].message.contains("REPORTS_PER_MESSAGE_MAX"), "{found:?}");
    }

    #[test]
    fn usage_is_taken_up_to_its_limit() {
        let mut usages = v1::UsageReports { reports: vec![v1::UsageReport::default(); USAGES_PER_MESSAGE_MAX] };
        let words = v1::Progress { words: "w".repeat(TEXT_BYTES_MAX * 2), ..v1::Progress::default() };
        usages.reports[0].progress = Some(words);
        bound_usages(&mut usages).unwrap();
        let kept = usages.reports[0].progress.as_ref().map(|progress| progress.words.len());
        assert_eq!(kept, Some(PROGRESS_WORDS_BYTES_MAX));
        usages.reports.push(v1::UsageReport::default());
        let Err(ApiError::Invalid(found)) = bound_usages(&mut usages) else { panic!("one too many") };
        assert!(found[0].message.contains("USAGES_PER_MESSAGE_MAX"), "{found:?}");
    }

    #[test]
    fn renewals_are_taken_together_up_to_their_limit() {
        let mut message =
            v1::RelayedRenewals { renewals: vec![v1::RelayedRenewal::default(); RENEWALS_PER_MESSAGE_MAX] };
        check_renewals(&message).unwrap();
        message.renewals.push(v1::RelayedRenewal::default());
        let Err(ApiError::Invalid(found)) = check_renewals(&message) else { panic!("one too many") };
        assert!(found[0].message.contains("RENEWALS_PER_MESSAGE_MAX"), "{found:?}");
    }
}
