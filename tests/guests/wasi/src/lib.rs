//! Uses the Rust standard library over WASI, for what a component gets without and with rights to it.

use std::fs;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, SystemTime};

use guest_kit::{
    Args, Component, ComponentMessage, ComponentMetadata, Render, Reply, outcome, text,
};

struct Wasi;
guest_kit::export!(Wasi);

struct Failure(io::Error);

impl Render for Failure {
    fn render(&self) -> String {
        self.0.to_string()
    }
}

impl Component for Wasi {
    fn metadata() -> ComponentMetadata {
        let commands = [
            "echo", "print", "eprint", "partial", "env", "args", "read", "write", "delete",
            "list-dir", "connect", "listen", "resolve", "time", "sleep", "exit", "panic",
        ];
        guest_kit::metadata!(false, commands)
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        let mut args = Args::new(&message.payload);
        match args.word()? {
            "echo" => text(args.rest_text()?),
            "print" => done(writeln!(io::stdout(), "{}", args.rest_text()?)),
            "eprint" => done(writeln!(io::stderr(), "{}", args.rest_text()?)),
            "partial" => {
                let mut stdout = io::stdout();
                done(write!(stdout, "{}", args.rest_text()?).and_then(|()| stdout.flush()))
            }
            "env" => text(std::env::vars_os().count().to_string()),
            "args" => text(std::env::args_os().count().to_string()),
            "read" => show(fs::read_to_string(args.word()?), |content| content),
            "write" => done(fs::write(args.word()?, args.rest())),
            "delete" => done(fs::remove_file(args.word()?)),
            "list-dir" => show(list_dir(args.word()?), |names| names.join("\n")),
            "connect" => done(TcpStream::connect(args.word()?).map(drop)),
            "listen" => done(TcpListener::bind(args.word()?).map(drop)),
            "resolve" => show(resolve(args.word()?), |addresses| addresses.join("\n")),
            "time" => {
                let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
                text(format!("{} {}", now.as_secs(), now.subsec_nanos()))
            }
            "sleep" => {
                thread::sleep(Duration::from_millis(args.number()?));
                text("ok")
            }
            "exit" => std::process::exit(args.number()?),
            "panic" => panic!("{}", args.rest_text()?),
            other => Args::unknown(other),
        }
    }
}

fn show<T>(result: io::Result<T>, show: impl FnOnce(T) -> String) -> Reply {
    outcome(result.map_err(Failure), show)
}

fn done(result: io::Result<()>) -> Reply {
    show(result, |()| "ok".into())
}

fn list_dir(path: &str) -> io::Result<Vec<String>> {
    let entries =
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = entries.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn resolve(host: &str) -> io::Result<Vec<String>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip().to_string()).collect())
}
