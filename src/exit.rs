//! Exit codes. `docs/integrators/exit-codes.md` explains them; a test holds both together.

/// What the program's exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done; nothing was found wrong.
    Success,
    /// Something is not as it should be: a check failed, a demonstration differs, an unexpected error.
    Failed,
    /// The command line or the configuration is wrong. Nothing was done.
    Usage,
    /// The state file cannot be used.
    State,
    /// A connection cannot be used at all: unreachable, refused, not allowed.
    Connection,
    /// Part of the work was done; some calendars or events have trouble.
    Partly,
    /// Stopped by a signal before the work was done.
    Interrupted,
}

impl Exit {
    /// Every code.
    #[cfg(test)]
    const ALL: [Self; 7] = [
        Self::Success,
        Self::Failed,
        Self::Usage,
        Self::State,
        Self::Connection,
        Self::Partly,
        Self::Interrupted,
    ];

    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::State => 3,
            Self::Connection => 4,
            Self::Partly => 5,
            Self::Interrupted => 130,
        }
    }

    /// What the documentation calls it, and scripts find in `--json` output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::State => "state",
            Self::Connection => "connection",
            Self::Partly => "partly",
            Self::Interrupted => "interrupted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_just_these_codes() {
        let page = include_str!("../docs/integrators/exit-codes.md");
        let documented: Vec<(String, String)> = page
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
                let code = cells.next()?.to_owned();
                code.parse::<u8>().ok()?;
                Some((code, cells.next()?.trim_matches('`').to_owned()))
            })
            .collect();
        let known: Vec<(String, String)> = Exit::ALL
            .iter()
            .map(|exit| (exit.code().to_string(), exit.name().to_owned()))
            .collect();
        assert_eq!(documented, known);
    }
}
