//! Standard streams, environment, arguments, and the end of the process.

use std::io::{self, Read, Write};

use guest_kit::{Args, Reply, text};
use wasip2::cli::environment;

use crate::failure::{done, show};

mod latest {
    wit_bindgen::generate!({
        inline: "
            package wasi:cli@0.2.12;
            interface exit { exit: func(status: result); exit-with-code: func(status-code: u8); }
            world exits { import exit; }
        ",
    });
}

pub const COMMANDS: &[&str] = &[
    "echo",
    "print",
    "eprint",
    "partial",
    "flood",
    "spill",
    "stdin",
    "env",
    "env-all",
    "args",
    "args-all",
    "cwd",
    "exit",
    "exit-with",
    "panic",
];

pub fn handle(command: &str, mut args: Args<'_>) -> Reply {
    match command {
        "echo" => text(args.rest_text()?),
        "print" => done(writeln!(io::stdout(), "{}", args.rest_text()?)),
        "eprint" => done(writeln!(io::stderr(), "{}", args.rest_text()?)),
        "partial" => done(write_out(args.rest_text()?.as_bytes())),
        "flood" => {
            let (count, size) = (args.number::<u64>()?, args.number()?);
            let line = [vec![b'x'; size], vec![b'\n']].concat();
            done((0..count).try_for_each(|_| write_out(&line)))
        }
        "spill" => done(write_out(&vec![b'x'; args.number()?])),
        "stdin" => {
            let mut input = String::new();
            show(io::stdin().read_to_string(&mut input), |_| input)
        }
        "env" => text(std::env::vars_os().count().to_string()),
        "env-all" => text(environment_lines().join("\n")),
        "args" => text(std::env::args_os().count().to_string()),
        "args-all" => text(environment::get_arguments().join("\n")),
        "cwd" => text(environment::initial_cwd().unwrap_or_else(|| "none".into())),
        "exit" => std::process::exit(args.number()?),
        "exit-with" => {
            latest::wasi::cli::exit::exit_with_code(args.number()?);
            Args::unknown(command)
        }
        "panic" => panic!("{}", args.rest_text()?),
        other => Args::unknown(other),
    }
}

fn write_out(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Asks WASI, because the library reads the environment only once.
fn environment_lines() -> Vec<String> {
    let mut lines: Vec<_> = environment::get_environment()
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    lines.sort();
    lines
}
