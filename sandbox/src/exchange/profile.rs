//! Which server the sandbox plays.

/// A kind of server with its limits and quirks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Exchange Server 2013 (build 15.0).
    Exchange2013,
    /// Exchange Server 2019 and Subscription Edition (build 15.2).
    #[default]
    Exchange2019,
    /// grommunio's gromox 3.10, an independent implementation with many deviations: lenient requests, faults answered
    /// with HTTP 200 and twice, CalendarView without expansion, exceptions that change no master, odd date forms.
    Gromox,
}

impl Profile {
    /// Reads the names `exchange2013`, `exchange2019` and `gromox`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "exchange2013" => Some(Profile::Exchange2013),
            "exchange2019" => Some(Profile::Exchange2019),
            "gromox" => Some(Profile::Gromox),
            _ => None,
        }
    }

    pub(crate) fn is_gromox(self) -> bool {
        self == Profile::Gromox
    }

    /// Attributes of t:ServerVersionInfo.
    pub(crate) fn version(self) -> [(&'static str, &'static str); 5] {
        let [minor, build, revision, version] = match self {
            Profile::Exchange2013 => ["0", "1497", "2", "V2_23"],
            Profile::Exchange2019 => ["2", "1544", "4", "V2017_07_11"],
            Profile::Gromox => ["0", "847", "4040", "V2017_07_11"],
        };
        [
            ("MajorVersion", "15"),
            ("MinorVersion", minor),
            ("MajorBuildNumber", build),
            ("MinorBuildNumber", revision),
            ("Version", version),
        ]
    }

    /// Schema versions that only newer servers know.
    pub(crate) fn knows_schema(self, version: &str) -> bool {
        const LATER: [&str; 5] = [
            "Exchange2015",
            "Exchange2016",
            "V2015_10_05",
            "V2016_01_06",
            "V2017_07_11",
        ];
        self != Profile::Exchange2013 && LATER.contains(&version)
    }
}
