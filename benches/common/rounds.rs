//! Measures sides in turns: the machines are noisy, ratios within a round are not.

use std::time::{Duration, Instant};

/// The values of one side, one per round.
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub fn quantile(&self, at: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[((sorted.len() - 1) as f64 * at).round() as usize]
    }

    /// The median of the rounds' ratios.
    pub fn over(&self, baseline: &Self) -> f64 {
        self.with(baseline, |own, other| own / other)
    }

    /// The median of the rounds' differences.
    pub fn minus(&self, baseline: &Self) -> f64 {
        self.with(baseline, |own, other| own - other)
    }

    fn with(&self, other: &Self, combine: impl Fn(f64, f64) -> f64) -> f64 {
        let pairs = self.0.iter().zip(&other.0);
        Self(pairs.map(|(own, other)| combine(*own, *other)).collect()).median()
    }
}

impl From<Vec<f64>> for Samples {
    fn from(samples: Vec<f64>) -> Self {
        Self(samples)
    }
}

/// A side to measure, with `M` values per round.
pub type Side<'a, const M: usize> = &'a mut dyn FnMut() -> [f64; M];

/// Runs each side in turns. The first side changes from round to round. A warm-up round is not
/// counted, because threads, caches and memory start cold.
pub fn in_turns<const N: usize, const M: usize>(
    rounds: usize,
    sides: [Side<'_, M>; N],
) -> [[Samples; M]; N] {
    let mut samples = [const { [const { Vec::new() }; M] }; N];
    for round in 0..=rounds {
        for turn in 0..N {
            let side = (round + turn) % N;
            let values = sides[side]();
            if round > 0 {
                samples[side].iter_mut().zip(values).for_each(|(all, value)| all.push(value));
            }
        }
    }
    samples.map(|side| side.map(Samples))
}

/// How many repetitions take about as long as a round should.
pub fn calibrate(round: Duration, mut work: impl FnMut()) -> u32 {
    let mut iterations = 1;
    while time(iterations, &mut work) < round {
        iterations *= 2;
    }
    iterations
}

pub fn time(iterations: u32, work: impl FnMut()) -> Duration {
    let start = Instant::now();
    repeat(iterations, work);
    start.elapsed()
}

pub fn repeat(iterations: u32, mut work: impl FnMut()) {
    (0..iterations).for_each(|_| work());
}

/// Nanoseconds per repetition.
pub fn nanoseconds(time: Duration, count: impl Into<u64>) -> f64 {
    time.as_nanos() as f64 / count.into() as f64
}

pub fn per_second(time: Duration, count: impl Into<u64>) -> f64 {
    count.into() as f64 / time.as_secs_f64()
}

/// The CPU time of all threads of the process, which other load on the machine affects less than
/// the elapsed time.
pub fn processor_time() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// The CPU time of this thread.
pub fn own_processor_time() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid clock, and an output that is valid for writing.
    let status = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(status, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Nanoseconds per item: elapsed and CPU time.
pub fn both_times(count: impl Into<u64>, work: impl FnOnce()) -> [f64; 2] {
    let (start, used) = (Instant::now(), processor_time());
    work();
    let times = [start.elapsed(), processor_time() - used];
    let count = count.into();
    times.map(|time| nanoseconds(time, count))
}
