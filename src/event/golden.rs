//! Golden events: what each provider's callbacks become, for checks before anything came in.
//!
//! The same files that hold the providers to their contract. A template or an expression that
//! fails on one of them would fail on a real event.

/// One of them.
macro_rules! golden {
    ($case:literal) => {
        (
            $case,
            include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/fixtures/providers/",
                $case,
                "/expected.json"
            )),
        )
    };
}

/// Each by its provider and case, such as `11x/voicemail-rescheduled`, in JSON.
pub const GOLDEN: &[(&str, &str)] = &[
    golden!("11x/document-sample"),
    golden!("11x/goal-completed"),
    golden!("11x/minimal"),
    golden!("11x/not-reached-rescheduled"),
    golden!("11x/unheard-of-result"),
    golden!("11x/unknown-keys"),
    golden!("11x/voicemail-rescheduled"),
    golden!("11x/webcall"),
    golden!("clouddial/busy"),
    golden!("clouddial/customer-name"),
    golden!("clouddial/disconnected"),
    golden!("clouddial/document-sample"),
    golden!("clouddial/form"),
    golden!("clouddial/hung-up-without-agent"),
    golden!("clouddial/integration-amd"),
    golden!("clouddial/integration-labels"),
    golden!("clouddial/no-agent"),
    golden!("clouddial/no-result"),
    golden!("clouddial/result"),
    golden!("mobtexting/c2c-completed"),
    golden!("mobtexting/c2c-missed-by-the-agent"),
    golden!("mobtexting/document-sample"),
    golden!("mobtexting/get-template"),
    golden!("mobtexting/log-as-a-date"),
    golden!("mobtexting/log-in-unix-time"),
    golden!("mobtexting/obd-answer"),
    golden!("mobtexting/obd-noanswer"),
    golden!("mobtexting/obd-numeric"),
    golden!("mobtexting/obd-trailing-comma"),
    golden!("plum/canceled"),
    golden!("plum/completed"),
    golden!("plum/completed-as-multipart"),
    golden!("plum/document-sample-wrapped"),
    golden!("plum/events-as-json-in-a-form"),
    golden!("plum/failed-exhausted"),
    golden!("plum/failed-only-event"),
    golden!("plum/first-spelling-blank"),
    golden!("plum/first-spelling-zero"),
    golden!("plum/fuse-items"),
    golden!("plum/fuse-quoted-number"),
    golden!("plum/rejected-indexed-events"),
    golden!("plum/table-types"),
    golden!("plum/two-spellings"),
    golden!("synthflow/completed"),
    golden!("synthflow/custom-end"),
    golden!("synthflow/custom-end-beside-the-call"),
    golden!("synthflow/document-sample"),
    golden!("synthflow/legacy"),
    golden!("synthflow/no-answer"),
    golden!("synthflow/strings-that-hold-json"),
    golden!("synthflow/two-statuses"),
    golden!("synthflow/unheard-of-status"),
    golden!("synthflow/voicemail"),
    golden!("synthflow/voicemail-message-left"),
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_case_of_every_provider_is_in_the_list() {
        let providers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/providers");
        let listed = |folder: &Path| {
            let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            entries.filter(|path| path.is_dir()).collect::<Vec<_>>()
        };
        let cases = listed(&providers).into_iter().flat_map(|provider| listed(&provider));
        let cases: BTreeSet<String> = cases
            .filter(|case| case.join("expected.json").exists())
            .map(|case| case.strip_prefix(&providers).unwrap().display().to_string())
            .collect();

        assert_eq!(
            GOLDEN.iter().map(|(name, _)| (*name).to_owned()).collect::<BTreeSet<_>>(),
            cases
        );
    }
}
