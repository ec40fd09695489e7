//! What came of a run: for people, for programs, for build servers.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;

/// What came of one test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "why")]
pub enum Verdict {
    /// The connector does it.
    Passed,
    /// It does not.
    Failed(String),
    /// It cannot be told, or does not concern this connector.
    Skipped(String),
}

/// One test of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestReport {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long it took.
    pub milliseconds: u64,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The connector.
    pub connector: String,
    /// Its version.
    pub version: String,
    /// In the order in which they ran.
    pub tests: Vec<TestReport>,
}

impl Report {
    /// Whether nothing failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failed().is_empty()
    }

    /// The names of the tests that failed.
    #[must_use]
    pub fn failed(&self) -> Vec<&'static str> {
        self.named(|verdict| matches!(verdict, Verdict::Failed(_)))
    }

    /// The names of the tests that were skipped.
    #[must_use]
    pub fn skipped(&self) -> Vec<&'static str> {
        self.named(|verdict| matches!(verdict, Verdict::Skipped(_)))
    }

    /// The names of the tests that concern the connector, and were skipped because its world offers no means.
    #[must_use]
    pub fn not_offered(&self) -> Vec<&'static str> {
        self.named(|verdict| {
            matches!(verdict, Verdict::Skipped(why) if !why.starts_with("the connector ") && !why.starts_with("the sink "))
        })
    }

    fn named(&self, which: impl Fn(&Verdict) -> bool) -> Vec<&'static str> {
        self.tests
            .iter()
            .filter(|test| which(&test.verdict))
            .map(|test| test.name)
            .collect()
    }

    /// As a table, with the reasons and a summary.
    #[must_use]
    pub fn table(&self) -> String {
        let width = self.tests.iter().map(|test| test.name.len()).max();
        let width = width.unwrap_or_default();
        let mut lines: Vec<String> = Vec::new();
        for test in &self.tests {
            let (word, why) = match &test.verdict {
                Verdict::Passed => ("passed ", None),
                Verdict::Failed(why) => ("FAILED ", Some(why)),
                Verdict::Skipped(why) => ("skipped", Some(why)),
            };
            lines.push(
                format!(
                    "{word}  {:<width$}  {}",
                    test.name,
                    why.map_or("", |why| why.as_str())
                )
                .trim_end()
                .to_owned(),
            );
            if matches!(test.verdict, Verdict::Failed(_)) {
                lines.push(format!("         {:<width$}  ({})", "", test.about));
            }
        }
        let (failed, skipped) = (self.failed().len(), self.skipped().len());
        lines.push(String::new());
        lines.push(format!(
            "{} {}: {} passed, {failed} failed, {skipped} skipped",
            self.connector,
            self.version,
            self.tests.len() - failed - skipped
        ));
        lines.join("\n")
    }

    /// As JUnit XML.
    ///
    /// # Errors
    /// A text that XML cannot hold.
    pub fn junit(&self) -> Result<String, quick_junit::SerializeError> {
        let mut suite = TestSuite::new(format!("calbridge conformance: {}", self.connector));
        for test in &self.tests {
            let status = match &test.verdict {
                Verdict::Passed => TestCaseStatus::success(),
                Verdict::Failed(why) => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_message(why.as_str());
                    status.set_description(test.about);
                    status
                }
                Verdict::Skipped(why) => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(why.as_str());
                    status
                }
            };
            let mut case = TestCase::new(test.name, status);
            case.set_classname(self.connector.as_str());
            case.set_time(Duration::from_millis(test.milliseconds));
            suite.add_test_case(case);
        }
        let mut document = Document::new("calbridge conformance");
        document.add_test_suite(suite);
        document.to_string()
    }
}
