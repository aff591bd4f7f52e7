//! A command-line program.

use std::env;
use std::io::{self, Read, Write};
use std::process::{self, ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.get(1..).unwrap_or_default() {
        [] => println!("usage: {} COMMAND", words.first().unwrap_or(&"?")),
        ["args", rest @ ..] => println!("{}: {rest:?}", words[0]),
        ["env", name] => println!("{:?}", env::var(name)),
        ["cat"] => {
            let mut input = Vec::new();
            let copied = io::stdin().read_to_end(&mut input);
            let copied = copied.and_then(|_| io::stdout().write_all(&input));
            if let Err(error) = copied {
                eprintln!("cat: {error}");
                return ExitCode::FAILURE;
            }
        }
        ["both"] => {
            print!("to out");
            eprint!("to err");
        }
        ["flood", lines] => (0..number(lines)).for_each(|_| println!("{}", "x".repeat(99))),
        ["fail"] => return ExitCode::FAILURE,
        ["exit", status] => process::exit(number(status) as i32),
        ["panic", text] => panic!("{text}"),
        ["leave-behind"] => {
            // SAFETY: a program has one thread.
            unsafe { env::set_var("LEFT", "behind") };
        }
        ["loop"] => loop {
            std::hint::spin_loop();
        },
        other => {
            eprintln!("unknown command: {other:?}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| {
        eprintln!("not a number: {text}");
        process::exit(2)
    })
}
