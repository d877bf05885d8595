//! `[log]` of the configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(86_400);
/// A hundred years.
const DAYS_MAX: u64 = 36_525;
/// How old a segment gets where nothing is pruned by schedule, so that a quiet log can be pruned by hand.
const AGE: Duration = Duration::from_secs(30 * 86_400);
/// Segments that a schedule makes of the time it keeps.
const PARTS: u32 = 30;
const AGE_MIN: Duration = Duration::from_secs(3_600);

/// `[log]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// Records that may wait for a flush; one more is a denial.
    pub queue_max: usize,
    /// How long a record may take before the call is refused, milliseconds.
    pub record_budget_ms: u64,
    /// Days for which this node keeps decisions, then it prunes them by itself (1 to 36525); 0 for by command only.
    pub keep_decisions_days: u64,
    /// Who has everything held as it is, and why: nothing is pruned while it is set. Recorded with each start.
    pub legal_hold: Option<String>,
}

/// The configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub enum LogConfigError {
    /// Nobody would know who holds, or why.
    #[error("config key `log.legal_hold`: say in 12 to 500 bytes, on one line, who holds the log, and why")]
    Hold,
    /// Longer than anybody keeps anything.
    #[error("config key `log.keep_decisions_days`: {0} is more than 36525")]
    KeepDays(u64),
    /// Nothing could be recorded.
    #[error("config key `log.queue_max` must be at least 1")]
    Queue,
    /// Too little or too long.
    #[error("config key `log.record_budget_ms`: {0} is not 1 to 10000")]
    RecordBudget(u64),
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            queue_max: 65_536,
            record_budget_ms: 1_000,
            keep_decisions_days: 0,
            legal_hold: None,
        }
    }
}

impl LogConfig {
    /// # Errors
    /// [`LogConfigError`]
    pub fn validate(&self) -> Result<(), LogConfigError> {
        if self.queue_max == 0 {
            return Err(LogConfigError::Queue);
        }
        if !(1..=10_000).contains(&self.record_budget_ms) {
            return Err(LogConfigError::RecordBudget(self.record_budget_ms));
        }
        if self.keep_decisions_days > DAYS_MAX {
            return Err(LogConfigError::KeepDays(self.keep_decisions_days));
        }
        let is_said =
            |text: &String| (12..=500).contains(&text.trim().len()) && !text.chars().any(char::is_control);
        if !self.legal_hold.as_ref().is_none_or(is_said) {
            return Err(LogConfigError::Hold);
        }
        Ok(())
    }

    /// How long decisions are kept; for ever without.
    #[must_use]
    pub fn keep(&self) -> Option<Duration> {
        let days = u32::try_from(self.keep_decisions_days).unwrap_or(u32::MAX);
        (days > 0).then(|| DAY.saturating_mul(days))
    }

    /// How old the first entry of a segment gets: whole segments are pruned.
    #[must_use]
    pub fn segment_age_max(&self) -> Duration {
        self.keep().map_or(AGE, |keep| (keep / PARTS).clamp(AGE_MIN, DAY))
    }
}
