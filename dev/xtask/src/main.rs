//! The command line of the chores: `cargo run -p xtask -- tidy`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => {
            let findings = xtask::tidy(&xtask::repository_root());
            for finding in &findings {
                eprintln!("{finding}\n");
            }
            match findings.len() {
                0 => println!("tidy"),
                count => eprintln!("{count} findings"),
            }
            if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        _ => {
            eprintln!("usage: cargo run -p xtask -- tidy");
            ExitCode::from(2)
        }
    }
}
