//! Builds the guests and prints their directory.

use std::process::ExitCode;

fn main() -> ExitCode {
    match airssys_wasm_guests::build(&|line| println!("{line}")) {
        Ok(directory) => {
            println!("components are in {}", directory.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
