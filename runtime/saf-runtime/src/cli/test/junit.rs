//! `--junit`: the results as the XML that CI servers read. A suite a Channel, a case a file; what failed says the differences.

use std::fmt::Write;
use std::path::Path;

use super::diff::Difference;
use super::show::Mark;
use crate::exit::Failure;

/// The results of all cases, collected.
#[derive(Debug, Default)]
pub(super) struct Report {
    suites: Vec<(String, Vec<Result>)>,
}

/// A case's result.
#[derive(Debug)]
pub(super) struct Result {
    pub(super) name: String,
    pub(super) micros: u64,
    pub(super) mark: Mark,
    pub(super) differences: Vec<Difference>,
}

impl Report {
    pub(super) fn suite(&mut self, name: &str) {
        self.suites.push((name.to_owned(), Vec::new()));
    }

    /// Of the suite that was begun last.
    pub(super) fn case(&mut self, result: Result) {
        if let Some((_, results)) = self.suites.last_mut() {
            results.push(result);
        }
    }

    pub(super) fn write(&self, path: &Path) -> std::result::Result<(), Failure> {
        std::fs::write(path, self.xml())
            .map_err(|error| Failure::Usage(format!("cannot write {}: {error}", path.display())))
    }

    // Writing to a string cannot fail.
    fn xml(&self) -> String {
        let mut xml =
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"saf-runtime test\">\n".to_owned();
        for (name, results) in &self.suites {
            let failures = results.iter().filter(|result| result.mark == Mark::Failed).count();
            let time = seconds(results.iter().map(|result| result.micros).sum());
            let (name, tests) = (escaped(name), results.len());
            let _ = writeln!(
                xml,
                "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" time=\"{time}\">"
            );
            for result in results {
                result.write(&name, &mut xml);
            }
            xml.push_str("  </testsuite>\n");
        }
        xml.push_str("</testsuites>\n");
        xml
    }
}

impl Result {
    fn write(&self, suite: &str, xml: &mut String) {
        let (name, time) = (escaped(&self.name), seconds(self.micros));
        let _ = write!(xml, "    <testcase classname=\"{suite}\" name=\"{name}\" time=\"{time}\"");
        if self.mark != Mark::Failed {
            xml.push_str("/>\n");
            return;
        }
        let text = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        let mut message = String::new();
        for Difference { place, expected, got } in &self.differences {
            let _ = write!(message, "{place}\n  expected {}\n  got {}\n", text(expected), text(got));
        }
        let first = self.differences.first().map(|difference| difference.place.as_str()).unwrap_or_default();
        let (first, message) = (escaped(first), escaped(&message));
        let _ = writeln!(
            xml,
            ">\n      <failure message=\"{first} differs\">{message}</failure>\n    </testcase>"
        );
    }
}

fn seconds(micros: u64) -> String {
    format!("{:.6}", micros as f64 / 1e6)
}

/// For text and attributes; characters that XML cannot hold are shown as Rust escapes them.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_xml_whatever_the_guest_said() {
        let mut report = Report::default();
        report.suite("upper");
        let passed =
            Result { name: "a.json".to_owned(), micros: 1500, mark: Mark::Passed, differences: vec![] };
        report.case(passed);
        let differences = vec![Difference::new("outcome", "done", "trap: <\"&\u{1b}>")];
        report.case(Result { name: "b.json".to_owned(), micros: 0, mark: Mark::Failed, differences });
        assert_eq!(
            report.xml(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"saf-runtime test\">\n  <testsuite name=\"upper\" tests=\"2\" \
             failures=\"1\" errors=\"0\" skipped=\"0\" time=\"0.001500\">\n    <testcase classname=\"upper\" name=\"a.json\" \
             time=\"0.001500\"/>\n    <testcase classname=\"upper\" name=\"b.json\" time=\"0.000000\">\n      <failure message=\"outcome \
             differs\">outcome\n  expected done\n  got trap: &lt;&quot;&amp;\\u{1b}&gt;\n</failure>\n    </testcase>\n  </testsuite>\n\
             </testsuites>\n"
        );
    }
}
