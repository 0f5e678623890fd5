//! Errors and exit codes: 0 done, 1 failed, 2 wrong usage.

use std::fmt;
use std::io;
use std::process::ExitCode;

use samovar::ErrorKind;
use samovar::hub::HubError;

use crate::environment;
use crate::say::one_line;

/// A mistake in the arguments that only showed after they were parsed.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A usage error.
pub fn usage(what: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(what.into()))
}

/// Whether the user has to change the command, rather than the world.
pub fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<Usage>()
            || cause.downcast_ref::<samovar::Error>().is_some_and(|error| error.kind() == ErrorKind::Usage)
    })
}

/// Bytes of a budget with which work that was refused before it began would have begun.
pub fn needed_bytes(error: &anyhow::Error) -> Option<usize> {
    error.chain().find_map(|cause| cause.downcast_ref::<samovar::Error>()?.needed_bytes())
}

/// The whole chain of an error on one line. Causes that a message already quotes are left out.
pub fn describe(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for (index, cause) in error.chain().enumerate() {
        let words = cause.to_string();
        if index > 0 && !line.contains(&words) {
            line = format!("{line}: {words}");
        }
        if let Some(variables) = variables_behind(cause) {
            line = format!("{line} (set by {variables})");
        }
        for (option, setting) in OPTIONS {
            line = line.replace(option, setting);
        }
        // samovar's own errors say everything; what is below them was quoted or is noise.
        if cause.is::<samovar::Error>() || cause.is::<samovar::media::MediaError>() {
            break;
        }
    }
    line
}

/// What messages for those who write programs call the options of an engine, and what those who run this one set.
const OPTIONS: &[(&str, &str)] = &[
    (", or Options::memory_budget_bytes)", ", SAMOVAR_MEMORY, or memory in a preset)"),
    (
        "(Options::memory_thresholds.critical over",
        "(SAMOVAR_MEMORY_CRITICAL, or memory_critical in a preset, over",
    ),
    ("set Options::hub_cache", "set HF_HOME"),
];

/// Where a user of this program sets the options that an error of the hub names.
fn variables_behind(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let hub = match cause.downcast_ref::<samovar::Error>() {
        Some(samovar::Error::Hub(hub)) => hub,
        Some(_) => return None,
        None => cause.downcast_ref::<HubError>()?,
    };
    let variables = environment::behind(hub.kind());
    (!variables.is_empty()).then(|| variables.join(", "))
}

/// Reports an error, if there is one, and tells the exit code.
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say!("error: {}", one_line(&describe(&error)));
            ExitCode::from(if is_usage(&error) { 2 } else { 1 })
        }
    }
}

/// Whoever read stdout had enough, as `head` does.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
