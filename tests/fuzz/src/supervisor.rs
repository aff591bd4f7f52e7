//! Runs batches of cases in child processes and reports their results.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::target::TARGETS;

/// How long a process runs: long enough to show leaks, and bounded to end them.
const BATCH: Duration = Duration::from_secs(20);

/// How long one case may take. Every limit within a case is far shorter.
const PATIENCE: Duration = Duration::from_secs(60);

/// The maximum memory of a process.
const MOST_BYTES: u64 = 2 << 30;

/// Why a process ended early.
struct Ended {
    how: String,
    status: String,
}

struct Files {
    dir: PathBuf,
    status: PathBuf,
    output: PathBuf,
}

/// Runs these targets, or all, each for `time`.
pub fn run(time: Duration, names: &[&str]) -> ExitCode {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = std::env::var("FUZZ_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let first: u64 = seed.unwrap_or(now.as_nanos() as u64);
    let dir = PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/fuzz"));
    fs::create_dir_all(&dir).expect("a directory for failures");
    println!("FUZZ_SEED={first}");
    let (mut passed, mut failed) = (0, 0);
    for (name, _) in TARGETS.iter().filter(|(name, _)| names.is_empty() || names.contains(name)) {
        let files = Files {
            status: dir.join(format!("{name}.status")),
            output: dir.join(format!("{name}.output")),
            dir: dir.clone(),
        };
        let (began, mut cases, mut seed, mut sound) = (Instant::now(), 0, first, true);
        match files.supervise(&["corpus", name]) {
            Ok(_) => {}
            Err(ended) => {
                files.report(name, &ended);
                sound = false;
            }
        }
        while let Some(left) = time.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
            let millis = left.min(BATCH).as_millis().to_string();
            match files.supervise(&["batch", name, &seed.to_string(), &millis]) {
                Ok(done) => (cases, seed) = (cases + done, seed.wrapping_add(done)),
                Err(ended) => {
                    files.report(name, &ended);
                    sound = false;
                    break;
                }
            }
        }
        let result = if sound { "ok" } else { "FAILED" };
        println!("{name:12} {cases:8} cases in {:4} s: {result}", began.elapsed().as_secs());
        *(if sound { &mut passed } else { &mut failed }) += 1;
    }
    println!("{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

impl Files {
    /// Runs a process to its end and returns the number of cases.
    fn supervise(&self, arguments: &[&str]) -> Result<u64, Ended> {
        let output = File::create(&self.output).expect("a file for the output");
        fs::write(&self.status, "").expect("a file for the status");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(arguments)
            .arg(&self.status)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("a process");
        let how = self.watch(&mut child);
        let status = fs::read_to_string(&self.status).unwrap_or_default();
        match (how, status.strip_prefix("done - ").and_then(|done| done.parse().ok())) {
            (None, Some(done)) => Ok(done),
            (how, _) => Err(Ended { how: how.unwrap_or("it ended early".into()), status }),
        }
    }

    /// Waits for the end of a process and returns its failure.
    fn watch(&self, child: &mut Child) -> Option<String> {
        let (mut last, mut since) = (String::new(), Instant::now());
        loop {
            if let Some(status) = child.try_wait().expect("a process of ours") {
                return (!status.success()).then(|| status.to_string());
            }
            let status = fs::read_to_string(&self.status).unwrap_or_default();
            if status != last {
                (last, since) = (status, Instant::now());
            }
            let bytes = resident_bytes(child.id());
            let wrong = if since.elapsed() > PATIENCE {
                format!("no end within {} s", PATIENCE.as_secs())
            } else if bytes > MOST_BYTES {
                format!("{bytes} bytes of memory")
            } else {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            // The process may have ended just now.
            _ = child.kill();
            _ = child.wait();
            return Some(wrong);
        }
    }

    fn report(&self, name: &str, ended: &Ended) {
        let Ended { how, status } = ended;
        println!("\n{name}: {how}; it was at: {status}");
        let output = fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<_> = output.lines().collect();
        for line in &lines[lines.len().saturating_sub(40)..] {
            println!("    {line}");
        }
        match status.split(' ').collect::<Vec<_>>()[..] {
            ["seed", seed, _] => {
                let seed = seed.trim_start_matches('0');
                let file = self.dir.join(format!("{name}-{seed}"));
                let made = self.write_input(name, seed, &file);
                println!("again: cargo test --workspace --test fuzz -- case {name} {seed}");
                if made {
                    println!("input: {}", file.display());
                }
            }
            ["file", file, _] => {
                println!("again: cargo test --workspace --test fuzz -- file {name} {file}")
            }
            _ => {}
        }
        println!();
    }

    fn write_input(&self, name: &str, seed: &str, file: &Path) -> bool {
        Command::new(std::env::current_exe().expect("this program"))
            .args(["input", name, seed])
            .arg(file)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// The memory of a process, `None` if it is gone.
fn resident_bytes(process: u32) -> u64 {
    let pages = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}
