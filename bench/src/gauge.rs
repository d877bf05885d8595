//! Stopwatches and the form in which figures are printed: `metric NAME = VALUE UNIT`.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};

/// Prints one figure for `cargo xtask bench`.
pub(crate) fn figure(name: &str, value: f64, unit: &str) {
    println!("metric {name} = {value:.3} {unit}");
}

/// CPU time that the calling thread has used.
pub(crate) fn thread_cpu() -> Duration {
    let at = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = at.tv_sec.saturating_mul(1_000_000_000).saturating_add(at.tv_nsec);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// CPU time that all threads of a process have used, in nanoseconds of the scheduler.
pub(crate) fn process_cpu(pid: u32) -> anyhow::Result<Duration> {
    let folder = format!("/proc/{pid}/task");
    let mut nanos = 0_u64;
    for thread in fs::read_dir(&folder).with_context(|| format!("no process {pid}"))? {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        let used = text.split(' ').next().and_then(|word| word.parse::<u64>().ok());
        nanos = nanos.saturating_add(used.unwrap_or(0));
    }
    Ok(Duration::from_nanos(nanos))
}

/// Resident memory of a process, bytes.
pub(crate) fn resident(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("no process {pid}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|word| word.parse::<f64>().ok());
    Ok(kib.context("no VmRSS")? * 1024.0)
}

/// Threads of a process.
pub(crate) fn threads(pid: u32) -> anyhow::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/task"))?.count())
}

pub(crate) fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are far below 2^52"
)]
pub(crate) fn count(n: usize) -> f64 {
    n as f64
}

/// A sample of times in microseconds.
#[derive(Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn push(&mut self, micros: f64) {
        self.0.push(micros);
    }

    pub(crate) fn extend(&mut self, other: Sample) {
        self.0.extend(other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn quantile(&mut self, part: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a position in a list"
        )]
        let place = (part * count(self.0.len().saturating_sub(1))) as usize;
        self.0.get(place).copied().unwrap_or(f64::NAN)
    }

    /// Prints `NAME p50`, `NAME p99` and `NAME max`.
    pub(crate) fn print(&mut self, name: &str) {
        figure(&format!("{name} p50"), self.quantile(0.5), "us");
        figure(&format!("{name} p99"), self.quantile(0.99), "us");
        figure(&format!("{name} max"), self.quantile(1.0), "us");
    }
}

/// CPU microseconds of one operation: the median of `rounds` rounds of about `span` each. Prints `NAME cpu`.
pub(crate) fn cpu(name: &str, rounds: usize, span: Duration, mut run: impl FnMut()) -> f64 {
    let mut times = 1_u32;
    let times = loop {
        let start = Instant::now();
        for _ in 0..times {
            run();
        }
        let took = start.elapsed();
        if took >= span / 8 || times >= 1 << 24 {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a small number of runs"
            )]
            let scaled =
                (f64::from(times) * span.as_secs_f64() / took.as_secs_f64().max(1e-9)).clamp(1.0, 1e9) as u32;
            break scaled.max(1);
        }
        times = times.saturating_mul(2);
    };
    let mut sample = Sample::default();
    for _ in 0..rounds {
        let before = thread_cpu();
        for _ in 0..times {
            run();
        }
        sample.push(micros(thread_cpu().saturating_sub(before)) / f64::from(times));
    }
    let median = sample.quantile(0.5);
    figure(&format!("{name} cpu"), median, "us");
    median
}
