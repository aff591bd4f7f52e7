//! Runs of a component as a program: `wasi:cli/run` with arguments, input and output.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::core::account::{Account, Charge, HostBytesExceeded};
use crate::core::bounds::{MAX_ERROR_TEXT_BYTES, bounded};
use crate::core::error::{CallError, Unfit};
use crate::core::message::Invocation;
use crate::runtime::instance::Instance;

/// The interface of programs, without its version.
pub const RUN: &str = "wasi:cli/run";

type RunResult = (Result<(), ()>,);

/// One run of a program.
#[derive(Debug)]
pub struct Program {
    /// The arguments that it sees, its name first.
    pub arguments: Vec<String>,
    /// What it reads from standard input.
    pub stdin: Vec<u8>,
    /// What it writes to standard output.
    pub stdout: Arc<Captured>,
    /// What it writes to standard error.
    pub stderr: Arc<Captured>,
}

/// The arguments of a run: an array of strings, or an object with `args` and `stdin`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    stdin: String,
}

/// The result of a run. The output is text, or base64 if lists are packed.
#[derive(Serialize)]
struct Report<'a> {
    status: i32,
    stdout: &'a str,
    stderr: &'a str,
}

impl Program {
    /// Returns whether a typed call of this function is a run.
    pub fn is_run(function: &str) -> bool {
        let interface = function.split_once('@').map_or(function, |(interface, _)| interface);
        interface == RUN && !function.contains('#')
    }

    /// Reads the arguments of a run of the component called `name`. Its output is charged to
    /// `account`.
    pub fn from_json(
        invocation: &Invocation,
        json: &[u8],
        name: &str,
        account: &Arc<Account>,
    ) -> Result<Self, CallError> {
        let invalid = |problem: &dyn fmt::Display| CallError::InvalidArguments {
            function: invocation.function.to_string(),
            problem: format!("args: {}", bounded(problem, MAX_ERROR_TEXT_BYTES)),
        };
        let Request { args, stdin } = match json {
            [] => Request::default(),
            json => request(json).map_err(|error| invalid(&error))?,
        };
        if args.iter().any(|argument| argument.contains('\0')) {
            return Err(invalid(&"an argument cannot contain NUL"));
        }
        let stdin = match invocation.packed {
            false => stdin.into_bytes(),
            true => STANDARD.decode(stdin).map_err(|error| {
                invalid(&format_args!("stdin: expected base64, as the lists are packed: {error}"))
            })?,
        };
        let captured = || Arc::new(Captured::new(account));
        let arguments = std::iter::once(name.to_owned()).chain(args).collect();
        Ok(Self { arguments, stdin, stdout: captured(), stderr: captured() })
    }
}

/// Reads a request of either form.
fn request(json: &[u8]) -> serde_json::Result<Request> {
    struct Form;

    impl<'de> Visitor<'de> for Form {
        type Value = Request;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of strings, or an object with args and stdin")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Request, A::Error> {
            let args = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
            Ok(Request { args, stdin: String::new() })
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Request, A::Error> {
            Request::deserialize(MapAccessDeserializer::new(map))
        }
    }

    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let request = deserializer.deserialize_any(Form)?;
    deserializer.end()?;
    Ok(request)
}

/// Bytes that a program wrote to a stream.
pub struct Captured {
    account: Arc<Account>,
    written: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    charge: Option<Charge>,
}

impl Captured {
    fn new(account: &Arc<Account>) -> Self {
        Self { account: Arc::clone(account), written: Mutex::default() }
    }

    /// Adds written bytes.
    pub fn add(&self, bytes: &[u8]) -> Result<(), HostBytesExceeded> {
        let Written { bytes: all, charge } = &mut *self.lock();
        if all.len() + bytes.len() > all.capacity() {
            let capacity = (all.len() + bytes.len()).next_power_of_two();
            let more = (capacity - all.capacity()) as u64;
            match charge {
                Some(charge) => charge.grow(more)?,
                none => *none = Some(self.account.charge(more)?),
            }
            all.reserve_exact(capacity - all.len());
        }
        all.extend_from_slice(bytes);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self, packed: bool) -> String {
        let written = self.lock();
        match packed {
            true => STANDARD.encode(&written.bytes),
            false => String::from_utf8_lossy(&written.bytes).into_owned(),
        }
    }
}

impl fmt::Debug for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.lock().bytes.len())
    }
}

impl Instance {
    /// Runs the program that the instance was made for; returns its exit status and output in JSON.
    pub async fn run_program(
        &mut self,
        program: &Program,
        invocation: &Invocation,
    ) -> Result<Vec<u8>, CallError> {
        let function = format!("{}#run", invocation.function);
        let func = self.function(&function)?;
        let run = func.typed::<(), RunResult>(&self.store).map_err(|_| {
            let reason = "its type is not that of wasi:cli/run";
            CallError::Uncallable { function, reason }
        })?;
        let ended = match self.on_caller {
            true => self.call_on_caller(&run, ()),
            false => self.begin(&run, ()).await,
        };
        let status = match self.conclude(ended) {
            Ok((Ok(()),)) => 0,
            Ok((Err(()),)) => 1,
            Err(CallError::Exited { code, .. }) => code,
            Err(error) => return Err(error),
        };
        let (stdout, stderr) =
            (program.stdout.text(invocation.packed), program.stderr.text(invocation.packed));
        let json = serde_json::to_vec(&Report { status, stdout: &stdout, stderr: &stderr });
        let json = json.unwrap_or_default();
        let (bytes, limit) = (json.len() as u64, self.limits.max_message_bytes);
        match bytes > limit {
            true => Err(CallError::DoesNotFit(Unfit::Reply { bytes, limit })),
            false => Ok(json),
        }
    }
}
