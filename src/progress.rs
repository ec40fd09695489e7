//! Progress bars, on a terminal only.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use calbridge_core::engine::{Progress, ProgressEvent};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The bars on this terminal. Log lines are written above them.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// A bar per sync, with the time that is left.
#[derive(Debug, Default)]
pub(crate) struct Bars {
    bars: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    /// Bars, unless the output is for a machine or nobody looks.
    pub(crate) fn new(json: bool) -> Option<Self> {
        (!json && std::io::stderr().is_terminal()).then(Self::default)
    }
}

impl Progress for Bars {
    fn event(&self, event: ProgressEvent) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            ProgressEvent::Started { sync, calendars } => {
                let style = ProgressStyle::with_template(
                    "{msg} [{bar:30}] {pos}/{len} calendars, {eta} left",
                )
                .unwrap_or_else(|_| ProgressStyle::default_bar());
                let bar = ProgressBar::new(calendars as u64).with_style(style);
                let bar = BARS.get_or_init(MultiProgress::new).add(bar);
                bar.set_message(sync.clone());
                bar.tick();
                bars.insert(sync, bar);
            }
            ProgressEvent::Calendar { sync, .. } => {
                if let Some(bar) = bars.get(&sync) {
                    bar.inc(1);
                }
            }
            ProgressEvent::Finished { sync } => {
                if let Some(bar) = bars.remove(&sync) {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }
}

/// Standard error, with the bars out of the way while something is written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AboveBars;

impl std::io::Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let write = || std::io::stderr().lock().write(bytes);
        match BARS.get() {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}
