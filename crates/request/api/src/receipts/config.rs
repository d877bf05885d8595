//! `[kill]` of the configuration.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest time between two drills: a year.
const HOURS_MAX: u32 = 8_784;

/// When an alarm may be raised.
const ALARM_SECS: RangeInclusive<u32> = 5..=86_400;

/// `[kill]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillConfig {
    /// Hours between drills of the kill switch (1 to 8784); 0 for none but those that are asked for.
    pub drill_hours: u32,
    /// Seconds from which on a part of a kill that is not confirmed is an alarm (5 to 86400).
    pub residue_alarm_secs: u32,
}

/// The configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub enum KillConfigError {
    /// Too long between two drills.
    #[error("config key `kill.drill_hours`: `{0}` is above 8784")]
    DrillHours(u32),
    /// Too soon or too late for an alarm.
    #[error("config key `kill.residue_alarm_secs`: `{0}` is not within 5 to 86400")]
    ResidueAlarm(u32),
}

impl Default for KillConfig {
    fn default() -> Self {
        Self {
            drill_hours: 24,
            residue_alarm_secs: 900,
        }
    }
}

impl KillConfig {
    /// # Errors
    /// [`KillConfigError`]
    pub fn validate(&self) -> Result<(), KillConfigError> {
        if self.drill_hours > HOURS_MAX {
            return Err(KillConfigError::DrillHours(self.drill_hours));
        }
        if !ALARM_SECS.contains(&self.residue_alarm_secs) {
            return Err(KillConfigError::ResidueAlarm(self.residue_alarm_secs));
        }
        Ok(())
    }

    /// How often drills are made by themselves.
    #[must_use]
    pub(super) fn drill_every(&self) -> Option<Duration> {
        let hours = u64::from(self.drill_hours);
        (hours > 0).then(|| Duration::from_secs(hours * 3_600))
    }
}
